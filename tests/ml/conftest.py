"""Shared pieces: where real images lie, and a complete released directory with random weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def smear_data() -> Path:
    """The folder with real images; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("LEUKOSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "taleqani").is_dir():
        pytest.skip(f"no smear images in {folder}; set LEUKOSCOPE_DATA")
    return folder


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released directory as ml.release writes it, of an untrained network: every part real but the knowledge."""
    import torch

    from ml import model
    from ml.release import write_weights

    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("weights") / "b-all-stage" / "0.1.0"
    directory.mkdir(parents=True)
    net = model.build(4)
    for name, parameter in net.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.constant_(parameter, 0.5)
    weights = write_weights(directory, net.state_dict())
    manifest(weights=weights.model_dump()).write(directory)
    return directory


def manifest(**changes: Any) -> Any:
    """A valid manifest with the given fields changed."""
    from ml import config, sources
    from ml.describe import THRESHOLDS, class_infos
    from ml.manifest import Manifest
    from ml.tasks import B_ALL_STAGE

    values: dict[str, Any] = {
        "schema_version": 1,
        "task": "b-all-stage",
        "version": "0.1.0",
        "title": B_ALL_STAGE.title,
        "input": "field",
        "architecture": "resnext50_32x4d",
        "classes": [item.model_dump() for item in class_infos(B_ALL_STAGE)],
        "preprocessing": [
            {"name": s.name, "version": s.version, "enabled": s.enabled, "parameters": dict(s.parameters)}
            for s in config.FIELD_STEPS
        ],
        "weights": {"file": "model.safetensors", "sha256": "0" * 64, "bytes": 1},
        "temperature": 1.0,
        "abstention_threshold": 0.0,
        "refusal": {"version": 1, "thresholds": THRESHOLDS["field"], "false_refusals": 0.0, "measured_on": "nothing"},
        "data": {"sources": [], "split": "none", "counts": {}},
        "training": {},
        "metrics": [],
        "intended_use": sources.TEXTS["b-all-stage"].intended_use,
        "limitations": list(sources.TEXTS["b-all-stage"].limitations),
        "caveats": list(sources.TEXTS["b-all-stage"].caveats),
        "licence": sources.LICENCE,
    }
    return Manifest.model_validate({**values, **changes})


@pytest.fixture
def manifest_of() -> Any:
    """Makes valid manifests: `manifest_of(temperature=2.0)`."""
    return manifest
