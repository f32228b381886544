"""Honest splits: what is near in time, on one slide, or from one patient stays on one side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EMBARGO = 37


@dataclass(frozen=True)
class Split:
    """Indices into the data set; `dropped` lies in the embargo or is tied by near duplicates to the other side."""

    train: np.ndarray
    held_out: np.ndarray
    dropped: np.ndarray


def file_number(path: str | Path) -> int:
    """The last number in a file name; raises ValueError without one."""
    numbers = re.findall(r"\d+", Path(path).stem)
    if not numbers:
        raise ValueError(f"{Path(path).name} has no number to order it by")
    return int(numbers[-1])


def contiguous(
    names: Sequence[str | Path],
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray,
    *,
    start: float,
    share: float,
    embargo: int = EMBARGO,
) -> Split:
    """Per class, hold out the files at `start`..`start + share` of the numbered row (0..1).

    Files within `embargo` numbers of the block, and near duplicates of what is held out, are dropped from training.
    """
    numbers = np.array([file_number(name) for name in names])
    label_of, group_of = np.asarray(labels), np.asarray(groups)
    held = np.zeros(len(numbers), dtype=bool)
    near = np.zeros(len(numbers), dtype=bool)
    for label in np.unique(label_of):
        mine = np.flatnonzero(label_of == label)
        ordered = mine[np.argsort(numbers[mine], kind="stable")]
        first = round(start * len(ordered))
        block = ordered[first : max(first + 1, round((start + share) * len(ordered)))]
        held[block] = True
        low, high = numbers[block].min() - embargo, numbers[block].max() + embargo
        near[mine] = (numbers[mine] >= low) & (numbers[mine] <= high)
    dropped = ~held & (near | np.isin(group_of, group_of[held]))
    return _split(held, dropped)


def grouped(
    groups: Sequence[int] | np.ndarray, labels: Sequence[int] | np.ndarray, *, share: float, seed: int
) -> Split:
    """Whole groups (patients, near duplicates) drawn at random until about `share` of every class is held out."""
    group_of, label_of = np.asarray(groups), np.asarray(labels)
    order = np.argsort(group_of, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group_of[order])) + 1)
    wanted = share * np.bincount(label_of).astype(np.float64)
    held = np.zeros(len(group_of), dtype=bool)
    for index in np.random.default_rng(seed).permutation(len(members)):
        mine = label_of[members[index]]
        if (wanted[mine] > 0).any():
            held[members[index]] = True
            np.subtract.at(wanted, mine, 1.0)
    return _split(held, np.zeros_like(held))


def named(names: Sequence[str | Path], groups: Sequence[int] | np.ndarray, *, pattern: str) -> Split:
    """Hold out every picture in whose name the regular expression is found: the patients or the source it lists.

    What shares a group with them is dropped from training. Raises ValueError where nothing or everything is found.
    """
    held = np.array([re.search(pattern, str(name)) is not None for name in names])
    if held.all() or not held.any():
        raise ValueError(f"{'every' if held.any() else 'no'} picture's name matches {pattern!r}, so nothing is split")
    group_of = np.asarray(groups)
    return _split(held, ~held & np.isin(group_of, group_of[held]))


def random(labels: Sequence[int] | np.ndarray, *, share: float, seed: int) -> Split:
    """Pictures drawn one by one, `share` of every class held out: slides lie on both sides, so the figures flatter.

    Here only to compare with studies that split this way.
    """
    label_of = np.asarray(labels)
    held = np.zeros(len(label_of), dtype=bool)
    generator = np.random.default_rng(seed)
    for label in np.unique(label_of):
        mine = np.flatnonzero(label_of == label)
        held[generator.permutation(mine)[: max(1, round(share * len(mine)))]] = True
    return _split(held, np.zeros_like(held))


def whole(count: int) -> Split:
    """Everything to learn from; what such a model can do is measured on the runs that held something out."""
    return _split(np.zeros(count, dtype=bool), np.zeros(count, dtype=bool))


def _split(held: np.ndarray, dropped: np.ndarray) -> Split:
    return Split(
        train=np.flatnonzero(~held & ~dropped), held_out=np.flatnonzero(held), dropped=np.flatnonzero(dropped)
    )
