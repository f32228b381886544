"""`python -m ml.card --weights DIR --out FILE`: the model card, written from manifest and report alone.

No figure is typed by hand (Mitchell et al., Model Cards for Model Reporting, FAT* 2019).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ml.manifest import Manifest, ManifestError

BARS: tuple[tuple[str, str, str, float], ...] = (
    ("Macro-F1, contiguous block", "macro_f1", "at least", 0.96),
    ("Leukaemia sensitivity", "leukaemia_sensitivity", "at least", 0.99),
    ("Leukaemia specificity", "leukaemia_specificity", "at least", 0.90),
    ("ECE after temperature", "ece_after_temperature", "at most", 0.02),
    ("Risk at 90 % coverage", "risk_at_90_percent_coverage", "at most", 0.005),
)
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
    lines += table(
        ["class", "stands for", "counts as leukaemia"],
        (
            [item.code, f"{item.title}. {item.description}", "yes" if item.malignant else "no"]
            for item in manifest.classes
        ),
    )
    lines += ["## Read this first", "", *(f"- {text}" for text in [*manifest.caveats, *manifest.limitations]), ""]
    return lines


def bars(manifest: Manifest) -> list[str]:
    values = manifest.metrics[0].values if manifest.metrics else {}
    rows = []
    for title, key, direction, bar in BARS:
        value = values.get(key)
        reached = value is not None and (value >= bar if direction == "at least" else value <= bar)
        rows.append([title, number(value), f"{direction} {bar:g}", "reached" if reached else "**missed**"])
    return ["## Against what we aim for", "", *table(["figure", "measured", "bar", ""], rows)]


def figures(protocol: dict[str, Any]) -> list[str]:
    lines = [
        f"## Figures: {protocol['name'].replace('-', ' ')}",
        "",
        f"{protocol['protocol']} {protocol['images']} pictures, {protocol['groups']} groups.",
        "",
    ]
    lines += [
        (
            "Intervals are 95 % by bootstrap, over groups (runs of ten file numbers joined by near duplicates, for "
            "want of patient numbers) and, naively, over pictures."
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
        f"Temperature {manifest.temperature:g}; {part['how']}.",
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


def sturdiness(report: dict[str, Any]) -> list[str]:
    lines = ["## What it refuses, and what shakes it", ""]
    refusal = report["refusal"]
    lines += [f"Usable held-out smears refused: {refusal['false_refusals']:.2%}.", ""]
    rows = [[name, f"{share:.1%}"] for name, share in refusal.items() if name != "false_refusals"]
    lines += table(["made unusable by", "refused"], rows)
    keys = ("accuracy", "macro_f1", "leukaemia_sensitivity", "leukaemia_specificity")
    rows = [[name, *(number(row[key]) for key in keys)] for name, row in report["robustness"].items()]
    if not rows:
        return lines
    images = next(iter(report["robustness"].values()))["images"]
    lines += [f"The same {images} held-out pictures, changed one way at a time:", ""]
    return lines + table(["change", *(key.replace("_", " ") for key in keys)], rows)


def failures(protocol: dict[str, Any]) -> list[str]:
    if not protocol["worst"]:
        return []
    rows = [[row["image"], row["truth"], row["said"], number(row["confidence"])] for row in protocol["worst"]]
    return ["## Its surest mistakes", "", *table(["picture", "truth", "said", "confidence"], rows)]


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
        bars(manifest),
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
