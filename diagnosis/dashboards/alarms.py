"""Drift alarms: looked for by beat, open until the drift has gone; administrators see them and are sent a message."""

import logging
from functools import partial
from smtplib import SMTPException

from django.core.exceptions import PermissionDenied
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.dashboards.access import sites_of
from diagnosis.dashboards.drift import drifts
from diagnosis.dashboards.filters import Scope, default_days
from diagnosis.models import DriftAlarm, ModelVersion
from diagnosis.states import ModelStatus

logger = logging.getLogger(__name__)


def drift_look() -> int:
    """Compare what every active version saw and said at every site; returns how many alarms are open."""
    for version in ModelVersion.objects.filter(status=ModelStatus.ACTIVE).defer("manifest"):
        for site in Site.objects.all():
            found = drifts(version, Scope((site.pk,), **default_days()))
            alarming = {entry.measure: entry.index for entry in found if entry.level == "alarm" and entry.index}
            _settle(version, site, alarming)
    DriftAlarm.objects.filter(ended_at__isnull=True).exclude(model_version__status=ModelStatus.ACTIVE).update(
        ended_at=Now()
    )
    return DriftAlarm.objects.filter(ended_at__isnull=True).count()


@transaction.atomic
def _settle(version: ModelVersion, site: Site, alarming: dict[str, float]) -> None:
    """Open what is new, bring up to date what goes on, end what has gone."""
    of_site = DriftAlarm.objects.filter(model_version=version, site=site, ended_at__isnull=True)
    of_site.exclude(measure__in=list(alarming)).update(ended_at=timezone.now())
    for measure, index in alarming.items():
        alarm, raised = DriftAlarm.objects.update_or_create(
            model_version=version,
            site=site,
            measure=measure,
            ended_at=None,
            defaults={"index": index},
        )
        if raised:
            logger.warning("Drift of %s of %s at %s: index %.2f", measure, version, site.code, index)
            transaction.on_commit(partial(alarm_tell, alarm))


def alarm_tell(alarm: DriftAlarm) -> None:
    """Write to the administrators who look after the site. Mail that cannot be sent leaves the alarm as it is."""
    administrators = User.objects.filter(is_active=True, groups__name=Role.ADMINISTRATOR).exclude(email="")
    addresses = administrators.filter(Q(site=alarm.site) | Q(site=None)).values_list("email", flat=True)
    subject = f"Leukoscope: drift of {alarm.get_measure_display().lower()} at {alarm.site.code}"
    text = (
        f"{alarm.get_measure_display()} of {alarm.model_version} at {alarm.site} has changed: its stability index is "
        f"{alarm.index:.2f}. Look at Dashboards, Live performance, Drift. The alarm stands until the drift has gone."
    )
    for address in addresses.distinct():
        try:
            send_mail(subject, text, None, [address])
        except (OSError, SMTPException) as error:
            logger.warning("No message about a drift alarm could be sent: %s", error)


def alarms_open(user: User) -> QuerySet[DriftAlarm]:
    """The open alarms of the sites this user may see."""
    try:
        sites = sites_of(user)
    except PermissionDenied:
        return DriftAlarm.objects.none()
    open_alarms = DriftAlarm.objects.filter(ended_at__isnull=True, site__in=sites)
    return open_alarms.select_related("model_version", "site").defer("model_version__manifest")
