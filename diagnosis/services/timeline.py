from uuid import UUID

from accounts.models import User
from diagnosis.models import AccessEvent, Case, TimelineEvent
from diagnosis.states import AccessedKind, TimelineKind


def timeline_add(
    *,
    case: Case,
    kind: TimelineKind,
    actor: User | None,
    from_state: str = "",
    to_state: str = "",
    reason: str = "",
) -> None:
    TimelineEvent.objects.create(
        case=case, kind=kind, actor=actor, from_state=from_state, to_state=to_state, reason=reason
    )


def access_record(*, user: User, case: Case, what: AccessedKind, object_id: UUID) -> None:
    """Write down that this user saw this image or report."""
    AccessEvent.objects.create(user=user, case=case, what=what, object_id=object_id)
