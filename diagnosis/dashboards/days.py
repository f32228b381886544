"""Days of the laboratory's time zone, and the longer spans that summaries are kept in."""

import datetime

from django.utils import timezone

SPANS = (28, 7, 1)  # each begins on a Monday, but for the day; four weeks are counted from Monday, 1 January of year 1


def midnight(day: datetime.date) -> datetime.datetime:
    """The instant a day begins."""
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))


def first_day(day: datetime.date, span: int) -> datetime.date:
    """Of the span of so many days that this day lies in."""
    return day - datetime.timedelta(days=(day.toordinal() - 1) % span)


def periods(
    since: datetime.date, until: datetime.date, *, longest: int = SPANS[0]
) -> tuple[list[int], list[datetime.date]]:
    """The days from `since` to `until`, both included, as few spans: how long each is, and its first day."""
    spans: list[int] = []
    days: list[datetime.date] = []
    day = since
    while day <= until:
        span = next(
            span
            for span in SPANS
            if span <= longest and first_day(day, span) == day and day + datetime.timedelta(days=span - 1) <= until
        )
        spans.append(span)
        days.append(day)
        day += datetime.timedelta(days=span)
    return spans, days
