"""Backends: what may serve, what it costs to be wrong, and what is kept from start to start."""

import dataclasses
import importlib.util
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ml import backends, choosing
from ml.backends import BACKENDS, BackendUnavailable, WholeBatches, artefact, autocast, compiled, eager, whole_batches
from ml.choosing import Parity, choose, compare, drawn, parity
from ml.predictor import EAGER, Engine, Predictor
from tests.worker.released import write_release

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("backends"))


@pytest.fixture
def predictor(released: Path) -> Predictor:
    loaded = Predictor.load(released, "cpu")
    loaded.engine = eager(loaded, 2, Path())
    return loaded


def engine_of(name: str, network: object) -> Engine:
    return Engine(name, CPU, nullcontext, network)


def offer(monkeypatch: pytest.MonkeyPatch, name: str, engine: Engine) -> None:
    monkeypatch.setitem(BACKENDS, name, lambda predictor, batch, cache: engine)


def nothing(predictor: Predictor, batch: int, cache: Path) -> Engine:
    raise BackendUnavailable("not here")


def test_a_backend_by_name_serves_once_it_agrees(predictor: Predictor, tmp_path: Path) -> None:
    if not choosing.BACKENDS or not backends.cpu_has_bf16():
        pytest.skip("needs a processor that multiplies bf16")
    choice = choose(predictor, "autocast", 2, tmp_path)
    assert choice.engine.name == "autocast-bf16-cpu"
    assert "as set, probabilities within 0.0" in choice.reason


def test_autocast_is_not_offered_where_bf16_is_emulated(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "cpu_has_bf16", lambda: False)
    with pytest.raises(BackendUnavailable, match="slower than fp32"):
        autocast(predictor, 2, tmp_path)
    choice = choose(predictor, "autocast", 2, tmp_path)
    assert choice.engine is predictor.engine
    assert "eager-fp32 instead of autocast" in choice.reason


