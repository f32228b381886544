"""A released directory loads only when it is whole, and answers the same whatever the company."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml import predictor as engine
from ml import reference
from ml.manifest import Manifest, ManifestError
from ml.predictor import Prediction, Predictor, WeightsError

SMEARS = [reference.draw_smear(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def predictor(released: Path) -> Predictor:
    return Predictor.load(released, "cpu")


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "copy"))


def test_a_prediction_holds_calibrated_probabilities_of_every_class(predictor: Predictor) -> None:
    answer = predictor.predict(SMEARS[:1])[0]
    assert answer.task == "b-all-stage"
    assert answer.model == "b-all-stage/0.1.0"
    assert set(answer.probabilities) == {"Benign", "Early", "Pre", "Pro"}
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert answer.confidence == max(answer.probabilities.values())
    assert answer.probabilities[str(answer.label)] == answer.confidence
    assert not answer.refused
    assert answer.reasons == ()


def test_a_prediction_cannot_be_edited(predictor: Predictor) -> None:
    answer = predictor.predict(SMEARS[:1])[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.label = "Pro"  # type: ignore[misc]


def test_a_picture_alone_and_in_a_batch_get_the_same_answer(predictor: Predictor) -> None:
    together = predictor.probabilities(SMEARS)
    alone = np.concatenate([predictor.probabilities([smear]) for smear in SMEARS])
    uneven = predictor.probabilities(SMEARS, batch=3)
    assert np.abs(together - alone).max() < 0.01
    assert np.abs(together - uneven).max() < 0.01


def test_the_answers_come_in_the_order_of_the_pictures(predictor: Predictor) -> None:
    blank = np.full((224, 224, 3), 240, np.uint8)
    answers = predictor.predict([SMEARS[0], blank, SMEARS[1]])
    forward = predictor.probabilities(SMEARS[:2])
    assert [answer.refused for answer in answers] == [False, True, False]
    assert list(answers[0].probabilities.values()) == pytest.approx(forward[0].tolist(), abs=0.01)
    assert list(answers[2].probabilities.values()) == pytest.approx(forward[1].tolist(), abs=0.01)


def test_a_refusal_names_no_class(predictor: Predictor) -> None:
    answer = predictor.predict([np.full((224, 224, 3), 240, np.uint8)])[0]
    assert answer == Prediction("b-all-stage", "b-all-stage/0.1.0", None, {}, 0.0, True, False, ("blank",))
    assert answer.explanation == "The picture is empty or evenly grey."


def test_no_pictures_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_pictures_of_any_size_are_taken(predictor: Predictor) -> None:
    wide = np.concatenate([reference.draw_smear(1, size=600), reference.draw_smear(2, size=600)], axis=1)
    assert predictor.predict([wide])[0].label is not None


def test_it_abstains_below_the_manifests_threshold(copy: Path, manifest_of: Any) -> None:
    weights = Manifest.read(copy).weights
    manifest_of(weights=weights.model_dump(), abstention_threshold=1.0).write(copy)
    answer = Predictor.load(copy).predict(SMEARS[:1])[0]
    assert answer.abstained
    assert answer.label is not None
    assert answer.reasons == ("low_confidence",)


def test_the_bias_of_a_class_moves_its_probability(predictor: Predictor, copy: Path, manifest_of: Any) -> None:
    weights = predictor.manifest.weights
    bias = [0.0, 2.0, 0.0, -1.0]
    manifest_of(weights=weights.model_dump(), temperature=2.0, class_bias=bias).write(copy)
    leaning = Predictor.load(copy)
    drawn = [reference.draw_smear(seed) for seed in range(3)]
    expected = np.exp(predictor.logits(drawn) / 2.0 + np.array(bias))
    expected /= expected.sum(axis=1, keepdims=True)
    assert leaning.probabilities(drawn) == pytest.approx(expected, abs=1e-4)
    again = np.exp(leaning.logits(drawn) / 2.0)
    assert again / again.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=1e-4)


def test_the_temperature_flattens_the_probabilities(predictor: Predictor, copy: Path, manifest_of: Any) -> None:
    weights = Manifest.read(copy).weights
    manifest_of(weights=weights.model_dump(), temperature=8.0).write(copy)
    cool, warm = predictor.probabilities(SMEARS), Predictor.load(copy).probabilities(SMEARS)
    assert (warm.max(1) < cool.max(1)).all()
    assert (warm.argmax(1) == cool.argmax(1)).all()


def test_the_scale_bar_makes_no_difference(predictor: Predictor) -> None:
    marked = SMEARS[0].copy()
    marked[195:215, 180:222] = (255, 0, 0)
    assert np.abs(predictor.probabilities([marked]) - predictor.probabilities(SMEARS[:1])).max() < 1e-6


def test_the_fast_engine_agrees_with_eager_fp32(predictor: Predictor) -> None:
    slow = Predictor(
        predictor.manifest, predictor.net, engine.Engine(engine.EAGER, torch.device("cpu"), engine.nullcontext)
    )
    assert np.abs(predictor.probabilities(SMEARS) - slow.probabilities(SMEARS)).max() <= engine.PARITY


def test_an_engine_that_disagrees_is_not_used(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = engine.forward

    def wrong(net: torch.nn.Module, ready: torch.Tensor, used: engine.Engine) -> np.ndarray:
        logits = honest(net, ready, used)
        return logits if used.name == engine.EAGER else logits + np.array([3, 0, 0, 0], np.float32)

    monkeypatch.setattr(engine, "forward", wrong)
    quick = engine.Engine("autocast-bf16-cpu", torch.device("cpu"), engine.nullcontext)
    checked = Predictor(predictor.manifest, predictor.net, quick)
    checked.fall_back_unless_exact()
    assert checked.backend == engine.EAGER


def test_it_says_where_and_how_it_runs(predictor: Predictor) -> None:
    assert predictor.device == "cpu"
    assert predictor.backend in {"eager-fp32", "autocast-bf16-cpu"}


def test_altered_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="is not the file its manifest names"):
        Predictor.load(copy)


def test_missing_weights_are_named(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no readable weights at .*model\.safetensors"):
        Predictor.load(copy)


def rehashed(directory: Path, data: bytes, manifest_of: Any, **changes: Any) -> None:
    """Put other bytes in place of the weights, with a manifest that vouches for them."""
    import hashlib

    (directory / "model.safetensors").write_bytes(data)
    weights = {"file": "model.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest_of(weights=weights, **changes).write(directory)


def test_a_pickle_in_place_of_the_weights_is_never_run(copy: Path, tmp_path: Path, manifest_of: Any) -> None:
    trap = f"cos\nmkdir\n(V{tmp_path / 'ran'}\ntR.".encode()  # a pickle that makes a folder when it is loaded
    rehashed(copy, trap, manifest_of)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        Predictor.load(copy)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_class_set_do_not_fit(copy: Path, manifest_of: Any) -> None:
    classes = manifest_of().model_dump()["classes"][:3]
    rehashed(copy, (copy / "model.safetensors").read_bytes(), manifest_of, classes=classes)
    with pytest.raises(WeightsError, match="do not fit"):
        Predictor.load(copy)


def test_another_architecture_is_not_guessed(copy: Path, manifest_of: Any) -> None:
    rehashed(copy, (copy / "model.safetensors").read_bytes(), manifest_of, architecture="resnet18")
    with pytest.raises(WeightsError, match="unknown architecture 'resnet18'"):
        Predictor.load(copy)


def test_a_folder_without_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("device", ["teapot", "cuda:7"])
def test_a_device_that_is_not_there_is_an_error(released: Path, device: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    with pytest.raises(WeightsError):
        Predictor.load(released, device)


def test_the_weights_are_half_the_size_and_small_enough(released: Path) -> None:
    assert (released / "model.safetensors").stat().st_size == Manifest.read(released).weights.bytes < 50_000_000
