"""The Celery application. Messages are nudges: they carry nothing, and losing one loses nothing."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("leukoscope")
app.config_from_object("worker.celery_settings")
app.autodiscover_tasks(["worker"])
