"""A laboratory's past, written straight into the tables with times of its own, and kept as plain rows beside it, so
that other libraries can count the same things."""

import datetime
import uuid
from dataclasses import dataclass, field

import numpy as np
from django.utils import timezone

from accounts.models import Site, User
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import Case, ModelVersion, Patient, PredictionRun, Reading, SmearImage, TimelineEvent
from diagnosis.states import CaseState, Priority, ReadingDecision, ReadingStage, RunState, TimelineKind, Triage

CODES = ("Benign", "Early", "Pre", "Pro")
REASONS = ("nucleoli plain to see", "smudged cells", "too few cells in the field")
RARE_REASON = "Mrs Ruiz was known to us"


@dataclass
class ImageRow:
    """What one image was predicted and read as; times in seconds."""

    case: int
    state: str
    label: str
    confidence: float
    abstained: bool
    finding: str
    stage: str
    decision: str
    reason: str
    priority: int
    wait: float
    run: float
    signed_at: datetime.datetime
    quality: dict[str, float]
    refusal: str = ""
    error: str = ""


@dataclass
class CaseRow:
    """What a case was suggested, read, concluded and perhaps amended as; times in seconds."""

    priority: int
    submitted_at: datetime.datetime
    signed_at: datetime.datetime
    prediction: float
    waiting: float
    reading: float
    suggested: str
    own: str
    conclusion: str
    standing: str
    reader: str
    second_read: bool
    amended: bool
    first_conclusion: str


