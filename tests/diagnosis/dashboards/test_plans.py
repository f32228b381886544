"""The cost of a dashboard follows its days, not the archive: every statement can be answered from indexes."""

import re

import pytest
from django.db import connection

from diagnosis.dashboards import live_sql, operations_sql
from diagnosis.dashboards.filters import Scope
from tests.diagnosis.dashboards.archive import Archive

pytestmark = pytest.mark.django_db

STATEMENTS = {
    "images": live_sql.SIGNED + live_sql.IMAGES,
    "cases": live_sql.SIGNED + live_sql.CASES,
    "override reasons": live_sql.SIGNED + live_sql.OVERRIDE_REASONS,
    "drift": live_sql.SIGNED + live_sql.DRIFT,
    "now": operations_sql.NOW,
    "daily": operations_sql.DAILY,
    "times": operations_sql.SIGNED_WITH_TIMES + operations_sql.TIMES,
    "problems": operations_sql.PROBLEMS,
    "workload": operations_sql.SIGNED_WITH_TIMES + operations_sql.WORKLOAD,
}
GROWING = ("case", "smearimage", "predictionrun", "reading", "timelineevent", "patient")


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_whole_table(name: str, archive: Archive, scope: Scope) -> None:
    """Reading whole tables is what the planner does for small ones; told not to, it only still does where it must."""
    parameters = scope.parameters()
    parameters |= {"version": str(archive.version.pk), "least": 3, "cut": parameters["start"]}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + STATEMENTS[name], parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert re.findall(rf"Seq Scan on diagnosis_({'|'.join(GROWING)})\b", plan) == [], plan
