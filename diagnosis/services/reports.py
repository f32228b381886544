"""Signing and amending: the report's versions, each chained to the one before by its hash."""

import hashlib
import json
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import Case, Reading, Report
from diagnosis.selectors.readings import CaseReading, case_reading
from diagnosis.services.cases import case_move
from diagnosis.services.timeline import timeline_add
from diagnosis.states import CaseState, ReadingDecision, ReadingStage, ReportStatus, TimelineKind

RESEARCH_USE = "Research use only. A prediction is a morphological suggestion, not a diagnosis."


def report_hash(
    *,
    previous_hash: str,
    version: int,
    status: str,
    content: dict,
    reason: str,
    signed_by: str,
    signed_at: datetime,
) -> str:
    """SHA-256 over all a version says and the hash of the version before it."""
    said = {
        "previous_hash": previous_hash,
        "version": version,
        "status": status,
        "content": content,
        "reason": reason,
        "signed_by": signed_by,
        "signed_at": signed_at.isoformat(),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def report_hash_of(report: Report) -> str:
    """The hash this stored version should carry."""
    return report_hash(
        previous_hash=report.previous_hash,
        version=report.version,
        status=report.status,
        content=report.content,
        reason=report.reason,
        signed_by=str(report.signed_by_id),
        signed_at=report.signed_at,
    )


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        return cursor.fetchone()[0]


def _report_add(*, case: Case, actor: User, status: ReportStatus, content: dict, reason: str = "") -> Report:
    before = case.reports.last()
    version = before.version + 1 if before else 1
    previous_hash = before.hash if before else ""
    signed_at = _database_time()
    return Report.objects.create(
        case=case,
        version=version,
        status=status,
        content=content,
        reason=reason,
        signed_by=actor,
        signed_at=signed_at,
        previous_hash=previous_hash,
        hash=report_hash(
            previous_hash=previous_hash,
            version=version,
            status=status,
            content=content,
            reason=reason,
            signed_by=str(actor.pk),
            signed_at=signed_at,
        ),
    )


@transaction.atomic
def case_sign(*, case: Case, actor: User) -> Report:
    """Sign the case out: its final report is written and the case is closed."""
    case = Case.objects.select_for_update(of=("self",)).select_related("patient", "site").get(pk=case.pk)
    reading = case_reading(case, actor)
    if case.state == CaseState.SIGNED:
        raise StateConflict(f"{case.signed_by} has signed this case already.")
    if reading.blockers:
        raise ServiceError(" ".join(reading.blockers))
    content = report_content(reading, actor)
    report = _report_add(case=case, actor=actor, status=ReportStatus.FINAL, content=content)
    case_move(case=case, to=CaseState.SIGNED, actor=actor, signed_by=actor, signed_at=report.signed_at)
    return report


@transaction.atomic
def report_amend(*, case: Case, actor: User, finding: str, comment: str, reason: str) -> Report:
    """Add a new version with another conclusion; the earlier ones stay."""
    case = Case.objects.select_for_update(of=("self",)).select_related("patient", "site").get(pk=case.pk)
    if case.state != CaseState.SIGNED:
        raise StateConflict("Only a signed case has a report to amend.")
    if case.submitted_by_id == actor.pk:
        raise ServiceError("You submitted this case, so another haematologist must amend it.")
    if not reason.strip():
        raise ServiceError("Say why the report is amended.", field="reason")
    before = case.reports.last()
    if before is None:
        raise ServiceError("There is no report to amend.")
    reading = case_reading(case, actor)
    titles = {entry.code: entry.title for entry in reading.findings}
    if finding not in titles:
        raise ServiceError("Choose one of the findings.", field="finding")
    Reading.objects.create(
        case=case,
        reader=actor,
        stage=ReadingStage.INFORMED,
        decision=ReadingDecision.INDEPENDENT,
        finding=finding,
        comment=comment.strip(),
    )
    content = before.content | {
        "conclusion": {"code": finding, "title": titles[finding], "comment": comment.strip()},
        "reader": actor.display_name,
        "decision": _decision_on(before.content["suggestion"], titles[finding]),
        "decision_reason": reason.strip(),
    }
    report = _report_add(case=case, actor=actor, status=ReportStatus.AMENDED, content=content, reason=reason.strip())
    timeline_add(case=case, kind=TimelineKind.AMENDED, actor=actor, reason=reason.strip())
    return report


def _decision_on(suggestion: dict[str, Any] | None, title: str) -> ReadingDecision:
    """What an amended conclusion means for the suggestion that the report keeps showing."""
    if suggestion is None or suggestion["uncertain"]:
        return ReadingDecision.INDEPENDENT
    return ReadingDecision.AGREE if suggestion["title"] == title else ReadingDecision.OVERRIDE


def report_content(reading: CaseReading, actor: User) -> dict[str, Any]:
    """All that the report says, as plain values, so that it reads the same whatever changes around it."""
    case, patient, final = reading.case, reading.case.patient, reading.conclusion
    suggestion = reading.suggestion
    if final is None or case.submitted_at is None:
        raise ServiceError("There is no conclusion to report.")
    return {
        "site": case.site.name,
        "patient": {
            "mrn": patient.mrn,
            "family_name": patient.family_name,
            "given_name": patient.given_name,
            "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
            "sex": patient.sex,
        },
        "accession_number": case.accession_number,
        "specimen": case.get_specimen_display(),
        "stain": case.get_stain_display(),
        "objective": case.get_objective_display(),
        "clinical_note": case.clinical_note,
        "submitted_at": case.submitted_at.isoformat(),
        "submitted_by": case.submitted_by.display_name,
        "conclusion": {"code": final.finding, "title": reading.conclusion_title, "comment": final.comment},
        "decision": final.decision,
        "decision_reason": final.reason,
        "own_read": reading.own_read_title,
        "reader": actor.display_name,
        "first_reader": case.first_reader.display_name if case.first_reader else "",
        "suggestion": {
            "model": str(suggestion.model_version),
            "weights_sha256": suggestion.model_version.weights_sha256,
            "title": suggestion.title,
            "percent": suggestion.percent,
            "uncertain": suggestion.uncertain,
            "interval": suggestion.interval,
            "image_count": suggestion.image_count,
            "image_total": suggestion.image_total,
        }
        if suggestion
        else None,
        "cells": cells_content(reading),
        "flags": [f"{flag.sentence} ({flag.count} of {len(reading.images)} images)" for flag in reading.flags],
        "images": [
            {
                "position": view.image.position,
                "file_name": view.image.file_name,
                "sha256": view.image.sha256,
                "finding": view.reading_title,
                "decision": view.reading.get_decision_display() if view.reading else "",
                "reason": view.reading.reason if view.reading else "",
                "comment": view.reading.comment if view.reading else "",
                "prediction": view.suggestion.title if view.suggestion else view.run_note,
            }
            for view in reading.images_in_order
        ],
        "notice": RESEARCH_USE,
    }


def cells_content(reading: CaseReading) -> dict[str, Any] | None:
    """The differential count of the model, as the report keeps it."""
    counted, version = reading.differential, reading.model_version
    if counted is None or version is None:
        return None
    return {
        "model": str(version),
        "weights_sha256": version.weights_sha256,
        "counted": counted.cells,
        "images": counted.images,
        "images_of": len(reading.images),
        "groups": [
            {"titles": list(group.titles), "count": group.count, "percent": group.percent, "interval": group.interval}
            for group in counted.groups
        ],
        "classes": [
            {"title": line.title, "count": line.count, "percent": line.percent, "interval": line.interval}
            for line in counted.lines
        ],
        "beside": [{"title": line.title, "count": line.count} for line in counted.beside],
    }
