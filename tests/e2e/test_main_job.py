"""The main job in a real browser, from the dropped files to the signature, by the people whose job it is."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Portal, Seat
from tests.factories import PASSWORD, smear_jpeg

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PREDICTED_WITHIN_MS = 60_000
NAMES = {
    "Benign": "WBC-Benign",
    "Early": "WBC-Malignant-Early",
    "Pre": "WBC-Malignant-Pre",
    "Pro": "WBC-Malignant-Pro",
}


@pytest.fixture(scope="module")
def fields(smear_data: Path) -> list[Path]:
    """Two real fields of each class."""
    return [smear_data / "taleqani" / label / f"{name}-{n:03}.jpg" for label, name in NAMES.items() for n in (11, 30)]


def fill_case(page: Page, accession: str, mrn: str, *, known_patient: bool = False) -> None:
    page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + "/cases/new/")
    page.locator("#id_mrn").fill(mrn)
    page.locator("#id_mrn").press("Tab")
    if not known_patient:
        page.get_by_label("Family name").fill("Ruiz")
        page.get_by_label("Given name").fill("Ana")
        page.get_by_label("Birth date").fill("1990-05-17")
    page.locator("#id_accession_number").fill(accession)
    page.get_by_label("Clinical note").fill("Pancytopenia, fever for two weeks.")


def submit_case(page: Page, files: list[Path], accession: str, mrn: str) -> str:
    """Submit the files as a case; returns the address of the case."""
    fill_case(page, accession, mrn)
    page.locator("input[type=file]").first.set_input_files(files)
    expect(page.locator("li.tile[data-image]")).to_have_count(len(files), timeout=60_000)
    page.get_by_role("button", name="Submit case").click()
    page.wait_for_url(lambda url: "/cases/" in url and not url.endswith(("/new/", "/edit/")))
    return page.url


def written_by_the_worker(portal: Portal, accession: str) -> dict[str, dict]:
    """What the worker wrote for each image of a case, by file name."""
    code = f"""
