"""How the laboratory runs: the queue now, what came in and went out, how long it took, what went wrong, who did it.

Counted by PostgreSQL over the cases of the scope's sites; what is given out names no patient and no prediction.
"""

import datetime
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accounts.models import Site
from diagnosis.dashboards.charts import operations as charts
from diagnosis.dashboards.figures import Column, Figure, Group, Row
from diagnosis.dashboards.filters import Scope
from diagnosis.dashboards.operations_sql import DAILY, NOW, PROBLEMS, TIMES, WORKLOAD
from diagnosis.dashboards.sql import PERIODS, rows_of
from diagnosis.dashboards.statistics import STEP, percentile
from diagnosis.states import CASE_PRIORITIES, CaseState, Priority, RunState

STAGES = {
    "prediction": "Submitted → predicted",
    "waiting": "Predicted → opened",
    "reading": "Opened → signed",
    "total": "Submitted → signed",
}
PERCENTILES = (0.5, 0.9, 0.95)
PRIORITIES = sorted(CASE_PRIORITIES)
MOST_READERS = 60
TIMES_NOTE = (
    f"Times are counted in steps of {100 * (STEP - 1):.0f} %, so a percentile is right to within one step; "
    "the numbers of cases are exact."
)
Counts = Sequence[Mapping[str, Any]]
Times = Mapping[tuple[str, int], Mapping[int, int]]


def operations_groups(scope: Scope, *, sites: Sequence[Site], workload: bool) -> list[Group]:
    now, times = rows_of(scope, NOW), _times(scope)
    groups = [
        Group("now", "Now", [queue_now(now), work_in_hand(now)]),
        Group("flow", "In and out", daily(scope)),
        Group("times", "How long it takes", [*turnaround(times, scope, sites), prediction_times(times)]),
    ]
    if workload:
        return [
            *groups,
            Group("people", "What went wrong, and who does the work", [problems(scope), reader_workload(scope)]),
        ]
    return [*groups, Group("problems", "What went wrong", [problems(scope)])]


def _times(scope: Scope) -> Times:
    """By stage and priority, how many took how long, as bins of times."""
    found: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
    for row in rows_of(scope, PERIODS, TIMES):
        found[row["measure"], int(row["key"])][row["bin"]] = row["n"]
    return found


