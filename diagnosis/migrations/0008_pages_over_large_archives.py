"""Search and open runs by index, and a summary of cases that stays small. Summaries hold nothing that cannot be counted again."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Collate, Upper


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("diagnosis", "0007_pooled_cells_and_scale"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="case",
            index=models.Index("site", Collate(Upper("accession_number"), "C"), name="case_by_accession"),
        ),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index("site", Collate(Upper("mrn"), "C"), name="patient_by_mrn"),
        ),
        migrations.AddIndex(
            model_name="predictionrun",
            index=models.Index(
                fields=["state", "priority"], condition=models.Q(state__in=["queued", "running"]), name="run_open"
            ),
        ),
        migrations.DeleteModel("CaseSummary"),
        migrations.CreateModel(
            name="CaseSummary",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("span", models.SmallIntegerField()),
                ("day", models.DateField()),
                ("decision", models.CharField(max_length=12)),
                ("own_read_first", models.BooleanField()),
                ("classed", models.BooleanField(help_text="The conclusion is a class of the model.")),
                ("agreed", models.BooleanField(help_text="The conclusion is what was suggested.")),
                (
                    "revealed",
                    models.CharField(help_text="A Revealed of states, or nothing without an own read.", max_length=12),
                ),
                (
                    "flip",
                    models.CharField(
                        help_text="A Flip of states, or nothing where nobody else settled it.", max_length=12
                    ),
                ),
                ("cases", models.IntegerField()),
                (
                    "model_version",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="diagnosis.modelversion",
                    ),
                ),
                (
                    "site",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.site",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["site", "span", "day", "model_version"], name="casesummary_of_day")],
            },
        ),
    ]
