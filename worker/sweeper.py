"""What beat has done every few seconds: nothing that was handed in may stay where it is, or half done."""

import datetime
import logging
from collections.abc import Iterable

from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from diagnosis.models import Case, CasePrediction, PredictionRun, WorkerHeartbeat
from diagnosis.selectors.queue import SWEEPER
from diagnosis.services.cases import case_advance
from diagnosis.states import OPEN_RUN_STATES, WORKLIST_STATES, CaseState, RunState
from worker.claiming import leases_free
from worker.pooling import case_pool

logger = logging.getLogger(__name__)
POOLED_AT_ONCE = 100
FORGOTTEN = datetime.timedelta(hours=1)


def queue_sweep() -> bool:
    """Free expired leases, move on cases whose runs are all at an end. True when runs wait in the queue."""
    WorkerHeartbeat.objects.update_or_create(name=SWEEPER, defaults={"seen_at": Now(), "ready": True})
    WorkerHeartbeat.objects.filter(seen_at__lt=Now() - FORGOTTEN).delete()
    leases_free()
    open_runs = PredictionRun.objects.of_cases().filter(
        image__case=OuterRef("pk"), image__withdrawn_at__isnull=True, state__in=OPEN_RUN_STATES
    )
    cases_advance(Case.objects.filter(state=CaseState.SUBMITTED).exclude(Exists(open_runs)))
    cases_advance(cases_not_pooled())
    return PredictionRun.objects.filter(state=RunState.QUEUED).exists()


def cases_advance(cases: Iterable[Case]) -> None:
    """One that cannot be moved on is named in the log; it must not keep the others, nor the queue, waiting."""
    for case in cases:
        try:
            case_advance(case=case, pool=case_pool)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("Case %s could not be moved on", case.pk)


def cases_not_pooled() -> QuerySet[Case]:
    """Some that wait for their reader while nobody has put their predictions together: handed in once more without a
    new image, or moved on by a version of this program that did not do it."""
    answers = PredictionRun.objects.of_cases().filter(
        image__case=OuterRef("pk"), image__withdrawn_at__isnull=True, state=RunState.SUCCEEDED
    )
    pooled = CasePrediction.objects.filter(case=OuterRef("pk"))
    waiting = Case.objects.filter(state__in=WORKLIST_STATES)
    return waiting.exclude(Exists(pooled)).filter(Exists(answers))[:POOLED_AT_ONCE]
