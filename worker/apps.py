from django.apps import AppConfig


class WorkerConfig(AppConfig):
    name = "worker"

    def ready(self) -> None:
        from diagnosis.signals import runs_queued
        from worker.tasks import nudge

        runs_queued.connect(nudge, dispatch_uid="worker.nudge")
