"""From a finished run to a directory that loads, measures itself and describes itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml import (
    card,
    checkpoint,
    evaluate,
    evaluation,
    model,
    predict,
    reference,
    release,
    robustness,
    scrutiny,
    stress,
    train,
)
from ml.calibration import Calibration
from ml.evaluation import Answers
from ml.manifest import Manifest
from ml.predictor import Predictor, choose_engine
from ml.tasks import B_ALL_STAGE, LINEAGE

SETTINGS = {
    "steps": [
        {"name": "resize", "parameters": {"size": 64}},
        {"name": "denoise", "enabled": False},
        {"name": "background_neutralisation"},
        {"name": "normalise", "parameters": {"mean": [0.8, 0.8, 0.8], "deviation": [0.2, 0.2, 0.2]}},
    ],
    "augmentation": {"crop": 48},
    "epochs": 1,
    "batch": 8,
    "samples": 16,
    "protocol": "grouped",
    "held_share": 0.3,
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, a run on it, and its release 0.1.0 with a card."""
    root = tmp_path_factory.mktemp("workshop")
    for label, item in enumerate(B_ALL_STAGE.classes):
        (root / "taleqani" / item.code).mkdir(parents=True)
        for number in range(8):
            picture = reference.draw_smear(10 * label + number, size=128)
            Image.fromarray(picture).save(root / "taleqani" / item.code / f"smear-{number:03d}.png")
    (root / "settings.json").write_text(json.dumps(SETTINGS))
    places = ["--data", str(root / "taleqani"), "--out", str(root / "run"), "--config", str(root / "settings.json")]
    assert train.main(["--task", "b-all-stage", *places]) == 0
    arguments = ["--run", str(root / "run"), "--data", str(root / "taleqani"), "--out", str(root / "weights")]
    assert release.main([*arguments, "--version", "0.1.0", "--draws", "5", "--probes", "8"]) == 0
    return root


@pytest.fixture
def directory(workshop: Path) -> Path:
    return workshop / "weights" / "b-all-stage" / "0.1.0"


def test_it_holds_the_four_files(directory: Path) -> None:
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["curves.json", "manifest.json", "model.safetensors", "report.json"]


def test_the_manifest_says_what_the_report_measured(directory: Path) -> None:
    manifest, report = Manifest.read(directory), json.loads((directory / "report.json").read_text())
    protocol = report["protocols"][0]
    values = manifest.metrics[0].values
    assert values["accuracy"] == protocol["overall"]["accuracy"]["value"]
    assert values["risk_at_90_percent_coverage"] == protocol["selective"]["risk_at"]["0.90"]
    assert manifest.temperature == protocol["calibration"]["temperature"]
    assert manifest.abstention_threshold == protocol["selective"]["threshold"]
    assert manifest.refusal.false_refusals == report["refusal"]["false_refusals"]
    assert manifest.data.sources[0].sha256 == report["data"]["sha256"]


def test_the_counts_add_up(directory: Path) -> None:
    counts = Manifest.read(directory).data.counts
    assert sum(sum(part.values()) for part in counts.values()) == 32


def test_the_released_network_is_the_averaged_one_within_half_precision(workshop: Path, directory: Path) -> None:
    predictor = Predictor.load(directory)
    average = checkpoint.load(workshop / "run").average
    for name, value in predictor.net.state_dict().items():
        trained = average[name.replace("fc.head.", "fc.")].float()
        assert torch.allclose(value.float(), trained, rtol=2e-3, atol=1e-4), name


def test_the_accuracy_is_that_of_the_predictor_itself(workshop: Path, directory: Path) -> None:
    report = json.loads((directory / "report.json").read_text())
    again = workshop / "again.json"
    arguments = [
        "--weights",
        str(directory),
        "--data",
        str(workshop / "taleqani"),
        "--out",
        str(again),
        "--draws",
        "5",
    ]
    assert evaluate.main([*arguments, "--protocol", "grouped"]) == 0
    found = json.loads(again.read_text())
    measured = found["protocols"][0]
    assert measured["confusion"] == report["protocols"][0]["confusion"]
    parts = ("refusal", "shortcuts", "heat_map_deletion", "out_of_distribution")
    assert {part: found[part].keys() for part in parts} == {part: report[part].keys() for part in parts}
    assert found["refusal"] == report["refusal"]
    assert found["cost"]["multiply_adds"] == report["cost"]["multiply_adds"]
    assert "the very split of its training" in measured["protocol"]


def test_multiply_adds_are_those_of_the_architecture() -> None:
    """torchvision gives 4.23 billion for ResNeXt-50 32x4d at 224 pixels."""
    made = Manifest.read(predict.WEIGHTS / "b-all-stage" / "1.0.0")
    shown = [step for step in made.preprocessing if step.name != "centre_crop"]
    predictor = Predictor(made.model_copy(update={"preprocessing": shown}), model.build(4), choose_engine("cpu"))
    assert scrutiny.multiply_adds(predictor, reference.draw_smear(0)) == pytest.approx(4.23e9, rel=0.01)


