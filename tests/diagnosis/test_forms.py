"""What the forms accept, and where they say what is wrong."""

import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.errors import ServiceError
from diagnosis.forms import CaseForm
from diagnosis.models import Case, Patient
from diagnosis.services.cases import patient_find_or_create
from diagnosis.states import CaseState
from tests.conftest import SignedIn
from tests.factories import CaseFactory, PatientFactory, submitted_case

pytestmark = pytest.mark.django_db


def posted(**more: Any) -> dict[str, Any]:
    return {
        "mrn": "MRN-1",
        "family_name": "Ruiz",
        "given_name": "Ana",
        "birth_date": "1990-05-17",
        "sex": "female",
        "accession_number": "A-2041",
        "specimen": "peripheral_blood",
        "stain": "leishman",
        "objective": "100",
        "image_kind": "field",
        "priority": "0",
        "clinical_note": "Pancytopenia.",
    } | more


def errors(site: Site, case: Case | None = None, **values: Any) -> dict[str, list[str]]:
    return dict(CaseForm(posted(**values), site=site, case=case).errors)


class TestCaseForm:
    def test_a_birth_date_is_written_so_that_the_browser_reads_it(self) -> None:
        case = CaseFactory(patient__birth_date=datetime.date(1990, 5, 17))
        form = CaseForm(site=case.site, case=case)
        assert 'value="1990-05-17"' in str(form["birth_date"])

    def test_a_whole_one_is_valid(self, site: Site) -> None:
        assert errors(site) == {}

    @pytest.mark.parametrize("field", ["mrn", "accession_number", "specimen", "stain", "objective", "priority"])
    def test_what_is_missing_is_said_at_its_field(self, field: str, site: Site) -> None:
        assert list(errors(site, **{field: ""})) == [field]

    @pytest.mark.parametrize("field", ["mrn", "accession_number"])
    @pytest.mark.parametrize("value", ["A<1>", "A\x001", "-A1", "A" * 41, "A;1", "Ä1", "A\n=1"])
    def test_an_identifier_is_plain(self, field: str, value: str, site: Site) -> None:
        assert list(errors(site, **{field: value})) == [field]

    @pytest.mark.parametrize("value", ["2041", "A-2041/1", "a.b_c", "  A   2041 "])
    def test_what_labels_hold_is_accepted(self, value: str, site: Site) -> None:
        form = CaseForm(posted(accession_number=value), site=site)
        assert form.is_valid()
        assert form.cleaned_data["accession_number"] == " ".join(value.split())

    @pytest.mark.parametrize("priority", ["3", "9", "urgent"])
    def test_no_other_priority_can_be_posted(self, priority: str, site: Site) -> None:
        assert list(errors(site, priority=priority)) == ["priority"]

    @pytest.mark.parametrize("age_in_days", [-1, 366 * 131])
    def test_a_birth_date_is_possible(self, age_in_days: int, site: Site) -> None:
        born = timezone.localdate() - datetime.timedelta(days=age_in_days)
        assert list(errors(site, birth_date=born.isoformat())) == ["birth_date"]


class TestPatient:
    @pytest.mark.parametrize("field", ["family_name", "given_name", "birth_date"])
    def test_a_new_mrn_needs_a_person(self, field: str, site: Site) -> None:
        assert errors(site, **{field: ""})[field][0].startswith("This MRN is new")

    def test_a_known_one_does_not(self, site: Site) -> None:
        PatientFactory(site=site, mrn="MRN-1")
        assert errors(site, family_name="", given_name="", birth_date="") == {}

    def test_a_patient_of_another_site_is_not_known_here(self, site: Site, other_site: Site) -> None:
        PatientFactory(site=other_site, mrn="MRN-1")
        assert set(errors(site, family_name="", given_name="", birth_date="")) == {
            "family_name",
            "given_name",
            "birth_date",
        }

    def test_a_known_patient_is_found_and_not_overwritten(self, technician: User) -> None:
        known = PatientFactory(site=technician.site, mrn="MRN-1", family_name="Ruiz")
        SignedIn(technician).post("/cases/new/", posted(family_name=" RUIZ", given_name="Anna", sex="male"))
        assert Case.objects.get().patient == known
        known.refresh_from_db()
        assert (known.family_name, known.given_name, known.sex) == ("Ruiz", "Ana", "female")


