"""`ml.evaluate --shipped`: what a laboratory would see of a release, refusals and abstentions counted."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ml import decode, evaluate, predict, reference, shipped
from ml.predictor import Prediction, Predictor
from ml.tasks import B_ALL_STAGE

CODES = B_ALL_STAGE.codes


def answer(label: str | None, *, abstained: bool = False, reasons: tuple[str, ...] = ()) -> Prediction:
    said = {code: float(code == label) for code in CODES} if label else {}
    return Prediction(
        task="b-all-stage",
        model="1.0.0",
        label=label,
        probabilities=said,
        confidence=max(said.values(), default=0.0),
        refused=label is None,
        abstained=abstained,
        reasons=reasons,
    )


def test_each_picture_is_refused_left_open_right_or_wrong() -> None:
    answers = [
        answer("Benign"),
        answer("Early"),
        answer("Pre", abstained=True, reasons=("unlike_training",)),
        answer(None, reasons=("blurred",)),
        answer("Pro"),
    ]
    told = shipped.given(answers, np.array([0, 0, 3, 1, 3]), CODES)
    assert told == {
        "images": 5,
        "refused": 1,
        "abstained": 1,
        "answered": 3,
        "answered_wrong": 1,
        "wrong_of_answered": 1 / 3,
        "reasons": {"unlike_training": 1, "blurred": 1},
    }
    assert shipped.given(answers[3:4], np.array([1]), CODES)["wrong_of_answered"] is None


def test_a_folder_is_answered_as_the_predictor_answers(tmp_path: Path) -> None:
    """Of each class two drawn fields and a blank one, which is refused."""
    weights = sorted((predict.WEIGHTS / "b-all-stage").iterdir())[-1]
    root = tmp_path / "taleqani"
    for label, code in enumerate(CODES):
        (root / code).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(reference.draw_smear(100 + 10 * label + number)).save(root / code / f"{number}.png")
        Image.new("RGB", (224, 224), (230 + label,) * 3).save(root / code / "blank.png")
    out = tmp_path / "shipped.json"
    places = ["--weights", str(weights), "--data", str(root), "--out", str(out)]
    assert evaluate.main([*places, "--draws", "5", "--protocol", "all", "--shipped"]) == 0
    measured = json.loads(out.read_text())["protocols"][0]
    paths = sorted(root.rglob("*.png"))
    answers = Predictor.load(weights).predict([decode.decode(path.read_bytes()) for path in paths])
    truth = np.array([CODES.index(path.parent.name) for path in paths])
    assert measured["shipped"] == shipped.given(answers, truth, CODES)
    assert (measured["shipped"]["refused"], measured["images"]) == (4, 8)
    said = [(t, CODES.index(a.label)) for a, t in zip(answers, truth, strict=True) if a.label]
    assert measured["confusion"] == [[sum(p == (t, s) for p in said) for s in range(4)] for t in range(4)]


def test_a_folder_of_refused_pictures_is_said_to_hold_nothing(tmp_path: Path, capsys: object) -> None:
    root = tmp_path / "taleqani"
    for label, code in enumerate(CODES):
        (root / code).mkdir(parents=True)
        Image.new("RGB", (224, 224), (230 + label,) * 3).save(root / code / "blank.png")
    weights = sorted((predict.WEIGHTS / "b-all-stage").iterdir())[-1]
    places = ["--weights", str(weights), "--data", str(root), "--out", str(tmp_path / "out.json")]
    assert evaluate.main([*places, "--protocol", "all", "--shipped"]) == 2
    assert "refuses every one" in capsys.readouterr().err  # type: ignore[attr-defined]
