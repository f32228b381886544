"""The uploader in a real browser: what is chosen is kept until it is stored, whatever happens on the way."""

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Route, expect

from accounts.models import User
from diagnosis.models import Case
from tests.factories import PatientFactory, draft_case, smear_jpeg
from tests.portal.conftest import Open

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


class TestUpload:
    @pytest.fixture
    def images(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / f"field_{number}.jpg" for number in (1, 2)]
        for number, path in enumerate(paths):
            path.write_bytes(smear_jpeg(seed=number))
        return paths

    def test_files_wait_until_patient_and_accession_are_known(
        self, as_user: Open, technician: User, images: list[Path]
    ) -> None:
        patient = PatientFactory(site=technician.site, mrn="100482", family_name="Ruiz", given_name="Ana")
        page = as_user(technician)
        page.goto("/cases/new/")
        page.set_input_files("#id_images", images)
        expect(page.locator("[data-upload-summary]")).to_have_text("2 waiting for patient and accession number")
        page.fill("#id_mrn", patient.mrn)
        page.keyboard.press("Enter")
        expect(page.locator("#patient-lookup")).to_contain_text("Ana Ruiz")
        expect(page.get_by_label("Family name")).not_to_be_visible()
        expect(page.locator("#id_accession_number")).to_be_focused()
        page.keyboard.type("A-77")
        page.keyboard.press("Enter")
        expect(page.locator("li.tile[data-image]")).to_have_count(2)
        case = Case.objects.get(accession_number="A-77")
        assert case.patient == patient
        assert page.url.endswith(f"/cases/{case.pk}/edit/")
        page.get_by_role("button", name="Submit case").click()
        page.wait_for_url(f"**/cases/{case.pk}/")
        case.refresh_from_db()
        assert case.state in {"submitted", "awaiting_review"}

    def test_an_unknown_mrn_asks_for_the_patient(self, as_user: Open, technician: User, images: list[Path]) -> None:
        page = as_user(technician)
        page.goto("/cases/new/")
        page.fill("#id_mrn", "200")
        page.keyboard.press("Tab")
        expect(page.locator("#patient-lookup")).to_contain_text("This MRN is new here")
        page.fill("#id_accession_number", "A-78")
        page.set_input_files("#id_images", images)
        page.get_by_role("button", name="Submit case").click()
        expect(page.get_by_text("enter the patient's family name")).to_be_visible()
        assert not Case.objects.exists()
        page.get_by_label("Family name").fill("Okoro")
        page.get_by_label("Given name").fill("Joy")
        page.get_by_label("Birth date").fill("1984-02-29")
        page.get_by_role("button", name="Save draft").click()
        expect(page.locator("li.tile[data-image]")).to_have_count(2)
        assert Case.objects.get().state == "draft"

    def test_what_is_refused_is_named_and_can_be_left_out(
        self, as_user: Open, technician: User, images: list[Path], tmp_path: Path
    ) -> None:
        page = as_user(technician)
        case = draft_case(technician, images=0)
        bad = tmp_path / "letter <b>.jpg"
        bad.write_bytes(b"%PDF-1.7")
        archive = tmp_path / "all.zip"
        archive.write_bytes(b"PK")
        page.goto(f"/cases/{case.pk}/edit/")
        page.set_input_files("#id_images", [images[0], bad, archive])
        expect(page.locator("[data-upload-notice]")).to_contain_text("all.zip: archives are not opened here")
        rejected = page.locator("[data-rejected]")
        expect(rejected.locator(".tile-name")).to_have_text("letter <b>.jpg")
        page.get_by_role("button", name="Submit case").click()
        page.get_by_role("button", name="Submit without it").click()
        page.wait_for_url(f"**/cases/{case.pk}/")
        assert case.images.count() == 1

    def test_a_broken_connection_keeps_the_file(self, as_user: Open, technician: User, images: list[Path]) -> None:
        case = draft_case(technician, images=0)
        page = as_user(technician)
        page.goto(f"/cases/{case.pk}/edit/")
        broken = [True]

        def sometimes(route: Route) -> None:
            route.abort() if broken and broken.pop() else route.continue_()

        page.route("**/images/", sometimes)
        page.set_input_files("#id_images", images[0])
        expect(page.get_by_text("The connection broke off.")).to_be_visible()
        assert not case.images.exists()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("li.tile[data-image]")).to_have_count(1)
        assert case.images.count() == 1

    def test_the_notice_follows_what_is_taken_out(
        self, as_user: Open, technician: User, images: list[Path], tmp_path: Path
    ) -> None:
        case = draft_case(technician, images=0)
        third = tmp_path / "field_3.jpg"
        third.write_bytes(smear_jpeg(seed=3))
        page = as_user(technician)
        page.goto(f"/cases/{case.pk}/edit/")
        page.route("**/images/", lambda route: route.abort())
        page.set_input_files("#id_images", [*images, third])
        notice = page.locator("[data-upload-notice]")
        expect(notice).to_contain_text("3 images were not sent")
        take_out = page.get_by_role("button", name="Take out")
        take_out.first.click()
        expect(notice).to_contain_text("2 images were not sent")
        take_out.first.click()
        expect(notice).to_contain_text("1 image was not sent")
        take_out.first.click()
        expect(notice).to_be_empty()

    def test_images_stand_in_the_order_they_were_chosen_in(
        self, as_user: Open, technician: User, tmp_path: Path
    ) -> None:
        case = draft_case(technician, images=1)
        files = [tmp_path / f"field_{number}.jpg" for number in range(1, 5)]
        for number, path in enumerate(files):
            path.write_bytes(smear_jpeg(seed=70 + number))
        page = as_user(technician)
        held: list[Route] = []

        def last_one_first(route: Route) -> None:
            held.append(route)
            if len(held) == 3:  # three go up side by side
                for waiting in reversed(held):
                    waiting.continue_()
            elif len(held) > 3:
                route.continue_()

        page.goto(f"/cases/{case.pk}/edit/")
        page.route("**/images/", last_one_first)
        page.set_input_files("#id_images", files)
        expect(page.locator("li.tile[data-image]")).to_have_count(5)
        assert list(case.images.values_list("file_name", flat=True)[1:]) == [path.name for path in files]

    def test_an_image_can_be_taken_out(self, as_user: Open, technician: User) -> None:
        case = draft_case(technician, images=2)
        page = as_user(technician)
        page.goto(f"/cases/{case.pk}/edit/")
        page.locator(".tile").first.hover()
        page.locator("[data-remove]").first.click()
        expect(page.locator("li.tile[data-image]")).to_have_count(1)
        assert case.images.filter(withdrawn_at__isnull=True).count() == 1

    def test_who_was_signed_out_goes_on_after_signing_in_elsewhere(
        self, as_user: Open, technician: User, tmp_path: Path
    ) -> None:
        """The new session has another token, and what had not arrived goes up with one click, or with two."""
        case = draft_case(technician, images=0)
        files = [tmp_path / f"field_{number}.jpg" for number in range(8)]
        for number, path in enumerate(files):
            path.write_bytes(smear_jpeg(seed=90 + number))
        page = as_user(technician)
        page.goto(f"/cases/{case.pk}/edit/")
        sent: list[Route] = []

        def signed_out_meanwhile(route: Route) -> None:
            sent.append(route)
            if len(sent) == 3:
                page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
            route.continue_()

        page.route("**/images/", signed_out_meanwhile)
        page.set_input_files("#id_images", files)
        notice = page.locator("[data-upload-notice]")
        expect(notice).to_contain_text("You are signed out, so")
        assert len(sent) < len(files), "nobody sends the rest to a server that has signed them out"
        with page.expect_response(lambda response: "/sign-in/" in response.url):
            page.get_by_role("button", name="Try all again").click()
        expect(notice).to_contain_text("You are signed out, so")

        elsewhere = Client()
        elsewhere.force_login(technician, backend="accounts.backends.RoleBackend")
        cookies = {
            settings.SESSION_COOKIE_NAME: elsewhere.cookies[settings.SESSION_COOKIE_NAME].value,
            settings.CSRF_COOKIE_NAME: "a" * 32,
        }
        slow: list[Route] = []
        page.route("**/edit/", lambda route: route.continue_() if slow else slow.append(route))
        with page.expect_request("**/edit/"):
            page.get_by_role("button", name="Try all again").click()
        base = page.url.split("/cases/")[0]
        page.context.add_cookies([{"name": name, "value": value, "url": base} for name, value in cookies.items()])
        page.get_by_role("button", name="Try all again").click()
        expect(page.locator("li.tile[data-image]")).to_have_count(len(files))
        with page.expect_event("requestfailed"):
            slow[0].abort()
        page.wait_for_timeout(100)  # what the first click now says, if it says anything
        expect(notice).to_be_empty()
        page.get_by_role("button", name="Submit case").click()
        page.wait_for_url(f"**/cases/{case.pk}/")
        assert list(case.images.values_list("file_name", flat=True)) == [path.name for path in files]
