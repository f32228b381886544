"""Small makers for what the database itself must hold."""

from collections.abc import Iterable

import pgtrigger
from django.db import models


def one_of(
    field: str, choices: type[models.TextChoices] | type[models.IntegerChoices], name: str
) -> models.CheckConstraint:
    """CHECK that an enum column holds one of its values."""
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": choices.values}), name=name)


def moves_only(field: str, moves: Iterable[tuple[str, str]]) -> pgtrigger.FSM:
    """Trigger: the state column moves only along the table of diagnosis.states."""
    return pgtrigger.FSM(name="moves_only", field=field, transitions=sorted((str(a), str(b)) for a, b in moves))


def append_only() -> pgtrigger.Protect:
    """Trigger: rows are written once and stay as they are for ever."""
    return pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)


def never_deleted() -> pgtrigger.Protect:
    """Trigger: a clinical record is not deleted."""
    return pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete)


def marks_due(columns: tuple[str, ...], moments: str) -> pgtrigger.Trigger:
    """Trigger: the days on which something changed are counted again (diagnosis.dashboards.summaries).

    `moments` is a constant statement that gives the site and the times concerned; a time that is null concerns no day.
    """
    return pgtrigger.Trigger(
        name="marks_due",
        when=pgtrigger.After,
        operation=pgtrigger.Insert | pgtrigger.UpdateOf(*columns) if columns else pgtrigger.Insert,
        func=f"""
            INSERT INTO diagnosis_summarydue (site_id, at)
            SELECT DISTINCT moment.site_id, moment.at FROM ({moments}) moment WHERE moment.at IS NOT NULL;
            RETURN NULL;
        """,  # noqa: S608 - `moments` is a constant of the model's own file
    )
