"""The facts of a model version on one page, from its manifest and its evaluation report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.dashboards.evaluation import Evaluation, confusion, evaluation_of, headline, per_class
from diagnosis.dashboards.evaluation_confidence import calibration
from diagnosis.dashboards.evaluation_tables import costs, data_flow, readable, refusals
from diagnosis.dashboards.figures import Column, Figure, Row
from diagnosis.models import ModelVersion


@dataclass(frozen=True)
class ModelFacts:
    """What the page says; lists and figures that the release does not have are empty."""

    manifest: Mapping[str, Any]
    classes: Sequence[Mapping[str, Any]]
    summary: list[tuple[str, str]]
    tables: list[Figure]
    figures: list[Figure]


def model_facts(version: ModelVersion) -> ModelFacts:
    evaluation = evaluation_of(version)
    return ModelFacts(
        manifest=version.manifest,
        classes=version.classes,
        summary=_summary(version),
        tables=_tables(version.manifest),
        figures=_figures(evaluation) if evaluation else [],
    )


def _figures(evaluation: Evaluation) -> list[Figure]:
    makers = (headline, confusion, per_class, calibration, refusals, data_flow, costs)
    return [made for maker in makers if (made := maker(evaluation)) is not None]


def _summary(version: ModelVersion) -> list[tuple[str, str]]:
    manifest = version.manifest
    weights, refusal = manifest.get("weights") or {}, manifest.get("refusal") or {}
    said = [
        ("Version", f"{version.task} {version.version}"),
        ("Status", version.get_status_display()),
        ("Looks at", version.get_input_kind_display()),
        ("Architecture", manifest.get("architecture", "")),
        ("Weights (SHA-256)", version.weights_sha256),
        ("Size of the weights", f"{weights['bytes'] / 1e6:.1f} MB" if "bytes" in weights else ""),
        ("Temperature", f"{manifest['temperature']:.3f}" if "temperature" in manifest else ""),
        ("Bias of the classes", _biases(manifest)),
        ("Says nothing below", _percent(manifest.get("abstention_threshold"))),
        ("Usable smears refused", _percent(refusal.get("false_refusals"))),
        ("Licence", manifest.get("licence", "")),
    ]
    return [(name, value) for name, value in said if value]


def _biases(manifest: dict[str, Any]) -> str:
    """What is added to each class's logit, where a manifest has it."""
    codes = [entry["code"] for entry in manifest.get("classes", [])]
    found = manifest.get("class_bias") or []
    return ", ".join(f"{code} {value:+.2f}" for code, value in zip(codes, found, strict=False))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _tables(manifest: Mapping[str, Any]) -> list[Figure]:
    made = [_sources(manifest), _steps(manifest), _settings(manifest)]
    return [table for table in made if table.rows]


def _sources(manifest: Mapping[str, Any]) -> Figure:
    sources = (manifest.get("data") or {}).get("sources") or []
    return Figure(
        key="sources",
        title="Data sets",
        read=(manifest.get("data") or {}).get("split", ""),
        columns=(Column("Name"), Column("Role"), Column("Images", "count"), Column("Terms"), Column("Reference")),
        rows=[
            (row.get("name"), row.get("role"), row.get("images"), row.get("terms"), row.get("reference"))
            for row in sources
        ],
    )


def _steps(manifest: Mapping[str, Any]) -> Figure:
    return Figure(
        key="steps",
        title="Preprocessing, in order",
        read="The worker does exactly this to each image before the network sees it.",
        columns=(Column("Step"), Column("Version"), Column("In use"), Column("Parameters")),
        rows=[
            (
                readable(step["name"]),
                step.get("version"),
                "yes" if step.get("enabled", True) else "no",
                _pairs(step.get("parameters") or {}),
            )
            for step in manifest.get("preprocessing") or []
        ],
    )


def _settings(manifest: Mapping[str, Any]) -> Figure:
    training = manifest.get("training") or {}
    settings = training.get("settings") or {}
    rows: list[Row] = [("Epochs", str(training["epochs"]))] if "epochs" in training else []
    rows += [
        (readable(name), _pairs(value) if isinstance(value, Mapping) else str(value))
        for name, value in settings.items()
        if not isinstance(value, list) and name not in training
    ]
    return Figure(
        key="settings",
        title="Training",
        read="The settings of the last stage; those of earlier ones, if any, stand in the manifest.",
        columns=(Column("Setting"), Column("Value")),
        rows=rows,
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{readable(name).lower()} {value}" for name, value in values.items()) or "none"
