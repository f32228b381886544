"""Every page as a person of each role gets it: whole, usable by keyboard and screen reader, and saying nothing of a
prediction before its time."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from diagnosis.models import Case, ModelVersion
from diagnosis.services.cases import case_cancel, case_return
from diagnosis.services.readings import own_read_enter
from tests.conftest import SignedIn
from tests.factories import case_in_review, draft_case, predicted_case, signed_case, submitted_case
from tests.portal.page_html import Element, parse

pytestmark = pytest.mark.django_db

Page = Callable[..., Element]


def get(client: Client, name: str, *args: object, status: int = 200, htmx: bool = False) -> Element:
    headers = {"HX-Request": "true"} if htmx else {}
    response = client.get(reverse(name, args=args), headers=headers)
    assert response.status_code == status
    return parse(response.content)


def accessible_name(element: Element, page: Element) -> str:
    if element.attributes.get("aria-label"):
        return element.attributes["aria-label"]
    images = " ".join(image.attributes.get("alt", "") for image in element.find("img"))
    own_id = element.attributes.get("id")
    labels = [label.text for label in page.find("label") if label.attributes.get("for") == own_id]
    around = [above.text for above in ancestors(element) if above.tag == "label"]
    return " ".join([element.text, images, *labels, *around]).strip()


def ancestors(element: Element) -> list[Element]:
    found = []
    while element.parent is not None:
        element = element.parent
        found.append(element)
    return found


def check(page: Element) -> None:
    """What holds on every page."""
    ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
    assert sorted(ids) == sorted(set(ids))
    controls = [e for e in page.walk() if e.tag in {"button", "a", "select", "textarea", "input"}]
    for control in controls:
        if control.attributes.get("type") != "hidden":
            assert accessible_name(control, page), control.attributes
    for image in page.find("img"):
        assert "alt" in image.attributes
    for element in page.walk():
        for attribute in ("aria-labelledby", "aria-describedby", "commandfor"):
            for target in element.attributes.get(attribute, "").split():
                assert target in ids, (attribute, target)
        assert "style" not in element.attributes
    for label in page.find("label"):
        assert label.attributes.get("for", ids[0]) in ids
    assert "Research use only. Not for diagnosis." in page.text
    assert len(page.find("h1")) == 1


def outside_dialogs(page: Element, class_: str) -> list[Element]:
    return [e for e in page.find(class_=class_) if all(above.tag != "dialog" for above in ancestors(e))]


@pytest.fixture
def technicians_page(technician: User, model_version: ModelVersion) -> Page:
    client = SignedIn(technician)
    return lambda *args, **kwargs: get(client, *args, **kwargs)


@pytest.fixture
def readers_page(haematologist: User, model_version: ModelVersion) -> Page:
    client = SignedIn(haematologist)
    return lambda *args, **kwargs: get(client, *args, **kwargs)


class TestSignedOut:
    def test_the_sign_in_page_is_whole(self, client: Client) -> None:
        page = get(client, "accounts:sign_in")
        check(page)
        assert page.find("nav") == []

    def test_a_page_that_is_not_there_says_so(self, client: Client) -> None:
        response = client.get("/nothing/here/")
        assert response.status_code == 404
        check(parse(response.content))


class TestTechnician:
    def test_an_empty_list_teaches_the_next_step(self, technicians_page: Page) -> None:
        page = technicians_page("diagnosis:case_list")
        check(page)
        assert "Enter a patient and an accession number" in page.one(class_="empty").text

    def test_a_returned_case_is_on_top_with_its_reason(self, technicians_page: Page, technician: User) -> None:
        submitted_case(technician)
        case = predicted_case(technician)
        case_return(case=case, actor=technician, reason="Image 2 is out of focus.")
        page = technicians_page("diagnosis:case_list")
        check(page)
        first = page.find("section")[0]
        assert "is-needs" in first.classes
        assert "Image 2 is out of focus." in first.text
        assert case.accession_number in first.text

    def test_the_list_polls_itself_as_a_part(self, technicians_page: Page, technician: User) -> None:
        case = submitted_case(technician)
        holder = technicians_page("diagnosis:case_list").one(id="case-list")
        assert holder.attributes["hx-get"] == reverse("diagnosis:case_list")
        assert re.fullmatch(r"every \d+s", holder.attributes["hx-trigger"])
        part = technicians_page("diagnosis:case_list", htmx=True)
        assert part.find("html") == []
        assert case.accession_number in part.text

    def test_a_case_under_way_shows_how_far_it_is(self, technicians_page: Page, technician: User) -> None:
        submitted_case(technician, images=3)
        bar = technicians_page("diagnosis:case_list").one("progress")
        assert (bar.attributes["value"], bar.attributes["max"]) == ("0", "3")

    def test_the_new_case_form_works_without_scripts(self, technicians_page: Page) -> None:
        page = technicians_page("diagnosis:case_new")
        check(page)
        form = page.one("form", id="case-form")
        assert form.attributes["enctype"] == "multipart/form-data"
        assert form.one("input", name="images").attributes["type"] == "file"
        names = {e.attributes.get("name") for e in form.walk()}
        assert {"mrn", "accession_number", "priority", "specimen", "stain", "save", "submit"} <= names
        assert [button.text for button in outside_dialogs(page, "btn-primary")] == ["Submit case"]

    def test_a_refused_form_marks_its_fields(self, technician: User) -> None:
        response = SignedIn(technician).post(reverse("diagnosis:case_new"), {"mrn": "", "accession_number": "A-1"})
        assert response.status_code == 422
        page = parse(response.content)
        check(page)
        assert "is-invalid" in page.one("input", name="mrn").classes

    def test_the_uploader_gets_the_fields_alone(self, technician: User) -> None:
        response = SignedIn(technician).post(
            reverse("diagnosis:case_new"), {"mrn": ""}, headers={"X-Requested-With": "fetch"}
        )
        part = parse(response.content)
        assert part.one(id="case-fields").find("input", name="mrn")
        assert part.find("html") == []

    def test_a_draft_says_where_its_images_go(self, technicians_page: Page, technician: User) -> None:
        case = draft_case(technician)
        page = technicians_page("diagnosis:case_edit", case.pk)
        check(page)
        form = page.one("form", id="case-form")
        assert form.attributes["data-upload-url"] == reverse("diagnosis:image_upload", args=[case.pk])
        assert form.attributes["data-submit-url"] == reverse("diagnosis:case_submit", args=[case.pk])
        assert len(page.find(class_="tile")) == 2

    def test_a_live_case_asks_for_itself_until_it_is_not(self, technicians_page: Page, technician: User) -> None:
        live = technicians_page("diagnosis:case_detail", submitted_case(technician).pk)
        check(live)
        assert live.one(id="case-status").attributes["hx-trigger"] == "every 2s"
        still = technicians_page("diagnosis:case_detail", predicted_case(technician).pk)
        assert "hx-trigger" not in still.one(id="case-status").attributes

    def test_the_last_answer_brings_what_changed_with_it(self, technicians_page: Page, technician: User) -> None:
        case = predicted_case(technician)
        part = technicians_page("diagnosis:case_status", case.pk, htmx=True)
        image = case.images.first()
        assert image is not None
        assert part.one(id=f"run-{image.pk}").text == "Predicted"
        assert part.one(id="case-timeline").attributes["hx-swap-oob"] == "innerHTML"
        assert part.one(id="case-actions").attributes["hx-swap-oob"] == "outerHTML"

    def test_the_timeline_says_who_and_why(self, technicians_page: Page, technician: User) -> None:
        case = draft_case(technician)
        case_cancel(case=case, actor=technician, reason="Wrong <b>patient</b>")
        line = technicians_page("diagnosis:case_detail", case.pk).one("ol", class_="timeline").find("li")[-1]
        assert "Cancelled" in line.text
        assert technician.display_name in line.text
        assert line.one(class_="why").text == "Wrong <b>patient</b>"

    def test_a_technician_never_sees_a_class(self, technicians_page: Page, technician: User) -> None:
        case = predicted_case(technician, label="Early")
        for page in (
            technicians_page("diagnosis:case_detail", case.pk),
            technicians_page("diagnosis:case_status", case.pk, htmx=True),
            technicians_page("diagnosis:case_list"),
        ):
            assert "Early" not in page.text

    def test_search_finds_and_says_when_it_does_not(self, technician: User, model_version: ModelVersion) -> None:
        case = draft_case(technician)
        client = SignedIn(technician)
        found = parse(client.get(reverse("diagnosis:search"), {"q": case.accession_number}).content)
        check(found)
        assert found.one("a", class_="accession").text == case.accession_number
        lost = parse(client.get(reverse("diagnosis:search"), {"q": "<script>nobody"}).content)
        check(lost)
        assert "No case found" in lost.text


class TestHaematologist:
    def test_the_worklist_is_whole(self, readers_page: Page, technician: User) -> None:
        case = predicted_case(technician)
        page = readers_page("diagnosis:worklist")
        check(page)
        assert page.one("a", class_="accession").text == case.accession_number
        assert [button.attributes["data-key"] for button in outside_dialogs(page, "btn-primary")] == ["n"]

    def test_an_empty_worklist_says_so(self, readers_page: Page) -> None:
        assert "Nothing waits to be read" in readers_page("diagnosis:worklist").one(class_="empty").text

    def test_a_clock_runs_against_the_target(self, readers_page: Page, technician: User) -> None:
        predicted_case(technician, priority=0)
        clock = readers_page("diagnosis:worklist").one(class_="tat")
        assert clock.attributes["data-tat-target"] == str(technician.site.tat_target_stat * 60)

    def test_before_the_own_read_nothing_of_the_prediction_is_sent(
        self, readers_page: Page, technician: User, haematologist: User
    ) -> None:
        case = case_in_review(technician, haematologist)
        page = readers_page("diagnosis:reading_station", case.pk)
        check(page)
        assert {film.attributes["data-suggested"] for film in page.find(class_="film")} == {""}
        assert page.find(class_="prob-bar") == []
        assert page.find(id="case-figure") == []
        assert "90 %" not in page.text
        assert [button.attributes["data-key"] for button in outside_dialogs(page, "btn-primary")] == ["r"]

    def test_the_findings_have_the_digits(self, readers_page: Page, technician: User, haematologist: User) -> None:
        case = case_in_review(technician, haematologist)
        radios = readers_page("diagnosis:reading_station", case.pk).find("input", type="radio", name="finding")
        assert [(radio.attributes["value"], radio.attributes["data-key"]) for radio in radios][:4] == [
            ("Benign", "1"),
            ("Early", "2"),
            ("Pre", "3"),
            ("Pro", "4"),
        ]

    def test_after_it_the_suggestion_is_there_as_figure_and_as_table(
        self, readers_page: Page, technician: User, haematologist: User
    ) -> None:
        case = self.revealed(technician, haematologist)
        page = readers_page("diagnosis:reading_station", case.pk)
        check(page)
        assert page.one("script", id="case-figure").attributes["type"] == "application/json"
        rows = [row.text for row in page.one("figure").one("table").find("tr")]
        assert rows[0] == "Early 90 % 90–90 %"
        assert len(rows) == 4
        assert {film.attributes["data-suggested"] for film in page.find(class_="film")} == {"Early"}

    def test_a_step_answers_with_the_panel_and_the_filmstrip(
        self, model_version: ModelVersion, technician: User, haematologist: User
    ) -> None:
        case = case_in_review(technician, haematologist)
        response = SignedIn(haematologist).post(
            reverse("diagnosis:own_read", args=[case.pk]), {"finding": "Early"}, headers={"HX-Request": "true"}
        )
        part = parse(response.content)
        assert part.find("html") == []
        assert part.one("ol", id="filmstrip").attributes["hx-swap-oob"] == "innerHTML"
        assert "Suggestion for the case" in part.text

    def test_signing_is_locked_until_everything_is_read(
        self, readers_page: Page, technician: User, haematologist: User
    ) -> None:
        case = self.revealed(technician, haematologist)
        page = readers_page("diagnosis:reading_station", case.pk)
        locked = next(button for button in page.find("button") if "Sign the case" in button.text)
        assert "disabled" in locked.attributes
        assert "without a reading" in page.one(id=locked.attributes["aria-describedby"]).text

    def test_the_station_is_dark_whatever_the_theme(
        self, readers_page: Page, technician: User, haematologist: User
    ) -> None:
        case = case_in_review(technician, haematologist)
        root = readers_page("diagnosis:reading_station", case.pk).one("html")
        assert root.attributes["data-bs-theme"] == "dark"
        assert "data-theme-fixed" in root.attributes

    def test_the_report_says_what_was_signed(self, readers_page: Page, technician: User, haematologist: User) -> None:
        case = signed_case(technician, haematologist)
        report = case.reports.get()
        page = readers_page("diagnosis:report_detail", report.pk)
        check(page)
        assert page.one(class_="finding-line").text == "Early"
        assert report.hash in page.text
        assert haematologist.display_name in page.text
        assert len(page.one("article").one("tbody").find("tr")) == 2

    def test_the_pages_around_a_signature_are_whole(
        self, readers_page: Page, technician: User, haematologist: User
    ) -> None:
        case = signed_case(technician, haematologist)
        check(readers_page("diagnosis:amend", case.pk))
        check(readers_page("diagnosis:case_detail", case.pk))
        open_case = self.revealed(technician, haematologist)
        check(readers_page("diagnosis:sign", open_case.pk))

    @staticmethod
    def revealed(technician: User, reader: User) -> Case:
        case = case_in_review(technician, reader)
        own_read_enter(case=case, actor=reader, finding="Early")
        return case


class TestAdministrator:
    def test_the_overview_is_whole(self, administrator: User, model_version: ModelVersion) -> None:
        page = get(SignedIn(administrator), "portal:administration")
        check(page)
        assert str(model_version) in page.text
        assert "No worker has been heard of" in page.text

    def test_health_is_a_page_for_people(self, client: Client, model_version: ModelVersion) -> None:
        response = client.get(reverse("portal:health"), headers={"Accept": "text/html"})
        page = parse(response.content)
        check(page)
        assert "PostgreSQL answers." in page.text

    def test_somebody_without_a_role_is_told_whom_to_ask(self, technician: User) -> None:
        technician.groups.clear()
        page = get(SignedIn(technician), "portal:home", status=403)
        check(page)
        assert "administrator" in page.text
