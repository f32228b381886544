"""The parts of an evaluation report that are tables first: data, protocols side by side, what else was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diagnosis.dashboards.charts import evaluation as charts
from diagnosis.dashboards.figures import Column, Figure, Row

if TYPE_CHECKING:
    from diagnosis.dashboards.evaluation import Evaluation

COMPARED = {
    "accuracy": "Accuracy",
    "macro_f1": "F1 (macro)",
    "leukaemia_sensitivity": "Leukaemia: sensitivity",
    "leukaemia_specificity": "Leukaemia: specificity",
}
MEASURE_ORDER = {
    name: place
    for place, name in enumerate(
        (
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "leukaemia_sensitivity",
            "leukaemia_specificity",
            "leukaemia_auroc",
            "raw",
            "preprocessed",
            "chance",
        )
    )
}
PROBED = {
    "balanced_accuracy": "Balanced accuracy",
    "raw": "Raw images",
    "preprocessed": "What the model sees",
    "chance": "Chance",
}
FIRST = ("unchanged", "false_refusals", "model", "as_is")
PARTS = ("train", "embargo", "held_out")


def readable(code: str) -> str:
    return code.replace("_", " ").strip().capitalize()


def protocols(evaluation: Evaluation) -> Figure | None:
    """The same model, or its recipe, under every protocol it was measured with: random against honest, external."""
    entries = [entry for entry in evaluation.protocols if entry.get("name")]
    if len(entries) < 2:
        return None
    known = {
        key: title for key, title in COMPARED.items() if any(_overall(entry, key) is not None for entry in entries)
    }
    rows = [
        (entry["name"], entry.get("images"), *[_overall(entry, key) for key in known], entry.get("protocol", ""))
        for entry in entries
    ]
    series = {
        title: [(entry.get("overall") or {}).get(key) or {} for entry in entries] for key, title in known.items()
    }
    return Figure(
        key="protocols",
        title="Random split, honest split, other data",
        read="Where a looser protocol looks better than a strict one, related images lend the difference.",
        columns=(
            Column("Protocol"),
            Column("Images", "count"),
            *(Column(title, "percent") for title in known.values()),
            Column("How it was done"),
        ),
        rows=rows,
        chart=charts.compared([row[0] for row in rows], series) if series else None,
        note=_lent(entries),
        wide=True,
    )


def _lent(entries: Sequence[Mapping[str, Any]]) -> str:
    """What the random split seems to give, in points of accuracy."""
    random = next((entry for entry in entries if _is(entry, "random")), None)
    honest = next((entry for entry in entries if _is(entry, "contiguous", "cross-validation", "grouped")), None)
    if random is None or honest is None:
        return ""
    loose, strict = _overall(random, "accuracy"), _overall(honest, "accuracy")
    if loose is None or strict is None:
        return ""
    return f"{random['name']} against {honest['name']}: {100 * (loose - strict):+.1f} points of accuracy."


def _is(entry: Mapping[str, Any], *starts: str) -> bool:
    return str(entry.get("name", "")).startswith(starts)


def unasked_protocols(evaluation: Evaluation) -> tuple[str, ...]:
    """Questions that no protocol of the report answers."""
    asked = {
        ("random",): "a random split beside the honest one",
        ("cross-validation",): "cross-validation over several blocks",
        ("external",): "images of another laboratory",
    }
    return tuple(
        sentence for starts, sentence in asked.items() if not any(_is(row, *starts) for row in evaluation.protocols)
    )


def _overall(protocol: Mapping[str, Any], key: str) -> float | None:
    return ((protocol.get("overall") or {}).get(key) or {}).get("value")


def flat_rows(part: Mapping[str, Any]) -> tuple[list[str], list[Row]]:
    """A part of a report as rows: `{name: number}` or `{name: {measure: number}}`, sentences left out."""
    nested = {name: value for name, value in part.items() if isinstance(value, Mapping) and "value" not in value}
    measures = {key for value in nested.values() for key, cell in value.items() if _number(cell) and key != "images"}
    if not measures:
        return ["value"], [(readable(name), _plain(part[name])) for name in _in_order(part) if _number(part[name])]
    names = sorted(measures, key=lambda key: (MEASURE_ORDER.get(key, len(MEASURE_ORDER)), key))
    return names, [(readable(name), *[_plain(nested[name].get(key)) for key in names]) for name in _in_order(nested)]


def _in_order(names: Iterable[str]) -> list[str]:
    """What others are compared with first, the rest by name: the database keeps no order of its own."""
    return sorted(names, key=lambda name: (name not in FIRST, name))


def _number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "value" in value
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _plain(value: Any) -> float | None:
    return value.get("value") if isinstance(value, Mapping) else value


def _measured(
    evaluation: Evaluation, part: str, *, key: str, title: str, read: str, drawn: tuple[str, ...] = ()
) -> Figure | None:
    """A part of the report as a table, with bars of all its measures or of those in `drawn`."""
    found = evaluation.report.get(part) or evaluation.protocol.get(part)
    if not isinstance(found, Mapping):
        return None
    measures, rows = flat_rows(found)
    if not rows:
        return None
    names = [row[0] for row in rows]
    shares = all(cell is None or 0 <= cell <= 1 for row in rows for cell in row[1:])
    kind = "percent" if shares else "number"
    series = {
        readable(name): [row[1 + place] for row in rows]
        for place, name in enumerate(measures)
        if not drawn or name in drawn
    }
    counted = {row.get("images") for row in found.values() if isinstance(row, Mapping)} - {None}
    return Figure(
        key=key,
        title=title,
        read=read,
        columns=(Column("What"), *(Column(readable(name), kind) for name in measures)),  # type: ignore[arg-type]
        rows=rows,
        chart=charts.grouped_bars(names, series, share=shares) if series else None,
        note=f"On {counted.pop()} images." if len(counted) == 1 else "",
        wide=len(measures) > 3,
    )


def shortcuts(evaluation: Evaluation) -> Figure | None:
    """Each probe beside the model itself: what looks at no cell must not come near what does."""
    rows = probes_of(evaluation.report)
    if not rows:
        return None
    model = _overall(evaluation.protocol, "balanced_accuracy")
    names = {key: title for key, title in PROBED.items() if any(row.get(key) is not None for row in rows.values())}
    table: list[Row] = [(readable(name), *[row.get(key) for key in names]) for name, row in rows.items()]
    if model is not None:
        seen = next((key for key in ("preprocessed", "balanced_accuracy", "raw") if key in names), "")
        table.insert(0, ("The model itself", *[model if key == seen else None for key in names]))
    titles = list(names.values())
    return Figure(
        key="shortcuts",
        title="Shortcuts",
        read=(
            "What the background colour, a corner or the number of cells alone would score (balanced accuracy): near "
            "chance there is nothing to cheat with, near the model it may be cheating."
        ),
        columns=(Column("What"), *(Column(title, "percent") for title in titles)),
        rows=table,
        chart=charts.grouped_bars(
            [row[0] for row in table], {title: [row[1 + at] for row in table] for at, title in enumerate(titles)}
        ),
    )


def probes_of(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Probes by name, whether the report lists them or names them."""
    part = next((report[key] for key in ("shortcuts", "shortcut_panel", "shortcut") if report.get(key)), None)
    found = part.get("probes", part) if isinstance(part, Mapping) else part
    if isinstance(found, Mapping):
        return {name: found[name] for name in sorted(found) if isinstance(found[name], Mapping)}
    if isinstance(found, list):
        return {str(row["name"]): row for row in found if isinstance(row, Mapping) and row.get("name")}
    return {}


