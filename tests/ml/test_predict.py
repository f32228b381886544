"""The command line: one JSON line per picture, in order, and clear ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ml import predict, reference
from ml.decode import decode
from ml.predictor import Predictor

FIELDS = ["path", "task", "model", "class", "probabilities", "confidence", "refused", "abstained", "reasons"]
FIELDS += ["prediction_set", "cells"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, place in enumerate(["b/2.png", "a/deep/1.jpg", "a/0.png"]):
        path = tmp_path / "smears" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(reference.draw_smear(number)).save(path)
    (tmp_path / "smears" / "cells.csv").write_text("not,a,picture")
    return tmp_path / "smears"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, object]], str]:
    code = predict.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_a_folder_is_walked_in_sorted_order(folder: Path, released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, folder, "--json", "--weights", released)
    assert code == 0
    assert [line["path"] for line in lines] == [str(folder / name) for name in ("a/0.png", "a/deep/1.jpg", "b/2.png")]
    assert all(list(line) == FIELDS for line in lines)


def test_the_lines_say_what_the_predictor_says(
    folder: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines, _ = run(capsys, folder, "--json", "--weights", released, "--batch", "2")
    predictor = Predictor.load(released)
    for line in lines:
        answer = predictor.predict([decode(Path(str(line["path"])).read_bytes())])[0]
        assert line["class"] == answer.label
        assert line["probabilities"] == pytest.approx(answer.probabilities, abs=0.01)
        assert line["model"] == "b-all-stage/0.1.0"


def test_an_unreadable_file_gets_its_line_and_the_others_theirs(
    folder: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a" / "1.jpg").write_bytes(b"\xff\xd8 cut off")
    code, lines, errors = run(capsys, folder, "--json", "--weights", released)
    assert code == 0
    assert [line["refused"] for line in lines] == [False, True, False, False]
    assert lines[1]["class"] is None
    assert lines[1]["probabilities"] == {}
    assert lines[1]["reasons"] == ["unreadable"]
    assert "1.jpg" in errors


def test_nothing_readable_ends_with_2(tmp_path: Path, released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    code, lines, errors = run(capsys, tmp_path / "note.txt", "--json", "--weights", released)
    assert code == 2
    assert lines[0]["reasons"] == ["unreadable"]
    assert "none of the files could be read" in errors


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: [folder / "missing"], "does not exist"),
        (lambda folder: [folder.parent / "empty"], "no pictures"),
        (lambda folder: [folder, "--weights", folder], "no readable manifest"),
        (lambda folder: [folder, "--device", "teapot"], "unknown device"),
    ],
)
def test_wrong_arguments_end_with_2_and_a_sentence(
    folder: Path, released: Path, capsys: pytest.CaptureFixture[str], make: object, sentence: str
) -> None:
    (folder.parent / "empty").mkdir()
    arguments = make(folder)  # type: ignore[operator]
    if "--weights" not in arguments:
        arguments += ["--weights", released]
    code, lines, errors = run(capsys, *arguments)
    assert code == 2
    assert lines == []
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_batch_of_nothing_is_a_wrong_argument(folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        predict.main([str(folder), "--batch", "0"])
    assert ended.value.code == 2


def test_hidden_files_and_folders_are_left_out(folder: Path) -> None:
    (folder / ".cache").mkdir()
    shutil.copy(folder / "a" / "0.png", folder / ".cache" / "0.png")
    shutil.copy(folder / "a" / "0.png", folder / "a" / "._0.png")
    assert len(list(predict.walk([folder]))) == 3


def test_lines_for_people_are_short(folder: Path, released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main([str(folder / "a" / "0.png"), "--weights", str(released)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder / 'a' / '0.png'}: ")


def test_a_wrong_path_is_told_before_torch_is_loaded() -> None:
    code = (
        "import sys; from ml import predict; "
        "ended = predict.main(['no-such-folder']); print(ended, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "2 False"


def test_it_runs_as_a_module_without_django(folder: Path, released: Path) -> None:
    command = [sys.executable, "-m", "ml.predict", str(folder), "--json", "--weights", str(released)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(predict.__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
