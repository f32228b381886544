"""The pages: who gets what, what the URL asks for, how many queries it takes, what leaves as CSV."""

import csv
import datetime
import io
import json
import re
import uuid
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.states import Triage
from tests.conftest import SignedIn
from tests.diagnosis.dashboards.archive import Archive
from tests.factories import ModelVersionFactory, case_in_review, make_user, predicted_case

pytestmark = pytest.mark.django_db

MOST_QUERIES = 11
PAGES = ("models", "live", "operations")


def page(client: Client, name: str, **query: object) -> str:
    response = client.get(reverse(f"dashboards:{name}"), query)
    assert response.status_code == 200
    return response.content.decode()


class Tags(HTMLParser):
    """Every tag with its attributes, and the JSON of every script of data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._open = (found.get("id") or "") if tag == "script" and found.get("type") == "application/json" else ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.data[self._open] = self.data.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


class TestQueries:
    @pytest.mark.parametrize("name", PAGES)
    def test_a_dashboard_takes_few_queries(
        self, name: str, evaluated: ModelVersion, archive: Archive, administrator: User
    ) -> None:
        client = SignedIn(administrator)
        page(client, name)
        with CaptureQueriesContext(connection) as queries:
            page(client, name)
        assert len(queries) <= MOST_QUERIES, [query["sql"][:80] for query in queries]

    @pytest.mark.parametrize("name", PAGES)
    def test_their_number_does_not_grow_with_the_archive(
        self, name: str, evaluated: ModelVersion, archive: Archive, haematologist: User
    ) -> None:
        client = SignedIn(haematologist)
        page(client, name)
        with CaptureQueriesContext(connection) as before:
            page(client, name)
        archive.fill(60)
        for _ in range(3):
            ModelVersionFactory(status="retired")
        with CaptureQueriesContext(connection) as after:
            page(client, name)
        assert len(after) == len(before)

    def test_the_facts_of_a_model_take_few(self, evaluated: ModelVersion, technician: User) -> None:
        client = SignedIn(technician)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse("dashboards:model_facts", args=[evaluated.pk])).status_code == 200
        assert len(queries) <= MOST_QUERIES

    def test_days_are_bounded(self, archive: Archive, haematologist: User) -> None:
        since = timezone.localdate() - datetime.timedelta(days=4000)
        shown = page(SignedIn(haematologist), "operations", since=since.isoformat())
        assert "Choose at most 366 days." in shown
        default = timezone.localdate() - datetime.timedelta(days=89)
        assert f'value="{default.isoformat()}"' in shown


class TestFigures:
    @pytest.mark.parametrize("name", PAGES)
    def test_each_has_a_table_a_csv_and_a_sentence(
        self, name: str, evaluated: ModelVersion, archive: Archive, haematologist: User
    ) -> None:
        shown = page(SignedIn(haematologist), name)
        figures = re.findall(r"<figure.*?</figure>", shown, re.DOTALL)
        assert len(figures) >= 7
        for figure in figures:
            assert "<table" in figure
            assert "<figcaption" in figure
            assert re.search(r'<p class="muted small">[A-Z][^<]{20,}\.</p>', figure)
            assert ".csv" in figure

    @pytest.mark.parametrize("name", PAGES)
    def test_each_drawing_finds_its_json(
        self, name: str, evaluated: ModelVersion, archive: Archive, haematologist: User
    ) -> None:
        found = Tags(page(SignedIn(haematologist), name))
        drawn = [attributes["data-plot"] for _, attributes in found.tags if "data-plot" in attributes]
        assert drawn
        for plot_id in drawn:
            assert plot_id
            figure = json.loads(json.loads(found.data[plot_id]))
            assert figure["data"]
            assert figure["layout"]["height"] > 100

    @pytest.mark.parametrize("name", PAGES)
    def test_nothing_needs_more_than_the_policy_allows(
        self, name: str, evaluated: ModelVersion, archive: Archive, haematologist: User
    ) -> None:
        """No inline script or style; and no bold or other markup in labels, which plotly.js makes an inline style."""
        response = SignedIn(haematologist).get(reverse(f"dashboards:{name}"))
        assert "unsafe" not in response["Content-Security-Policy"]
        found = Tags(response.content.decode())
        for tag, attributes in found.tags:
            assert "style" not in attributes
            assert not [key for key in attributes if key.startswith("on")]
            assert tag != "style"
            if tag == "script":
                assert attributes.get("src") or attributes.get("type") == "application/json"
        for figure in found.data.values():
            assert not re.search(r"<(?!br>)/?\\?[a-z]", figure)

    def test_a_figures_key_is_in_its_page_once(
        self, evaluated: ModelVersion, archive: Archive, haematologist: User
    ) -> None:
        for name in PAGES:
            ids = re.findall(r'id="([^"]+)"', page(SignedIn(haematologist), name))
            assert len(ids) == len(set(ids))


class TestBorders:
    """Live and operations are of the user's own site; whatever the URL asks for."""

    @pytest.mark.parametrize("name", ["live", "operations"])
    def test_another_site_is_not_there(
        self, name: str, archive: Archive, haematologist: User, other_site: Site
    ) -> None:
        url = reverse(f"dashboards:{name}")
        assert SignedIn(haematologist).get(url, {"site": other_site.pk}).status_code == 404
        assert SignedIn(haematologist).get(url, {"site": "nonsense"}).status_code == 404

    def test_a_reader_elsewhere_counts_nothing_of_it(self, archive: Archive, other_site: Site) -> None:
        client = SignedIn(make_user(Role.HAEMATOLOGIST, other_site))
        assert "No case that this version looked at" in page(client, "live")
        assert client.get(reverse("dashboards:live_csv", args=["concordance"])).status_code == 404
        workload = client.get(reverse("dashboards:operations_csv", args=["workload"]))
        assert workload.status_code == 404 or archive.readers[0].username not in workload.content.decode()

    def test_an_administrator_of_all_sites_sees_all_or_one(
        self, archive: Archive, site: Site, other_site: Site
    ) -> None:
        client = SignedIn(make_user(Role.ADMINISTRATOR, None))
        whole = csv_rows(client, "operations_csv", "targets")
        of_site = csv_rows(client, "operations_csv", "targets", site=site.pk)
        elsewhere = csv_rows(client, "operations_csv", "targets", site=other_site.pk)
        assert whole == of_site
        assert sum(int(row["Cases"]) for row in whole) == len(archive.cases)
        assert elsewhere == []

    def test_who_has_no_site_and_does_not_administrate_sees_no_figures(self, archive: Archive) -> None:
        user = make_user(Role.HAEMATOLOGIST, archive.site)
        User.objects.filter(pk=user.pk).update(site=None)
        for name in ("live", "operations"):
            assert SignedIn(user).get(reverse(f"dashboards:{name}")).status_code == 403

    def test_a_technician_sees_operations_without_the_workload(self, archive: Archive, technician: User) -> None:
        client = SignedIn(technician)
        shown = page(client, "operations")
        assert "Turnaround" in shown
        assert "Workload" not in shown
        assert client.get(reverse("dashboards:operations_csv", args=["workload"])).status_code == 404
        assert client.get(reverse("dashboards:live")).status_code == 403
        assert reverse("dashboards:live") not in shown

    def test_everyone_who_signs_in_sees_how_a_model_was_evaluated(
        self, evaluated: ModelVersion, technician: User
    ) -> None:
        assert "Confusion matrix" in page(SignedIn(technician), "models")