class TestAnotherPatientsMrn:
    """A label with the MRN of one and the name of another: whose blood it is has to be settled first."""

    BELONGS = "MRN MRN-1 belongs to Ruiz, Ana, born 17 May 1990. Check the label, or clear the"

    @pytest.fixture
    def known(self, site: Site) -> Patient:
        return PatientFactory(site=site, mrn="MRN-1", family_name="Ruiz", birth_date=datetime.date(1990, 5, 17))

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"family_name": "Okafor"}, {"family_name": f"{BELONGS} name."}),
            ({"birth_date": "1990-05-18"}, {"birth_date": f"{BELONGS} birth date."}),
            (
                {"family_name": "Okafor", "birth_date": "1961-01-02"},
                {"family_name": f"{BELONGS} name.", "birth_date": f"{BELONGS} birth date."},
            ),
        ],
    )
    def test_it_is_refused_at_the_field_and_says_whose_it_is(
        self, values: dict[str, str], said: dict[str, str], known: Patient
    ) -> None:
        assert errors(known.site, **values) == {field: [message] for field, message in said.items()}

    @pytest.mark.parametrize(
        "values", [{}, {"family_name": "ruiz "}, {"family_name": ""}, {"birth_date": ""}, {"given_name": "Anita"}]
    )
    def test_what_agrees_or_is_left_out_is_not(self, values: dict[str, str], known: Patient) -> None:
        assert errors(known.site, **values) == {}

    def test_a_birth_date_nobody_knows_contradicts_nothing(self, site: Site) -> None:
        PatientFactory(site=site, mrn="MRN-1", family_name="Ruiz", birth_date=None)
        assert errors(site) == {}

    def test_a_patient_of_another_site_is_not_spoken_of(self, site: Site, other_site: Site) -> None:
        PatientFactory(site=other_site, mrn="MRN-1", family_name="Okafor")
        assert errors(site) == {}

    def test_nothing_is_made_and_the_page_says_why(self, known: Patient, technician: User) -> None:
        response = SignedIn(technician).post("/cases/new/", posted(family_name="Okafor"))
        assert response.status_code == 422
        assert f"{self.BELONGS} name." in response.content.decode()
        assert not Case.objects.exists()

    def test_a_case_is_not_moved_to_them_either(self, known: Patient, technician: User) -> None:
        case = CaseFactory(submitted_by=technician)
        before = case.patient
        form = posted(mrn="MRN-1", family_name=before.family_name, birth_date="")
        assert SignedIn(technician).post(f"/cases/{case.pk}/edit/", form).status_code == 422
        case.refresh_from_db()
        assert case.patient == before

    def test_nor_when_the_mrn_was_given_away_a_moment_ago(self, known: Patient) -> None:
        """Between the look of the form and the writing of the case another technician may have used the MRN."""
        form = CaseForm(posted(mrn="MRN-2", family_name="Okafor"), site=known.site)
        assert form.is_valid()
        with pytest.raises(ServiceError, match="belongs to Ruiz") as refused:
            patient_find_or_create(site=known.site, **form.patient_values() | {"mrn": "MRN-1"})
        assert refused.value.field == "family_name"


class TestAccession:
    def test_a_taken_number_is_said_at_its_field(self, technician: User) -> None:
        CaseFactory(submitted_by=technician, accession_number="A-2041")
        assert list(errors(technician.site)) == ["accession_number"]

    def test_another_site_may_use_it(self, site: Site) -> None:
        CaseFactory(accession_number="A-2041")
        assert errors(site) == {}

    def test_a_case_keeps_its_own(self, technician: User) -> None:
        case = CaseFactory(submitted_by=technician, accession_number="A-2041")
        assert errors(technician.site, case=case) == {}


class TestPages:
    @pytest.fixture
    def browser(self, technician: User) -> Client:
        return SignedIn(technician)

    def test_a_case_is_made_and_then_wants_images(self, browser: Client, technician: User) -> None:
        response = browser.post("/cases/new/", posted())
        case = Case.objects.get()
        assert response["Location"] == f"/cases/{case.pk}/edit/"
        assert (case.accession_number, case.priority, case.stain) == ("A-2041", 0, "leishman")
        assert (case.submitted_by, case.patient.birth_date) == (technician, datetime.date(1990, 5, 17))

    def test_the_uploader_is_told_where_to_send_images(self, browser: Client) -> None:
        response = browser.post("/cases/new/", posted(), headers={"X-Requested-With": "fetch"})
        case = Case.objects.get()
        assert response.status_code == 201
        assert response.json() == {"case_id": str(case.pk)} | {
            f"{name}_url": f"/cases/{case.pk}/{path}"
            for name, path in (("case", ""), ("edit", "edit/"), ("upload", "images/"), ("submit", "submit/"))
        }

    def test_a_refused_form_keeps_what_was_typed_and_makes_nothing(self, browser: Client) -> None:
        values = posted(accession_number="A<1>", clinical_note="Seven days of fever.")
        response = browser.post("/cases/new/", values)
        page = response.content.decode()
        assert response.status_code == 422
        assert "Seven days of fever." in page
        assert 'value="Ruiz"' in page
        assert "letters, digits" in page
        assert not Case.objects.exists()
        assert not Patient.objects.exists()

    def test_editing_changes_the_case(self, browser: Client, technician: User) -> None:
        case = CaseFactory(submitted_by=technician, accession_number="A-2041")
        page = browser.get(f"/cases/{case.pk}/edit/").content.decode()
        assert 'value="A-2041"' in page
        values = posted(
            mrn=case.patient.mrn, family_name=case.patient.family_name, clinical_note="Seven days of fever."
        )
        assert browser.post(f"/cases/{case.pk}/edit/", values).status_code == 302
        case.refresh_from_db()
        assert case.clinical_note == "Seven days of fever."

    def test_a_submitted_case_has_no_form_any_more(self, browser: Client, technician: User) -> None:
        case = submitted_case(technician)
        for response in (browser.get(f"/cases/{case.pk}/edit/"), browser.post(f"/cases/{case.pk}/edit/", posted())):
            assert response["Location"] == f"/cases/{case.pk}/"
        case.refresh_from_db()
        assert case.accession_number != "A-2041"

    def test_cancelling_asks_why(self, browser: Client, technician: User) -> None:
        case = CaseFactory(submitted_by=technician)
        browser.post(f"/cases/{case.pk}/cancel/", {"reason": " "})
        case.refresh_from_db()
        assert case.state == CaseState.DRAFT
        browser.post(f"/cases/{case.pk}/cancel/", {"reason": "Wrong patient."})
        case.refresh_from_db()
        assert case.state == CaseState.CANCELLED

    @pytest.mark.parametrize("mrn", ["MRN-1", " MRN-1 ", "MRN-1\0"])
    def test_a_known_mrn_is_answered_with_the_patient(self, mrn: str, browser: Client, technician: User) -> None:
        patient = PatientFactory(site=technician.site, mrn="MRN-1")
        assert patient.family_name in browser.get("/patients/lookup/", {"mrn": mrn}).content.decode()
        assert patient.family_name not in browser.get("/patients/lookup/", {"mrn": "MRN"}).content.decode()
