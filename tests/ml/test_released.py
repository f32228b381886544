"""What is committed under ml/weights is whole, small, fast to load, and does what its report says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from ml import card, config, data, decode, predict, predictor, reference
from ml.manifest import Manifest, newest
from ml.predictor import Engine, Predictor
from ml.tasks import TASKS

ROOT = predict.WEIGHTS
RELEASED = sorted(path.parent for path in ROOT.glob("*/*/manifest.json"))


@pytest.fixture(params=RELEASED, ids=lambda path: f"{path.parent.name}/{path.name}")
def directory(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_the_main_task_is_released() -> None:
    assert any(path.parent.name == predict.TASK for path in RELEASED)


def test_the_folder_says_what_the_manifest_says(directory: Path) -> None:
    manifest = Manifest.read(directory)
    assert (manifest.task, manifest.version) == (directory.parent.name, directory.name)
    assert manifest.codes == TASKS[manifest.task].codes


def test_the_weights_are_the_manifests_and_at_most_50_mb(directory: Path) -> None:
    assert Predictor.load(directory).manifest.weights.bytes <= 50_000_000


def test_the_manifest_quotes_its_report(directory: Path) -> None:
    manifest, report = Manifest.read(directory), json.loads((directory / "report.json").read_text())
    assert len(manifest.metrics) == len(report["protocols"])
    fitted = report["protocols"][0]["calibration"]
    assert manifest.temperature == fitted["temperature"]
    assert (manifest.class_bias or []) == fitted.get("bias", [])
    for metrics, protocol in zip(manifest.metrics, report["protocols"], strict=True):
        assert metrics.values["macro_f1"] == protocol["overall"]["macro_f1"]["value"]
        assert metrics.images == protocol["images"] == np.sum(protocol["confusion"])


def test_the_card_in_the_docs_is_the_one_its_report_makes(directory: Path) -> None:
    if directory != newest(ROOT, directory.parent.name):
        pytest.skip("the card describes the newest version")
    text = (ROOT.parents[1] / "docs" / "models" / f"{directory.parent.name}.md").read_text()
    assert text == card.card(Manifest.read(directory), json.loads((directory / "report.json").read_text()))


def test_who_trains_fields_without_further_settings_follows_the_newest_recipe() -> None:
    made = Manifest.read(newest(ROOT, predict.TASK)).training["settings"]
    default = config.as_dict(config.DEFAULTS[predict.TASK])
    apart = {"protocol", "held_share", "evaluate_every", "threads"}  # what is held out, and by how many hands
    assert {key for key, value in default.items() if made[key] != value} <= apart


def test_every_class_was_learned_from_and_measured_on(directory: Path) -> None:
    counts = Manifest.read(directory).data.counts
    measured = json.loads((directory / "report.json").read_text())["protocols"][0]["by_class"]
    assert all(count > 0 for count in counts["train"].values())
    assert all(row["images"] > 0 for row in measured.values())


@pytest.mark.slow
def test_the_fast_engine_agrees_with_eager_fp32(directory: Path, smear_data: Path) -> None:
    fast = Predictor.load(directory, "cpu")
    slow = Predictor(fast.manifest, fast.net, Engine(predictor.EAGER, torch.device("cpu"), nullcontext))
    pictures = [decode.decode(path.read_bytes()) for path in data.list_images(smear_data / "taleqani")[::130]]
    quick, exact = fast.probabilities(pictures), slow.probabilities(pictures)
    assert np.abs(quick - exact).max() <= predictor.PARITY
    sure = exact.max(1) > 0.6
    assert (quick.argmax(1) == exact.argmax(1))[sure].all()


def test_alone_and_in_a_batch_the_answer_is_the_same(directory: Path) -> None:
    loaded = Predictor.load(directory, "cpu")
    smears = [reference.draw_smear(seed) for seed in range(4)]
    alone = np.concatenate([loaded.probabilities([smear]) for smear in smears])
    assert np.abs(loaded.probabilities(smears) - alone).max() < 0.01


@pytest.mark.slow
def test_it_recognises_held_out_smears(directory: Path, smear_data: Path) -> None:
    """Every eighth picture of the block that was never trained on; the report's accuracy, with room for chance."""
    manifest = Manifest.read(directory)
    if manifest.task != "b-all-stage":
        pytest.skip("another task's pictures")
    if not any(manifest.data.counts["held_out"].values()):
        pytest.skip("it learned from all of them; its figures are those of its folds")
    loaded = Predictor.load(directory)
    right = []
    for label, code in enumerate(manifest.codes):
        files = data.list_images(smear_data / "taleqani" / code)[: manifest.data.counts["held_out"][code] : 8]
        rows = loaded.probabilities([decode.decode(path.read_bytes()) for path in files])
        right += (rows.argmax(1) == label).tolist()
    assert np.mean(right) >= manifest.metrics[0].values["accuracy"] - 0.1
