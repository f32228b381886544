"""Whatever people do, in whatever order: cases move along the table alone, and the timeline tells every step."""

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import sampled_from

from accounts.roles import Role
from diagnosis.errors import ServiceError
from diagnosis.models import Case, PredictionRun, TimelineEvent
from diagnosis.services.cases import (
    case_advance,
    case_ask_second_read,
    case_cancel,
    case_claim,
    case_return,
    case_submit,
    case_take_over,
)
from diagnosis.services.predictions import run_retry
from diagnosis.services.readings import case_conclude, image_read, images_agree_all, own_read_enter
from diagnosis.services.reports import case_sign, report_amend
from diagnosis.states import CASE_MOVES, OPEN_RUN_STATES, CaseState, RunState, TimelineKind
from tests.factories import CLASSES, ModelVersionFactory, SiteFactory, add_image, draft_case, end_run, make_user

READERS = sampled_from([0, 1])
FINDINGS = sampled_from([*CLASSES, "other", "nonsense"])
REASONS = sampled_from(["", "Because."])


class CaseMachine(RuleBasedStateMachine):
    """One case; two readers and a technician who do anything at any time, and are often refused."""

    def __init__(self) -> None:
        super().__init__()
        self.undone = transaction.atomic()
        self.undone.__enter__()
        site = SiteFactory()
        ModelVersionFactory()
        self.technician = make_user(Role.TECHNICIAN, site)
        self.readers = [make_user(Role.HAEMATOLOGIST, site) for _ in range(2)]
        self.administrator = make_user(Role.ADMINISTRATOR, site)
        self.case = draft_case(self.technician, images=1)
        self.walked = [CaseState.DRAFT]

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    def attempt(self, service: Any, **arguments: Any) -> None:
        """A step with the case as some page may have shown it; a refusal must leave nothing behind."""
        before = self.footprint()
        moves = TimelineEvent.objects.filter(case=self.case, kind=TimelineKind.MOVED).count()
        try:
            service(case=Case.objects.get(pk=self.case.pk), **arguments)
        except ServiceError:
            assert self.footprint() == before
        self.case = Case.objects.get(pk=self.case.pk)
        now = TimelineEvent.objects.filter(case=self.case, kind=TimelineKind.MOVED).count()
        if self.case.state != self.walked[-1]:
            # Submitting can go two steps at once, where nothing is left to predict.
            assert 1 <= now - moves <= (2 if service is case_submit else 1)
            self.walked.append(CaseState(self.case.state))
        else:
            assert now == moves

    def footprint(self) -> tuple:
        case = Case.objects.filter(pk=self.case.pk).values_list().get()
        counts = [getattr(self.case, name).count() for name in ("timeline", "readings", "reports", "images")]
        return case, counts

    @rule()
    def submit(self) -> None:
        self.attempt(case_submit, actor=self.technician)

    @rule(reason=REASONS)
    def cancel(self, reason: str) -> None:
        if len(self.walked) > 2:  # else most walks would end before they begin
            self.attempt(case_cancel, actor=self.technician, reason=reason)

    @rule()
    def add_an_image(self) -> None:
        if self.case.images.count() < 3:
            self.attempt(add_image)

    @rule(how=sampled_from([RunState.SUCCEEDED, RunState.REFUSED, RunState.FAILED]))
    def end_the_runs(self, how: str) -> None:
        for run in PredictionRun.objects.filter(image__case=self.case, state=RunState.QUEUED):
            end_run(run, state=how)
        self.attempt(case_advance)

    @rule()
    def retry(self) -> None:
        for run in PredictionRun.objects.filter(image__case=self.case, state=RunState.FAILED)[:1]:
            run_retry(run=run, actor=self.administrator)

    @rule(who=READERS)
    def claim(self, who: int) -> None:
        self.attempt(case_claim, actor=self.readers[who])

    @rule(who=READERS, finding=FINDINGS)
    def read(self, who: int, finding: str) -> None:
        self.attempt(own_read_enter, actor=self.readers[who], finding=finding)

    @rule(who=READERS, finding=FINDINGS, reason=REASONS)
    def read_an_image(self, who: int, finding: str, reason: str) -> None:
        image = self.case.images.all()[0]
        self.attempt(image_read, actor=self.readers[who], image=image, finding=finding, reason=reason)

    @rule(who=READERS)
    def agree(self, who: int) -> None:
        self.attempt(images_agree_all, actor=self.readers[who])

    @rule(who=READERS, finding=FINDINGS)
    def conclude(self, who: int, finding: str) -> None:
        self.attempt(case_conclude, actor=self.readers[who], finding=finding, reason="Because.")

    @rule(who=READERS, reason=REASONS)
    def ask_a_second_reader(self, who: int, reason: str) -> None:
        self.attempt(case_ask_second_read, actor=self.readers[who], reason=reason)

    @rule(who=READERS, reason=REASONS)
    def give_back(self, who: int, reason: str) -> None:
        self.attempt(case_return, actor=self.readers[who], reason=reason)

    @rule(who=READERS)
    def take_over(self, who: int) -> None:
        self.attempt(case_take_over, actor=self.readers[who], reason="Shift ends.")

    @rule(who=READERS)
    def sign(self, who: int) -> None:
        self.attempt(case_sign, actor=self.readers[who])

    @precondition(lambda self: self.case.state == CaseState.SIGNED)
    @rule(who=READERS)
    def amend(self, who: int) -> None:
        self.attempt(report_amend, actor=self.readers[who], finding="Pre", comment="", reason="Typo.")

    @invariant()
    def the_timeline_is_a_walk_along_the_table(self) -> None:
        moved = TimelineEvent.objects.filter(case=self.case, kind=TimelineKind.MOVED).order_by("id")
        walk = list(moved.values_list("from_state", "to_state"))
        assert set(walk) <= CASE_MOVES
        assert [step[0] for step in walk[1:]] == [step[1] for step in walk[:-1]]
        assert self.case.state == (walk[-1][1] if walk else CaseState.DRAFT)

    @invariant()
    def a_case_waits_for_predictions_only_while_some_are_open(self) -> None:
        if self.case.state == CaseState.SUBMITTED:
            runs = PredictionRun.objects.filter(image__case=self.case, state__in=OPEN_RUN_STATES)
            assert runs.exists()

    @invariant()
    def what_is_signed_is_signed_by_a_reader_who_may(self) -> None:
        signed = self.case.state == CaseState.SIGNED
        assert self.case.reports.exists() == signed
        if signed:
            assert self.case.signed_by in self.readers
            assert self.case.signed_by != self.case.first_reader
            assert not self.case.images.filter(readings__isnull=True).exists()


@pytest.mark.django_db
def test_whatever_is_done_a_case_moves_along_its_table() -> None:
    run_state_machine_as_test(
        CaseMachine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