import json
from diagnosis.models import PredictionRun
runs = PredictionRun.objects.filter(image__case__accession_number={accession!r}).select_related("image")
print(json.dumps({{r.image.file_name: [r.state, r.label, r.probabilities, r.abstained] for r in runs}}))
"""
    return json.loads(portal.shell(code).splitlines()[-1])


def read_what_is_left(page: Page) -> None:
    """Agree with the suggestion for each image that has no reading yet."""
    unread = page.locator("[data-film][data-finding='']")
    while left := unread.count():
        film = page.locator(f"#{unread.first.get_attribute('id')}")
        film.click()
        expect(film).to_have_attribute("aria-current", "true")
        page.locator("button.finding.is-suggested").first.click()
        expect(unread).not_to_have_count(left, timeout=15_000)


def test_a_case_goes_from_upload_to_signature(
    seat: Callable[..., Seat], portal: Portal, fields: list[Path], command_line: Callable[[list[Path]], dict]
) -> None:
    # The technician submits eight images and sees each predicted.
    bench = seat()
    page = bench.sign_in("tess")
    bench.picture("technician-home-empty")
    address = submit_case(page, fields, "A-2041", "MRN-2041")
    expect(page.get_by_text("8 of 8 predicted")).to_be_visible(timeout=PREDICTED_WITHIN_MS)
    bench.picture("technician-case-predicted")
    technicians_page = page.content()
    assert "Suggestion" not in technicians_page
    assert '"probabilities"' not in technicians_page

    # The worker wrote what the command line says of the same files.
    said = {Path(path).name: entry for path, entry in command_line(fields).items()}
    for name, (state, label, probabilities, abstained) in written_by_the_worker(portal, "A-2041").items():
        assert state == ("refused" if said[name]["refused"] else "succeeded")
        assert label == (said[name]["class"] or "")
        assert abstained == said[name]["abstained"]
        assert probabilities == pytest.approx(said[name]["probabilities"], abs=0.02)

    # The haematologist takes the next case by a key, reads it before the prediction is sent, and only then sees it.
    desk = seat()
    page = desk.sign_in("hana")
    expect(page.get_by_role("link", name="A-2041")).to_be_visible()
    desk.picture("haematologist-worklist")
    page.keyboard.press("n")
    page.wait_for_url("**/read/")
    expect(page.get_by_text("Your own read of the case")).to_be_visible()
    assert "Suggestion for the case" not in page.content()
    page.keyboard.press("j")
    page.keyboard.press("2")
    desk.picture("reading-station-own-read")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Suggestion for the case")).to_be_visible()
    expect(page.locator(".plot svg.main-svg").first).to_be_visible()
    desk.picture("reading-station-revealed")

    # One image is overridden with a reason, the rest agreed, the case concluded and signed with the password.
    page.locator("[data-film]").first.click()
    page.locator("button.finding:not(.is-suggested)").first.click()
    page.locator("#image-reason").fill("Chromatin is coarser than the suggestion implies.")
    desk.picture("reading-station-override")
    page.locator("#image-more button[type=submit]").click()
    unread = page.locator("[data-film][data-finding='']")
    expect(unread).to_have_count(len(fields) - 1, timeout=15_000)
    with page.expect_response("**/read/agree/"):
        page.get_by_role("button", name="Agree on").click()
    page.wait_for_function("document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling') === null")
    read_what_is_left(page)
    # Two fields of each class: taken together nothing is suggested, so there is nothing to agree with.
    expect(page.get_by_role("button", name="Agree:")).to_have_count(0)
    page.locator("#conclude-finding").select_option(label="Early pre-B ALL")
    page.get_by_role("button", name="Save conclusion").click()
    sign = page.get_by_role("link", name="Sign the case")
    expect(sign).to_be_visible()
    sign.click()
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign the case").click()
    expect(page.locator("strong", has_text="The password is not right")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    desk.picture("sign")
    page.get_by_role("button", name="Sign the case").click()
    page.wait_for_url("**/reports/**")
    expect(page.get_by_text("Research use only").first).to_be_visible()
    desk.picture("report")
    report = page.url

    # The technician may read the report; another laboratory finds nothing anywhere.
    page = bench.page
    page.goto(report)
    expect(page.get_by_text("A-2041").first).to_be_visible()
    page.goto(address)
    image = page.locator("img[src*='/images/']").first.get_attribute("src")
    away = seat()
    page = away.sign_in("tom")
    for path in ("", "edit/", "status/", "read/", "sign/", "amend/"):
        assert page.goto(address + path).status == 404, path
    assert page.goto(report).status == 404
    assert page.goto(portal.address + image).status == 404
    assert page.goto(portal.address + image.replace("thumbnail/", "")).status == 404
    away.picture("another-site-404")


def test_a_refused_file_is_named_and_the_others_are_kept(
    seat: Callable[..., Seat], portal: Portal, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "letter.jpg"
    good.write_bytes(smear_jpeg(seed=41))
    bad.write_bytes(b"%PDF-1.7 not a picture")
    bench = seat()
    page = bench.sign_in("tess")
    page.goto(f"{portal.address}/cases/new/")
    page.locator("input[type=file]").first.set_input_files([good, bad])
    page.get_by_role("button", name="Submit case").click()
    expect(page.locator("#id_mrn")).to_be_focused()  # nothing is lost: the files wait, the first gap is shown
    fill_again(page)
    expect(page.get_by_text("letter.jpg").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text("is not a JPEG").first).to_be_visible(timeout=20_000)
    expect(page.get_by_text("good.jpg").first).to_be_visible()
    bench.picture("technician-upload-refused")


def fill_again(page: Page) -> None:
    page.locator("#id_mrn").fill("MRN-3001")
    page.locator("#id_mrn").press("Tab")
    page.get_by_label("Family name").fill("Okoro")
    page.get_by_label("Given name").fill("Joy")
    page.get_by_label("Birth date").fill("1984-02-29")
    page.locator("#id_accession_number").fill("A-3001")
    page.get_by_label("Clinical note").fill("Follow-up.")
    page.get_by_role("button", name="Save draft").click()


def test_a_killed_worker_leaves_no_image_without_its_one_result(
    seat: Callable[..., Seat], portal: Portal, tmp_path: Path
) -> None:
    files = []
    for number in range(50):
        files.append(tmp_path / f"field_{number:02}.jpg")
        files[-1].write_bytes(smear_jpeg(seed=1000 + number, side=224))
    bench = seat()
    page = bench.sign_in("tess")
    submit_case(page, files, "A-5000", "MRN-5000")
    worker = next(charge.service for charge in portal.supervisor.charges if charge.service.name == "worker")
    worker.kill()
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        portal.supervisor.tend()
        states = [state for state, *_ in written_by_the_worker(portal, "A-5000").values()]
        if all(state in ("succeeded", "refused") for state in states):
            break
        time.sleep(2)
    assert len(states) == 50
    assert set(states) <= {"succeeded", "refused"}
    page.reload()
    expect(page.get_by_text("Awaiting review").first).to_be_visible()
