"""The portal and the command line say the same of the same files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.models import User
from diagnosis.models import ModelVersion, PredictionRun
from diagnosis.services.cases import case_submit
from diagnosis.services.images import image_add
from diagnosis.states import RunState
from portal.local import ROOT
from tests.factories import CaseFactory
from worker.drain import queue_drain

FILES_OF_A_CLASS = 3


@pytest.mark.slow
def test_worker_and_command_line_agree(
    technician: User, served: ModelVersion, released: Path, smear_data: Path
) -> None:
    files = [
        path
        for folder in sorted((smear_data / "taleqani").iterdir())
        if folder.is_dir()
        for path in sorted(folder.glob("*.jpg"))[:FILES_OF_A_CLASS]
    ]
    assert len(files) >= 8
    case = CaseFactory(submitted_by=technician)
    for path in files:
        with path.open("rb") as upload:
            image_add(case=case, actor=technician, upload=upload, file_name=path.name)
    case_submit(case=case, actor=technician)
    while queue_drain():
        pass

    said = command_line(files, released)
    runs = {run.image.file_name: run for run in PredictionRun.objects.select_related("image")}
    assert len(runs) == len(files)
    for path in files:
        run, line = runs[path.name], said[str(path)]
        assert (run.state == RunState.REFUSED) == line["refused"]
        assert (run.label or None) == line["class"]
        assert run.abstained == line["abstained"]
        assert run.reasons == line["reasons"]
        assert (run.probabilities or {}) == pytest.approx(line["probabilities"], abs=0.01)


def command_line(files: list[Path], released: Path) -> dict[str, dict]:
    command = [sys.executable, "-m", "ml.predict", *map(str, files), "--json", "--weights", str(released)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line["path"]: line for line in map(json.loads, result.stdout.splitlines())}
