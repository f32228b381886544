"""Celery's settings. Each one that is not a default has its reason."""

from celery.schedules import crontab
from django.conf import settings
from kombu import Queue

from worker.queues import NUDGES, SWEEPS

broker_url = settings.REDIS_URL
imports = ("worker.heartbeat",)
task_ignore_result = True
accept_content = ["json"]
task_serializer = "json"
task_default_queue = NUDGES
task_queues = (Queue(NUDGES), Queue(SWEEPS))
task_routes = {name: {"queue": SWEEPS} for name in ("worker.sweep", "worker.summarise", "worker.watch", "worker.tidy")}
timezone = "UTC"

# A message is given back when the process that had it is killed; acks_late alone would lose it.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1

# A message that was lost with its worker comes back soon after, instead of with the default throttle.
broker_transport_options = {
    "visibility_timeout": 300,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 0.5,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "retry_on_timeout": False,
}
# Whoever submits a case while Redis is down, or hangs, must not wait for it (see worker.tasks.nudge).
PUBLISH_TIMEOUTS = {
    "socket_connect_timeout": 0.3,
    "socket_timeout": 0.3,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
}
task_publish_retry = True
task_publish_retry_policy = {"max_retries": 0}
broker_connection_timeout = 0.5
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# A batch that hangs is ended with its process before its leases run out; the runs are then tried one by one.
task_time_limit = settings.RUN_LEASE_SECONDS
# A child loads the models before it reports for work.
worker_proc_alive_timeout = 120
worker_hijack_root_logger = False
worker_send_task_events = False

# What is thrown away for its age must really be old, also where a clock, or its time zone, is set wrongly.
DAY = 24 * 3600
beat_schedule_filename = str(settings.BASE_DIR / "var" / "beat-schedule")
beat_schedule = {
    "sweep": {
        "task": "worker.sweep",
        "schedule": settings.SWEEP_SECONDS,
        "options": {"expires": DAY},
    },
    "summarise": {"task": "worker.summarise", "schedule": settings.SUMMARY_SECONDS, "options": {"expires": DAY}},
    "watch": {"task": "worker.watch", "schedule": settings.DRIFT_SECONDS, "options": {"expires": DAY}},
    # At night, and made up for in the morning where the machine was off.
    "tidy": {"task": "worker.tidy", "schedule": crontab(hour="1", minute="40"), "options": {"expires": DAY}},
}
