"""What a case's predictions say together, against SciPy on the same numbers."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from ml.pooling import differential, pool_fields, share_of
from ml.tasks import TASKS

CELLS = TASKS["cell-type"]
MALIGNANT = {entry.code for entry in CELLS.classes if entry.malignant}


def count(labels: list[str], *, marrow: bool = True) -> object:
    return differential(labels, classes=CELLS.codes, malignant=MALIGNANT, marrow=marrow)


def fields(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet((5, 2, 1, 1), number)


class TestFields:
    def test_the_pooled_probability_is_the_mean_and_still_adds_up(self) -> None:
        rows = fields(12)
        pooled = pool_fields(rows)
        assert pooled.mean == pytest.approx(rows.mean(axis=0))
        assert pooled.mean.sum() == pytest.approx(1)

    def test_the_interval_is_the_one_scipy_finds(self) -> None:
        rows = fields(30)
        pooled = pool_fields(rows)
        assert pooled.low is not None
        assert pooled.high is not None
        for place in range(4):
            expected = stats.bootstrap(
                (rows[:, place],), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(1)
            ).confidence_interval
            assert (pooled.low[place], pooled.high[place]) == pytest.approx(tuple(expected), abs=0.01)

    def test_it_covers_the_truth_about_as_often_as_it_says(self) -> None:
        truth, hits = 5 / 9, 0
        for seed in range(200):
            pooled = pool_fields(fields(20, seed))
            assert pooled.low is not None
            assert pooled.high is not None
            hits += pooled.low[0] <= truth <= pooled.high[0]
        assert 0.87 <= hits / 200 <= 0.99

    def test_one_field_has_no_interval(self) -> None:
        pooled = pool_fields(fields(1))
        assert (pooled.low, pooled.high) == (None, None)

    def test_fields_that_agree_leave_no_doubt(self) -> None:
        pooled = pool_fields(np.tile(fields(1), (6, 1)))
        assert pooled.low == pytest.approx(pooled.mean)
        assert pooled.high == pytest.approx(pooled.mean)

    def test_asked_twice_and_in_another_order_it_says_the_same(self) -> None:
        rows = fields(9)
        first, second = pool_fields(rows), pool_fields(rows[::-1])
        assert first.low is not None
        assert second.low is not None
        assert first.low.tolist() == second.low.tolist()


class TestDifferential:
    @pytest.mark.parametrize(("part", "whole"), [(0, 100), (3, 100), (50, 100), (100, 100), (1, 3), (1, 1)])
    def test_a_share_has_wilsons_interval(self, part: int, whole: int) -> None:
        share = share_of(part, whole)
        expected = stats.binomtest(part, whole).proportion_ci(method="wilson")
        assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert share.low <= share.share <= share.high

    def test_smudge_cells_and_platelets_are_not_in_the_denominator(self) -> None:
        counted = count(["neutrophil"] * 60 + ["blast"] * 20 + ["smudge_cell"] * 30 + ["platelet"] * 5)
        assert counted.cells == 80
        assert counted.beside == {"platelet": 5, "smudge_cell": 30}
        assert counted.classes["neutrophil"].share == 0.75
        assert "smudge_cell" not in counted.classes
        assert sum(share.count for share in counted.classes.values()) == counted.cells

    @pytest.mark.parametrize(("marrow", "cells"), [(True, 10), (False, 8)])
    def test_erythroblasts_count_in_marrow_and_stand_beside_in_blood(self, marrow: bool, cells: int) -> None:
        counted = count(["neutrophil"] * 8 + ["erythroblast"] * 2, marrow=marrow)
        assert counted.cells == cells
        assert counted.beside == ({} if marrow else {"erythroblast": 2})

    def test_blasts_are_blasts_and_what_is_malignant_is_named_beside(self) -> None:
        counted = count(["blast"] * 10 + ["promyelocyte"] * 15 + ["neutrophil"] * 75)
        assert (counted.blasts.codes, counted.blasts.share.share) == (("blast",), 0.1)
        assert (counted.malignant.codes, counted.malignant.share.share) == (("blast", "promyelocyte"), 0.25)

    def test_without_cells_there_is_no_share(self) -> None:
        counted = count(["smudge_cell"])
        assert (counted.cells, counted.classes, counted.blasts, counted.malignant) == (0, {}, None, None)

    def test_what_is_no_class_of_the_task_is_no_cell(self) -> None:
        assert count(["neutrophil", "Early"]).cells == 1


def test_it_loads_no_torch() -> None:
    code = "import sys, ml.pooling; sys.exit('torch' in sys.modules or 'django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
