"""The scripts of the pages in a real browser: keys, theme, clocks and the reading station, under the real
Content-Security-Policy."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from diagnosis.models import Case, ModelVersion, PredictionRun, Reading, SmearImage
from diagnosis.services.cases import case_advance, case_claim
from diagnosis.services.readings import images_agree_all, own_read_enter
from tests.factories import (
    CELL_CLASSES,
    case_in_review,
    cells,
    end_run,
    predicted_case,
    submitted_case,
)
from tests.portal.conftest import Open
from worker.pooling import case_pool

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


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