def queue_now(now: Counts) -> Figure:
    found = {(row["priority"], row["state"]): row for row in now if row["what"] == "images"}
    rows: list[Row] = []
    for priority in (*PRIORITIES, Priority.BACKFILL):
        queued, running = found.get((priority, RunState.QUEUED)), found.get((priority, RunState.RUNNING))
        if priority != Priority.BACKFILL or queued or running:
            rows.append(
                (
                    priority.label,
                    queued["n"] if queued else 0,
                    running["n"] if running else 0,
                    queued["oldest_seconds"] if queued else None,
                )
            )
    return Figure(
        key="queue",
        title="Queue of images",
        read="Images that wait for the model at this moment; a queue that is both long and old lacks a worker.",
        columns=(
            Column("Priority"),
            Column("Queued", "count"),
            Column("Running", "count"),
            Column("Oldest waits", "duration"),
        ),
        rows=rows,
        chart=charts.queue([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
        if found
        else None,
        note="" if found else "Nothing waits.",
    )


def work_in_hand(now: Counts) -> Figure:
    found = [row for row in now if row["what"] == "cases"]
    states = (
        CaseState.SUBMITTED,
        CaseState.AWAITING_REVIEW,
        CaseState.IN_REVIEW,
        CaseState.SECOND_READ,
        CaseState.RETURNED,
    )
    cells = {(row["state"], row["priority"]): row["n"] for row in found}
    oldest: dict[str, float] = {}
    for row in found:
        oldest[row["state"]] = max(oldest.get(row["state"], 0), row["oldest_seconds"])
    rows = [
        (state.label, *[cells.get((state, priority), 0) for priority in PRIORITIES], oldest.get(state))
        for state in states
    ]
    series = {priority.label: [row[1 + place] for row in rows] for place, priority in enumerate(PRIORITIES)}
    return Figure(
        key="in-hand",
        title="Cases in hand",
        read="Where the open cases are at this moment; the longest bar is where the laboratory is short of hands.",
        columns=(
            Column("State"),
            *(Column(priority.label, "count") for priority in PRIORITIES),
            Column("Oldest since it was submitted", "duration"),
        ),
        rows=rows,
        chart=charts.stacked(
            [row[0] for row in rows], series, colours=[charts.PRIORITY_COLOURS[name] for name in series]
        )
        if found
        else None,
        note="" if found else "No case is open.",
    )


def daily(scope: Scope) -> list[Figure]:
    """Cases in and out, and images predicted, one row a day; days on which nothing happened are zeros."""
    found = {(row["day"], row["measure"]): row["n"] for row in rows_of(scope, DAILY)}
    days = [scope.since + datetime.timedelta(days=place) for place in range(scope.days)]

    def series(key: str) -> list[int]:
        return [found.get((day, key), 0) for day in days]

    flow = {"Submitted": series("submitted"), "Signed": series("signed"), "Returned": series("returned")}
    images = {"Predicted": series("succeeded"), "Refused": series("refused"), "Failed": series("failed")}
    return [
        Figure(
            key="cases-by-day",
            title="Cases in and out",
            read="Where submitted stays above signed, open cases pile up.",
            columns=(Column("Day"), *(Column(name, "count") for name in flow)),
            rows=list(zip(days, *flow.values(), strict=True)),
            chart=charts.lines(days, flow, "Cases"),
        ),
        Figure(
            key="images-by-day",
            title="Images looked at by a model",
            read="The height is the throughput of the day; refused and failed images are read without a prediction.",
            columns=(Column("Day"), *(Column(name, "count") for name in images)),
            rows=list(zip(days, *images.values(), strict=True)),
            chart=charts.day_bars(days, images, "Images"),
        ),
    ]


def turnaround(times: Times, scope: Scope, sites: Sequence[Site]) -> list[Figure]:
    """Percentiles by priority and stage, and how many cases met their site's target."""
    rows: list[Row] = [
        (title, priority.label, sum(bins.values()), *[percentile(bins, share) for share in PERCENTILES])
        for stage, title in STAGES.items()
        for priority in PRIORITIES
        if (bins := times.get((stage, priority)))
    ]
    totals: list[Row] = [
        (
            priority.label,
            n := sum(bins.values()),
            within := sum(times.get(("within", priority), {}).values()),
            within / n,
        )
        for priority in PRIORITIES
        if (bins := times.get(("total", priority)))
    ]
    return [
        Figure(
            key="turnaround",
            title="Turnaround of signed cases",
            read="Half of the cases took less than p50, nine of ten less than p90, 19 of 20 less than p95.",
            columns=(
                Column("Stage"),
                Column("Priority"),
                Column("Cases", "count"),
                *(Column(f"p{100 * share:.0f}", "duration") for share in PERCENTILES),
            ),
            rows=rows,
            chart=charts.percentiles(rows) if rows else None,
            note=TIMES_NOTE if rows else "No case was signed in these days.",
            wide=True,
        ),
        Figure(
            key="targets",
            title="Within the target",
            read="The share of signed cases that met their own site's target for their priority, from submission on.",
            columns=(
                Column("Priority"),
                Column("Cases", "count"),
                Column("Within", "count"),
                Column("Share", "percent"),
            ),
            rows=totals,
            note=_targets_note(sites, scope),
        ),
    ]


def _targets_note(sites: Sequence[Site], scope: Scope) -> str:
    shown = [site for site in sites if site.pk in scope.site_ids]
    if len(shown) != 1:
        return "Each case is held against the target of its own site."
    site = shown[0]
    targets = f"STAT {site.tat_target_stat}, urgent {site.tat_target_urgent}, routine {site.tat_target_routine}"
    return f"Targets of {site}: {targets} minutes."


def prediction_times(times: Times) -> Figure:
    rows: list[Row] = [
        (
            priority.label,
            sum(times["image_running", priority].values()),
            *[
                percentile(times[stage, priority], p)
                for stage in ("image_waiting", "image_running")
                for p in (0.5, 0.95)
            ],
        )
        for priority in sorted(Priority)
        if times.get(("image_running", priority))
    ]
    return Figure(
        key="prediction-times",
        title="Waiting and running of images",
        read="STAT must not wait longer when the queue is long; running time covers the whole batch of an image.",
        columns=(
            Column("Priority"),
            Column("Images", "count"),
            Column("Waited, p50", "duration"),
            Column("Waited, p95", "duration"),
            Column("Ran, p50", "duration"),
            Column("Ran, p95", "duration"),
        ),
        rows=rows,
        note="" if rows else "No image was predicted in these days.",
    )


def problems(scope: Scope, *, words: Callable[[str], str] = lambda code: code.replace("_", " ")) -> Figure:
    kinds = {"why_refused": "Refused", "why_failed": "Failed"}
    rows = [(kinds[row["measure"]], words(row["reason"]), row["images"]) for row in rows_of(scope, PERIODS, PROBLEMS)]
    return Figure(
        key="problems",
        title="Failures and refusals by reason",
        read="Refusals point to how the images are taken, failures to the machines; the most frequent stand first.",
        columns=(Column("What"), Column("Reason"), Column("Images", "count")),
        rows=rows,
        chart=charts.ranked([f"{row[0]}: {_short(row[1])}" for row in rows[:12]], [row[2] for row in rows[:12]])
        if rows
        else None,
        note="An image refused for two reasons counts under both." if rows else "None in these days.",
    )


def _short(text: str, most: int = 46) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def reader_workload(scope: Scope) -> Figure:
    names: dict[str, str] = {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    took: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows_of(scope, PERIODS, WORKLOAD):
        names[row["key"]] = row["reader"]
        if row["measure"] == "reader":
            took[row["key"]][row["bin"]] = row["n"]
        else:
            counts[row["key"]][row["measure"]] += row["n"]
    parts = ("reader_cases", "reader_images", "reader_stat", "reader_second")
    rows: list[Sequence[Any]] = [
        (name, *[counts[key][part] for part in parts], percentile(took[key], 0.5)) for key, name in names.items()
    ]
    rows = sorted(rows, key=lambda row: (-row[1], row[0]))[:MOST_READERS]
    return Figure(
        key="workload",
        title="Workload by reader",
        read="Signed cases and their images by who signed; meant for sharing the work, not for comparing people.",
        columns=(
            Column("Reader"),
            Column("Cases signed", "count"),
            Column("Images in them", "count"),
            Column("STAT", "count"),
            Column("Second reads", "count"),
            Column("Opened → signed, p50", "duration"),
        ),
        rows=rows,
        chart=charts.ranked([row[0] for row in rows], [row[1] for row in rows], "Cases signed") if rows else None,
        note="" if rows else "No case was signed in these days.",
    )
