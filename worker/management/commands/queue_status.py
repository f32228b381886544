"""The queue and its workers, for a terminal or a monitoring system."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from worker.status import QueueFigures, queue_figures


class Command(BaseCommand):
    help = "Say what waits in the queue of predictions, who works on it, how fast, and what went wrong last."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        figures = queue_figures()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(figures), default=str, indent=1))
        else:
            self.stdout.write("\n".join(lines(figures)))


def lines(figures: QueueFigures) -> list[str]:
    waiting = ", ".join(f"{count} {name}" for name, count in figures.queued.items() if count)
    oldest = f", the oldest for {duration(figures.oldest_queued_seconds)}" if waiting else ""
    tried = ", ".join(f"{count} tried {times}×" for times, count in figures.attempts.items() if times)
    rate = f" ({figures.images_per_second:g} images/s)" if figures.images_per_second else ""
    rows = [
        ("queued", (waiting or "none") + oldest),
        ("running", f"{figures.running}, of these {figures.leases_expired} past their lease"),
        ("next lease ends", duration(figures.next_lease_ends_in_seconds)),
        ("attempts", tried or "no open run was tried before"),
        ("failed", str(figures.failed)),
        ("last 5 minutes", f"{figures.finished_in_window} predicted or refused{rate}"),
        (
            "batches",
            f"of {figures.batch_size_mean:g} images, at most {figures.batch_size_largest}" if rate else "none",
        ),
        ("sweeper", "alive" if figures.sweeper_alive else "SILENT for more than a minute"),
        *workers(figures),
    ]
    if figures.last_error:
        error = figures.last_error
        rows.append(("last error", f"{error.error} (run {error.run}, {error.state}, {error.attempts} attempts)"))
    return [f"{name:<16} {said}" for name, said in rows]


def workers(figures: QueueFigures) -> list[tuple[str, str]]:
    if not figures.workers:
        return [("workers", "NONE heard of within half a minute")]
    return [
        (
            "worker",
            f"{worker.name}: "
            + (f"ready, {worker.device} ({worker.backend}), " if worker.ready else "NOT READY, ")
            + (", ".join(worker.models) or "no model")
            + (f"; {worker.message}" if worker.message else ""),
        )
        for worker in figures.workers
    ]


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
