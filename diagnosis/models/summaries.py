"""What the dashboards count, day by day and week by week, so that a page costs the same however much there is.

Nothing here is a record: all of it can be counted again from the cases (`manage.py summaries_refresh --all`). Only
diagnosis.dashboards.summaries writes it. `span` is 1 for a day and 7 for a week that begins on `day`, a Monday.
"""

from django.db import models

from accounts.models import Site
from diagnosis.models.predictions import ModelVersion


class SummaryDue(models.Model):
    """Something that happened at this time changed, so its day must be counted again. Triggers add these rows."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["site", "at"], name="summarydue_of_site")]


class SummaryState(models.Model):
    """As of when a site's figures are, and by which clock and targets they were counted."""

    site = models.OneToOneField(Site, on_delete=models.CASCADE, primary_key=True, related_name="+")
    basis = models.CharField(max_length=120, help_text="Time zone and targets; another basis counts all days again.")
    refreshed_at = models.DateTimeField(null=True)


class Period(models.Model):
    """Site and days of one line of a summary."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+", db_index=False)
    span = models.SmallIntegerField()
    day = models.DateField()

    class Meta:
        abstract = True


class ImageSummary(Period):
    """Images of signed cases by what a version said, what was read, and what the version that served said of them."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+", db_index=False)
    state = models.CharField(max_length=10)
    label = models.CharField(max_length=40)
    abstained = models.BooleanField()
    finding = models.CharField(max_length=40)
    stage = models.CharField(max_length=10)
    decision = models.CharField(max_length=12)
    beside = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+", null=True, db_index=False)
    beside_label = models.CharField(max_length=40)
    images = models.IntegerField()

    class Meta:
        indexes = [models.Index(fields=["site", "span", "day", "model_version"], name="imagesummary_of_day")]


class CaseSummary(Period):
    """Signed cases by what was suggested, read before and after, concluded, and what stands after amendments."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+", db_index=False)
    suggested = models.CharField(max_length=40)
    decision = models.CharField(max_length=12)
    conclusion = models.CharField(max_length=40)
    standing = models.CharField(max_length=40)
    own_read_first = models.BooleanField()
    first_own = models.CharField(max_length=40)
    first_conclusion = models.CharField(max_length=40)
    first_suggested = models.CharField(max_length=40)
    judged_by_another = models.BooleanField()
    cases = models.IntegerField()

    class Meta:
        indexes = [models.Index(fields=["site", "span", "day", "model_version"], name="casesummary_of_day")]


class CountSummary(Period):
    """Everything else that is counted: a measure, perhaps of a version, by a key and a bin of a histogram."""

    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="+", null=True, db_index=False
    )
    measure = models.CharField(max_length=20)
    key = models.TextField()
    bin = models.IntegerField()
    n = models.IntegerField()

    class Meta:
        indexes = [
            models.Index(fields=["site", "span", "day", "measure", "model_version"], name="countsummary_of_day")
        ]
