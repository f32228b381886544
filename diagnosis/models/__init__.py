"""The data of the clinical domain, split by subject, and what must always hold of it."""

from diagnosis.models.cameras import CameraPreset
from diagnosis.models.case_predictions import CasePrediction
from diagnosis.models.cases import Case
from diagnosis.models.drift import DriftAlarm
from diagnosis.models.images import SmearImage, StoredBlob
from diagnosis.models.patients import Patient
from diagnosis.models.predictions import ModelActivation, ModelEvaluation, ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.models.readings import Reading
from diagnosis.models.reports import Report
from diagnosis.models.summaries import CaseSummary, CountSummary, ImageSummary, SummaryDue, SummaryState
from diagnosis.models.timeline import AccessEvent, TimelineEvent

__all__ = [
    "AccessEvent",
    "CameraPreset",
    "Case",
    "CasePrediction",
    "CaseSummary",
    "CountSummary",
    "DriftAlarm",
    "ImageSummary",
    "ModelActivation",
    "ModelEvaluation",
    "ModelVersion",
    "Patient",
    "PredictionRun",
    "Reading",
    "Report",
    "SmearImage",
    "StoredBlob",
    "SummaryDue",
    "SummaryState",
    "TimelineEvent",
    "WorkerHeartbeat",
]
