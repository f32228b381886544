"""`ml.external`: a released model on pictures of which only leukaemia or not is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from ml import decode, external, predict, reference
from ml.manifest import newest
from ml.opinion import expected_blasts, leukaemia, malignant_of
from ml.predictor import Predictor

SCALE = 0.44


@pytest.fixture(scope="module")
def weights() -> Path:
    return newest(predict.WEIGHTS, "b-all-stage")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn fields in either folder, crowded ones and empty ones, and a blank one, which is refused."""
    root = tmp_path_factory.mktemp("elsewhere")
    for place, folder in enumerate(("healthy", "sick")):
        (root / folder).mkdir()
        for number in range(4):
            drawn = reference.draw_smear(200 + 10 * place + number, nuclei=2 + 6 * place + number)
            Image.fromarray(drawn).save(root / folder / f"{number}.png")
    Image.new("RGB", (224, 224), (231,) * 3).save(root / "sick" / "blank.png")
    return root


def call(weights: Path, root: Path, out: Path, *more: str) -> int:
    places = ["--weights", str(weights), "--data", str(root), "--out", str(out), "--draws", "5"]
    return external.main([*places, "--benign", "healthy", "--leukaemia", "sick", *more])


def test_network_cells_and_what_ships_stand_side_by_side(weights: Path, fields: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert call(weights, fields, out, "--microns-per-pixel", str(SCALE)) == 0
    report = json.loads(out.read_text())
    measured = report["judged_by"]
    assert list(measured) == ["the network alone", "the cells alone", "as shipped"]

    predictor = Predictor.load(weights)
    paths = sorted(fields.rglob("[0-9].png"))
    truth = [path.parent.name == "sick" for path in paths]
    pictures = [decode.decode(path.read_bytes()) for path in paths]
    malignant = malignant_of(predictor.manifest)
    alone = predictor.probabilities(pictures)[:, malignant].sum(1)
    typed = [predictor.cells(picture, SCALE) or [] for picture in pictures]
    blasts = malignant_of(predictor.second_opinion.manifest)
    by_cells = [
        leukaemia(expected_blasts(np.array([[*cell.probabilities.values()] for cell in cells]), blasts))
        for cells in typed
    ]
    answers = predictor.predict(pictures, microns_per_pixel=[SCALE] * len(pictures))
    shipped = [np.array(list(answer.probabilities.values()))[malignant].sum() for answer in answers]
    for name, share in zip(measured, (alone, by_cells, shipped), strict=True):
        expected = roc_auc_score(truth, share)
        assert measured[name]["leukaemia_auroc"]["value"] == pytest.approx(expected, abs=1e-6), name
    given = report["shipped"]
    assert (given["images"], given["refused"]) == (9, 1)
    wrong = sum(
        (answer.label != "Benign") != sick for answer, sick in zip(answers, truth, strict=True) if not answer.abstained
    )
    assert given["answered_wrong"] == wrong


def test_a_model_of_single_cells_has_no_second_opinion(fields: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert call(newest(predict.WEIGHTS, "cell-type"), fields, out) == 0
    assert list(json.loads(out.read_text())["judged_by"]) == ["the network alone", "as shipped"]


def test_what_cannot_be_measured_is_said(
    weights: Path, fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    assert call(weights, tmp_path, out) == 2
    assert f"there are no pictures in {tmp_path / 'healthy'}" in capsys.readouterr().err
    assert call(weights, fields, out, "--microns-per-pixel", "0") == 2
    assert "must be more than 0" in capsys.readouterr().err
    assert call(weights, fields, out, "--benign", "sick") == 2
    assert "sick is named both benign and leukaemia" in capsys.readouterr().err
    for folder in ("healthy", "sick"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (224, 224), (231,) * 3).save(tmp_path / folder / "blank.png")
    assert call(weights, tmp_path, out) == 2
    assert "refuses every one" in capsys.readouterr().err
    (tmp_path / "sick" / "letter.jpg").write_bytes(b"%PDF-1.7")
    assert call(weights, tmp_path, out) == 2
    assert "letter.jpg cannot be read as a picture" in capsys.readouterr().err
