"""A planted shortcut is flagged, an honest set is not, and every kind of flaw is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml import audit, reference

Paint = Callable[[np.ndarray, int, int], np.ndarray]


def untouched(picture: np.ndarray, label: int, number: int) -> np.ndarray:
    return picture


def corner_mark(picture: np.ndarray, label: int, number: int) -> np.ndarray:
    picture[200:216, 185:215] = (250, 20, 20) if label else (20, 20, 250)
    return picture


def lamp(picture: np.ndarray, label: int, number: int) -> np.ndarray:
    return (picture * ((0.9, 0.9, 0.7) if label else (0.8, 0.9, 0.95))).astype(np.uint8)


def make(root: Path, paint: Paint, count: int = 25) -> Path:
    for label, name in enumerate(("healthy", "ill")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture = paint(reference.draw_smear(100 * label + number), label, number)
            Image.fromarray(picture).save(root / name / f"smear-{number:03d}.png")
    return root


def flagged(root: Path, key: str = "flagged") -> set[str]:
    return {name for name, row in audit.audit(root)["probes"].items() if row.get(key)}


def test_an_honest_set_is_not_flagged(tmp_path: Path) -> None:
    assert flagged(make(tmp_path / "set", untouched)) == set()


def test_a_mark_in_the_corner_is_flagged_and_gone_after_preprocessing(tmp_path: Path) -> None:
    root = make(tmp_path / "set", corner_mark)
    assert flagged(root) == {"lower right corner"}
    assert flagged(root, "flagged_preprocessed") == set()


def test_another_lamp_for_each_class_is_flagged_and_gone_after_preprocessing(tmp_path: Path) -> None:
    root = make(tmp_path / "set", lamp)
    assert "background colour" in flagged(root)
    assert "background colour" not in flagged(root, "flagged_preprocessed")


def test_pictures_of_another_size_for_each_class_are_flagged(tmp_path: Path) -> None:
    def enlarge(picture: np.ndarray, label: int, number: int) -> np.ndarray:
        return np.kron(picture, np.ones((2, 2, 1), np.uint8)) if label else picture

    assert "picture size" in flagged(make(tmp_path / "set", enlarge))


def test_flaws_of_files_are_found(tmp_path: Path) -> None:
    root = make(tmp_path / "set", untouched, count=10)
    shutil.copy(root / "ill" / "smear-001.png", root / "ill" / "smear-100.png")
    shutil.copy(root / "ill" / "smear-002.png", root / "healthy" / "smear-200.png")
    Image.open(root / "healthy" / "smear-003.png").save(root / "healthy" / "smear-300.jpg", quality=85)
    (root / "ill" / "smear-400.png").write_bytes(b"\x89PNG cut off")
    found = audit.audit(root)
    assert found["images"] == 23
    assert found["classes"] == {"healthy": 12, "ill": 11}
    assert list(found["unreadable"]) == ["ill/smear-400.png"]
    assert sorted(found["identical"]) == [
        ["healthy/smear-200.png", "ill/smear-002.png"],
        ["ill/smear-001.png", "ill/smear-100.png"],
    ]
    assert found["identical_across_classes"] == [["healthy/smear-200.png", "ill/smear-002.png"]]
    assert ["healthy/smear-003.png", "healthy/smear-300.jpg"] in found["near_duplicates"]


def test_imbalance_is_the_ratio_of_the_largest_to_the_smallest(tmp_path: Path) -> None:
    root = make(tmp_path / "set", untouched, count=12)
    for number in range(9):
        (root / "ill" / f"smear-{number:03d}.png").unlink()
    assert audit.audit(root)["imbalance"] == 4.0


def test_the_command_prints_json_or_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path / "set", corner_mark, count=10)
    assert audit.main(["--data", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 20
    assert audit.main(["--data", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "SHORTCUT" in next(row for row in printed.splitlines() if "lower right corner" in row)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_classes_ends_with_2_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert audit.main(["--data", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith("ml.audit: ")