def robustness(evaluation: Evaluation) -> Figure | None:
    return _measured(
        evaluation,
        "robustness",
        key="robustness",
        title="The same images, changed",
        read="Each row changes the held-out images; where bars fall below the unchanged row, expect it here too.",
        drawn=("macro_f1", "leukaemia_sensitivity", "leukaemia_specificity"),
    )


def outsiders(evaluation: Evaluation) -> Figure | None:
    return _measured(
        evaluation,
        "out_of_distribution",
        key="outsiders",
        title="Images that are none of its business",
        read="How well blank, blurred, foreign and other-stain images are told from those the model knows.",
    )


def deletion(evaluation: Evaluation) -> Figure | None:
    return _measured(
        evaluation,
        "heat_map_deletion",
        key="deletion",
        title="Deletion test of the heat map",
        read="Covering what the heat map marks should cost more confidence than covering as much at random.",
    )


def refusals(evaluation: Evaluation) -> Figure | None:
    return _measured(
        evaluation,
        "refusal",
        key="refusals",
        title="Refusals",
        read="False refusals should be near 0; every spoilt or foreign kind of image near 100 %.",
    )


def worst_errors(evaluation: Evaluation) -> Figure | None:
    errors = evaluation.protocol.get("worst")
    if errors is None:
        return None
    titles = dict(zip(evaluation.codes, evaluation.titles, strict=True))
    return Figure(
        key="worst-errors",
        title="The surest mistakes",
        read="Wrong answers given with the most confidence, by file of the data set: look at these images first.",
        columns=(Column("Image"), Column("Truth"), Column("Predicted"), Column("Confidence", "percent")),
        rows=[
            (
                row["image"],
                titles.get(row["truth"], row["truth"]),
                titles.get(row["said"], row["said"]),
                row["confidence"],
            )
            for row in errors
        ],
        note="" if errors else "The model made no mistake on these images.",
        wide=True,
    )


