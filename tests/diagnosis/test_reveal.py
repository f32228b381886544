"""Predictions do not reach a browser before the own read, and never a technician's.

Each page is asked for twice, with other predictions in the tables the second time. The two answers must be the same to
the last byte (but for the token against forged requests): then nothing of the predictions is in them, neither a
class nor a number nor the order of the images.
"""

import re

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import Site, User
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.selectors.readings import case_reading
from diagnosis.services.case_predictions import case_predictions_store
from diagnosis.services.cases import case_advance, case_ask_second_read, case_claim
from diagnosis.services.readings import case_conclude, image_read, own_read_enter
from diagnosis.states import Triage
from tests.conftest import SignedIn
from tests.factories import CELL_CLASSES, CLASSES, cells, draft_case, end_run, submitted_case
from worker.pooling import case_pool

pytestmark = pytest.mark.django_db

TOKEN = re.compile(rb"[0-9A-Za-z]{64}")
PAGES = {
    "case page": "/cases/{case}/",
    "status": "/cases/{case}/status/",
    "search": "/search/?q={number}",
    "worklist": "/worklist/",
    "station": "/cases/{case}/read/",
    "sign": "/cases/{case}/sign/",
    "technician's list": "/cases/",
}
FOR_READER = ["case page", "status", "search", "worklist", "station", "sign"]
FOR_TECHNICIAN = ["case page", "status", "search", "technician's list"]


@pytest.fixture
def predicted(technician: User, model_version: ModelVersion) -> Case:
    """Three images whose order by class is not their order of upload."""
    case = submitted_case(technician, images=3)
    ModelVersion.objects.update(manifest=model_version.manifest | {"cell_classes": CELL_CLASSES})
    for run, label in zip(runs_of(case), ("Pro", "Benign", "Early"), strict=True):
        end_run(run, label, 0.83, cells=cells("lymphocyte"))
    case_advance(case=case, pool=case_pool)
    case.refresh_from_db()
    return case


@pytest.fixture
def being_read(predicted: Case, haematologist: User) -> Case:
    case_claim(case=predicted, actor=haematologist)
    return predicted


def runs_of(case: Case) -> list[PredictionRun]:
    return list(PredictionRun.objects.filter(image__case=case).order_by("image__position"))


def predict_otherwise(case: Case) -> None:
    for run, label in zip(runs_of(case), ("Benign", "Pre", "Benign"), strict=True):
        PredictionRun.objects.filter(pk=run.pk).update(
            label=label,
            confidence=0.41,
            abstained=True,
            reasons=["below_threshold", "unlike_training", "wrong_scale"],
            probabilities=dict.fromkeys(CLASSES, 0.19) | {label: 0.41},
            cells=cells("blast", "smudge_cell"),
        )
    with transaction.atomic():
        case_predictions_store(case=case, pooled=case_pool(case))
    Case.objects.filter(pk=case.pk).update(triage=Triage.UNCERTAIN)


def page(browser: Client, name: str, case: Case, **headers: str) -> bytes:
    url = PAGES[name].format(case=case.pk, number=case.accession_number)
    response = browser.get(url, headers=headers)
    assert response.status_code == 200
    assert case.accession_number.encode() in response.content or name == "status"
    return TOKEN.sub(b"", response.content)


def tells_of_predictions(user: User, name: str, case: Case, **headers: str) -> bool:
    browser = SignedIn(user)
    before = page(browser, name, case, **headers)
    predict_otherwise(case)
    return page(browser, name, case, **headers) != before


@pytest.mark.parametrize("name", FOR_READER)
def test_the_reader_is_told_nothing_before_the_own_read(name: str, being_read: Case, haematologist: User) -> None:
    assert not tells_of_predictions(haematologist, name, being_read)


@pytest.mark.parametrize("name", FOR_READER[:3])
def test_another_haematologist_is_told_nothing(
    name: str, being_read: Case, haematologist: User, second_haematologist: User
) -> None:
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    for image in being_read.images.all():
        image_read(case=being_read, image=image, actor=haematologist, finding="Pre", reason="Differs.")
    assert not tells_of_predictions(second_haematologist, name, being_read)


