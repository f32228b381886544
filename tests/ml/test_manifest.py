"""The manifest is strict, torch-free, and says what is wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ml.manifest import Manifest, ManifestError, newest, released, version_key


def write(directory: Path, values: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").write_text(json.dumps(values))
    return directory


def test_what_is_written_is_read_back(tmp_path: Path, manifest_of: Any) -> None:
    made = manifest_of(temperature=1.7)
    made.write(tmp_path)
    assert Manifest.read(tmp_path) == made
    assert made.codes == ("Benign", "Early", "Pre", "Pro")
    assert made.model == "b-all-stage/0.1.0"


def test_every_class_says_whether_it_is_leukaemia_and_has_its_own_colour(manifest_of: Any) -> None:
    made = manifest_of()
    assert [item.malignant for item in made.classes] == [False, True, True, True]
    assert len({item.colour for item in made.classes}) == 4


def test_it_names_an_unknown_field(tmp_path: Path, manifest_of: Any) -> None:
    values = {**manifest_of().model_dump(), "pickle": "weights.pkl"}
    with pytest.raises(ManifestError, match="pickle: Extra inputs"):
        Manifest.read(write(tmp_path, values))


@pytest.mark.parametrize(
    "missing", sorted(name for name, field in Manifest.model_fields.items() if field.is_required())
)
def test_it_names_a_missing_field(tmp_path: Path, manifest_of: Any, missing: str) -> None:
    values = manifest_of().model_dump()
    del values[missing]
    with pytest.raises(ManifestError, match=f"{missing}: Field required"):
        Manifest.read(write(tmp_path, values))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("task", "../../etc"),
        ("version", "1.0"),
        ("version", "../1.0.0"),
        ("temperature", 0.0),
        ("class_bias", [0.5]),
        ("temperature", float("nan")),
        ("abstention_threshold", 1.1),
        ("classes", []),
        ("preprocessing", []),
        ("input", "video"),
        ("weights", {"file": "../model.safetensors", "sha256": "0" * 64, "bytes": 1}),
        ("weights", {"file": "model.pt", "sha256": "0" * 64, "bytes": 1}),
        ("weights", {"file": "model.safetensors", "sha256": "xyz", "bytes": 1}),
        ("weights", {"file": "model.safetensors", "sha256": "0" * 64, "bytes": 50_000_001}),
    ],
)
def test_it_rejects_values_out_of_range(tmp_path: Path, manifest_of: Any, field: str, value: Any) -> None:
    values = {**manifest_of().model_dump(), field: value}
    with pytest.raises(ManifestError, match=field):
        Manifest.read(write(tmp_path, values))


def test_it_rejects_two_classes_of_one_code(tmp_path: Path, manifest_of: Any) -> None:
    values = manifest_of().model_dump()
    values["classes"][1]["code"] = "Benign"
    with pytest.raises(ManifestError, match="unique"):
        Manifest.read(write(tmp_path, values))


def test_it_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no readable manifest at .*manifest\.json"):
        Manifest.read(tmp_path)


def test_it_says_that_a_file_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="is not JSON"):
        Manifest.read(tmp_path)


def test_versions_are_ordered_by_number(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0", "0.2.0", "draft"):
        write(tmp_path / "some-task" / version, {})
    assert [path.name for path in released(tmp_path, "some-task")] == ["0.2.0", "1.9.0", "1.10.0"]
    assert newest(tmp_path, "some-task").name == "1.10.0"
    assert version_key("1.10.0") > version_key("1.9.9")


def test_it_says_when_nothing_is_released(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no released model for 'b-all-stage'"):
        newest(tmp_path, "b-all-stage")


@pytest.mark.parametrize("task", ["../secrets", "a/b", ".."])
def test_a_task_name_cannot_leave_the_folder(tmp_path: Path, task: str) -> None:
    with pytest.raises(ManifestError):
        newest(tmp_path / "weights", task)


def test_reading_manifests_needs_neither_torch_nor_imaging_nor_django() -> None:
    code = (
        "import sys, ml.manifest; "
        "print(sorted({'torch', 'cv2', 'PIL', 'numpy', 'django'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_model_room_never_imports_django() -> None:
    code = (
        "import sys, pkgutil, importlib, ml; "
        "[importlib.import_module(f'ml.{found.name}') for found in pkgutil.iter_modules(ml.__path__)]; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('django', 'celery', 'portal', 'accounts', 'diagnosis', 'worker')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
