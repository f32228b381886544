"""What `script/bench` says, and that it never measures on a laboratory's own database."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from portal.local import ROOT
from tests.factories import draft_case
from worker.benchmark.pictures import pictures_of
from worker.benchmark.rows import Row, ratio_row, table


def test_a_bar_is_met_from_its_ratio_on() -> None:
    assert ratio_row("x", 2.0, 4.0, 2.0, "").met is True
    assert ratio_row("x", 2.0, 3.9, 2.0, "").met is False
    assert ratio_row("x", 2.0, 3.0, 2.0, "").as_dict() == {
        "name": "x",
        "baseline": 2.0,
        "ours": 3.0,
        "ratio": 1.5,
        "bar": "ratio ≥ 2",
        "met": False,
        "note": "",
    }


def test_the_table_names_what_was_missed() -> None:
    head, met, missed, unknown = table(
        [ratio_row("a", 1, 3, 2, ""), ratio_row("b", 1, 1, 2, ""), Row("c", None, None, None, "some", None)]
    )
    assert "baseline" in head
    assert " met " in met
    assert " MISSED " in missed
    assert " open " in unknown


def test_it_refuses_a_database_that_holds_cases(technician: User) -> None:
    draft_case(technician, images=0)
    with pytest.raises(CommandError, match="There are cases in this database"):
        call_command("bench")


def test_it_says_when_there_is_no_model(db: None) -> None:
    with pytest.raises(CommandError, match="no released model"):
        call_command("bench")


def test_it_says_when_a_folder_has_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match="There are no pictures in"):
        pictures_of(tmp_path, 4)


def test_pictures_are_spread_over_the_folder_and_each_is_taken_once(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % (number // 2))
    assert pictures_of(tmp_path, 3) == [b"0", b"1", b"3"]
    assert pictures_of(tmp_path, 50) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_measures_every_bar_on_servers_of_its_own(released: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"MODELS_DIR": str(released.parents[1]), "INFERENCE_BACKEND": "eager"}
    command = [str(ROOT / "script" / "bench"), "--quick", "--images", "16", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["name"].split(",")[0] for row in rows] == [
        "worker against a synchronous loop",
        "worker against the predictor on ready batches",
        "worker against the bare network",
        "claim of a batch",
        "STAT behind a backlog",
        "parity with eager fp32",
    ]
    assert set(rows[0]) >= {"name", "baseline", "ours", "ratio", "bar", "met"}
    assert rows[0]["ratio"] == pytest.approx(rows[0]["ours"] / rows[0]["baseline"])