def data_flow(evaluation: Evaluation) -> Figure | None:
    data = evaluation.report.get("data")
    if not data:
        return None
    counts = data.get("counts") or {}
    parts = sorted(counts, key=lambda part: (PARTS.index(part) if part in PARTS else len(PARTS), part))
    rows: list[Row] = [
        (title, *[counts[part].get(code, 0) for part in parts])
        for code, title in zip(evaluation.codes, evaluation.titles, strict=True)
    ]
    rows.append(("All", *[sum(count or 0 for count in counts[part].values()) for part in parts]))
    said = {
        "images": "{} images",
        "duplicates_removed": "{} identical files removed before",
        "near_duplicate_groups": "{} groups of near duplicates kept together",
        "sha256": "fingerprint {:.16}…",
    }
    known = [text.format(data[key]) for key, text in said.items() if data.get(key) is not None]
    if evaluation.protocol.get("groups") is not None:
        known.append(f"{evaluation.protocol['groups']} groups held out")
    return Figure(
        key="data-flow",
        title="Data flow",
        read="How many images of each class were learned from, held out, or left out to keep the two apart.",
        columns=(Column("Class"), *(Column(readable(part), "count") for part in parts)),
        rows=rows if parts else [],
        note="; ".join(known) + "." if known else "",
    )


def costs(evaluation: Evaluation) -> Figure | None:
    cost = evaluation.report.get("cost")
    if not cost:
        return None
    rows = [
        (readable(name), f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else value)
        for name, value in cost.items()
    ]
    return Figure(
        key="cost",
        title="What it costs to run",
        read="Measured on the machine that made the release; compare with the throughput under Operations.",
        columns=(Column("What"), Column("Value")),
        rows=rows,
    )


def training_figures(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Loss and figures after every epoch; none where the curves did not come with the release."""
    if not rows:
        return []
    losses = {"train_loss": "training", "held_out_nll": "held out"}
    figures = {
        "train_accuracy": "accuracy, training",
        "held_out_accuracy": "accuracy, held out",
        "held_out_macro_f1": "F1 (macro), held out",
    }
    return [
        _training(rows, losses, "training-loss", "Loss while training", "Loss (nats)", "number"),
        _training(rows, figures, "training-figures", "Figures while training", "Share", "percent"),
    ]


def _training(
    rows: Sequence[Mapping[str, Any]], names: dict[str, str], key: str, title: str, y_title: str, kind: str
) -> Figure:
    known = {name: text for name, text in names.items() if any(row.get(name) is not None for row in rows)}
    return Figure(
        key=key,
        title=title,
        read="Training runs on altered images, so it may look worse than held out; held out should not turn back.",
        columns=(
            Column("Epoch", "count"),
            *(Column(text.capitalize(), kind) for text in known.values()),  # type: ignore[arg-type]
        ),
        rows=[(row["epoch"], *[row.get(name) for name in known]) for row in rows],
        chart=charts.training(rows, known, y_title, share=kind == "percent"),
    )
