"""The cost of a dashboard follows its days, not the archive: every statement can be answered from indexes."""

import re

import pytest
from django.db import connection
from django.utils import timezone

from diagnosis.dashboards import live_sql, operations_sql
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.sql import PERIODS
from diagnosis.dashboards.statistics import STEP
from diagnosis.dashboards.summary_sql import COUNTED
from tests.diagnosis.dashboards.archive import Archive

pytestmark = pytest.mark.django_db

STATEMENTS = {
    "images": PERIODS + live_sql.IMAGES,
    "cases": PERIODS + live_sql.CASES,
    "weeks": PERIODS + live_sql.WEEKS,
    "override reasons": PERIODS + live_sql.OVERRIDE_REASONS,
    "drift": live_sql.DRIFT,
    "now": operations_sql.NOW,
    "daily": operations_sql.DAILY,
    "times": PERIODS + operations_sql.TIMES,
    "problems": PERIODS + operations_sql.PROBLEMS,
    "workload": PERIODS + operations_sql.WORKLOAD,
}
RECORDS = ("case", "smearimage", "predictionrun", "reading", "timelineevent", "patient")
SUMMARIES = ("imagesummary", "casesummary", "countsummary")


def plan_of(statement: str, parameters: dict) -> str:
    """Reading whole tables is what the planner does for small ones; told not to, it only still does where it must."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + statement, parameters)
        return "\n".join(row[0] for row in cursor.fetchall())


def asked(archive: Archive, scope: Scope) -> dict:
    given = scope.parameters()
    recent = [False] * len(given["days"])
    return given | {"version": str(archive.version.pk), "least": 3, "general": ["other"], "recent": recent}


def tables_read_whole(plan: str) -> list[str]:
    return re.findall(rf"Seq Scan on diagnosis_({'|'.join(RECORDS + SUMMARIES)})\b", plan)


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_a_page_reads_a_whole_table(name: str, archive: Archive, scope: Scope) -> None:
    plan = plan_of(STATEMENTS[name], asked(archive, scope))
    assert tables_read_whole(plan) == [], plan


def test_what_waits_is_found_among_what_is_open(archive: Archive, scope: Scope) -> None:
    plan = plan_of(operations_sql.NOW, asked(archive, scope))
    assert "run_open" in plan, plan


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name != "now"])
def test_what_is_past_is_read_from_summaries_alone(name: str, archive: Archive, scope: Scope) -> None:
    plan = plan_of(STATEMENTS[name], asked(archive, scope))
    assert re.findall(rf" on diagnosis_({'|'.join(RECORDS)})\b", plan) == [], plan


@pytest.mark.parametrize("place", range(len(COUNTED)))
def test_counting_a_day_reads_no_whole_table(place: int, archive: Archive) -> None:
    now = timezone.now()
    parameters = {"site": archive.site.pk, "start": now, "end": now, "zone": "UTC", "general": ["other"], "step": STEP}
    plan = plan_of(COUNTED[place], parameters)
    assert tables_read_whole(plan) == [], plan
