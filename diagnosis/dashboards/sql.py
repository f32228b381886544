"""Asking the database: one statement, rows as dictionaries."""

from typing import Any

from django.db import connection

from diagnosis.dashboards.filters import Scope

# Before a statement over summaries: the spans that the days asked for are put together from.
PERIODS = """
WITH period AS (SELECT * FROM unnest(%(spans)s::int[], %(days)s::date[]) AS asked(span, day))
"""


def rows_of(scope: Scope, *parts: str, **more: Any) -> list[dict[str, Any]]:
    """The rows of a statement whose parts are constant text; everything that varies goes in as a parameter."""
    with connection.cursor() as cursor:
        cursor.execute("".join(parts), scope.parameters() | more)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
