"""What script/bootstrap says and does before there is anything but a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = 'source script/bootstrap; prepare requirements.txt; echo "ready with $("$venv/bin/python" --version)"'


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """The scripts alone, with requirements that need no package index."""
    place = tmp_path / "a checkout with spaces"
    shutil.copytree(ROOT / "script", place / "script")
    (place / "requirements.txt").write_text("# nothing\n")
    return place


def bootstrap(place: Path, tools: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{tools}:/usr/bin:/bin" if tools else f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", PROBE],
        cwd=place,
        env={"PATH": path, "HOME": str(place), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def fake_tools(folder: Path, **bodies: str) -> Path:
    """Executables of the given names in a folder of their own, to be found first on PATH."""
    folder.mkdir()
    for name, body in bodies.items():
        tool = folder / name.replace("_", ".")
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
    return folder


def test_it_names_the_python_it_found_when_that_is_too_old(bare_checkout: Path, tmp_path: Path) -> None:
    old = 'case "$1" in --version) echo Python 3.8.18;; *) exit 1;; esac'
    names = ("python3", "python3_11", "python3_12", "python3_13")
    result = bootstrap(bare_checkout, fake_tools(tmp_path / "old", **dict.fromkeys(names, old)))
    assert result.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13, and here is Python 3.8.18" in result.stderr
    assert not (bare_checkout / ".venv").exists()


@pytest.mark.slow
def test_it_passes_over_a_python_that_is_there_in_name_only(bare_checkout: Path, tmp_path: Path) -> None:
    tools = fake_tools(tmp_path / "shims", python3_12="exit 127", python3_11="exit 127", python3_13="exit 127")
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    assert "ready with Python 3.1" in bootstrap(bare_checkout, tools).stdout


@pytest.mark.parametrize(
    ("absent", "chosen"),
    [
        ((), "python3.11"),
        (("python3.11",), "python3.12"),
        (("python3.11", "python3.12"), "python3.13"),
        (("python3.11", "python3.12", "python3.13"), "python3"),
    ],
)
def test_it_takes_the_oldest_python_it_supports(
    absent: tuple[str, ...], chosen: str, bare_checkout: Path, tmp_path: Path
) -> None:
    bodies = {
        name.replace(".", "_"): "exit 127" if name in absent else f'[ "$2" != venv ] || {{ echo {name} >&2; exit 1; }}'
        for name in ("python3.11", "python3.12", "python3.13", "python3")
    }
    roomy = "echo Filesystem 1024-blocks Used Available Capacity Mounted; echo /dev/x 99999999 9 99999990 1% /"
    result = bootstrap(bare_checkout, fake_tools(tmp_path / "tools", df=roomy, **bodies))
    assert result.stderr.splitlines()[0] == chosen


def test_it_refuses_to_begin_on_a_nearly_full_disk(bare_checkout: Path, tmp_path: Path) -> None:
    full = "echo Filesystem 1024-blocks Used Available Capacity Mounted; echo /dev/x 9999999 9876543 123456 99% /"
    tools = fake_tools(tmp_path / "full", df=full)
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    result = bootstrap(bare_checkout, tools)
    assert result.returncode == 1
    assert "disk is nearly full: 120 MB are left" in result.stderr


@pytest.mark.slow
def test_it_says_when_an_install_fails_and_starts_over_once_mended(bare_checkout: Path) -> None:
    requirements = bare_checkout / "requirements.txt"
    requirements.write_text("./not-there\n")
    failed = bootstrap(bare_checkout)
    assert failed.returncode == 1
    assert "Installing the packages failed" in failed.stderr
    assert "not-there" in failed.stderr
    assert not list((bare_checkout / ".venv").glob(".installed-*"))

    requirements.write_text("# mended\n")
    assert "Installing the packages" in bootstrap(bare_checkout).stdout
    assert "Installing the packages" not in bootstrap(bare_checkout).stdout, "unchanged: nothing to install"

    requirements.write_text("# changed\n")
    assert "Installing the packages" in bootstrap(bare_checkout).stdout


@pytest.mark.slow
def test_it_makes_the_environment_again_when_its_python_is_gone(bare_checkout: Path) -> None:
    assert bootstrap(bare_checkout).returncode == 0
    interpreter = bare_checkout / ".venv" / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to("/no/longer/there")
    again = bootstrap(bare_checkout)
    assert "Making .venv" in again.stdout
    assert "ready with" in again.stdout
