"""Hostile text, names and bytes, and fields nobody asked for: shown as text, or not taken."""

import io
import uuid

import pytest
from django.test import Client
from PIL import Image

from accounts.models import Site, User
from diagnosis.models import Case, ModelVersion, Patient, SmearImage
from diagnosis.services.cases import case_return
from diagnosis.services.readings import case_conclude, image_read, own_read_enter
from diagnosis.services.reports import case_sign
from diagnosis.states import CaseState
from tests.conftest import SignedIn
from tests.factories import PatientFactory, case_in_review, draft_case, smear_jpeg

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"


class TestHostileText:
    @pytest.fixture
    def hostile(self, technician: User, haematologist: User, model_version: ModelVersion) -> Case:
        """A signed case with a script in every text that somebody can write."""
        technician.last_name = haematologist.last_name = SCRIPT
        technician.save()
        haematologist.save()
        patient = PatientFactory(site=technician.site, mrn=SCRIPT, family_name=SCRIPT, given_name=SCRIPT)
        words = {"patient": patient, "accession_number": SCRIPT, "clinical_note": SCRIPT}
        case = case_in_review(technician, haematologist, images=1)
        Case.objects.filter(pk=case.pk).update(**words)
        SmearImage.objects.filter(case=case).update(file_name=f"{SCRIPT}.jpg")
        Site.objects.filter(pk=case.site_id).update(name=SCRIPT)
        case = Case.objects.get(pk=case.pk)
        own_read_enter(case=case, actor=haematologist, finding="Early", comment=SCRIPT)
        said = {"actor": haematologist, "finding": "Pro", "reason": SCRIPT, "comment": SCRIPT}
        image_read(case=case, image=case.images.get(), **said)
        case_conclude(case=case, **said)
        return case

    def test_it_is_shown_as_text_on_every_page(self, hostile: Case, technician: User, haematologist: User) -> None:
        reader, submitter = SignedIn(haematologist), SignedIn(technician)
        case = f"/cases/{hostile.pk}/"
        pages = [(reader, f"{case}read/"), (reader, f"{case}sign/"), (reader, "/worklist/"), (reader, case)]
        pages += [(submitter, case), (submitter, "/cases/"), (submitter, f"/search/?q={SCRIPT}")]
        pages += [(submitter, f"/patients/lookup/?mrn={SCRIPT}")]
        self.assert_harmless(pages)
        report = case_sign(case=hostile, actor=haematologist)
        self.assert_harmless([(submitter, f"/reports/{report.pk}/"), (reader, f"{case}amend/"), (reader, case)])

    def test_it_is_shown_as_text_where_a_case_is_corrected(
        self, hostile: Case, technician: User, haematologist: User
    ) -> None:
        case_return(case=hostile, actor=haematologist, reason=SCRIPT)
        browser = SignedIn(technician)
        self.assert_harmless([(browser, f"/cases/{hostile.pk}/edit/"), (browser, "/cases/")])

    def test_it_is_shown_as_text_in_the_admin(self, hostile: Case, administrator: User) -> None:
        browser = SignedIn(administrator)
        lists = ("accounts/user", "accounts/site", "diagnosis/timelineevent", "diagnosis/predictionrun")
        self.assert_harmless([(browser, f"/admin/{name}/") for name in lists])

    def assert_harmless(self, pages: list[tuple[Client, str]]) -> None:
        for browser, url in pages:
            response = browser.get(url)
            page = response.content.decode()
            assert response.status_code == 200, url
            assert SCRIPT not in page, url
            assert "&lt;script&gt;" in page, url

    def test_a_file_name_comes_back_as_text(self, technician: User) -> None:
        case, browser = draft_case(technician, images=0), SignedIn(technician)
        for data, status in ((smear_jpeg(1), 201), (b"%PDF-1.7 no picture", 422)):
            upload = io.BytesIO(data)
            upload.name = "<img src=x onerror=alert(1)>.jpg"
            response = browser.post(f"/cases/{case.pk}/images/", {"image": upload})
            assert response.status_code == status
            assert "<img src=x" not in response.content.decode()
            assert "onerror=alert" in response.content.decode()

    def test_a_figure_is_data_and_not_markup(self, hostile: Case, haematologist: User) -> None:
        manifest = hostile.images.get().runs.get().model_version.manifest
        manifest["classes"][1]["title"] = SCRIPT
        ModelVersion.objects.update(manifest=manifest)
        page = SignedIn(haematologist).get(f"/cases/{hostile.pk}/read/").content.decode()
        assert SCRIPT not in page


