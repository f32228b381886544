"""A picture unlike the training data: said so, never relied on, and judged by its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml import familiarity, model, reference
from ml.describe import class_infos, opinion_of
from ml.manifest import FamiliarityInfo
from ml.predictor import Predictor, WeightsError
from ml.release import write_weights
from ml.tasks import CELL_TYPE


def network(classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = model.build(classes)
    for name, parameter in net.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.5)
    return net


@pytest.fixture(scope="module")
def smears() -> list[np.ndarray]:
    return [reference.draw_smear(seed, nuclei=6) for seed in range(12)]


@pytest.fixture
def released_pair(tmp_path: Path, manifest_of: Any, smears: list[np.ndarray]) -> Path:
    """A field model that knows drawn smears, beside the single-cell model it asks about others; returns the former."""
    cells = tmp_path / "cell-type" / "1.0.0"
    cells.mkdir(parents=True)
    other = manifest_of(
        task="cell-type",
        version="1.0.0",
        input="single_cell",
        classes=[item.model_dump() for item in class_infos(CELL_TYPE)],
        weights=write_weights(cells, network(len(CELL_TYPE.classes), 1).state_dict()).model_dump(),
    )
    other.write(cells)
    fields = tmp_path / "b-all-stage" / "1.0.0"
    fields.mkdir(parents=True)
    net = network(4, 2)
    state = net.state_dict()
    bare = manifest_of(version="1.0.0", weights=write_weights(fields, state).model_dump())
    bare.write(fields)
    seen = Predictor.load(fields)
    model.give_features(seen.net)
    features = seen.outputs(smears)[:, 4:]
    known = familiarity.fit(features, np.arange(len(smears)) % 4, dimensions=8)
    limit = 2 * float(known.distances(features).max())
    manifest_of(
        version="1.0.0",
        weights=write_weights(fields, {**state, **known.state}).model_dump(),
        familiarity=FamiliarityInfo(threshold=limit, false_alarms=0.0, measured_on="drawn smears").model_dump(),
        second_opinion=opinion_of(other).model_dump(),
    ).write(fields)
    return fields


def stranger(smear: np.ndarray) -> np.ndarray:
    """Usable, and drawn by another hand: larger, blurred into a mosaic of itself."""
    return np.ascontiguousarray(np.tile(smear[::2, ::2], (2, 2, 1)))


def test_a_familiar_picture_is_answered_by_the_network_alone(released_pair: Path, smears: list[np.ndarray]) -> None:
    predictor = Predictor.load(released_pair)
    answers = predictor.predict(smears)
    rows = predictor.probabilities(smears)
    for answer, row in zip(answers, rows, strict=True):
        assert "unlike_training" not in answer.reasons
        assert list(answer.probabilities.values()) == pytest.approx(row, abs=0.01)
        assert answer.cells == ()


def test_a_stranger_is_never_relied_on_and_its_cells_decide(released_pair: Path, smears: list[np.ndarray]) -> None:
    predictor = Predictor.load(released_pair)
    predictor.manifest = predictor.manifest.model_copy(
        update={"familiarity": predictor.manifest.familiarity.model_copy(update={"threshold": 1e-6})}  # type: ignore[union-attr]
    )
    answer = predictor.predict(smears[:1])[0]
    assert answer.abstained
    assert answer.reasons == ("unlike_training",)
    assert len(answer.cells) >= 3
    blasts = sum(cell.probabilities["blast"] + cell.probabilities["promyelocyte"] for cell in answer.cells)
    assert 1 - answer.probabilities["Benign"] == pytest.approx(blasts / (1 + blasts), abs=1e-3)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)


def test_another_picture_lies_farther_than_the_known_ones(released_pair: Path, smears: list[np.ndarray]) -> None:
    predictor = Predictor.load(released_pair)
    near = predictor.distances(predictor.outputs(smears))
    far = predictor.distances(predictor.outputs([stranger(smear) for smear in smears]))
    assert np.median(far) > near.max()


def test_cells_are_typed_in_every_field_where_that_is_wanted(released_pair: Path, smears: list[np.ndarray]) -> None:
    predictor = Predictor.load(released_pair)
    predictor.types_every_field = True
    answer = predictor.predict(smears[:1])[0]
    assert "unlike_training" not in answer.reasons
    assert len(answer.cells) >= 3
    for cell in answer.cells:
        assert sum(cell.probabilities.values()) == pytest.approx(1.0)
        assert cell.probabilities[cell.label or ""] == max(cell.probabilities.values())


def test_another_model_in_its_place_is_not_asked(released_pair: Path, smears: list[np.ndarray]) -> None:
    other = released_pair.parents[1] / "cell-type" / "1.0.0"
    weights = write_weights(other, network(len(CELL_TYPE.classes), 9).state_dict())
    manifest = Predictor.load(released_pair).manifest
    text = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(text.replace(manifest.second_opinion.weights_sha256, weights.sha256))  # type: ignore[union-attr]
    predictor = Predictor.load(released_pair)
    predictor.types_every_field = True
    with pytest.raises(WeightsError, match=r"is not the model that b-all-stage/1\.0\.0 was released with"):
        predictor.predict(smears[:1])
