"""The scripts of the pages in a real browser: keys, theme, clocks, uploads and the reading station, under the real
Content-Security-Policy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect

from accounts.models import User
from diagnosis.models import Case, ModelVersion, PredictionRun, Reading, SmearImage
from diagnosis.services.cases import case_advance, case_claim
from diagnosis.services.readings import images_agree_all, own_read_enter
from tests.factories import (
    CELL_CLASSES,
    PatientFactory,
    case_in_review,
    cells,
    draft_case,
    end_run,
    predicted_case,
    smear_jpeg,
    submitted_case,
)
from worker.pooling import case_pool

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

Open = Callable[..., Page]


@pytest.fixture
def as_user(browser: Browser, live_server: object, model_version: ModelVersion) -> Iterator[Open]:
    """A page in which this user is signed in; nothing may go wrong in it that the test did not bring about."""
    contexts, problems = [], []

    def start(user: User, **options: object) -> Page:
        client = Client()
        client.force_login(user, backend="accounts.backends.RoleBackend")
        base = str(live_server.url)  # type: ignore[attr-defined]
        context = browser.new_context(base_url=base, viewport={"width": 1280, "height": 800}, **options)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": base}])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if is_problem(said.type, said.text) else None)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def is_problem(kind: str, text: str) -> bool:
    """Policy violations and script errors; refused forms and cut connections are logged as well, and are meant."""
    meant = ("status of 4", "net::ERR_", "htmx:sendError", "htmx:afterRequest")
    return kind == "error" and not any(words in text for words in meant)


@pytest.fixture
def revealed_case(model_version: ModelVersion, technician: User, haematologist: User) -> Case:
    case = case_in_review(technician, haematologist, images=3)
    own_read_enter(case=case, actor=haematologist, finding="Early")
    return case


class TestEveryPage:
    def test_a_question_mark_lists_what_the_page_can_do(self, as_user: Open, technician: User) -> None:
        page = as_user(technician)
        page.goto("/cases/")
        page.keyboard.press("?")
        listed = page.locator("#shortcuts-dialog dl")
        expect(listed.locator("dd", has_text="New case")).to_have_text("New case")
        expect(listed).to_contain_text("Search by MRN or accession number")
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.wait_for_url("**/cases/new/")

    def test_keys_do_nothing_while_somebody_types(self, as_user: Open, technician: User) -> None:
        page = as_user(technician)
        page.goto("/cases/")
        page.keyboard.press("/")
        expect(page.locator("#site-search")).to_be_focused()
        page.keyboard.type("n?A-1")
        expect(page.locator("#site-search")).to_have_value("n?A-1")
        expect(page.locator("#shortcuts-dialog")).not_to_be_visible()
        page.keyboard.press("Enter")
        page.wait_for_url("**/search/?q=n*")

    def test_single_keys_can_be_switched_off_for_good(self, as_user: Open, technician: User) -> None:
        page = as_user(technician)
        page.goto("/cases/")
        page.keyboard.press("?")
        page.get_by_label("Single-key shortcuts").uncheck()
        page.keyboard.press("Escape")
        page.reload()
        page.keyboard.press("n")
        page.keyboard.press("?")
        expect(page.locator("#shortcuts-dialog")).to_be_visible()
        assert page.url.endswith("/cases/")

    def test_the_theme_follows_the_system_until_it_is_chosen(self, as_user: Open, technician: User) -> None:
        page = as_user(technician, color_scheme="dark")
        page.goto("/cases/")
        root = page.locator("html")
        expect(root).to_have_attribute("data-bs-theme", "dark")
        page.emulate_media(color_scheme="light")
        expect(root).to_have_attribute("data-bs-theme", "light")
        toggle = page.locator("[data-theme-toggle]")
        toggle.click()
        toggle.click()
        expect(root).to_have_attribute("data-bs-theme", "dark")
        page.reload()
        expect(root).to_have_attribute("data-bs-theme", "dark")

    def test_a_clock_turns_amber_and_then_red(self, as_user: Open, technician: User, haematologist: User) -> None:
        case = predicted_case(technician, priority=0)
        assert case.submitted_at
        page = as_user(haematologist)
        page.clock.install(time=case.submitted_at)
        page.goto("/worklist/")
        clock = page.locator(".tat")
        expect(clock).to_have_attribute("data-level", "within")
        page.clock.fast_forward("46:00")
        expect(clock).to_have_attribute("data-level", "near")
        page.clock.fast_forward("20:00")
        expect(clock).to_have_attribute("data-level", "over")
        expect(clock).to_contain_text("01:06")
        expect(clock).to_contain_text("over target")

    def test_a_poll_keeps_the_focus(self, as_user: Open, technician: User) -> None:
        case = submitted_case(technician)
        page = as_user(technician)
        page.goto("/cases/")
        link = page.get_by_role("link", name=case.accession_number)
        link.focus()
        with page.expect_response(lambda answer: answer.url.endswith("/cases/")):
            pass
        expect(link).to_be_focused()

    def test_a_lost_server_is_said_and_unsaid(self, as_user: Open, technician: User) -> None:
        page = as_user(technician)
        page.goto("/cases/")
        page.context.set_offline(True)
        expect(page.locator("#connection-notice")).to_contain_text("cannot be reached")
        page.context.set_offline(False)
        expect(page.locator("#connection-notice")).to_have_count(0)

    @pytest.mark.parametrize("width", [640, 320])
    def test_nothing_runs_out_of_a_narrow_or_zoomed_window(
        self, as_user: Open, revealed_case: Case, technician: User, haematologist: User, width: int
    ) -> None:
        submitted_case(technician)
        pages = {
            technician: ["/cases/", "/cases/new/", f"/cases/{revealed_case.pk}/"],
            haematologist: ["/worklist/", f"/cases/{revealed_case.pk}/read/"],
        }
        for user, paths in pages.items():
            page = as_user(user)
            page.set_viewport_size({"width": width, "height": 800})
            for path in paths:
                page.goto(path)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


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


class TestReadingStation:
    def test_the_whole_case_can_be_read_by_keys(
        self, as_user: Open, model_version: ModelVersion, technician: User, haematologist: User
    ) -> None:
        case = case_in_review(technician, haematologist, images=3)
        page = as_user(haematologist)
        page.goto(f"/cases/{case.pk}/read/")
        page.keyboard.press("2")
        page.keyboard.press("r")
        expect(page.locator("#case-figure")).to_have_count(1)
        expect(page.locator("[data-plot] svg.main-svg").first).to_be_visible()
        assert Reading.objects.get(case=case).finding == "Early"
        # The first image as predicted, the second otherwise, with a reason; the rest in one go.
        page.keyboard.press("2")
        expect(page.locator("[data-film][data-finding='Early']")).to_have_count(1)
        page.keyboard.press("j")
        page.keyboard.press("3")
        expect(page.locator("#image-reason")).to_be_focused()
        page.keyboard.type("Nuclear clefts")
        page.keyboard.press("Enter")
        expect(page.locator("[data-film][data-finding='Pre']")).to_have_count(1)
        page.keyboard.press("Shift+A")
        expect(page.locator("[data-film][data-finding='']")).to_have_count(0)
        page.keyboard.press("a")
        expect(page.get_by_role("link", name="Sign the case")).to_be_visible()
        page.keyboard.press("s")
        page.wait_for_url("**/sign/")
        override = Reading.objects.get(case=case, decision="override")
        assert (override.finding, override.reason) == ("Pre", "Nuclear clefts")

    def test_an_override_of_the_case_asks_why(self, as_user: Open, revealed_case: Case, haematologist: User) -> None:
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        page.keyboard.press("o")
        finding = page.locator("#conclude-finding")
        expect(finding).to_be_focused()
        finding.select_option("Pro")
        page.get_by_role("button", name="Save conclusion").click()
        expect(page.get_by_role("alert")).to_contain_text("Say why you differ")
        page.locator("#conclude-finding").select_option("Pro")
        page.locator("#conclude-reason").fill("Scant cytoplasm")
        page.get_by_role("button", name="Save conclusion").click()
        expect(page.locator("#conclusion-title + .reading-line")).to_contain_text("Pro")

    def test_the_keys_stay_free_where_nothing_is_suggested(
        self, as_user: Open, model_version: ModelVersion, technician: User, haematologist: User
    ) -> None:
        case = submitted_case(technician, images=1)
        end_run(PredictionRun.objects.get(image__case=case), "Early", 0.4, abstained=True)
        case_advance(case=case)
        case.refresh_from_db()
        case_claim(case=case, actor=haematologist)
        own_read_enter(case=case, actor=haematologist, finding="Early")
        page = as_user(haematologist)
        page.goto(f"/cases/{case.pk}/read/")
        expect(page.locator("#conclude-finding")).to_be_visible()
        expect(page.locator("#conclude-finding")).not_to_be_focused()
        expect(page.get_by_role("button", name="Agree:")).to_have_count(0)
        page.keyboard.press("2")
        expect(page.locator("[data-film][data-finding='Early']")).to_have_count(1)

    def test_what_is_saved_folds_and_keeps_the_keyboard(
        self, as_user: Open, revealed_case: Case, haematologist: User
    ) -> None:
        images_agree_all(case=revealed_case, actor=haematologist)
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        page.keyboard.press("o")
        page.locator("#conclude-finding").select_option("Pro")
        page.locator("#conclude-reason").fill("Scant cytoplasm")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Sign the case")).to_be_visible()
        expect(page.locator("#conclude-reason")).not_to_be_visible()
        expect(page.locator("#conclude-more > summary")).to_be_focused()
        page.keyboard.press("s")
        page.wait_for_url("**/sign/")

    def test_the_image_in_view_stays_when_the_panel_changes(
        self, as_user: Open, revealed_case: Case, haematologist: User
    ) -> None:
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        page.keyboard.press("j")
        page.keyboard.press("j")
        current = page.locator("[data-film][aria-current=true]")
        third = current.get_attribute("data-film")
        page.keyboard.press("2")
        expect(page.locator("[data-film][data-finding='Early']")).to_have_count(1)
        expect(current).to_have_attribute("data-film", str(third))
        expect(page.locator(f"[data-image-panel='{third}']")).to_be_visible()
        expect(page.locator("[data-image-panel]:visible")).to_have_count(1)

    def test_zoom_goes_to_natural_size_and_back(self, as_user: Open, revealed_case: Case, haematologist: User) -> None:
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        scale = page.locator("[data-viewer-scale]")
        expect(page.locator("[data-viewer-name]")).to_contain_text("160 × 160 px")
        fitted = scale.inner_text()
        page.keyboard.press("z")
        expect(scale).to_have_text("100 %")
        page.keyboard.press("+")
        expect(scale).not_to_have_text("100 %")
        page.keyboard.press("0")
        expect(scale).to_have_text(fitted)

    def test_cells_are_shown_where_they_are_and_follow_the_image(
        self, as_user: Open, revealed_case: Case, haematologist: User
    ) -> None:
        ModelVersion.objects.update(manifest=ModelVersion.objects.get().manifest | {"cell_classes": CELL_CLASSES})
        PredictionRun.objects.update(cells=cells("blast", "basophil"))
        case_advance(case=revealed_case, pool=case_pool)
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        expect(page.get_by_role("heading", name="Cells found")).to_be_visible()
        boxes, toggle = page.locator(".viewer-cells .box"), page.get_by_role("button", name="Cells")
        expect(boxes).to_have_count(0)
        page.keyboard.press("c")
        expect(toggle).to_have_attribute("aria-pressed", "true")
        expect(boxes).to_have_count(2)
        assert page.locator(".viewer-cells title").all_text_contents() == ["Blast, 93 %", "Basophil, 93 %"]
        assert page.locator(".viewer-cells text").all_text_contents() == ["B", "Ba"]
        for key in ("", "z", "+", "0"):
            if key:
                page.keyboard.press(key)
            self.comes_to_lie_on_its_cell(page)
        page.keyboard.press("2")  # the panel comes anew, the cells stay
        expect(page.locator("[data-film][data-finding='Early']")).to_have_count(1)
        expect(page.get_by_role("button", name="Cells")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("c")
        expect(boxes).to_have_count(0)

    @staticmethod
    def comes_to_lie_on_its_cell(page: Page) -> None:
        """The box at (2, 4) of 10 × 10 pixels in an image of 160 × 160 that fits into its element; both are measured
        at once, and again until the browser has drawn what the key asked for."""
        measure = """["[data-viewer-image]", ".viewer-cells .box"].map(
            (at) => document.querySelector(at).getBoundingClientRect().toJSON())"""
        for _ in range(50):
            image, box = page.evaluate(measure)
            scale = min(image["width"], image["height"]) / 160
            left = image["x"] + (image["width"] - 160 * scale) / 2
            top = image["y"] + (image["height"] - 160 * scale) / 2
            expected = {"x": left + 2 * scale, "y": top + 4 * scale, "width": 10 * scale, "height": 10 * scale}
            found = {side: box[side] for side in expected}
            if found == pytest.approx(expected, abs=2.5):
                return
            page.wait_for_timeout(100)
        assert found == pytest.approx(expected, abs=2.5)

    def test_a_scale_bar_is_a_round_length_where_the_scale_is_known(
        self, as_user: Open, revealed_case: Case, haematologist: User
    ) -> None:
        SmearImage.objects.filter(position=1).update(microns_per_pixel=0.5)
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        expect(page.locator("[data-viewer-name]")).to_contain_text("0.5 µm per pixel")
        page.keyboard.press("z")
        expect(page.locator("[data-scale-bar] text")).to_have_text("50 µm")
        assert page.locator("[data-scale-bar] path").last.get_attribute("d") == "M92 24H192"
        page.keyboard.press("j")
        expect(page.locator("[data-scale-bar]")).to_be_hidden()

    def test_what_is_folded_away_stays_away(self, as_user: Open, revealed_case: Case, haematologist: User) -> None:
        manifest = ModelVersion.objects.get().manifest | {"caveats": ["Flow cytometry decides the stage."]}
        ModelVersion.objects.update(manifest=manifest)
        page = as_user(haematologist)
        page.goto(f"/cases/{revealed_case.pk}/read/")
        caveat = page.get_by_text("Flow cytometry decides the stage.")
        expect(caveat).to_be_visible()
        page.get_by_text("What the model cannot say").click()
        expect(caveat).not_to_be_visible()
        page.keyboard.press("2")
        expect(page.locator("[data-film][data-finding='Early']")).to_have_count(1)
        expect(caveat).not_to_be_visible()
        page.reload()
        expect(caveat).not_to_be_visible()

    def test_the_surround_stays_dark_in_a_light_theme(
        self, as_user: Open, revealed_case: Case, haematologist: User
    ) -> None:
        page = as_user(haematologist, color_scheme="light")
        page.goto(f"/cases/{revealed_case.pk}/read/")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        colour = page.evaluate("getComputedStyle(document.querySelector('.viewer')).backgroundColor")
        assert colour == "rgb(16, 16, 16)"