class TestPostedFields:
    """What a form does not ask for is not taken, whoever posts it."""

    def test_a_new_case_is_a_draft_of_ones_own(self, technician: User, haematologist: User, other_site: Site) -> None:
        SignedIn(technician).post(
            "/cases/new/",
            {
                "mrn": "MRN-1",
                "family_name": "Ruiz",
                "given_name": "Ana",
                "birth_date": "1990-05-17",
                "sex": "female",
                "accession_number": "A-1",
                "specimen": "peripheral_blood",
                "stain": "leishman",
                "objective": "100",
                "image_kind": "field",
                "priority": "2",
                "state": "signed",
                "status": "signed",
                "id": str(uuid.uuid4()),
                "site": str(other_site.pk),
                "submitted_by": str(haematologist.pk),
                "signed_by": str(haematologist.pk),
                "patient": str(PatientFactory(site=other_site).pk),
                "triage": "critical",
            },
        )
        case = Case.objects.get()
        assert (case.state, case.site, case.submitted_by) == (CaseState.DRAFT, technician.site, technician)
        assert (case.signed_by, case.triage, case.patient) == (None, "none", Patient.objects.get(mrn="MRN-1"))

    def test_an_image_says_nothing_of_itself(self, technician: User, haematologist: User) -> None:
        case = draft_case(technician, images=0)
        upload = io.BytesIO(smear_jpeg(1))
        upload.name = "field.jpg"
        data = {"image": upload, "sha256": "0" * 64, "uploaded_by": str(haematologist.pk)}
        SignedIn(technician).post(f"/cases/{case.pk}/images/", data)
        image = case.images.get()
        assert (image.uploaded_by, image.position) == (technician, 1)
        assert image.sha256 != "0" * 64

    def test_a_reading_is_of_its_reader_and_its_run(
        self, technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
    ) -> None:
        case = case_in_review(technician, haematologist, images=1)
        data = {"finding": "Pro", "reader": str(second_haematologist.pk), "stage": "informed", "suggested": "Pro"}
        SignedIn(haematologist).post(f"/cases/{case.pk}/read/own/", data)
        reading = case.readings.get()
        assert (reading.reader, reading.stage, reading.suggested) == (haematologist, "own", "")

    def test_a_claim_and_a_take_over_are_ones_own(
        self, technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
    ) -> None:
        case = case_in_review(technician, haematologist, images=1)
        data = {"reason": "Shift ends.", "reader": str(haematologist.pk), "state": "signed"}
        SignedIn(second_haematologist).post(f"/cases/{case.pk}/take-over/", data)
        case.refresh_from_db()
        assert (case.reader, case.state) == (second_haematologist, CaseState.IN_REVIEW)


class TestUploadPage:
    @pytest.mark.parametrize(
        "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", b"<html>", b"\x89PNG\r\n\x1a\n"]
    )
    def test_what_is_no_image_leaves_nothing(self, data: bytes, technician: User) -> None:
        case = draft_case(technician, images=0)
        upload = io.BytesIO(data)
        upload.name = "field.jpg"
        answer = SignedIn(technician).post(f"/cases/{case.pk}/images/", {"image": upload})
        assert answer.status_code == 422
        assert not case.images.exists()

    def test_an_image_is_served_as_what_it_is(self, technician: User) -> None:
        case = draft_case(technician, images=1)
        image, browser = case.images.get(), SignedIn(technician)
        answer = browser.get(f"/cases/{case.pk}/images/{image.pk}/")
        body = b"".join(answer.streaming_content)
        assert (answer.headers["Content-Type"], len(body)) == ("image/jpeg", image.size)
        with Image.open(io.BytesIO(body)) as picture:
            assert picture.size == (image.width, image.height)
        small = browser.get(f"/cases/{case.pk}/images/{image.pk}/thumbnail/")
        assert (small.headers["Content-Type"], len(small.getvalue())) == ("image/webp", image.thumbnail_size)

    def test_an_image_taken_out_is_not_served_any_more(self, technician: User) -> None:
        case = draft_case(technician, images=1)
        url, browser = f"/cases/{case.pk}/images/{case.images.get().pk}/", SignedIn(technician)
        assert browser.post(f"{url}remove/").status_code == 302
        assert [browser.get(address).status_code for address in (url, f"{url}thumbnail/")] == [404, 404]
        assert SmearImage.objects.filter(case=case).count() == 1

    def test_a_submitted_case_takes_no_images_and_gives_none(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case, browser = case_in_review(technician, haematologist, images=1), SignedIn(technician)
        upload = io.BytesIO(smear_jpeg(1))
        upload.name = "field.jpg"
        assert browser.post(f"/cases/{case.pk}/images/", {"image": upload}).status_code == 422
        browser.post(f"/cases/{case.pk}/images/{case.images.get().pk}/remove/")
        assert case.images.filter(withdrawn_at__isnull=True).count() == 1


def test_a_hostile_accession_number_is_refused_at_the_door(technician: User) -> None:
    answer = SignedIn(technician).post("/cases/new/", {"accession_number": SCRIPT, "mrn": SCRIPT})
    assert {"accession_number", "mrn"} <= set(answer.context["form"].errors)
    assert not Case.objects.exists()
