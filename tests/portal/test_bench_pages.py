"""What `script/bench pages` says, and that it never fills a laboratory's own database."""

import json
import os
import subprocess

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from portal.benchmark.pages import HEALTH, Row, table
from portal.local import ROOT
from tests.factories import draft_case


def test_the_table_names_what_was_missed() -> None:
    rows = [Row("a", 10.0, 12.0, 1.2, "ratio ≤ 1.5", True, 7), Row("b", 10.0, 30.0, 3.0, "ratio ≤ 1.5", False, 7)]
    _, met, missed = table(rows)
    assert " met " in met
    assert " MISSED " in missed


def test_it_refuses_a_database_that_holds_cases(technician: User) -> None:
    draft_case(technician, images=0)
    with pytest.raises(CommandError, match="There are cases in this database"):
        call_command("bench_pages")


def test_it_refuses_a_large_archive_that_is_smaller_than_the_small_one(db: None) -> None:
    with pytest.raises(CommandError, match="at least 1000 cases"):
        call_command("bench_pages", cases=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_page_opens_over_both_archives_in_few_queries() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    command = [str(ROOT / "script" / "bench"), "pages", "--cases", "1000", "--rounds", "1", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=850)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {"worklist", "case page", "search by MRN", "live performance, a year"} <= set(rows)
    assert all(row["queries"] <= 12 for name, row in rows.items() if name != HEALTH), rows
