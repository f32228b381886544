"""`script/test` itself: what it chooses, what it leaves behind, and what it takes for a failure."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from portal.local import audit, suite
from portal.local.stopping import StopRequest
from portal.local.suite import FAST, Check, pytest_command, run_checks

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small_suite(checkout: Path) -> Path:
    """Three tests of our own instead of the project's, so that a run of them takes a second."""
    tests = checkout / "tests"
    for path in tests.rglob("*.py"):
        path.unlink()
    (tests / "test_small.py").write_text(
        "import os, pytest\n"
        "def test_quick(): assert os.environ['DATABASE_URL'] and os.environ['REDIS_URL']\n"
        "@pytest.mark.slow\ndef test_slow(): pass\n"
        "@pytest.mark.e2e\ndef test_browser(): pass\n"
        "@pytest.mark.skipif(not os.environ.get('FAIL'), reason='on demand')\ndef test_fails(): assert False\n"
    )
    return tests


def test_the_fast_tests_run_on_stores_of_their_own_and_nothing_is_left(
    small_suite: Path, checkout: Path, run_script: Run
) -> None:
    result = run_script("script/test", "-q")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed, 1 skipped, 2 deselected" in result.stdout.splitlines()[-1]
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(checkout / "var") in str(p.info["cmdline"])]


@pytest.mark.slow
def test_a_failing_test_fails_the_script(small_suite: Path, run_script: Run) -> None:
    result = run_script("script/test", "-q", FAIL="1")
    assert result.returncode == 1
    assert "1 failed" in result.stdout


EVERYTHING = (
    "import sys; from portal.local import suite; suite.CHECKS = (); suite.audit_packages = lambda: True;"
    "sys.exit(suite.main(['--all']))"
)


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["", "faults", "portal"])
def test_what_waits_runs_beside_the_rest_and_counts_as_much(
    failing: str, small_suite: Path, checkout: Path, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    """Each writes down where its stores are and waits for the other to have done so."""
    (small_suite / "script").mkdir(exist_ok=True)
    for name, other in (("faults", "portal"), ("portal", "faults")):
        (small_suite / name).mkdir(exist_ok=True)
        (small_suite / name / f"test_{name}.py").write_text(
            "import os, time\nfrom pathlib import Path\n"
            f"def test_of_{name}():\n"
            f"    Path({str(tmp_path / name)!r}).write_text(os.environ['DATABASE_URL'] + os.environ['REDIS_URL'])\n"
            f"    while not Path({str(tmp_path / other)!r}).exists(): time.sleep(0.05)\n"
            f"    assert {failing!r} != {name!r}\n"
        )
    command = [sys.executable, "-c", EVERYTHING]
    found = subprocess.run(command, cwd=checkout, env=clean_environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == bool(failing), found.stdout + found.stderr
    assert (tmp_path / "faults").read_text() != (tmp_path / "portal").read_text()
    assert "4 passed, 1 skipped" in found.stdout or failing == "portal"
    assert "── pytest tests/faults tests/script" in found.stdout
    assert ("1 failed" in found.stdout) == bool(failing)
    assert not list((checkout / "var").glob("test-*"))


@pytest.mark.slow
def test_two_runs_at_once_do_not_share_their_stores(small_suite: Path, checkout: Path, run_script: Run) -> None:
    holder = (
        "import time; from portal.local.suite import own_folder\n"
        "with own_folder() as folder: print(folder.name, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], cwd=checkout, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "test\n"
        result = run_script("script/test", "-q")
        first.kill()
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (checkout / "var" / "test" / "postgres").exists(), "the first run's folder was left alone"
    assert not list((checkout / "var").glob("test-*")), "and the second's is gone"


def test_however_many_runs_there_are_each_has_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suite, "VAR", tmp_path)
    with suite.own_folder() as first, suite.own_folder() as second, suite.own_folder() as third:
        assert first == tmp_path / "test"
        assert len({first, second, third}) == 3
        assert all(folder.stat().st_mode & 0o777 == 0o755 for folder in (second, third))
    assert [folder.name for folder in tmp_path.iterdir()] == ["test"]


@pytest.mark.parametrize(
    ("arguments", "everything", "fast"),
    [
        ([], False, True),
        (["-k", "case"], False, True),
        (["tests/diagnosis"], False, True),
        (["tests/e2e/test_main_job.py"], False, False),
        (["tests/worker/test_drain.py::test_one"], False, False),
        ([], True, False),
    ],
)
def test_a_test_that_is_named_runs_however_long_it_takes(arguments: list[str], everything: bool, fast: bool) -> None:
    command = pytest_command(arguments, everything=everything)
    assert (tuple(command[3:5]) == FAST) is fast
    assert command[len(command) - len(arguments) :] == arguments


def test_every_check_runs_though_one_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    failing = Check("broken", (sys.executable, "-c", "raise SystemExit(3)"))
    passing = Check("fine", (sys.executable, "-c", f"open({str(ran)!r}, 'w')"), {"EXTRA": "1"})
    monkeypatch.setattr("portal.local.suite.CHECKS", (failing, passing))
    monkeypatch.setattr("portal.local.suite.audit_packages", lambda: False)
    assert run_checks(dict(os.environ), StopRequest()) == ["broken", "known holes in packages"]
    assert ran.exists()


def report(*holes: str) -> str:
    found = [{"id": hole, "fix_versions": ["2.0"]} for hole in holes]
    return json.dumps({"dependencies": [{"name": "thing", "version": "1.0", "vulns": found}]})


def test_a_known_hole_is_named_with_the_version_that_mends_it() -> None:
    assert audit.known_holes(report("GHSA-1")) == ["thing 1.0: GHSA-1, mended in ['2.0']"]


def test_a_hole_that_does_not_touch_us_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.ACCEPTED, "GHSA-1", "we never call it")
    assert audit.known_holes(report("GHSA-1", "GHSA-2")) == ["thing 1.0: GHSA-2, mended in ['2.0']"]


@pytest.mark.parametrize("answer", ["", "ConnectionError", "[]", "{}"])
def test_no_answer_is_not_taken_for_no_holes(answer: str) -> None:
    assert audit.known_holes(answer) is None
