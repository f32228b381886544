"""What the predictions of a case say together: read from the database, put together by ml.pooling."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import numpy as np

from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.selectors.cells import cell_classes
from diagnosis.services.case_predictions import Pooled
from diagnosis.states import ImageKind, RunState, Specimen
from ml.pooling import differential, pool_fields


def case_pool(case: Case) -> Iterator[Pooled]:
    """For each model version that looked at the images now in the case. The case must be locked, its runs ended."""
    runs = (
        PredictionRun.objects.of_cases()
        .filter(image__case=case, image__withdrawn_at__isnull=True)
        .exclude(state=RunState.CANCELLED)
        .select_related("model_version")
        .order_by("model_version")
    )
    for version, of_version in groupby(runs, key=lambda run: run.model_version):
        yield runs_pool(list(of_version), version, marrow=case.specimen == Specimen.BONE_MARROW_ASPIRATE)


def runs_pool(runs: Sequence[PredictionRun], version: ModelVersion, *, marrow: bool) -> Pooled:
    """The runs of one model version on the images of one case."""
    answered = [run for run in runs if run.state == RunState.SUCCEEDED]
    fields = version.input_kind == ImageKind.FIELD
    labels = [cell["label"] for run in answered for cell in run.cells] if fields else [run.label for run in answered]
    images = sum(bool(run.cells) for run in answered) if fields else None  # a field model looks into some only
    return Pooled(
        model_version=version,
        image_count=len(runs),
        answered_count=len(answered),
        abstained_count=sum(run.abstained for run in answered),
        differential=cells_count(labels, version, marrow=marrow, images=images),
        **(fields_pool(answered, version) if fields and answered else {}),
    )


def cells_count(labels: Sequence[str], version: ModelVersion, *, marrow: bool, images: int | None) -> dict | None:
    classes = cell_classes(version)
    if not labels or not classes:
        return None
    codes = [entry["code"] for entry in classes]
    malignant = {entry["code"] for entry in classes if entry["malignant"]}
    return asdict(differential(labels, classes=codes, malignant=malignant, marrow=marrow, images=images))


def fields_pool(answered: Sequence[PredictionRun], version: ModelVersion) -> dict:
    codes = [entry["code"] for entry in version.classes]
    rows = [[(run.probabilities or {}).get(code, 0.0) for code in codes] for run in answered]
    pooled = pool_fields(np.array(rows))
    intervals = None
    if pooled.low is not None and pooled.high is not None:
        pairs = zip(codes, pooled.low, pooled.high, strict=True)
        intervals = {code: [float(low), float(high)] for code, low, high in pairs}
    return {
        "label": codes[int(pooled.mean.argmax())],
        "probabilities": dict(zip(codes, pooled.mean.tolist(), strict=True)),
        "intervals": intervals,
    }