@pytest.mark.parametrize("wanted", ["compile", "auto"])
def test_a_backend_that_is_wrong_never_serves_however_fast(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    offer(monkeypatch, "openvino", engine_of("wrong", lambda pictures: torch.zeros(len(pictures), 4)))
    offer(monkeypatch, "compile", engine_of("wrong", lambda pictures: torch.zeros(len(pictures), 4)))
    choice = choose(predictor, wanted, 2, tmp_path)
    assert choice.engine is predictor.engine
    assert "not exact enough" in choice.reason


@pytest.mark.parametrize("answer", [float("nan"), None])
def test_a_backend_that_breaks_never_serves(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: float | None
) -> None:
    def network(pictures: Tensor) -> Tensor:
        if answer is None:
            raise RuntimeError("illegal instruction")
        return torch.full((len(pictures), 4), answer)

    offer(monkeypatch, "compile", engine_of("broken", network))
    choice = choose(predictor, "compile", 2, tmp_path)
    assert choice.engine is predictor.engine
    assert "eager-fp32 instead of compile" in choice.reason


def test_auto_takes_the_fastest_of_those_that_agree(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is given, not measured: this machine's mood is not what is tested."""
    same = engine_of("quick", predictor.net)
    quicker = engine_of("quicker", predictor.net)
    times = {EAGER: 4.0, "quick": 2.0, "quicker": 1.0}
    monkeypatch.setattr(choosing, "seconds", lambda predictor, engine, ready: times[engine.name])
    offer(monkeypatch, "openvino", quicker)
    offer(monkeypatch, "compile", same)
    assert choose(predictor, "auto", 2, tmp_path).engine is quicker
    offer(monkeypatch, "openvino", same)
    offer(monkeypatch, "compile", quicker)
    choice = choose(predictor, "auto", 2, tmp_path)
    assert choice.engine is quicker
    assert choice.reason.startswith("quicker chosen. openvino: 2.00× eager-fp32")


def test_auto_keeps_what_serves_where_nothing_is_worth_the_change(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "seconds", lambda predictor, engine, ready: 1.0 if engine.network is None else 0.97)
    offer(monkeypatch, "compile", engine_of("hardly quicker", predictor.net))
    monkeypatch.setitem(BACKENDS, "openvino", nothing)
    choice = choose(predictor, "auto", 2, tmp_path)
    assert choice.engine is predictor.engine
    assert "openvino: not here" in choice.reason


def test_a_name_nobody_knows_is_said_and_the_worker_serves(predictor: Predictor, tmp_path: Path) -> None:
    choice = choose(predictor, "warp", 2, tmp_path)
    assert choice.engine is predictor.engine
    assert "there is no such backend" in choice.reason


def test_cuda_is_refused_where_there_is_none(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no CUDA"):
        backends.cuda(predictor, 2, tmp_path)


def test_parity_counts_gaps_and_changes_where_fp32_was_sure() -> None:
    exact = np.array([[0.7, 0.3], [0.55, 0.45], [0.5, 0.5]])
    assert compare(exact, exact) == Parity(0.0, 0, 3)
    unsure = exact + np.array([[0, 0], [-0.06, 0.06], [0, 0]])
    assert compare(exact, unsure).classes_changed == 0
    sure = exact + np.array([[-0.3, 0.3], [0, 0], [0, 0]])
    assert compare(exact, sure).classes_changed == 1
    assert not Parity(0.021, 0, 3).holds
    assert not Parity(0.0, 1, 3).holds
    assert Parity(0.02, 0, 3).holds


def test_what_is_compared_are_the_answers_not_the_logits(predictor: Predictor) -> None:
    """A constant added to every logit changes no probability."""
    moved = engine_of("moved", lambda pictures: predictor.net(pictures) + 5.0)
    assert parity(predictor, moved, drawn(2), 2).largest_gap < 1e-4


class Recorder:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, pictures: Tensor) -> Tensor:
        self.sizes.append(len(pictures))
        return pictures.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("count", "whole", "other"), [(4, [4], []), (3, [4], []), (1, [], [1]), (9, [4, 4], [1]), (7, [4, 4], [])]
)
def test_a_program_for_whole_batches_answers_any_number_in_order(
    count: int, whole: list[int], other: list[int]
) -> None:
    program, fewer = Recorder(), Recorder()
    network = WholeBatches(program, 4, fewer)
    network.worth_from(0.7)
    pictures = torch.arange(count * 12, dtype=torch.float32).reshape(count, 3, 2, 2)
    assert torch.equal(network(pictures), pictures.mean(dim=(2, 3)))
    assert (program.sizes, fewer.sizes) == (whole, other)


def test_a_slow_program_is_used_for_whole_batches_alone() -> None:
    network = WholeBatches(Recorder(), 4, Recorder())
    network.worth_from(1.7)
    assert network.least == 4
    network.worth_from(0.0)
    assert network.least == 1


def test_an_artefact_is_found_by_all_it_depends_on(predictor: Predictor, tmp_path: Path) -> None:
    def name(batch: int = 4) -> str:
        return artefact(predictor, batch, tmp_path, "compile", ".pt2").name

    first = name()
    assert name() == first
    assert name(batch=8) != first
    weights = predictor.manifest.weights.model_copy(update={"sha256": "0" * 64})
    predictor.manifest = predictor.manifest.model_copy(update={"weights": weights})
    assert name() != first


def test_an_artefact_of_another_processor_or_torch_is_not_taken(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = artefact(predictor, 4, tmp_path, "compile", ".pt2")
    with monkeypatch.context() as patch:
        patch.setattr(backends, "processor", lambda: "another")
        assert artefact(predictor, 4, tmp_path, "compile", ".pt2") != first
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert artefact(predictor, 4, tmp_path, "compile", ".pt2") != first


def test_without_a_compiler_the_worker_keeps_what_it_has(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    choice = choose(predictor, "compile", 2, tmp_path / "cache")
    assert choice.engine is predictor.engine
    assert "no C++ compiler" in choice.reason


def test_a_compiler_that_fails_says_why(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    predictor.directory = tmp_path / "nowhere"
    with pytest.raises(BackendUnavailable, match=r"compiling failed: .*nowhere"):
        compiled(predictor, 2, tmp_path)
    assert not list(tmp_path.glob("*.pt2"))


def test_what_cannot_be_loaded_is_thrown_away(predictor: Predictor, tmp_path: Path) -> None:
    spoilt = artefact(predictor, 2, tmp_path, "compile", ".pt2")
    spoilt.write_bytes(b"half a file")
    with pytest.raises(BackendUnavailable, match="could not be loaded"):
        compiled(predictor, 2, tmp_path)
    assert not spoilt.exists(), "so that the next start makes it anew"


def test_old_artefacts_are_cleared_away(tmp_path: Path) -> None:
    for age in range(12):
        path = tmp_path / f"compile-{age}.pt2"
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    backends.keep_newest(tmp_path, ".pt2")
    assert sorted(path.stem for path in tmp_path.glob("*.pt2")) == [f"compile-{age}" for age in range(8)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_program_agrees_and_is_made_once(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    first = compiled(predictor, 2, tmp_path)
    assert parity(predictor, first, drawn(6), 2).holds
    (made,) = tmp_path.glob("*.pt2")
    monkeypatch.setenv("PATH", "")
    second = choose(predictor, "compile", 2, tmp_path)
    assert second.engine.name == first.name
    assert list(tmp_path.glob("*.pt2")) == [made]


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the optional openvino")
def test_openvino_agrees_and_is_converted_once(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = backends.openvino(predictor, 2, tmp_path)
    assert parity(predictor, engine, drawn(5), 2).holds
    monkeypatch.setattr(backends, "make_openvino", None)
    again = backends.openvino(predictor, 2, tmp_path)
    assert dataclasses.replace(again, network=None, autocast=None).name == engine.name


def test_a_program_falls_to_the_predictors_own_engine_for_few(predictor: Predictor) -> None:
    engine = whole_batches(predictor, "program", lambda pictures: torch.zeros(len(pictures), 4), 4)
    assert parity(predictor, engine, drawn(1), 4).largest_gap < 1e-5
    assert parity(predictor, engine, drawn(4), 4).largest_gap > 0.01
