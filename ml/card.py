"""`python -m ml.card --weights DIR --out FILE`: the model card, written from manifest and report alone.

No figure is typed by hand (Mitchell et al., Model Cards for Model Reporting, FAT* 2019).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.manifest import Manifest, ManifestError

Value = Callable[[dict[str, Any]], float | None]


@dataclass(frozen=True)
class Bar:
    """A figure we aim for: where it stands in the report, and whether it should be `at least` or `at most` the bar."""

    title: str
    value: Value
    direction: str
    bar: float

    def reached(self, report: dict[str, Any]) -> bool:
        value = self.value(report)
        return value is not None and (value >= self.bar if self.direction == "at least" else value <= self.bar)


def protocol_of(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((row for row in report["protocols"] if row["name"] == name), None)


def overall(key: str, name: str | None = None, part: str = "value") -> Value:
    """A figure over all classes of one protocol, the first unless named."""

    def value(report: dict[str, Any]) -> float | None:
        row = protocol_of(report, name) if name else report["protocols"][0]
        found: float | None = row["overall"][key][part] if row else None
        return found

    return value


def of_main(*path: str) -> Value:
    def value(report: dict[str, Any]) -> float | None:
        found: Any = report["protocols"][0]
        for key in path:
            found = found[key]
        return float(found)

    return value


def common_f1(report: dict[str, Any], name: str = "held-out-deepapl", fewest: int = 100) -> float | None:
    """Macro-F1 over the classes of which there are enough pictures to say anything."""
    row = protocol_of(report, name)
    rows = row["by_class"].values() if row else []
    values = [entry["f1"]["value"] for entry in rows if entry["images"] >= fewest and entry["f1"]["value"] is not None]
    return sum(values) / len(values) if values else None


def blast_auroc(report: dict[str, Any]) -> float | None:
    row = protocol_of(report, "held-out-deepapl")
    found: float | None = row["by_class"]["blast"]["auroc"]["value"] if row else None
    return found


def healthy_called_blast(report: dict[str, Any]) -> float | None:
    """Share of held-out cells of healthy people that are said to be blasts."""
    row = protocol_of(report, "held-out-pbc")
    if row is None:
        return None
    said = row["classes"].index("blast")
    return float(sum(counts[said] for counts in row["confusion"]) / row["images"])


ECE = Bar("ECE after calibration", of_main("calibration", "after", "ece_equal_width"), "at most", 0.02)
BARS: dict[str, tuple[Bar, ...]] = {
    "b-all-stage": (
        Bar("Macro-F1, pictures held out in blocks", overall("macro_f1"), "at least", 0.975),
        Bar("… its lower 95 % bound over groups", overall("macro_f1", part="low"), "at least", 0.96),
        Bar("Leukaemia sensitivity", overall("leukaemia_sensitivity"), "at least", 0.99),
        Bar("Leukaemia specificity", overall("leukaemia_specificity"), "at least", 0.95),
        ECE,
        Bar("Risk at 90 % coverage", of_main("selective", "risk_at", "0.90"), "at most", 0.005),
        Bar("Accuracy, random split", overall("accuracy", "random-split"), "at least", 0.99),
        Bar("Precision, random split", overall("macro_precision", "random-split"), "at least", 0.985),
        Bar("Recall, random split", overall("macro_recall", "random-split"), "at least", 0.985),
        Bar("F1, random split", overall("macro_f1", "random-split"), "at least", 0.985),
    ),
    "cell-type": (
        Bar("Blast against all others, AUROC, unseen patients", blast_auroc, "at least", 0.98),
        Bar("Macro-F1 over classes with 100 cells or more, unseen patients", common_f1, "at least", 0.80),
        Bar("Accuracy, cells of healthy people", overall("accuracy", "held-out-pbc"), "at least", 0.98),
        Bar("Cells of healthy people called blast", healthy_called_blast, "at most", 0.003),
        ECE,
    ),
}
FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_precision": "Precision (macro)",
    "macro_recall": "Recall (macro)",
    "macro_f1": "F1 (macro)",
    "leukaemia_sensitivity": "Leukaemia against benign: sensitivity",
    "leukaemia_specificity": "Leukaemia against benign: specificity",
    "leukaemia_auroc": "Leukaemia against benign: AUROC",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"


def interval(row: dict[str, float | None]) -> list[str]:
    by_group = f"{number(row['low'])} to {number(row['high'])}"
    return [number(row["value"]), by_group, f"{number(row['naive_low'])} to {number(row['naive_high'])}"]


def introduction(manifest: Manifest) -> list[str]:
    lines = [f"# {manifest.title}: `{manifest.model}`", "", manifest.intended_use, ""]
    if manifest.experimental:
        lines += [
            "**Experimental**: it serves only when an administrator records why it may, in spite of what follows.",
            "",
        ]
    lines += table(
        ["class", "stands for", "counts as leukaemia"],
        (
            [item.code, f"{item.title}. {item.description}", "yes" if item.malignant else "no"]
            for item in manifest.classes
        ),
    )
    lines += ["## Read this first", "", *(f"- {text}" for text in [*manifest.caveats, *manifest.limitations]), ""]
    return lines


def bars(manifest: Manifest, report: dict[str, Any]) -> list[str]:
    rows = []
    for bar in BARS.get(manifest.task, ()):
        value = bar.value(report)
        verdict = "not measured" if value is None else "reached" if bar.reached(report) else "**missed**"
        rows.append([bar.title, number(value), f"{bar.direction} {bar.bar:g}", verdict])
    return ["## Against what we aim for", "", *table(["figure", "measured", "bar", ""], rows)] if rows else []


def figures(protocol: dict[str, Any]) -> list[str]:
    lines = [
        f"## Figures: {protocol['name'].replace('-', ' ')}",
        "",
        f"{protocol['protocol']} {protocol['images']} pictures, {protocol['groups']} groups.",
        "",
    ]
    lines += became(protocol)
    lines += [
        (
            "Intervals are 95 % by bootstrap, over groups (patients where they are known; else runs of ten file "
            "numbers joined by near duplicates) and, naively, over pictures."
        ),
        "",
    ]
    rows = [[title, *interval(protocol["overall"][key])] for key, title in FIGURES.items()]
    lines += table(["", "value", "over groups", "naive"], rows)
    lines += ["Truth in rows, prediction in columns:", ""]
    lines += table(
        ["", *protocol["classes"]],
        (
            [code, *(f"{count} ({count / max(1, sum(row)):.0%})" for count in row)]
            for code, row in zip(protocol["classes"], protocol["confusion"], strict=True)
        ),
    )
    keys = ("precision", "recall", "specificity", "npv", "f1", "auroc", "average_precision")
    rows = [
        [code, str(row["images"]), *(number(row[key]["value"]) for key in keys)]
        for code, row in protocol["by_class"].items()
    ]
    return lines + table(["class", "pictures", *(key.replace("_", " ") for key in keys)], rows)


def certainty(manifest: Manifest, protocol: dict[str, Any]) -> list[str]:
    part, chosen = protocol["calibration"], protocol["selective"]
    keys = ("ece_equal_width", "ece_equal_mass", "brier", "nll")
    lines = [
        "## How far its certainty can be trusted",
        "",
        f"Temperature {manifest.temperature:g}{biases(manifest)}; {part['how']}.",
        "",
    ]
    lines += table(
        ["", *(key.replace("_", " ") for key in keys)],
        [[name, *(number(part[name][key]) for key in keys)] for name in ("before", "after")],
    )
    risks = ", ".join(f"{number(risk)} at {float(share):.0%}" for share, risk in chosen["risk_at"].items())
    lines += [
        (
            f"Share of wrong answers when only the surest are given: {risks}; area under the curve "
            f"{number(chosen['aurc'], 4)}. Below a confidence of {chosen['threshold']:g} it abstains: "
            f"{chosen['coverage_at_threshold']:.1%} are answered, "
            f"{number(chosen['risk_at_threshold'])} of these wrongly. "
            "The threshold was chosen on these very pictures."
        ),
        "",
    ]
    sets = protocol["conformal"]
    lines += [f"Conformal sets aiming at {sets['aimed_at']:.0%} hold the truth in {sets['coverage']:.1%}:", ""]
    rows = [[code, number(row["coverage"]), number(row["set_size"], 2)] for code, row in sets["by_class"].items()]
    return lines + table(["class", "coverage", "classes in a set"], rows)


def biases(manifest: Manifest) -> str:
    if not manifest.class_bias:
        return ""
    said = (f"{code} {value:+.2f}" for code, value in zip(manifest.codes, manifest.class_bias, strict=True))
    return f", then added to the logits: {', '.join(said)}"


def became(protocol: dict[str, Any]) -> list[str]:
    """What became of the pictures that a protocol had answered as shipped."""
    found = protocol.get("shipped")
    if not found:
        return []
    wrong = f", {found['answered_wrong']} of them wrongly" if found["answered"] else ""
    return [
        (
            f"Of {found['images']} pictures {found['refused']} were refused, {found['abstained']} left open and "
            f"{found['answered']} answered{wrong} ({number(found['wrong_of_answered'], 4)})."
        ),
        "",
    ]


def sturdiness(report: dict[str, Any]) -> list[str]:
    lines = ["## What it refuses, and what shakes it", ""]
    refusal = report["refusal"]
    lines += [f"Usable held-out smears refused: {refusal['false_refusals']:.2%}.", ""]
    rows = [[name, f"{share:.1%}"] for name, share in refusal.items() if name != "false_refusals"]
    lines += table(["made unusable by", "refused"], rows)
    lines += strangers(report)
    keys = ("accuracy", "macro_f1", "leukaemia_sensitivity", "leukaemia_specificity")
    rows = [[name, *(number(row[key]) for key in keys)] for name, row in report["robustness"].items()]
    if not rows:
        return lines
    images = next(iter(report["robustness"].values()))["images"]
    lines += [f"The same {images} held-out pictures, changed one way at a time:", ""]
    return lines + table(["change", *(key.replace("_", " ") for key in keys)], rows)


def strangers(report: dict[str, Any]) -> list[str]:
    """How foreign pictures are noticed, what shortcuts there are, and whether the heat map marks the evidence."""
    lines: list[str] = []
    if found := report.get("out_of_distribution"):
        lines += ["Pictures that are none of its business, told from held-out ones by how familiar they are:", ""]
        rows = [[name, number(row["auroc"]), number(row["fpr_at_95_tpr"])] for name, row in found.items()]
        lines += table(["pictures", "AUROC", "false alarms when 95 % are noticed"], rows)
    if found := report.get("shortcuts"):
        lines += ["Balanced accuracy of classifiers that see no cell, on raw pictures and on what the model sees:", ""]
        keys = ("raw", "preprocessed", "chance")
        lines += table(
            ["what they see", *keys], ([name, *(number(row.get(key)) for key in keys)] for name, row in found.items())
        )
    if found := report.get("heat_map_deletion"):
        lines += ["Confidence in the predicted class when a fifth of the picture is covered:", ""]
        lines += table(["covered", "confidence"], ([name, number(row["confidence"])] for name, row in found.items()))
    return lines


def failures(protocol: dict[str, Any]) -> list[str]:
    if not protocol["worst"]:
        return []
    rows = [[row["image"], row["truth"], row["said"], number(row["confidence"])] for row in protocol["worst"]]
    kinds = Counter(f"{row['truth']} called {row['said']}" for row in protocol["worst"])
    said = "; ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
    return ["## Its surest mistakes", "", f"{said}.", "", *table(["picture", "truth", "said", "confidence"], rows)]


def origins(manifest: Manifest, report: dict[str, Any]) -> list[str]:
    lines = ["## Data", "", manifest.data.split, ""]
    codes = list(manifest.codes)
    rows = [[part, *(str(counts.get(code, 0)) for code in codes)] for part, counts in manifest.data.counts.items()]
    lines += table(["pictures", *codes], rows)
    flow = report["data"]
    lines += [
        (
            f"Identical files removed: {flow['duplicates_removed']}; groups of near duplicates: "
            f"{flow['near_duplicate_groups']}."
        ),
        "",
    ]
    for source in manifest.data.sources:
        lines.append(
            f"- **{source.name}** ({source.role}, {source.images} pictures): {source.reference}. {source.terms}"
        )
    lines += ["", "## How it was made", ""]
    steps = [f"{step.name} v{step.version}" for step in manifest.preprocessing if step.enabled]
    off = [step.name for step in manifest.preprocessing if not step.enabled]
    cost = report["cost"]
    lines += [
        (
            f"- Network: {manifest.architecture}, {cost['parameters'] / 1e6:.1f} million parameters, "
            f"{cost['multiply_adds'] / 1e9:.2f} billion multiply-adds a picture, "
            f"{manifest.weights.bytes / 1e6:.1f} MB; {cost['images_per_second']:g} pictures a second on "
            f"{cost['threads']} CPU threads ({cost['backend']}; on a machine busy with other work)."
        ),
        f"- Preprocessing, in order: {', '.join(steps)}. Off: {', '.join(off) or 'none'}.",
        f"- Training: {stages(manifest)}. Settings in the manifest, curves in `curves.json`.",
        f"- Weights: sha256 `{manifest.weights.sha256}`.",
        "",
        "## Terms",
        "",
        manifest.licence,
        "",
    ]
    return lines


def stages(manifest: Manifest) -> str:
    """How many epochs of how many pictures, stage by stage."""
    made = manifest.training
    last = {"task": manifest.task, "epochs": made.get("epochs"), "settings": made.get("settings", {})}
    every = [*made.get("earlier_stages", []), last]
    return ", then ".join(
        f"{stage['epochs']} epochs of {stage['settings'].get('samples') or 'all'} pictures for {stage['task']}"
        for stage in every
    )


def card(manifest: Manifest, report: dict[str, Any]) -> str:
    protocol = report["protocols"][0]
    parts = [
        introduction(manifest),
        bars(manifest, report),
        *(figures(each) for each in report["protocols"]),
        certainty(manifest, protocol),
        sturdiness(report),
        failures(protocol),
        origins(manifest, report),
    ]
    return "\n".join(line for part in parts for line in part)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.card", description="Write a model card from its report.")
    parser.add_argument("--weights", required=True, type=Path, help="released model directory")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args(arguments)
    try:
        manifest = Manifest.read(options.weights)
        report = json.loads((options.weights / "report.json").read_text())
    except (ManifestError, OSError, json.JSONDecodeError) as error:
        print(f"ml.card: {error}", file=sys.stderr)
        return 2
    options.out.write_text(card(manifest, report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
