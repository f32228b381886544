"""What the dashboards count, by day, by week and by four weeks, so that a page costs the same however much there is.

Nothing here is a record: all of it can be counted again from the cases (`manage.py summaries_refresh --all`). Only
diagnosis.dashboards.summaries writes it. `span` is how many days a line holds from `day` on, see dashboards.days.
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
    """As of when a site's figures are, and by which clock, targets and way of counting they were counted."""

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
    """Signed cases by how suggestion, own read, conclusion and what stands after amendments stand to each other."""

    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+", db_index=False)
    decision = models.CharField(max_length=12)
    own_read_first = models.BooleanField()
    classed = models.BooleanField(help_text="The conclusion is a class of the model.")
    agreed = models.BooleanField(help_text="The conclusion is what was suggested.")
    revealed = models.CharField(max_length=12, help_text="A Revealed of states, or nothing without an own read.")
    flip = models.CharField(max_length=12, help_text="A Flip of states, or nothing where nobody else settled it.")
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
