"""What the cells of a field say of it."""

from __future__ import annotations

import numpy as np
import pytest

from ml import opinion


def test_blasts_are_counted_by_their_probabilities() -> None:
    cells = np.array([[0.7, 0.2, 0.1], [0.0, 0.1, 0.9]])
    assert opinion.expected_blasts(cells, [True, True, False]) == pytest.approx(1.0)
    assert opinion.expected_blasts(np.zeros((0, 3)), [True, True, False]) == 0.0


def test_one_expected_blast_is_even_odds_and_more_are_more() -> None:
    assert opinion.leukaemia(0.0) == 0.0
    assert opinion.leukaemia(1.0) == 0.5
    assert opinion.leukaemia(9.0) == pytest.approx(0.9)


def test_the_stages_keep_their_proportions() -> None:
    row = opinion.replaced(np.array([0.9, 0.06, 0.03, 0.01]), [False, True, True, True], 0.8)
    assert row.sum() == pytest.approx(1.0)
    assert row[0] == pytest.approx(0.2)
    assert row[1:] == pytest.approx(np.array([0.6, 0.3, 0.1]) * 0.8)


def test_a_field_that_was_benign_beyond_doubt_may_still_be_turned() -> None:
    row = opinion.replaced(np.array([1.0, 0.0, 0.0, 0.0]), [False, True, True, True], 0.5)
    assert row == pytest.approx(np.array([0.5, 1 / 6, 1 / 6, 1 / 6]))


def test_at_the_limit_both_count_alike_and_far_beyond_it_the_cells_decide() -> None:
    row, malignant = np.array([0.8, 0.1, 0.05, 0.05]), [False, True, True, True]
    near = opinion.combined(row, malignant, share=0.8, distance=1.5, limit=1.5)
    far = opinion.combined(row, malignant, share=0.8, distance=1500.0, limit=1.5)
    assert near[0] == pytest.approx(0.5)
    assert far[0] == pytest.approx(0.2, abs=0.001)
    assert near.sum() == far.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_neither_is_ever_certain(share: float) -> None:
    row = opinion.combined(np.array([1.0, 0.0]), [False, True], share=share, distance=9.0, limit=1.0)
    assert np.isfinite(row).all()
    assert 0 < row[1] < 1