def test_a_random_protocol_says_that_it_flatters(workshop: Path, directory: Path) -> None:
    out = workshop / "random.json"
    arguments = ["--weights", str(directory), "--data", str(workshop / "taleqani"), "--out", str(out), "--draws", "5"]
    assert evaluate.main([*arguments, "--protocol", "random", "--probes", "0"]) == 0
    assert "flatters" in json.loads(out.read_text())["protocols"][0]["protocol"]


def test_evaluation_names_a_missing_class(
    workshop: Path, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workshop / "taleqani", tmp_path / "taleqani")
    shutil.rmtree(tmp_path / "taleqani" / "Pre")
    arguments = [
        "--weights",
        str(directory),
        "--data",
        str(tmp_path / "taleqani"),
        "--out",
        str(tmp_path / "out.json"),
    ]
    assert evaluate.main([*arguments, "--protocol", "all"]) == 2
    assert "class 'Pre' has no images" in capsys.readouterr().err


def test_a_run_on_other_data_is_not_released(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workshop / "taleqani", tmp_path / "taleqani")
    (tmp_path / "taleqani" / "Pro" / "smear-000.png").unlink()
    arguments = ["--run", str(workshop / "run"), "--data", str(tmp_path / "taleqani"), "--out", str(tmp_path)]
    assert release.main([*arguments, "--version", "0.1.1"]) == 2
    assert "no longer holds the data" in capsys.readouterr().err


def test_a_run_that_learned_from_everything_is_measured_on_its_folds(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.scale.is_wrong", lambda *_: False)  # drawn nuclei are larger than those learned from
    places = ["--data", str(workshop / "taleqani"), "--task", "b-all-stage"]
    blocks = {"held_start": 0.0, "held_share": 0.5}, {"held_start": 0.5, "held_share": 0.5}
    runs = {
        "whole": {"protocol": "whole"},
        "random": {"protocol": "random"},
        "first": {"protocol": "random", "seed": 1, **blocks[0]},
        "second": {"protocol": "random", "seed": 1, **blocks[1]},
        "without": {"protocol": "named", "held_pattern": "^Pro/"},
    }
    for name, changes in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**SETTINGS, **changes}))
        where = ["--config", str(tmp_path / f"{name}.json"), "--out", str(tmp_path / name)]
        assert train.main([*places, *where]) == 0
    run = ["--run", str(tmp_path / "whole"), "--data", str(workshop / "taleqani"), "--out", str(tmp_path / "weights")]
    options = ["--version", "0.2.0", "--draws", "5", "--probes", "0"]
    assert release.main([*run, *options]) == 2
    folds = ["--folds", str(tmp_path / "first"), str(tmp_path / "second")]
    folds += ["--beside", str(tmp_path / "random"), str(tmp_path / "without")]
    fitted = evaluation.best_fitted
    bias = (0.5, -0.5, 0.25, -0.25)

    def leaning(answers: Answers, parts: np.ndarray | None) -> tuple[Calibration, np.ndarray, str]:
        found, probabilities, how = fitted(answers, parts)
        return (found if parts is None else Calibration(found.temperature, bias)), probabilities, how

    monkeypatch.setattr(evaluation, "best_fitted", leaning)
    assert release.main([*run, *options, *folds]) == 0
    directory = tmp_path / "weights" / "b-all-stage" / "0.2.0"
    report = json.loads((directory / "report.json").read_text())
    names = ["cross-validation", "random-split", "without-Pro", "as-shipped"]
    assert [row["name"] for row in report["protocols"]] == names
    assert report["protocols"][0]["images"] == 32
    became = report["protocols"][3]["shipped"]
    assert became["images"] == 32 == became["refused"] + became["abstained"] + became["answered"]
    assert "were refused" in card.card(Manifest.read(directory), report)
    assert Manifest.read(directory).class_bias == list(bias), "what was fitted over the folds is what ships"
    assert [row["calibration"]["bias"] for row in report["protocols"]] == [list(bias), [], [], []]
    assert report["protocols"][2]["by_class"]["Pro"]["images"] == report["protocols"][2]["images"] == 8
    assert "2 networks of one recipe" in report["protocols"][0]["protocol"]
    assert Predictor.load(directory).manifest.conformal is not None


