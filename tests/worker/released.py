"""A released model to test the worker with: the real network and the real release format, the weights random.

What it predicts means nothing; that it is loaded, verified and run exactly as a trained one is the point.
"""

from pathlib import Path

import torch
from torch import nn

from ml import config, model, sources
from ml.describe import THRESHOLDS, class_infos
from ml.manifest import DataInfo, Manifest, RefusalInfo, StepInfo
from ml.release import write_weights
from ml.tasks import TASKS

TASK = TASKS["b-all-stage"]


def write_release(root: Path, version: str = "0.0.1", seed: int = 0) -> Path:
    """Write `root/b-all-stage/<version>` and return it."""
    directory = root / TASK.name / version
    directory.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = model.build(len(TASK.classes))
        awaken(net)
    steps = config.DEFAULTS[TASK.name].steps
    Manifest(
        schema_version=1,
        task=TASK.name,
        version=version,
        title=TASK.title,
        input=TASK.input,
        architecture=model.ARCHITECTURE,
        classes=class_infos(TASK),
        preprocessing=[
            StepInfo(name=step.name, version=step.version, enabled=step.enabled, parameters=dict(step.parameters))
            for step in steps
        ],
        weights=write_weights(directory, net.state_dict()),
        temperature=1.0,
        abstention_threshold=0.3,
        refusal=RefusalInfo(version=1, thresholds=THRESHOLDS["field"], false_refusals=0.0, measured_on="nothing"),
        data=DataInfo(sources=[], split="none", counts={}),
        training={},
        metrics=[],
        intended_use=sources.TEXTS["b-all-stage"].intended_use,
        limitations=["The weights are random."],
        caveats=[],
        licence=sources.LICENCE,
    ).write(directory)
    return directory


def awaken(net: nn.Module) -> None:
    """Training starts with residual blocks that do nothing and a flat head: here every picture is to get an answer
    of its own, so that results that were swapped between pictures are noticed."""
    for name, parameter in net.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.3)
    head = net.get_parameter("fc.1.weight")
    nn.init.normal_(head, std=0.5)