@pytest.mark.parametrize("name", FOR_TECHNICIAN)
def test_a_technician_is_told_nothing_even_after_the_own_read(
    name: str, being_read: Case, haematologist: User, technician: User
) -> None:
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    assert not tells_of_predictions(technician, name, being_read)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_the_live_part_tells_nothing(headers: dict, predicted: Case, technician: User, haematologist: User) -> None:
    for user in (technician, haematologist):
        assert not tells_of_predictions(user, "status", predicted, **headers)


def test_a_step_refused_before_the_own_read_tells_nothing(being_read: Case, haematologist: User) -> None:
    browser = SignedIn(haematologist)
    answers = []
    for _ in range(2):
        for step, data in (("agree", {}), ("conclusion", {"finding": "Pro"}), ("own", {"finding": "nothing"})):
            response = browser.post(f"/cases/{being_read.pk}/read/{step}/", data, headers={"HX-Request": "true"})
            assert response.status_code == 422
            answers.append(TOKEN.sub(b"", response.content))
        predict_otherwise(being_read)
    assert answers[:3] == answers[3:]


@pytest.mark.parametrize("name", ["case page", "station"])
def test_after_the_own_read_it_is_all_there(name: str, being_read: Case, haematologist: User) -> None:
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    assert tells_of_predictions(haematologist, name, being_read)


def test_the_images_are_in_the_order_of_upload_until_then_by_class(being_read: Case, haematologist: User) -> None:
    def positions() -> list[int]:
        return [view.image.position for view in case_reading(being_read, haematologist).images]

    assert positions() == [1, 2, 3]
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    assert positions() == [2, 3, 1]


def test_the_figure_comes_with_the_reveal(being_read: Case, haematologist: User) -> None:
    browser = SignedIn(haematologist)
    url = f"/cases/{being_read.pk}/read/"
    assert browser.get(url).context["figure_json"] == ""
    answer = browser.post(f"{url}own/", {"finding": "Pre"}, headers={"HX-Request": "true"})
    assert '"type":"bar"' in answer.context["figure_json"]


def test_cells_interval_and_flags_come_with_the_reveal(being_read: Case, haematologist: User) -> None:
    browser = SignedIn(haematologist)
    predict_otherwise(being_read)
    url = f"/cases/{being_read.pk}/read/"
    PredictionRun.objects.filter(pk=runs_of(being_read)[2].pk).update(cells=[])
    with transaction.atomic():
        case_predictions_store(case=being_read, pooled=case_pool(being_read))
    later = ("Cells found", "data-cells-toggle", "Smudge cell", "95 % interval", "Unlike the pictures", "chip-flag")
    before = browser.get(url).content.decode()
    assert [words for words in later if words in before] == []
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    after = browser.get(url).content.decode()
    assert [words for words in later if words not in after] == []
    assert "2 counted in 2 of 3 images" in after
    assert "In the other images no cell was typed." in after


def test_where_the_cells_are_is_not_answered_before_the_own_read(
    being_read: Case, haematologist: User, second_haematologist: User, technician: User
) -> None:
    image = being_read.images.get(position=1)
    url = f"/cases/{being_read.pk}/read/images/{image.pk}/cells/"
    assert SignedIn(haematologist).get(url).status_code == 403
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    assert [SignedIn(user).get(url).status_code for user in (second_haematologist, technician)] == [403, 403]
    (cell,) = SignedIn(haematologist).get(url).json()["cells"]
    assert cell == {"box": [2.0, 4.0, 10.0, 10.0], "title": "Lymphocyte, 93 %", "mark": "L", "colour": "#0072B2"}


def test_the_second_reader_is_told_nothing(being_read: Case, haematologist: User, second_haematologist: User) -> None:
    own_read_enter(case=being_read, actor=haematologist, finding="Pre")
    case_conclude(case=being_read, actor=haematologist, finding="Pre", reason="Differs.")
    case_ask_second_read(case=being_read, actor=haematologist, reason="Sure?")
    case_claim(case=being_read, actor=second_haematologist)
    assert not tells_of_predictions(second_haematologist, "station", being_read)


def test_a_site_may_show_them_at_once(being_read: Case, haematologist: User, site: Site) -> None:
    Site.objects.filter(pk=site.pk).update(own_read_first=False)
    assert tells_of_predictions(haematologist, "station", being_read)


def test_a_draft_has_nothing_to_tell(technician: User, model_version: ModelVersion) -> None:
    case = draft_case(technician)
    assert case_reading(case, technician).suggestion is None
