"""Asking the database: one statement, rows as dictionaries."""

from typing import Any

from django.db import connection

from diagnosis.dashboards.filters import Scope


def rows_of(scope: Scope, *parts: str, **more: Any) -> list[dict[str, Any]]:
    """The rows of a statement whose parts are constant text; everything that varies goes in as a parameter."""
    with connection.cursor() as cursor:
        cursor.execute("".join(parts), scope.parameters() | more)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