@dataclass
class Archive:
    """Signed cases of one site and model version, in random draws of a fixed seed."""

    site: Site
    technician: User
    readers: list[User]
    version: ModelVersion
    seed: int = 0
    cases: list[CaseRow] = field(default_factory=list)
    images: list[ImageRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self._rare_was_given = False
        self.patient = Patient.objects.create(site=self.site, mrn=f"M-{uuid.uuid4()}", family_name="R", given_name="A")
        self._rows: dict[type, list] = {
            model: [] for model in (Case, SmearImage, PredictionRun, Reading, TimelineEvent)
        }

    def fill(
        self,
        count: int,
        *,
        until: datetime.datetime | None = None,
        days: float = 80,
        drift: bool = False,
        images: int = 3,
    ) -> "Archive":
        """Add `count` cases signed within the days before `until`; with drift the last quarter is out of the way."""
        until = until or timezone.now() - datetime.timedelta(hours=1)
        for number in range(count):
            age = days * (1 - (number + 0.5) / count)
            signed_at = until - datetime.timedelta(days=age)
            self._case(signed_at, images, drifted=drift and number >= 0.75 * count)
        self._write()
        return self

    def _case(self, signed_at: datetime.datetime, images: int, *, drifted: bool) -> None:
        rng = self.rng
        priority = int(rng.choice([Priority.STAT, Priority.URGENT, Priority.ROUTINE], p=[0.1, 0.25, 0.65]))
        took = [float(rng.lognormal(mean, 0.8)) for mean in (3, 6 + priority, 5.5)]
        truth = str(rng.choice(CODES, p=(0.1, 0.2, 0.4, 0.3) if drifted else (0.3, 0.3, 0.25, 0.15)))
        reader = self.readers[int(rng.integers(len(self.readers)))]
        second = len(self.readers) > 1 and rng.random() < 0.15
        first = next(user for user in self.readers if user != reader) if second else reader
        suggested = self._said(truth, 0.9)
        own = self._said(truth, 0.85) if rng.random() < 0.8 else ""
        informed = suggested if rng.random() < 0.3 else truth
        amended = not second and rng.random() < 0.1
        row = CaseRow(
            priority=priority,
            submitted_at=signed_at - datetime.timedelta(seconds=sum(took)),
            signed_at=signed_at,
            prediction=took[0],
            waiting=took[1],
            reading=took[2],
            suggested=suggested,
            own=own,
            conclusion=truth if second else informed,
            standing=self._said(truth, 0.5) if amended else (truth if second else informed),
            reader=reader.display_name,
            second_read=second,
            amended=amended,
            first_conclusion=informed,
        )
        self.cases.append(row)
        case = Case(
            site=self.site,
            patient=self.patient,
            accession_number=f"H-{uuid.uuid4()}",
            state=CaseState.SIGNED,
            priority=priority,
            triage=Triage.NONE,
            submitted_by=self.technician,
            reader=reader,
            first_reader=first if second else None,
            signed_by=reader,
            created_at=row.submitted_at,
            submitted_at=row.submitted_at,
            ready_at=row.submitted_at + datetime.timedelta(seconds=took[0]),
            signed_at=signed_at,
        )
        self._rows[Case].append(case)
        opened = signed_at - datetime.timedelta(seconds=took[2])
        self._rows[TimelineEvent].append(
            TimelineEvent(
                case=case, kind=TimelineKind.MOVED, at=opened, actor=first, to_state="in_review", from_state="x"
            )
        )
        self._conclusions(case, row, first, reader, informed, amended)
        for place in range(images):
            self._image(case, row, place, truth, reader, drifted)

    def _conclusions(self, case: Case, row: CaseRow, first: User, reader: User, informed: str, amended: bool) -> None:
        at = case.signed_at - datetime.timedelta(seconds=1)
        if row.own:
            self._reading(case, None, first, ReadingStage.OWN, row.own, "", at)
        if row.second_read:
            self._reading(case, None, first, ReadingStage.INFORMED, informed, row.suggested, at)
        self._reading(case, None, reader, ReadingStage.INFORMED, row.conclusion, row.suggested, at)
        if amended:
            later = case.signed_at + datetime.timedelta(minutes=5)
            self._reading(case, None, reader, ReadingStage.INFORMED, row.standing, "", later)

    def _reading(
        self,
        case: Case,
        image: SmearImage | None,
        reader: User,
        stage: str,
        finding: str,
        suggested: str,
        at: datetime.datetime,
        run: PredictionRun | None = None,
    ) -> Reading:
        decision, reason = ReadingDecision.INDEPENDENT, ""
        if suggested:
            decision = ReadingDecision.AGREE if finding == suggested else ReadingDecision.OVERRIDE
        if decision == ReadingDecision.OVERRIDE:
            rare = image is not None and not self._rare_was_given
            reason = RARE_REASON if rare else str(self.rng.choice(REASONS))
            self._rare_was_given = self._rare_was_given or rare
        reading = Reading(
            case=case,
            image=image,
            reader=reader,
            stage=stage,
            decision=decision,
            finding=finding,
            suggested=suggested,
            reason=reason,
            run=run,
            created_at=at,
        )
        self._rows[Reading].append(reading)
        return reading

    def _said(self, truth: str, accuracy: float) -> str:
        return truth if self.rng.random() < accuracy else str(self.rng.choice([c for c in CODES if c != truth]))

    def _image(self, case: Case, row: CaseRow, place: int, truth: str, reader: User, drifted: bool) -> None:
        rng = self.rng
        quality = {
            "size": 1000.0,
            "sharpness": float(rng.lognormal(-2.5 - 0.8 * drifted, 0.4)),
            "exposure": float(rng.normal(200, 12)),
            "stain": float(rng.beta(4, 40)),
        }
        image = SmearImage(
            case=case,
            position=place + 1,
            file_name=f"field_{place}.jpg",
            sha256=uuid.uuid4().hex * 2,
            content_type="image/jpeg",
            size=1,
            width=1,
            height=1,
            thumbnail_sha256="0" * 64,
            thumbnail_size=1,
            quality={
                "verdict": "good",
                "checks": [{"name": n, "ok": True, "value": v, "sentence": ""} for n, v in quality.items()],
            },
            uploaded_by=self.technician,
            created_at=row.submitted_at,
        )
        self._rows[SmearImage].append(image)
        self._predict(case, image, row, truth, reader, quality, drifted)

    def _predict(
        self,
        case: Case,
        image: SmearImage,
        row: CaseRow,
        truth: str,
        reader: User,
        quality: dict[str, float],
        drifted: bool,
    ) -> None:
        rng = self.rng
        state = str(rng.choice([RunState.SUCCEEDED, RunState.REFUSED, RunState.FAILED], p=[0.93, 0.05, 0.02]))
        done = state == RunState.SUCCEEDED
        label = self._said(truth, 0.88) if done else ""
        confidence = float(np.clip(rng.beta(12 - 6 * drifted, 2), 0.26, 0.999)) if done else None
        abstained = bool(done and confidence < 0.5)
        wait, seconds = float(rng.exponential(10 + 30 * row.priority)), float(rng.uniform(0.5, 4))
        queued_at = row.submitted_at
        started = queued_at + datetime.timedelta(seconds=wait)
        refusal = str(rng.choice(["blurred", "too_dark"])) if state == RunState.REFUSED else ""
        error = "The worker stopped." if state == RunState.FAILED else ""
        run = PredictionRun(
            image=image,
            model_version=self.version,
            state=state,
            priority=row.priority,
            queued_at=queued_at,
            started_at=started,
            finished_at=started + datetime.timedelta(seconds=seconds),
            label=label,
            confidence=confidence,
            probabilities=dict.fromkeys(CODES, 0.25) if done else None,
            abstained=abstained,
            reasons=[refusal] if refusal else [],
            error=error,
        )
        self._rows[PredictionRun].append(run)
        stage = ReadingStage.OWN if rng.random() < 0.3 else ReadingStage.INFORMED
        finding = "unusable" if rng.random() < 0.02 else self._said(truth, 0.97)
        at = case.signed_at - datetime.timedelta(seconds=30)
        if rng.random() < 0.1:  # an earlier opinion, which no longer holds
            self._reading(case, image, reader, ReadingStage.OWN, "Pro", "", at)
        shown = label if stage == ReadingStage.INFORMED else ""
        reading = self._reading(case, image, reader, stage, finding, shown, at, run if shown else None)
        self.images.append(
            ImageRow(
                case=len(self.cases) - 1,
                state=state,
                label=label,
                confidence=confidence or 0.0,
                abstained=abstained,
                finding=finding,
                stage=str(stage),
                decision=str(reading.decision),
                reason=reading.reason,
                priority=row.priority,
                wait=wait,
                run=seconds,
                signed_at=row.signed_at,
                quality=quality,
                refusal=refusal,
                error=error,
            )
        )

    def _write(self) -> None:
        for model, rows in self._rows.items():
            model.objects.bulk_create(rows, batch_size=1000)
            rows.clear()
        summaries_refresh()
