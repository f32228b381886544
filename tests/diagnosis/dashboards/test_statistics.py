"""The few statistics of our own, against SciPy and scikit-learn."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from diagnosis.dashboards.statistics import kappa, stability_by_chance, stability_index, wilson


@pytest.mark.parametrize(("part", "whole"), [(0, 5), (5, 5), (1, 7), (97, 100), (650, 1000)])
def test_wilson_is_scipys(part: int, whole: int) -> None:
    share = wilson(part, whole)
    expected = stats.binomtest(part, whole).proportion_ci(0.95, method="wilson")
    assert share.value == part / whole
    assert share.low == pytest.approx(expected.low, abs=1e-12)
    assert share.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_of_nothing_is_nothing() -> None:
    share = wilson(0, 0)
    assert (share.value, share.low, share.high) == (None, None, None)


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 200)
    said = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 4, 200))
    table = confusion_matrix(truth, said).tolist()
    assert kappa(table) == pytest.approx(cohen_kappa_score(truth, said))


def test_kappa_is_not_defined_where_chance_explains_all() -> None:
    assert kappa([[5, 0], [0, 0]]) is None
    assert kappa([[0, 0], [0, 0]]) is None


def test_the_stability_index_is_the_symmetric_divergence() -> None:
    before, after = [40, 30, 20, 10], [10, 20, 30, 40]
    p = (np.array(before) + 0.5) / (100 + 2)
    q = (np.array(after) + 0.5) / (100 + 2)
    assert stability_index(before, after) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_the_stability_index_of_the_same_is_nothing() -> None:
    assert stability_index([10, 20, 30], [10, 20, 30]) == 0
    assert stability_index([10, 20, 30], [100, 200, 300]) < 0.001


def test_an_empty_bin_does_not_make_it_infinite() -> None:
    assert math.isfinite(stability_index([100, 0], [0, 100]))


@pytest.mark.parametrize("bins", [2, 4, 10])
def test_the_limit_of_chance_is_the_chi_squared_quantile(bins: int) -> None:
    expected = stats.chi2.ppf(0.999, bins - 1) * (1 / 300 + 1 / 200)
    assert stability_by_chance(300, 200, bins) == pytest.approx(expected, rel=0.06)


def test_what_has_not_changed_stays_below_the_limit_of_chance() -> None:
    rng = np.random.default_rng(0)
    share = [0.1, 0.2, 0.3, 0.4]
    indices = [stability_index(rng.multinomial(400, share), rng.multinomial(300, share)) for _ in range(2000)]
    beyond = np.mean(np.array(indices) > stability_by_chance(400, 300, 4))
    assert beyond < 0.005