class TestNothingLeaks:
    """A reader learns nothing here of what the model says of a case that is not signed."""

    @pytest.mark.parametrize("name", ["live", "operations"])
    def test_the_page_is_the_same_whatever_was_predicted(
        self, name: str, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = case_in_review(technician, haematologist, label="Benign")
        before = numbers(page(SignedIn(haematologist), name))
        runs = PredictionRun.objects.filter(image__case=case)
        assert runs.update(label="Pro", confidence=0.4, abstained=True, probabilities={"Pro": 1}) == 2
        Case.objects.filter(pk=case.pk).update(triage=Triage.CRITICAL)
        assert numbers(page(SignedIn(haematologist), name)) == before

    def test_a_predicted_case_adds_nothing_to_live(
        self, archive: Archive, technician: User, haematologist: User
    ) -> None:
        before = csv_rows(SignedIn(haematologist), "live_csv", "confusion")
        predicted_case(technician)
        case_in_review(technician, haematologist)
        assert csv_rows(SignedIn(haematologist), "live_csv", "confusion") == before
        assert csv_rows(SignedIn(haematologist), "live_csv", "drift")


class TestFilters:
    def test_the_active_version_is_shown_first(self, evaluated: ModelVersion, technician: User) -> None:
        retired = ModelVersionFactory(status="retired", version="9.9.9")
        shown = page(SignedIn(technician), "models")
        assert f"before {evaluated} was released" in shown
        assert f"{retired} (retired)" in shown

    def test_a_version_can_be_asked_for(self, evaluated: ModelVersion, technician: User) -> None:
        other = ModelVersionFactory(status="retired")
        assert "No evaluation report came with this version" in page(SignedIn(technician), "models", version=other.pk)

    def test_a_version_of_another_task_gives_way_to_the_task(self, evaluated: ModelVersion, technician: User) -> None:
        cells = ModelVersionFactory(task="cell-type", input_kind="single_cell")
        shown = page(SignedIn(technician), "models", task="cell-type", version=evaluated.pk)
        assert f"{cells} (active)" in shown
        assert f"{evaluated} (active)" not in shown

    @pytest.mark.parametrize("name", PAGES)
    @pytest.mark.parametrize(
        "query",
        [{"version": "nonsense"}, {"protocol": "-1"}, {"protocol": "99"}, {"since": "yesterday"}, {"until": "0"}],
    )
    def test_nonsense_in_the_url_shows_the_usual(
        self, name: str, query: dict, evaluated: ModelVersion, haematologist: User
    ) -> None:
        page(SignedIn(haematologist), name, **query)

    def test_an_unknown_task_is_not_there(self, evaluated: ModelVersion, technician: User) -> None:
        assert SignedIn(technician).get(reverse("dashboards:models"), {"task": "x"}).status_code == 404

    def test_a_filter_of_another_dashboard_changes_nothing(self, haematologist: User) -> None:
        page(SignedIn(haematologist), "operations", task="b-all-stage", version="x", protocol="3")

    def test_another_protocol(self, evaluated: ModelVersion, technician: User) -> None:
        first = csv_rows(SignedIn(technician), "models_csv", "confusion")
        second = csv_rows(SignedIn(technician), "models_csv", "confusion", protocol=1)
        assert first != second

    def test_days_the_wrong_way_round_are_said(self, haematologist: User, model_version: ModelVersion) -> None:
        shown = page(SignedIn(haematologist), "live", since="2026-02-02", until="2026-02-01")
        assert "The first day lies after the last one." in shown

    def test_the_csv_link_keeps_the_filters(self, archive: Archive, haematologist: User) -> None:
        shown = page(SignedIn(haematologist), "operations", since="2026-01-05", until="2026-02-01")
        assert 'queue.csv?since=2026-01-05&amp;until=2026-02-01"' in shown


class TestEmpty:
    @pytest.mark.parametrize("name", ["models", "live"])
    def test_without_a_model(self, name: str, haematologist: User) -> None:
        assert "No model is registered" in page(SignedIn(haematologist), name)

    def test_without_a_report(self, technician: User, model_version: ModelVersion) -> None:
        assert "No evaluation report came with this version" in page(SignedIn(technician), "models")

    def test_without_cases(self, haematologist: User, model_version: ModelVersion) -> None:
        assert "No case that this version looked at" in page(SignedIn(haematologist), "live")
        assert "Nothing waits." in page(SignedIn(haematologist), "operations")


class TestFacts:
    def test_they_say_what_the_manifest_says(self, evaluated: ModelVersion, technician: User) -> None:
        evaluated.manifest |= {
            "intended_use": "For <research> only.",
            "limitations": ["One hospital."],
            "caveats": ["Benign is not healthy."],
            "data": {"sources": [{"name": "taleqani", "role": "training", "images": 3256}], "split": "By block."},
            "preprocessing": [{"name": "resize", "version": 1, "parameters": {"side": 224}}],
        }
        evaluated.save()
        shown = SignedIn(technician).get(reverse("dashboards:model_facts", args=[evaluated.pk])).content.decode()
        for said in ("For &lt;research&gt; only.", "One hospital.", "Benign is not healthy.", "taleqani", "side 224"):
            assert said in shown
        assert evaluated.weights_sha256 in shown
        assert "Confusion matrix" in shown
        addresses = re.findall(r'href="([^"]+\.csv)"', shown)
        assert {address.rsplit("/", 1)[1] for address in addresses} >= {"sources.csv", "steps.csv", "confusion.csv"}
        for address in addresses:
            assert SignedIn(technician).get(address)["Content-Type"].startswith("text/csv")
        sources = next(address for address in addresses if address.endswith("sources.csv"))
        assert b"taleqani,training,3256" in SignedIn(technician).get(sources).content

    def test_a_manifest_with_little_in_it_still_has_a_page(
        self, model_version: ModelVersion, technician: User
    ) -> None:
        url = reverse("dashboards:model_facts", args=[model_version.pk])
        assert "No evaluation report came with this version" in SignedIn(technician).get(url).content.decode()

    def test_a_version_that_is_not_there(self, technician: User) -> None:
        assert SignedIn(technician).get(reverse("dashboards:model_facts", args=[uuid.uuid4()])).status_code == 404


class TestCsv:
    def test_it_holds_the_numbers_of_the_page(self, archive: Archive, haematologist: User) -> None:
        rows = csv_rows(SignedIn(haematologist), "operations_csv", "workload")
        assert sum(int(row["Cases signed"]) for row in rows) == len(archive.cases)

    def test_it_is_a_file_of_its_own(self, archive: Archive, haematologist: User) -> None:
        response = SignedIn(haematologist).get(reverse("dashboards:operations_csv", args=["queue"]))
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        today = timezone.localdate()
        assert response["Content-Disposition"].startswith('attachment; filename="leukoscope-queue-')
        assert response["Content-Disposition"].endswith(f'{today}.csv"')

    def test_a_name_that_is_a_formula_is_neutralised(self, archive: Archive, haematologist: User) -> None:
        User.objects.filter(pk=archive.readers[0].pk).update(first_name="=cmd|' /C calc'!A0", last_name="")
        rows = csv_rows(SignedIn(haematologist), "operations_csv", "workload")
        assert "'=cmd|' /C calc'!A0" in [row["Reader"] for row in rows]

    def test_an_unknown_figure_is_not_there(self, archive: Archive, haematologist: User) -> None:
        for name in PAGES:
            assert SignedIn(haematologist).get(reverse(f"dashboards:{name}_csv", args=["nope"])).status_code == 404


def test_the_way_to_the_dashboards_is_in_everyones_navigation(
    technician: User, haematologist: User, administrator: User, model_version: ModelVersion
) -> None:
    for user in (technician, haematologist, administrator):
        assert f'href="{reverse("dashboards:index")}"' in SignedIn(user).get("/", follow=True).content.decode()


def numbers(shown: str) -> list[str]:
    """The tables of a page without the times, which go on while one looks."""
    return [re.sub(r"[\d.]+ (s|min|h)\b", "…", table) for table in re.findall(r"<table.*?</table>", shown, re.DOTALL)]


def csv_rows(client: Client, route: str, key: str, **query: object) -> list[dict[str, str]]:
    response = client.get(reverse(f"dashboards:{route}", args=[key]), query)
    assert response.status_code == 200
    return list(csv.DictReader(io.StringIO(response.content.decode().removeprefix("\ufeff"))))
