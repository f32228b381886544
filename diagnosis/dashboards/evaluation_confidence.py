"""The parts of an evaluation report that say whether a model's confidence can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diagnosis.dashboards.charts import evaluation as charts
from diagnosis.dashboards.figures import Column, Figure, shown

if TYPE_CHECKING:
    from diagnosis.dashboards.evaluation import Evaluation


def reliability(evaluation: Evaluation) -> Figure | None:
    part = evaluation.protocol.get("calibration") or {}
    after, before = part.get("reliability"), part.get("reliability_before") or []
    if not after:
        return None
    bins = [("before calibration", row) for row in before] + [("after calibration", row) for row in after]
    return Figure(
        key="reliability",
        title="Reliability diagram",
        read="On the dotted line the model is right as often as it says; below it, it is too sure of itself.",
        columns=(
            Column("When"),
            Column("Mean confidence", "percent"),
            Column("Right", "percent"),
            Column("Images", "count"),
        ),
        rows=[(when, row["confidence"], row["accuracy"], row["count"]) for when, row in bins],
        chart=charts.reliability(before, after),
        note="Bars below: how many images have that confidence after calibration.",
    )


def calibration(evaluation: Evaluation) -> Figure | None:
    part = evaluation.protocol.get("calibration") or {}
    if not part.get("after"):
        return None
    names = {
        "ece_equal_width": "ECE, bins of equal width",
        "ece_equal_mass": "ECE, bins of equal mass",
        "brier": "Brier score",
        "nll": "Negative log likelihood (nats)",
    }
    before, after = part.get("before") or {}, part["after"]
    return Figure(
        key="calibration",
        title="Calibration errors",
        read="All four are errors: smaller is better, and calibration should make none of them larger.",
        columns=(Column("Measure"), Column("Before calibration", "number"), Column("After calibration", "number")),
        rows=[(name, before.get(key), after.get(key)) for key, name in names.items()],
        note=f"Temperature {shown(part.get('temperature'), 'number')}; {part.get('how') or 'not said how fitted'}.",
    )


def risk_coverage(evaluation: Evaluation) -> Figure | None:
    part = evaluation.protocol.get("selective")
    if not part:
        return None
    rows: list[tuple[str, float | None, float | None]] = [
        (f"the most confident {float(share):.0%}", float(share), risk)
        for share, risk in (part.get("risk_at") or {}).items()
    ]
    threshold = part.get("threshold")
    if threshold is not None:
        in_use = (f"in use: confidence of {threshold:.0%} or more", part.get("coverage_at_threshold"))
        rows.append((*in_use, part.get("risk_at_threshold")))
    return Figure(
        key="risk-coverage",
        title="Risk and coverage",
        read="Going left the model answers only where it is surest: the curve says how often it is then still wrong.",
        columns=(Column("Answered"), Column("Share answered", "percent"), Column("Wrong among them", "percent")),
        rows=rows,
        chart=charts.risk_coverage(part),
        note=f"Area under the curve {part['aurc']:.4f}." if part.get("aurc") is not None else "",
    )


def conformal(evaluation: Evaluation) -> Figure | None:
    part = evaluation.protocol.get("conformal")
    if not part:
        return None
    table = part.get("by_class") or {}
    rows = [
        (title, table[code].get("coverage"), table[code].get("set_size"))
        for code, title in zip(evaluation.codes, evaluation.titles, strict=True)
        if code in table
    ]
    aimed, reached = part.get("aimed_at"), part.get("coverage")
    return Figure(
        key="conformal",
        title="Conformal prediction sets",
        read="How often the set of classes offered holds the true one, and how many classes that takes: 1 is best.",
        columns=(Column("True class"), Column("Truth in the set", "percent"), Column("Mean set size", "number")),
        rows=rows,
        note=f"Aimed at {aimed:.0%}, reached {reached:.1%} over all." if aimed and reached is not None else "",
    )


def as_shipped(evaluation: Evaluation) -> Figure | None:
    """What became of held-out images under the rules of the release; None where that was not measured."""
    found: Mapping[str, Any] = next((entry["shipped"] for entry in evaluation.protocols if entry.get("shipped")), {})
    if not found.get("images"):
        return None
    wrong = found["answered_wrong"]
    counts = {
        "Refused": found["refused"],
        "Left open: uncertain, or unlike the training data": found["abstained"],
        "Answered, rightly": found["answered"] - wrong,
        "Answered, wrongly": wrong,
    }
    return Figure(
        key="as-shipped",
        title="What becomes of images, as shipped",
        read="Held-out images as a laboratory would have them answered: what is left open is a haematologist's alone.",
        columns=(Column("Outcome"), Column("Images", "count"), Column("Share", "percent")),
        rows=[(title, count, count / found["images"]) for title, count in counts.items()],
        note=f"{wrong} of {found['answered']} answers were wrong." if found["answered"] else "",
    )
