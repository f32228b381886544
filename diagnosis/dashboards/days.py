"""Days of the laboratory's time zone, and the weeks that summaries are kept in."""

import datetime

from django.utils import timezone


def midnight(day: datetime.date) -> datetime.datetime:
    """The instant a day begins."""
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))


def monday_of(day: datetime.date) -> datetime.date:
    return day - datetime.timedelta(days=day.weekday())


def periods(since: datetime.date, until: datetime.date) -> tuple[list[int], list[datetime.date]]:
    """The whole weeks between two days, both included, and the days around them: as spans and first days."""
    first = monday_of(since + datetime.timedelta(days=6))
    weeks = max(0, (until + datetime.timedelta(days=1) - first).days // 7)
    after = first + datetime.timedelta(weeks=weeks)
    days = [since + datetime.timedelta(days=place) for place in range((until - since).days + 1)]
    singles = [day for day in days if not (weeks and first <= day < after)]
    mondays = [first + datetime.timedelta(weeks=place) for place in range(weeks)]
    return [7] * len(mondays) + [1] * len(singles), mondays + singles
