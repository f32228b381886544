"""Whether the reports are still what was signed."""

from collections.abc import Iterator
from itertools import groupby

from django.db.models import Count, Q

from diagnosis.models import Case, Report
from diagnosis.services.reports import report_hash_of
from diagnosis.states import CaseState, TimelineKind


def chain_faults() -> Iterator[str]:
    """Every fault of the reports' chains, in a sentence each: changed, missing and surplus versions."""
    reports = Report.objects.select_related("case").order_by("case", "version").iterator(chunk_size=500)
    for case, versions in groupby(reports, key=lambda report: report.case):
        previous_hash = ""
        for number, report in enumerate(versions, start=1):
            where = f"Case {case.accession_number} ({case.pk}), version {report.version}"
            if report.version != number:
                yield f"{where}: version {number} is missing before it."
            elif report.previous_hash != previous_hash:
                yield f"{where}: does not continue the version before it."
            if report.hash != report_hash_of(report):
                yield f"{where}: is not what was signed."
            previous_hash = report.hash
    yield from _miscounted()


def _miscounted() -> Iterator[str]:
    """The chain alone cannot tell that its last version is gone; the case's timeline can."""
    cases = Case.objects.annotate(
        said=Count("timeline", Q(timeline__kind=TimelineKind.AMENDED), distinct=True)
        + Count("timeline", Q(timeline__to_state=CaseState.SIGNED), distinct=True),
        kept=Count("reports", distinct=True),
    )
    for case in cases.filter(Q(state=CaseState.SIGNED) | Q(kept__gt=0)).iterator(chunk_size=500):
        if case.said != case.kept:
            yield (
                f"Case {case.accession_number} ({case.pk}): "
                f"its timeline tells of {case.said} versions, there are {case.kept}."
            )
