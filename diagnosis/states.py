"""The three state machines: their states and every move that exists. The database refuses any other (triggers made
from these same tables, see diagnosis.models)."""

from django.db import models


class CaseState(models.TextChoices):
    DRAFT = "draft", "Draft"
    SUBMITTED = "submitted", "Submitted"
    AWAITING_REVIEW = "awaiting_review", "Awaiting review"
    IN_REVIEW = "in_review", "In review"
    SECOND_READ = "second_read", "Second read"
    RETURNED = "returned", "Returned"
    SIGNED = "signed", "Signed"
    CANCELLED = "cancelled", "Cancelled"


CASE_MOVES: frozenset[tuple[CaseState, CaseState]] = frozenset(
    {
        (CaseState.DRAFT, CaseState.SUBMITTED),
        (CaseState.DRAFT, CaseState.CANCELLED),
        (CaseState.SUBMITTED, CaseState.AWAITING_REVIEW),
        (CaseState.SUBMITTED, CaseState.RETURNED),
        (CaseState.SUBMITTED, CaseState.CANCELLED),
        (CaseState.AWAITING_REVIEW, CaseState.IN_REVIEW),
        (CaseState.AWAITING_REVIEW, CaseState.RETURNED),
        (CaseState.AWAITING_REVIEW, CaseState.CANCELLED),
        (CaseState.IN_REVIEW, CaseState.SECOND_READ),
        (CaseState.IN_REVIEW, CaseState.RETURNED),
        (CaseState.IN_REVIEW, CaseState.SIGNED),
        (CaseState.SECOND_READ, CaseState.SIGNED),
        (CaseState.RETURNED, CaseState.SUBMITTED),
    }
)

# A technician may still change the case in these.
EDITABLE_STATES = (CaseState.DRAFT, CaseState.RETURNED)
# A haematologist has something to do in these.
WORKLIST_STATES = (CaseState.AWAITING_REVIEW, CaseState.IN_REVIEW, CaseState.SECOND_READ)
# A reader's own work on the case is open in these.
READING_STATES = (CaseState.IN_REVIEW, CaseState.SECOND_READ)


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Predicted"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


RUN_MOVES: frozenset[tuple[RunState, RunState]] = frozenset(
    {
        (RunState.QUEUED, RunState.RUNNING),
        (RunState.QUEUED, RunState.CANCELLED),
        (
            RunState.RUNNING,
            RunState.QUEUED,
        ),  # the lease ran out, or an attempt went wrong and another is left
        (RunState.RUNNING, RunState.SUCCEEDED),
        (RunState.RUNNING, RunState.REFUSED),
        (RunState.RUNNING, RunState.FAILED),
        (RunState.FAILED, RunState.QUEUED),  # an administrator asked for another try
    }
)

OPEN_RUN_STATES = (RunState.QUEUED, RunState.RUNNING)
ENDED_RUN_STATES = (RunState.SUCCEEDED, RunState.REFUSED, RunState.FAILED, RunState.CANCELLED)


class ReportStatus(models.TextChoices):
    """The words of FHIR's DiagnosticReport.status that we use."""

    PRELIMINARY = "preliminary", "Preliminary"
    FINAL = "final", "Final"
    AMENDED = "amended", "Amended"
    CORRECTED = "corrected", "Corrected"
    ENTERED_IN_ERROR = "entered-in-error", "Entered in error"


class Priority(models.IntegerChoices):
    """Order of the queue and the worklist: the lower, the sooner."""

    STAT = 0, "STAT"
    URGENT = 1, "Urgent"
    ROUTINE = 2, "Routine"
    BACKFILL = 3, "Backfill"


CASE_PRIORITIES = (Priority.ROUTINE, Priority.URGENT, Priority.STAT)


class Triage(models.TextChoices):
    """What the predictions of a case mean for its place in the worklist. Never shown before the own read."""

    NONE = "none", "None"
    UNCERTAIN = "uncertain", "Uncertain"
    CRITICAL = "critical", "Critical"


class Specimen(models.TextChoices):
    PERIPHERAL_BLOOD = "peripheral_blood", "Peripheral blood"
    BONE_MARROW_ASPIRATE = "bone_marrow_aspirate", "Bone marrow aspirate"


class Stain(models.TextChoices):
    WRIGHT_GIEMSA = "wright_giemsa", "Wright-Giemsa"
    MAY_GRUENWALD_GIEMSA = "may_gruenwald_giemsa", "May-Grünwald-Giemsa"
    LEISHMAN = "leishman", "Leishman"


class Objective(models.TextChoices):
    X10 = "10", "10×"
    X20 = "20", "20×"
    X40 = "40", "40×"
    X50 = "50", "50×"
    X60 = "60", "60×"
    X100 = "100", "100×"


class ImageKind(models.TextChoices):
    """What one image shows; it decides which models look at it."""

    FIELD = "field", "Field"
    SINGLE_CELL = "single_cell", "Single cell"


class Sex(models.TextChoices):
    """FHIR administrative gender."""

    FEMALE = "female", "Female"
    MALE = "male", "Male"
    OTHER = "other", "Other"
    UNKNOWN = "unknown", "Unknown"


class ModelStatus(models.TextChoices):
    CANDIDATE = "candidate", "Candidate"
    SHADOW = "shadow", "Shadow"
    ACTIVE = "active", "Active"
    RETIRED = "retired", "Retired"


class ReadingStage(models.TextChoices):
    OWN = "own", "Own read"
    INFORMED = "informed", "With the prediction in view"


class ReadingDecision(models.TextChoices):
    INDEPENDENT = "independent", "Independent"
    AGREE = "agree", "Agreed"
    OVERRIDE = "override", "Overridden"


class TimelineKind(models.TextChoices):
    CREATED = "created", "Created"
    EDITED = "edited", "Edited"
    IMAGE_WITHDRAWN = "image_withdrawn", "Image withdrawn"
    MOVED = "moved", "State changed"
    READER_CHANGED = "reader_changed", "Reader changed"
    REVEALED = "revealed", "Prediction revealed"
    AMENDED = "amended", "Report amended"
    RUN_RETRIED = "run_retried", "Prediction queued again"


class AccessedKind(models.TextChoices):
    CASE = "case", "Case"
    IMAGE = "image", "Image"
    REPORT = "report", "Report"


class Revealed(models.TextChoices):
    """What became of an own read once the suggestion was seen."""

    SAME_KEPT = "same_kept", "Agreed from the start, kept"
    SAME_LEFT = "same_left", "Agreed from the start, left it"
    OWN_KEPT = "own_kept", "Differed, kept the own read"
    SUGGESTION = "suggestion", "Differed, took the suggestion"
    THIRD = "third", "Differed, went to a third class"


class Flip(models.TextChoices):
    """The first reader before and after the reveal, held against what somebody else settled."""

    RIGHT_RIGHT = "right_right", "Right, stayed right"
    WRONG_RIGHT = "wrong_right", "Wrong → right after the reveal"
    RIGHT_WRONG = "right_wrong", "Right → wrong after the reveal"
    WRONG_WRONG = "wrong_wrong", "Wrong, stayed wrong"


class DriftMeasure(models.TextChoices):
    """What is watched of a model version at a site, once the cases are signed."""

    CLASS_MIX = "class", "Mix of predicted classes"
    CONFIDENCE = "confidence", "Confidence"
    ABSTENTION = "abstention", "Uncertain predictions"
    REFUSAL = "refusal", "Refused images"
    STAIN = "stain", "Stain colour (share of purple)"
    SHARPNESS = "sharpness", "Sharpness"
    EXPOSURE = "exposure", "Brightness"
