"""Search, worklist and the technician's list: what is in them, in which order, at which cost."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from diagnosis.models import Case, ModelVersion, Patient
from diagnosis.selectors.cases import (
    SEARCH_LIMIT,
    SECTION_LIMIT,
    beginning_with,
    cases_of_site,
    cases_search,
    prior_cases,
    readable_next,
    technician_sections,
    worklist,
)
from diagnosis.selectors.queue import queue_status
from diagnosis.services.cases import case_ask_second_read, case_return
from tests.conftest import SignedIn
from tests.factories import CaseFactory, PatientFactory, case_in_review, predicted_case, signed_case, submitted_case

pytestmark = pytest.mark.django_db

LIST_QUERIES = 12
CASE_QUERIES = 12
STEP_QUERIES = 18


def waiting_cases(technician: User, count: int, **values: Any) -> list[Case]:
    """Rows alone, quickly: many cases that await review."""
    cases = [CaseFactory(submitted_by=technician, **values) for _ in range(count)]
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(state="submitted", submitted_at=timezone.now())
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(state="awaiting_review")
    return cases


class TestSearch:
    def test_it_finds_by_the_beginning_of_mrn_and_accession_number(self, technician: User) -> None:
        patient = PatientFactory(site=technician.site, mrn="4711-A")
        case = CaseFactory(submitted_by=technician, patient=patient, accession_number="B-2041")
        for query in ("4711", "4711-a", "B-20", " b-2041 "):
            assert cases_search(technician, query).cases == [case]
        for query in ("711", "2041", "", " ", "%", "_", "4711_A", "\0"):
            assert cases_search(technician, query).cases == []

    def test_the_exact_number_comes_first(self, technician: User) -> None:
        exact = CaseFactory(submitted_by=technician, accession_number="C-1")
        longer = CaseFactory(submitted_by=technician, accession_number="C-10")
        assert cases_search(technician, "c-1").cases == [exact, longer]

    def test_an_exact_hit_is_found_among_more_than_are_shown(self, technician: User) -> None:
        """The newest of the highest numbers, and it is said that there are more."""
        exact = CaseFactory(submitted_by=technician, accession_number="D-1")
        of_exact = CaseFactory(submitted_by=technician, patient=PatientFactory(site=technician.site, mrn="D"))
        later = [CaseFactory(submitted_by=technician, accession_number=f"d-1{n:03}") for n in range(SEARCH_LIMIT)]
        Case.objects.filter(pk__in=[exact.pk, of_exact.pk]).update(created_at="2020-01-01T00:00Z")
        found = cases_search(technician, "D-1")
        assert (found.cases[0], len(found.cases), found.more) == (exact, SEARCH_LIMIT, True)
        assert "There are more cases than these 50." in SignedIn(technician).get("/search/?q=d-1").content.decode()
        assert cases_search(technician, "d").cases[0] == of_exact
        few = cases_search(technician, "d-104")
        assert (set(few.cases), few.more) == (set(later[40:]), False)

    @pytest.mark.parametrize(
        ("number", "index"), [("accession_number", "case_by_accession"), ("mrn", "patient_by_mrn")]
    )
    def test_numbers_are_found_by_index(self, number: str, index: str, technician: User) -> None:
        site = technician.site
        names = {"site": site, "family_name": "Many", "given_name": "Of them"}
        patients = Patient.objects.bulk_create(Patient(mrn=f"P-{n}", **names) for n in range(1000))
        Case.objects.bulk_create(
            Case(site=site, patient=patient, accession_number=f"A-{n}", submitted_by=technician)
            for n, patient in enumerate(patients)
        )
        records = Patient.objects.filter(site=site) if number == "mrn" else cases_of_site(technician)
        with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
            cursor.execute("ANALYZE diagnosis_case, diagnosis_patient")
            beginning_with(records, number, "e-1")
            cursor.execute("SET LOCAL enable_seqscan = off")
            for query in [entry["sql"] for entry in asked.captured_queries if entry["sql"].startswith("SELECT")]:
                cursor.execute("EXPLAIN " + query)
                plan = "\n".join(row[0] for row in cursor.fetchall())
                assert f"using {index}" in plan, plan
                assert "Sort" not in plan, plan

    def test_nothing_of_another_site_is_found(self, technician: User) -> None:
        assert cases_search(technician, CaseFactory().accession_number).cases == []

    @pytest.mark.parametrize("query", ["\0", "'", "<b>", "%00", "A" * 5000])
    def test_the_page_takes_any_text(self, query: str, technician: User) -> None:
        assert SignedIn(technician).get("/search/", {"q": query}).status_code == 200


class TestWorklist:
    def test_stat_first_then_critical_then_the_oldest(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        old = predicted_case(technician, images=1, label="Benign")
        new = predicted_case(technician, images=1, label="Benign")
        critical = predicted_case(technician, images=1, label="Pro")
        stat = predicted_case(technician, images=1, label="Benign", priority=0)
        assert list(worklist(haematologist)) == [stat, critical, old, new]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({}, {"stat", "mine", "waiting"}),
            ({"priority": "0"}, {"stat"}),
            ({"state": "in_review"}, {"mine"}),
            ({"mine": "on"}, {"mine"}),
            ({"priority": "nonsense"}, {"stat", "mine", "waiting"}),
            ({"page": "99"}, {"stat", "mine", "waiting"}),
        ],
    )
    def test_it_can_be_narrowed(
        self, filters: dict, expected: set, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        names = {
            predicted_case(technician, images=1, priority=0).pk: "stat",
            case_in_review(technician, haematologist, images=1).pk: "mine",
            predicted_case(technician, images=1).pk: "waiting",
        }
        page = SignedIn(haematologist).get("/worklist/", filters).context["page"]
        assert {names[case.pk] for case in page} == expected

    def test_the_next_case_is_one_that_this_reader_may_read(
        self, technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
    ) -> None:
        asked = case_in_review(technician, haematologist, images=1)
        case_ask_second_read(case=asked, actor=haematologist, reason="Sure?")
        assert list(readable_next(haematologist)) == []
        assert list(readable_next(second_haematologist)) == [asked]
        browser = SignedIn(second_haematologist)
        assert browser.post("/worklist/next/")["Location"] == f"/cases/{asked.pk}/read/"
        assert browser.post("/worklist/next/")["Location"] == "/worklist/"


class TestTechniciansList:
    def test_what_needs_them_comes_first_and_others_cases_are_not_there(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        returned = case_in_review(technician, haematologist, images=1)
        case_return(case=returned, actor=haematologist, reason="Out of focus.")
        waits, draft = submitted_case(technician, images=1), CaseFactory(submitted_by=technician)
        done = signed_case(technician, haematologist, images=1)
        CaseFactory(site=technician.site)
        sections = {section.key: section.cases for section in technician_sections(technician)}
        assert sections == {"needs_you": [returned], "in_progress": [waits], "drafts": [draft], "done": [done]}
        assert next(iter(sections)) == "needs_you"
        page = SignedIn(technician).get("/cases/").content.decode()
        assert "Out of focus." in page

    def test_a_section_that_is_cut_says_so(self, technician: User) -> None:
        for n in range(SECTION_LIMIT + 1):
            CaseFactory(submitted_by=technician, accession_number=f"F-{n}")
        drafts = next(section for section in technician_sections(technician) if section.key == "drafts")
        assert (len(drafts.cases), drafts.more) == (SECTION_LIMIT, True)
        assert '<span class="count">50+</span>' in SignedIn(technician).get("/cases/").content.decode()

    def test_a_waiting_case_knows_its_place(self, technician: User, model_version: ModelVersion) -> None:
        cases = [submitted_case(technician, images=1, priority=priority) for priority in (2, 0, 2)]
        (in_progress,) = (s for s in technician_sections(technician) if s.key == "in_progress")
        places = {case.pk: case.queue_position for case in in_progress.cases}
        assert [places[case.pk] for case in cases] == [2, 1, 3]


def test_prior_cases_are_the_patients_submitted_ones(
    technician: User, haematologist: User, model_version: ModelVersion
) -> None:
    earlier, now = signed_case(technician, haematologist, images=1), predicted_case(technician, images=1)
    Case.objects.filter(pk=now.pk).update(patient=earlier.patient)
    CaseFactory(submitted_by=technician, patient=earlier.patient)
    now.refresh_from_db()
    assert list(prior_cases(now)) == [earlier]


class TestCost:
    """A page costs a bounded number of queries, whether it shows one row or fifty."""

    def queries(self, browser: Client, url: str) -> int:
        browser.get(url)  # the session's first visit writes when it began
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(url).status_code == 200
        return len(captured)

    def compare(self, user: User, url: str, more: Callable[[], object], limit: int = LIST_QUERIES) -> None:
        browser = SignedIn(user)
        with_one = self.queries(browser, url)
        more()
        assert self.queries(browser, url) == with_one
        assert with_one <= limit

    @pytest.mark.parametrize("url", ["/worklist/", "/search/?q=A-"])
    def test_a_list_for_the_haematologist(self, url: str, technician: User, haematologist: User) -> None:
        waiting_cases(technician, 1)
        self.compare(haematologist, url, lambda: waiting_cases(technician, 49))

    def test_the_technicians_list(self, technician: User) -> None:
        waiting_cases(technician, 1)
        self.compare(technician, "/cases/", lambda: waiting_cases(technician, 49))

    @pytest.mark.parametrize("page", ["", "status/", "read/", "sign/"])
    def test_a_case_with_many_images(
        self, page: str, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        browser, counts = SignedIn(haematologist), []
        for images in (1, 20):
            case = case_in_review(technician, haematologist, images=images)
            counts.append(self.queries(browser, f"/cases/{case.pk}/{page}"))
        assert counts[0] == counts[1]
        assert counts[0] <= CASE_QUERIES

    @pytest.mark.parametrize("page", ["", "status/"])
    def test_a_case_that_waits_for_its_predictions(
        self, page: str, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=3)
        for user in (technician, haematologist):
            assert self.queries(SignedIn(user), f"/cases/{case.pk}/{page}") <= CASE_QUERIES

    def test_what_is_open_is_found_without_reading_all_runs(
        self, technician: User, model_version: ModelVersion
    ) -> None:
        submitted_case(technician, images=3)
        with CaptureQueriesContext(connection) as captured:
            queue_status()
            technician_sections(technician)
        asked = [entry["sql"] for entry in captured if 'FROM "diagnosis_predictionrun"' in entry["sql"]]
        assert len(asked) >= 4
        plans = []
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            for query in asked:
                cursor.execute("EXPLAIN " + query)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
                assert "Seq Scan on diagnosis_predictionrun" not in plans[-1], plans[-1]
        assert "run_open" in plans[0], plans[0]

    def test_a_step_at_the_reading_station(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        """One transaction that reads, locks and writes, and then the panel."""
        browser, counts = SignedIn(haematologist), []
        browser.get("/worklist/")  # the session's first visit writes when it began
        for images in (1, 20):
            case = case_in_review(technician, haematologist, images=images)
            image = case.images.get(position=1)
            for step in ("own", f"images/{image.pk}", "conclusion"):
                with CaptureQueriesContext(connection) as captured:
                    answer = browser.post(
                        f"/cases/{case.pk}/read/{step}/", {"finding": "Early"}, headers={"HX-Request": "true"}
                    )
                assert answer.status_code == 200
                counts.append(len(captured))
        assert counts[:3] == counts[3:]
        assert max(counts) <= STEP_QUERIES

    def test_a_case_of_many_before_it_and_many_versions(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = signed_case(technician, haematologist, images=1)
        waiting_cases(technician, 1, patient=case.patient)
        self.compare(
            technician,
            f"/cases/{case.pk}/",
            lambda: waiting_cases(technician, 15, patient=case.patient),
            CASE_QUERIES,
        )
