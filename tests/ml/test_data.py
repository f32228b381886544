"""Folders become labelled pictures, or an error that names the file or folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml import data, reference
from ml.config import FIELD_STEPS
from ml.data import DataError
from ml.tasks import B_ALL_STAGE, LINEAGE

STEPS = FIELD_STEPS[:3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, item in enumerate(B_ALL_STAGE.classes):
        (tmp_path / item.code).mkdir()
        for number in range(3):
            picture = Image.fromarray(reference.draw_smear(10 * label + number))
            picture.save(tmp_path / item.code / f"smear-{number:03d}.png")
    return tmp_path


def load(folder: Path) -> data.Dataset:
    return data.load(B_ALL_STAGE, folder, STEPS, progress=False)


def test_pictures_labels_and_names_belong_together(folder: Path) -> None:
    found = load(folder)
    assert len(found) == 12
    assert found.pictures.shape == (12, 224, 224, 3)
    assert found.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert found.names[4] == "Early/smear-001.png"
    assert len(set(found.groups.tolist())) == 12


def test_a_missing_class_folder_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "Pre")
    with pytest.raises(DataError, match="class 'Pre' has no images: expected a folder Pre"):
        load(folder)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")


class TestListed:
    """Blasts of AML patients are those that cells.csv lists with this diagnosis."""

    @pytest.fixture
    def cells(self, tmp_path: Path) -> Path:
        for label, item in enumerate(LINEAGE.classes):
            place = tmp_path / item.folders[0]
            place.mkdir(parents=True)
            for number in range(3):
                picture = Image.fromarray(reference.draw_smear(10 * label + number, size=64))
                picture.save(place / f"Patient_{number}__{label}.png")
        rows = [f"blast_no_lineage_spec/Patient_{n}__1.png,{d}" for n, d in enumerate(("AML", "APL", "AML"))]
        (tmp_path / "deepapl" / "cells.csv").write_text("\n".join(["file,diagnosis", *rows]))
        return tmp_path

    def test_only_what_is_listed_counts(self, cells: Path) -> None:
        found = [path.name for path, label in data.find(LINEAGE, cells) if label == 1]
        assert found == ["Patient_0__1.png", "Patient_2__1.png"]

    def test_without_the_listing_it_is_named(self, cells: Path) -> None:
        (cells / "deepapl" / "cells.csv").unlink()
        with pytest.raises(DataError, match=r"diagnosis of .*cells\.csv"):
            data.find(LINEAGE, cells)

    def test_where_nobody_has_the_diagnosis_it_says_so(self, cells: Path) -> None:
        (cells / "deepapl" / "cells.csv").write_text("file,diagnosis\n")
        with pytest.raises(DataError, match=r"class 'AML' has no images: .* with diagnosis AML"):
            data.find(LINEAGE, cells)


def test_an_unreadable_picture_is_named(folder: Path) -> None:
    (folder / "Pro" / "smear-001.png").write_bytes(b"\x89PNG cut off")
    with pytest.raises(DataError, match=r"cannot read .*Pro/smear-001\.png"):
        load(folder)


def test_near_duplicates_share_a_group(folder: Path) -> None:
    Image.fromarray(reference.draw_smear(10)).save(folder / "Early" / "smear-009.jpg", quality=80)
    found = load(folder)
    twins = [index for index, name in enumerate(found.names) if name in ("Early/smear-000.png", "Early/smear-009.jpg")]
    assert len(set(found.groups[twins].tolist())) == 1
    assert len(set(found.groups.tolist())) == 12


def test_cells_of_one_patient_share_a_group() -> None:
    names = ["a/Patient_01__BL_1.jpg", "b/Patient_01__LY_2.jpg", "a/Patient_02__BL_1.jpg", "a/BNE_7.jpg"]
    found = data.group(names, ["h1", "h2", "h3", "h4"], np.zeros((4, 256), dtype=bool))
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 3


def test_identical_files_count_once(folder: Path) -> None:
    shutil.copy(folder / "Pro" / "smear-000.png", folder / "Pro" / "smear-007.png")
    kept = data.without_duplicates(load(folder))
    assert len(kept) == 12
    assert "Pro/smear-007.png" not in kept.names


def test_identical_files_with_two_labels_are_both_dropped(folder: Path) -> None:
    shutil.copy(folder / "Pro" / "smear-000.png", folder / "Benign" / "smear-007.png")
    kept = data.without_duplicates(load(folder))
    assert {"Pro/smear-000.png", "Benign/smear-007.png"} & set(kept.names) == set()
    assert len(kept) == 11


def test_the_fingerprint_changes_with_any_content_or_name(folder: Path) -> None:
    before = load(folder).fingerprint
    assert load(folder).fingerprint == before
    (folder / "Pro" / "smear-002.png").rename(folder / "Pro" / "smear-003.png")
    renamed = load(folder).fingerprint
    Image.fromarray(reference.draw_smear(99)).save(folder / "Pro" / "smear-003.png")
    assert len({before, renamed, load(folder).fingerprint}) == 3


def test_the_real_set_has_its_known_duplicates(smear_data: Path) -> None:
    import hashlib

    files = sorted((smear_data / "taleqani").rglob("*.jpg"))
    hashes: dict[str, list[Path]] = {}
    for path in files:
        hashes.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), []).append(path)
    pairs = [group for group in hashes.values() if len(group) > 1]
    assert pairs
    assert {path.parent.name for group in pairs for path in group} == {"Pro"}
