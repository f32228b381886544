"""Nothing that belongs together is ever on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import splits


def rows(counts: list[int]) -> tuple[list[str], np.ndarray]:
    names = [f"class{label}/Smear-{number:03d}.jpg" for label, n in enumerate(counts) for number in range(1, n + 1)]
    return names, np.repeat(np.arange(len(counts)), counts)


def test_the_file_number_is_the_last_one_in_the_name() -> None:
    assert splits.file_number("a2/WBC-Malignant-Early-031.jpg") == 31
    with pytest.raises(ValueError, match="no number"):
        splits.file_number("smear.jpg")


@pytest.mark.parametrize("start", [0.0, 0.3, 0.84])
def test_each_class_gives_one_block_behind_an_embargo(start: float) -> None:
    names, labels = rows([300, 500])
    part = splits.contiguous(names, labels, np.arange(800), start=start, share=0.16)
    numbers = np.array([splits.file_number(name) for name in names])
    for label, count in ((0, 300), (1, 500)):
        held = numbers[part.held_out[labels[part.held_out] == label]]
        train = numbers[part.train[labels[part.train] == label]]
        assert len(held) == pytest.approx(0.16 * count, abs=1)
        assert held.max() - held.min() == len(held) - 1
        assert np.abs(train[:, None] - held[None, :]).min() > splits.EMBARGO


def test_near_duplicates_of_what_is_held_out_are_not_trained_on() -> None:
    names, labels = rows([300])
    groups = np.arange(300)
    groups[250] = groups[10]
    part = splits.contiguous(names, labels, groups, start=0.0, share=0.1)
    assert 10 in part.held_out
    assert 250 in part.dropped


def test_the_embargo_of_one_class_does_not_touch_the_other() -> None:
    names, labels = rows([300, 300])
    part = splits.contiguous(names, labels, np.arange(600), start=0.0, share=0.1)
    assert len(part.dropped) == 2 * splits.EMBARGO


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(40, 120), min_size=1, max_size=4),
    st.floats(0, 0.8),
    st.floats(0.05, 0.2),
    st.integers(0, 2**32 - 1),
)
def test_no_group_is_ever_on_both_sides(counts: list[int], start: float, share: float, seed: int) -> None:
    names, labels = rows(counts)
    groups = np.random.default_rng(seed).integers(0, max(2, len(names) // 2), len(names))
    for part in (
        splits.contiguous(names, labels, groups, start=start, share=share),
        splits.grouped(groups, labels, share=share, seed=seed),
    ):
        assert not set(groups[part.train]) & set(groups[part.held_out])
        together = np.concatenate([part.train, part.held_out, part.dropped])
        assert sorted(together) == list(range(len(names)))


def test_whole_patients_are_held_out_until_every_class_is_served() -> None:
    generator = np.random.default_rng(0)
    groups, labels = generator.integers(0, 60, 1000), generator.integers(0, 3, 1000)
    part = splits.grouped(groups, labels, share=0.2, seed=1)
    for label in range(3):
        assert (labels[part.held_out] == label).sum() >= 0.2 * (labels == label).sum()
    assert len(part.held_out) < 0.35 * 1000


def test_grouped_splits_are_repeatable_by_seed() -> None:
    groups, labels = np.arange(100) // 4, np.arange(100) % 2
    first, again, other = (splits.grouped(groups, labels, share=0.2, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.held_out, other.held_out)


def test_named_pictures_are_held_out_and_their_patients_left_out() -> None:
    names = ["a/Patient_1_x.jpg", "a/Patient_2_x.jpg", "b/cell-1.jpg", "b/cell-2.jpg"]
    part = splits.named(names, [0, 1, 1, 2], pattern=r"Patient_2_")
    assert (part.held_out.tolist(), part.dropped.tolist(), part.train.tolist()) == ([1], [2], [0, 3])


@pytest.mark.parametrize(("pattern", "said"), [("^c/", "no picture's"), (".", "every picture's")])
def test_a_pattern_that_splits_nothing_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        splits.named(["a/1.jpg", "b/2.jpg"], [0, 1], pattern=pattern)


def test_a_random_split_holds_out_a_share_of_every_class() -> None:
    labels = np.repeat([0, 1], [100, 900])
    part = splits.random(labels, share=0.2, seed=1)
    assert np.bincount(labels[part.held_out]).tolist() == [20, 180]
    assert sorted([*part.train, *part.held_out]) == list(range(1000))
    assert (splits.random(labels, share=0.2, seed=1).held_out == part.held_out).all()


def test_the_whole_set_can_be_learned_from() -> None:
    part = splits.whole(7)
    assert (len(part.train), len(part.held_out), len(part.dropped)) == (7, 0, 0)