def test_an_experimental_task_says_so_in_manifest_and_card(tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    rows = ["file,diagnosis"]
    for label, item in enumerate(LINEAGE.classes):
        place = root / item.folders[0]
        place.mkdir(parents=True)
        for number in range(6):
            name = f"Patient_{10 * label + number}_.png"
            Image.fromarray(reference.draw_smear(10 * label + number, size=64)).save(place / name)
            rows.append(f"{place.name}/{name},AML")
    (root / "deepapl" / "cells.csv").write_text("\n".join(rows))
    settings = {**SETTINGS, "protocol": "named", "held_pattern": r"Patient_\d?[01]_", "frozen": ["layer1"]}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    places = ["--data", str(root), "--out", str(run), "--config", str(tmp_path / "settings.json")]
    assert train.main(["--task", "lineage", *places]) == 0
    given = ["--run", str(run), "--data", str(root), "--out", str(tmp_path), "--version", "0.1.0"]
    assert release.main([*given, "--draws", "5", "--probes", "0"]) == 0
    manifest = Manifest.read(tmp_path / "lineage" / "0.1.0")
    report = json.loads((tmp_path / "lineage" / "0.1.0" / "report.json").read_text())
    assert manifest.experimental
    assert "**Experimental**" in card.card(manifest, report)
    names = [row["name"] for row in report["protocols"]]
    assert names == ["held-out-patients", "held-out-all_idb2", "held-out-deepapl"], (
        "what it learned from is not external"
    )


def test_a_release_can_be_measured_anew_with_the_same_weights(workshop: Path, directory: Path, tmp_path: Path) -> None:
    arguments = ["--run", str(directory), "--data", str(workshop / "taleqani"), "--out", str(tmp_path)]
    assert release.main([*arguments, "--version", "0.1.1", "--draws", "5", "--probes", "0"]) == 0
    again = tmp_path / "b-all-stage" / "0.1.1"
    first, second = Manifest.read(directory), Manifest.read(again)
    assert second.weights.sha256 == first.weights.sha256
    assert second.metrics[0].values["accuracy"] == first.metrics[0].values["accuracy"]
    assert second.training == first.training
    assert second.data == first.data
    assert (again / "curves.json").read_text() == (directory / "curves.json").read_text()


def test_a_run_that_builds_on_a_release_names_what_that_was_made_of(
    workshop: Path, directory: Path, tmp_path: Path
) -> None:
    places = ["--data", str(workshop / "taleqani"), "--out", str(tmp_path / "on")]
    settings = ["--config", str(workshop / "settings.json"), "--start-from", str(directory)]
    assert train.main(["--task", "b-all-stage", *places, *settings]) == 0
    given = ["--run", str(tmp_path / "on"), "--data", str(workshop / "taleqani"), "--out", str(tmp_path)]
    options = ["--version", "0.3.0", "--draws", "5", "--probes", "0", "--earlier", str(directory)]
    assert release.main([*given, *options]) == 0
    made = Manifest.read(tmp_path / "b-all-stage" / "0.3.0")
    (stage,) = made.training["earlier_stages"]
    assert (stage["task"], stage["epochs"]) == ("b-all-stage", 1)
    assert [source.role for source in made.data.sources] == ["training"], "the same data set is not named twice"
    curves = json.loads((tmp_path / "b-all-stage" / "0.3.0" / "curves.json").read_text())
    assert [(row["stage"], row["epoch"]) for row in curves] == [(1, 1), (2, 2)]


def test_the_card_quotes_the_report(directory: Path, tmp_path: Path) -> None:
    assert card.main(["--weights", str(directory), "--out", str(tmp_path / "card.md")]) == 0
    text = (tmp_path / "card.md").read_text()
    report = json.loads((directory / "report.json").read_text())
    assert f"{report['protocols'][0]['overall']['macro_f1']['value']:.3f}" in text
    assert "Benign means haematogones" in text
    assert "flow cytometry" in text
    assert Manifest.read(directory).weights.sha256 in text
    assert "nan" not in text.lower().split()


def test_a_missed_bar_is_called_missed(directory: Path) -> None:
    manifest, report = Manifest.read(directory), json.loads((directory / "report.json").read_text())
    lines = card.bars(manifest, report)
    verdicts = {True: "reached", False: "**missed**"}
    for bar in card.BARS[manifest.task]:
        row = next(line for line in lines if f"| {bar.title} |" in line)
        measured = bar.value(report) is not None
        assert (verdicts[bar.reached(report)] if measured else "not measured") in row
    assert any("not measured" in line for line in lines)


def test_robustness_is_measured_for_every_named_change(directory: Path) -> None:
    rows = json.loads((directory / "report.json").read_text())["robustness"]
    assert set(rows) == {"unchanged", *robustness.CHANGES, *stress.TOLD}
    assert all(0 <= row["accuracy"] <= 1 for row in rows.values())


@pytest.mark.parametrize("name", sorted(robustness.CHANGES))
def test_each_change_keeps_the_size_and_changes_the_picture(name: str) -> None:
    picture = reference.draw_smear(3)
    before = picture.copy()
    changed = robustness.CHANGES[name](picture)
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, picture)
    assert np.array_equal(picture, before)
