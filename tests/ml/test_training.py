"""Training learns, resumes to the very same weights after a kill, and stops with a sentence."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml import checkpoint, config, model, reference, train
from ml.config import ConfigError
from ml.ranks import Ranks, chosen_device
from ml.tasks import B_ALL_STAGE

SMALL = {
    "steps": [
        {"name": "resize", "parameters": {"size": 48}},
        {"name": "normalise", "parameters": {"mean": [0.8, 0.8, 0.8], "deviation": [0.2, 0.2, 0.2]}},
    ],
    "augmentation": {"crop": 32},
    "epochs": 2,
    "batch": 8,
    "samples": 16,
    "protocol": "grouped",
    "held_share": 0.25,
    "threads": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, item in enumerate(B_ALL_STAGE.classes):
        place = tmp_path / "data" / item.code
        place.mkdir(parents=True)
        for number in range(6):
            picture = reference.draw_smear(10 * label + number, size=64, nuclei=3 * label, erythrocytes=10)
            Image.fromarray(picture).save(place / f"smear-{number:03d}.png")
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    return tmp_path


def command(folder: Path, out: str, *more: str) -> list[str]:
    places = ["--data", str(folder / "data"), "--out", str(folder / out), "--config", str(folder / "small.json")]
    return ["--task", "b-all-stage", *places, *more]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_weights_of_an_unbroken_one(folder: Path) -> None:
    assert train.main(command(folder, "unbroken")) == 0
    arguments = [sys.executable, "-m", "ml.train", *command(folder, "broken")]
    broken = subprocess.Popen(arguments, cwd=Path(train.__file__).parents[1], stdout=subprocess.DEVNULL)
    state = folder / "broken" / checkpoint.FILE_NAME
    for _ in range(1200):
        if state.exists() or broken.poll() is not None:
            break
        time.sleep(0.05)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    assert train.main(command(folder, "broken")) == 0
    whole, mended = checkpoint.load(folder / "unbroken"), checkpoint.load(folder / "broken")
    assert checkpoint.digest(whole.network) == checkpoint.digest(mended.network)
    assert checkpoint.digest(whole.average) == checkpoint.digest(mended.average)


@pytest.mark.slow
def test_two_processes_train_one_network(folder: Path) -> None:
    (folder / "small.json").write_text(json.dumps({**SMALL, "epochs": 1, "evaluate_every": 1}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ml.train"]
    done = subprocess.run(
        [*launch, *command(folder, "out")], cwd=Path(train.__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len([line for line in done.stdout.splitlines() if line.startswith("{")]) == 1
    saved = checkpoint.load(folder / "out")
    assert saved.facts["epoch"] == 1
    alone = folder / "alone"
    assert train.main(command(folder, "alone")) == 0
    assert checkpoint.digest(checkpoint.load(alone).average) != checkpoint.digest(saved.average)
    assert checkpoint.load(alone).facts["fingerprint"] == saved.facts["fingerprint"]


def test_a_batch_that_cannot_be_shared_is_named(folder: Path) -> None:
    options = train.parse(command(folder, "out"))
    with pytest.raises(train.TrainingError, match="cannot be shared evenly among 3"):
        train.train(options, Ranks(0, 3))


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("cuda:99", "there is no CUDA device 99 here"), ("abacus", "unknown device 'abacus'")],
)
def test_a_device_that_is_not_there_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], device: str, sentence: str
) -> None:
    assert train.main(command(folder, "out", "--device", device)) == 2
    assert sentence in capsys.readouterr().err


def test_auto_takes_a_gpu_of_its_own_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(chosen_device("cpu")) == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert str(chosen_device("auto")) == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(chosen_device("auto")) == "cuda:1"
    assert str(chosen_device("cuda:0")) == "cuda:0"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_goes_on_from_the_gpu_on_the_cpu(folder: Path) -> None:
    assert train.main(command(folder, "out", "--epochs", "1", "--device", "cuda")) == 0
    assert train.main(command(folder, "out", "--epochs", "2", "--device", "cpu")) == 0
    assert len(json.loads((folder / "out" / "curves.json").read_text())) == 2


def test_a_run_leaves_its_record_and_curves(folder: Path) -> None:
    assert train.main(command(folder, "out", "--epochs", "1")) == 0
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["images"] == 24
    assert record["train"] + record["held_out"] + record["dropped"] == 24
    assert len(record["fingerprint"]) == 64
    curves = json.loads((folder / "out" / "curves.json").read_text())
    assert [row["epoch"] for row in curves] == [1]
    assert {"train_loss", "train_accuracy", "held_out_accuracy", "held_out_macro_f1"} <= curves[0].keys()
    saved = checkpoint.load(folder / "out")
    assert saved.facts["fingerprint"] == record["fingerprint"]
    assert saved.facts["planned"] == [[0, 1]]


def test_another_setting_in_the_same_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(folder, "out", "--epochs", "1")) == 0
    (folder / "small.json").write_text(json.dumps({**SMALL, "learning_rate": 0.5}))
    assert train.main(command(folder, "out", "--epochs", "2")) == 2
    assert "other settings or other data" in capsys.readouterr().err


def test_a_missing_class_folder_stops_it_with_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "data" / "Early")
    assert train.main(command(folder, "out")) == 2
    assert "class 'Early' has no images" in capsys.readouterr().err


def test_a_full_disk_stops_it_before_it_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(train.shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    assert train.main(command(folder, "out")) == 2
    assert "not enough disk space" in capsys.readouterr().err


def test_an_unknown_setting_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "small.json").write_text(json.dumps({"learning_speed": 1}))
    assert train.main(command(folder, "out")) == 2
    assert "unknown setting learning_speed" in capsys.readouterr().err


def test_nested_settings_may_be_given_alone() -> None:
    base = config.DEFAULTS["b-all-stage"]
    changed = config.override(base, {"augmentation": {"noise": 0.5}, "epochs": 3})
    assert changed.augmentation == dataclasses.replace(base.augmentation, noise=0.5)
    assert changed.epochs == 3
    with pytest.raises(ConfigError, match="unknown setting sound"):
        config.override(base, {"augmentation": {"sound": 1}})


def test_settings_survive_the_way_through_json() -> None:
    for base in config.DEFAULTS.values():
        assert config.override(base, config.as_dict(base)) == base


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    settings = dataclasses.replace(config.DEFAULTS["b-all-stage"], learning_rate=1.0, warmup=0.1)
    rates = [train.learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == 1.0
    assert all(first >= second for first, second in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.01


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (1.0, 0.5)])
def test_draws_follow_the_images_or_the_classes(balance: float, share: float) -> None:
    labels = np.array([0] * 100 + [1] * 900)
    settings = dataclasses.replace(config.DEFAULTS["b-all-stage"], balance=balance, samples=8000)
    drawn = labels[train.draw(labels, settings, torch.Generator().manual_seed(0)).numpy()]
    assert (drawn == 0).mean() == pytest.approx(share, abs=0.02)


def test_the_average_follows_the_network() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = train.Average(net, 0.9)
    with torch.no_grad():
        net[0].weight.fill_(5.0)
        net[1].num_batches_tracked.fill_(7)
    for _ in range(200):
        average.update(net)
    assert torch.allclose(average.state["0.weight"], torch.full((2, 2), 5.0), atol=1e-3)
    assert int(average.state["1.num_batches_tracked"]) == 7


def test_biases_and_batchnorm_are_free_of_weight_decay() -> None:
    settings = config.DEFAULTS["b-all-stage"]
    decayed, free = train.make_optimiser(model.build(4), settings).param_groups
    assert decayed["weight_decay"] == settings.weight_decay
    assert free["weight_decay"] == 0.0
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim <= 1 for parameter in free["params"])


def test_a_trunk_is_taken_over_and_the_head_is_not() -> None:
    torch.manual_seed(0)
    cells, fields = model.build(11), model.build(4)
    model.load_trunk(fields, cells.state_dict())
    assert torch.equal(fields.conv1.weight, cells.conv1.weight)
    assert fields.fc[1].weight.shape == (4, 2048)
    with pytest.raises(ValueError, match="another architecture"):
        model.load_trunk(fields, {"conv9.weight": torch.zeros(1)})


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = checkpoint.Checkpoint(
        network=net.state_dict(),
        average={key: value.clone() for key, value in net.state_dict().items()},
        optimiser=optimiser.state_dict(),
        facts={"epoch": 3},
    )
    checkpoint.save(tmp_path, state)
    loaded = checkpoint.load(tmp_path)
    assert checkpoint.digest(loaded.network) == checkpoint.digest(net.state_dict())
    assert loaded.facts == {"epoch": 3}
    other = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters(), lr=0.5)
    other.load_state_dict(loaded.optimiser)
    assert other.param_groups[0]["lr"] == 0.1
    for saved, restored in zip(optimiser.state.values(), other.state.values(), strict=True):
        assert torch.equal(saved["exp_avg"], restored["exp_avg"])
        assert saved["step"] == restored["step"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / checkpoint.FILE_NAME).write_bytes(b"half a file")
    with pytest.raises(checkpoint.CheckpointError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path)


@pytest.mark.slow
def test_it_learns_what_is_easy() -> None:
    labels = np.arange(16) % 2
    pictures = np.full((16, 48, 48, 3), 230, np.uint8)
    pictures[labels == 1, 16:32, 16:32] = (90, 40, 150)
    torch.manual_seed(0)
    net = model.build(2).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    batch = train.normalised(train.to_input(pictures), config.DEFAULTS["b-all-stage"])
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(net(batch), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
