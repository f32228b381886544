"""Model performance as evaluated: figures of the report that came with a release.

The report is read as it lies in the database; a part that it does not have gives no figure, never a wrong one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diagnosis.dashboards.charts import evaluation as charts
from diagnosis.dashboards.evaluation_confidence import as_shipped, calibration, conformal, reliability, risk_coverage
from diagnosis.dashboards.evaluation_tables import (
    costs,
    data_flow,
    deletion,
    outsiders,
    protocols,
    refusals,
    robustness,
    shortcuts,
    training_figures,
    unasked_protocols,
    worst_errors,
)
from diagnosis.dashboards.figures import Column, Figure, Group, confusion_table
from diagnosis.models import ModelEvaluation, ModelVersion

OVERALL = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_precision": "Precision (macro)",
    "macro_recall": "Recall (macro)",
    "macro_f1": "F1 (macro)",
    "leukaemia_sensitivity": "Leukaemia: sensitivity",
    "leukaemia_specificity": "Leukaemia: specificity",
    "leukaemia_auroc": "Leukaemia: AUROC",
}
PER_CLASS = {
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "npv": "NPV",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "Average precision",
}
DRAWN_PER_CLASS = ("precision", "recall", "specificity", "f1")
DRAWN_OF_MANY = ("precision", "recall")
# What the paper claims for this task; it does not say how its images were split. The four do not fit together for the
# class mix it reports, which is why each is quoted as a claim and none as a baseline.
CLAIMS = {
    "b-all-stage": {
        "accuracy": 0.987,
        "macro_precision": 0.975,
        "macro_recall": 0.969,
        "macro_f1": 0.972,
    }
}
INTERVAL_COLUMNS = (
    Column("Value", "percent"),
    Column("From (groups)", "percent"),
    Column("To (groups)", "percent"),
    Column("From (naive)", "percent"),
    Column("To (naive)", "percent"),
)
INTERVAL_KEYS = ("value", "low", "high", "naive_low", "naive_high")
NO_RATES = dict.fromkeys(INTERVAL_KEYS)


@dataclass(frozen=True)
class Evaluation:
    """The report of one version, and which of its protocols is looked at."""

    model_version: ModelVersion
    report: Mapping[str, Any]
    curves: Sequence[Mapping[str, Any]]
    place: int = 0

    @property
    def protocols(self) -> list[Mapping[str, Any]]:
        return list(self.report.get("protocols") or [])

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        chosen = self.protocols
        return chosen[self.place if self.place < len(chosen) else 0] if chosen else {}

    @cached_property
    def codes(self) -> list[str]:
        return list(self.protocol.get("classes") or [entry["code"] for entry in self.model_version.classes])

    @cached_property
    def titles(self) -> list[str]:
        known = {entry["code"]: entry["title"] for entry in self.model_version.classes}
        return [known.get(code, code) for code in self.codes]

    @cached_property
    def colours(self) -> list[str]:
        known = {entry["code"]: entry["colour"] for entry in self.model_version.classes}
        return [known.get(code, charts.NEUTRAL) for code in self.codes]


def evaluation_of(model_version: ModelVersion, place: int = 0) -> Evaluation | None:
    """What was measured of this version, or None where nothing came with it."""
    stored = ModelEvaluation.objects.filter(pk=model_version.pk).first()
    if stored is None or not (stored.report or stored.curves):
        return None
    return Evaluation(model_version, stored.report or {}, stored.curves or [], place)


def evaluation_groups(evaluation: Evaluation) -> list[Group]:
    """Everything that can be asked of a report, in order; what a report does not answer is named, not left out."""
    training = training_figures(evaluation.curves)
    return [
        _group(
            evaluation,
            ("how-good", "How good is it"),
            {headline: "accuracy and its like", confusion: "the confusion matrix", per_class: "figures of each class"},
        ),
        _group(
            evaluation,
            ("thresholds", "At other thresholds"),
            {roc: "ROC curves", precision_recall: "precision–recall curves"},
        ),
        _group(
            evaluation,
            ("confidence", "Can its confidence be believed"),
            {
                reliability: "the reliability diagram",
                risk_coverage: "risk and coverage",
                calibration: "ECE, Brier score and log likelihood",
                conformal: "conformal prediction sets",
                as_shipped: "images answered as shipped, with refusals, second opinion and abstention",
            },
        ),
        _group(
            evaluation,
            ("reasons", "Is it right for the right reason"),
            {
                shortcuts: "shortcut probes (background colour, corner patch and cell count against the model)",
                protocols: "",
                robustness: "the same images changed (JPEG, blur, brightness, stain, magnification)",
                outsiders: "how images that are none of its business are told apart",
                deletion: "the deletion test of the heat map",
                refusals: "refusals",
            },
            unasked_protocols(evaluation),
        ),
        _group(evaluation, ("errors", "Where it fails"), {worst_errors: "the surest mistakes"}),
        _group(
            evaluation,
            ("data", "What went in"),
            {data_flow: "the data flow", costs: "what it costs to run"},
            () if training else ("training and validation curves",),
            training,
        ),
    ]


Maker = Callable[[Evaluation], Figure | None]


def _group(
    evaluation: Evaluation,
    named: tuple[str, str],
    makers: Mapping[Maker, str],
    missing: tuple[str, ...] = (),
    more: Sequence[Figure] = (),
) -> Group:
    made = {maker: maker(evaluation) for maker in makers}
    figures = [figure for figure in made.values() if figure is not None]
    absent = tuple(makers[maker] for maker, figure in made.items() if figure is None and makers[maker])
    return Group(*named, [*figures, *more], (*absent, *missing))


def headline(evaluation: Evaluation) -> Figure | None:
    overall = evaluation.protocol.get("overall")
    if not overall:
        return None
    known = {key: title for key, title in OVERALL.items() if overall.get(key)}
    claims = CLAIMS.get(evaluation.model_version.task, {})
    rows = [(title, *_interval(overall[key]), claims.get(key)) for key, title in known.items()]
    return Figure(
        key="headline",
        title="Headline figures",
        read=(
            "The nearer to the right, the better; believe the thick interval, which draws whole groups of related "
            "images, not the thin one, which takes every image for independent."
        ),
        note=_claims_note(claims, evaluation),
        columns=(Column("Figure"), *INTERVAL_COLUMNS, Column("Claimed by the paper", "percent")),
        rows=rows,
        chart=charts.forest(
            list(known.values()),
            [{**NO_RATES, **overall[key]} for key in known],
            claims={OVERALL[key]: value for key, value in claims.items() if key in known},
        ),
    )


def _claims_note(claims: Mapping[str, float], evaluation: Evaluation) -> str:
    if not claims:
        return ""
    return (
        "Dashed: what the paper claims (accuracy 98.7, precision 97.5, recall 96.9, F1 97.2 %). It does not say how "
        "it split its images, and the four do not fit together for its mix of classes. "
        f"Ours: {evaluation.protocol.get('name', 'another protocol')}. The two are not the same question."
    )


def _interval(row: Mapping[str, float | None] | None) -> list[float | None]:
    return [(row or {}).get(key) for key in INTERVAL_KEYS]


def confusion(evaluation: Evaluation) -> Figure | None:
    counts = evaluation.protocol.get("confusion")
    if not counts:
        return None
    titles = evaluation.titles
    columns, rows = confusion_table(titles, titles, counts, down="True class", right=True)
    return Figure(
        key="confusion",
        title="Confusion matrix",
        read="Each row is a true class: the share on the diagonal was called rightly, the rest went where it stands.",
        columns=columns,
        rows=rows,
        chart=charts.confusion(counts, titles, titles, "Predicted", "Truth"),
        wide=len(titles) > charts.FEW,
    )


def per_class(evaluation: Evaluation) -> Figure | None:
    table = evaluation.protocol.get("by_class")
    if not table:
        return None
    rows = [
        (title, name, *_interval(table[code].get(key)), table[code].get("images"))
        for code, title in zip(evaluation.codes, evaluation.titles, strict=True)
        if code in table
        for key, name in PER_CLASS.items()
    ]
    few = len(evaluation.codes) <= charts.FEW
    drawn = [
        (f"{name} · {title}", {**NO_RATES, **table[code][key]}, colour)
        for key, name in PER_CLASS.items()
        if key in (DRAWN_PER_CLASS if few else DRAWN_OF_MANY)
        for code, title, colour in zip(evaluation.codes, evaluation.titles, evaluation.colours, strict=True)
        if code in table and table[code].get(key)
    ]
    return Figure(
        key="per-class",
        title="Each class by itself",
        read="A wide interval means few groups stood behind the figure, so look at the classes at the left first.",
        columns=(Column("Class"), Column("Figure"), *INTERVAL_COLUMNS, Column("Images", "count")),
        rows=rows,
        chart=charts.forest([row[0] for row in drawn], [row[1] for row in drawn], colours=[row[2] for row in drawn]),
        note="" if few else "Precision and recall are drawn; the table has the other figures.",
        wide=True,
    )


def roc(evaluation: Evaluation) -> Figure | None:
    return _curve_figure(
        evaluation,
        part="roc",
        keys=("false_positive_rate", "true_positive_rate"),
        key="roc",
        title="ROC, each class against the others",
        read="A curve that hugs the top left corner tells its class apart at any threshold; the dot is in use.",
        axes=("False positive rate (1 - specificity)", "Sensitivity"),
        point=lambda row: (_one_minus(_value(row, "specificity")), _value(row, "recall")),
        area=("AUROC", "auroc"),
    )


def precision_recall(evaluation: Evaluation) -> Figure | None:
    return _curve_figure(
        evaluation,
        part="precision_recall",
        keys=("recall", "precision"),
        key="precision-recall",
        title="Precision and recall, each class against the others",
        read="How many false alarms each class costs for what it finds: top right is best; the dot is what is in use.",
        axes=("Recall (sensitivity)", "Precision (PPV)"),
        point=lambda row: (_value(row, "recall"), _value(row, "precision")),
        area=("Average precision", "average_precision"),
    )


def _curve_figure(
    evaluation: Evaluation,
    *,
    part: str,
    keys: tuple[str, str],
    key: str,
    title: str,
    read: str,
    axes: tuple[str, str],
    point: Callable[[Mapping[str, Any]], tuple[float | None, float | None]],
    area: tuple[str, str],
) -> Figure | None:
    drawn = (evaluation.protocol.get("curves") or {}).get(part)
    table = evaluation.protocol.get("by_class") or {}
    if not drawn:
        return None
    classes = [
        (code, name, colour)
        for code, name, colour in zip(evaluation.codes, evaluation.titles, evaluation.colours, strict=True)
        if code in drawn
    ]
    lines = [(name, colour, drawn[code][keys[0]], drawn[code][keys[1]]) for code, name, colour in classes]
    points = [(*point(table.get(code, {})), colour) for code, _, colour in classes]
    rows = [
        (name, points[place][0], points[place][1], _value(table.get(code, {}), area[1]))
        for place, (code, name, _) in enumerate(classes)
    ]
    columns = (Column("Class"), Column(f"{axes[0]}, in use", "percent"), Column(f"{axes[1]}, in use", "percent"))
    return Figure(
        key=key,
        title=title,
        read=read,
        columns=(*columns, Column(area[0], "number")),
        rows=rows,
        chart=charts.curves(lines, points, x_title=axes[0], y_title=axes[1], chance=part == "roc"),
        wide=len(lines) > charts.FEW,
    )


def _value(row: Mapping[str, Any], key: str) -> float | None:
    return (row.get(key) or {}).get("value")


def _one_minus(value: float | None) -> float | None:
    return None if value is None else 1 - value
