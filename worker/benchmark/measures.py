"""The bars that concern the worker, each beside its baseline in the same run on the same machine.

A machine differs from the next and is shared, so only ratios count; times are medians of repeats. Baseline and ours
take turns, so that both meet the same machine.
"""

import itertools
import os
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import connection
from django.db.models import F, Max, Min

from diagnosis.models import ModelVersion, PredictionRun, WorkerHeartbeat
from diagnosis.states import Priority, RunState
from ml import preprocessing, reference
from ml.backends import eager
from ml.choosing import choose, parity, with_engine
from ml.decode import decode
from ml.predictor import batches, forward
from worker import inference
from worker.benchmark.laboratory import Laboratory
from worker.benchmark.pictures import drawn_pictures, pictures_of
from worker.benchmark.processes import wait_for, workers
from worker.benchmark.rows import Row, ratio_row
from worker.claiming import runs_claim
from worker.drain import queue_drain

PARITY_PICTURES = 512
BACKLOG = 10_000
DISTINCT = 48


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    images: int = 480
    repeats: int = 3
    backlog: int = BACKLOG
    parity: int = PARITY_PICTURES
    two_workers: bool = True


QUICK = Effort(images=48, repeats=1, backlog=1000, parity=32, two_workers=False)


class Benchmark:
    """The model whose worker is measured, over a laboratory of its own in an empty database."""

    def __init__(self, version: ModelVersion, effort: Effort, folder: Path | None = None) -> None:
        """Of the pictures in `folder`, or of drawn ones."""
        self.version = version
        self.effort = effort
        self.predictor = inference.predictor_of(version)
        inference._predictors[version.pk] = self.predictor
        self.batch = inference.batch_size(self.predictor)
        distinct = min(DISTINCT, effort.images)
        pictures = pictures_of(folder, distinct) if folder else drawn_pictures(distinct)
        self.laboratory = Laboratory(version.input_kind, pictures)
        self.pictures = [decode(self.laboratory.read(image)) for image in self.laboratory.uploaded]

    def rows(self) -> Iterator[Row]:
        choice = choose(self.predictor, settings.INFERENCE_BACKEND, self.batch, settings.INFERENCE_CACHE_DIR)
        self.reason = choice.reason
        self.predictor.engine = choice.engine
        yield from self.throughput()
        yield self.claiming()
        yield self.urgent()
        if self.effort.two_workers:
            yield self.two_workers()
        yield self.parity()

    def parity(self) -> Row:
        pictures = [reference.draw_smear(seed, nuclei=2 + seed % 15) for seed in range(self.effort.parity)]
        found = parity(self.predictor, self.predictor.engine, pictures, self.batch)
        bar = "largest difference ≤ 0.02, no class changed above 0.6"
        note = f"{found.classes_changed} classes changed on {found.pictures} drawn pictures"
        return Row("parity with eager fp32", None, found.largest_gap, None, bar, found.holds, note)

    def throughput(self) -> Iterator[Row]:
        """Database to database, against one image at a time, against the predictor and against the bare network."""
        data = [self.laboratory.read(image) for image in self.laboratory.uploaded]
        ready = np.stack([preprocessing.apply(picture, self.predictor.steps) for picture in self.pictures])
        loops, alone, bare, ours = [], [], [], []
        for _ in range(self.effort.repeats):
            loops.append(self._usual_loop(data[: max(8, self.effort.images // 8)]))
            alone.append(self._predicted())
            bare.append(self._ready_batches(ready))
            ours.append(self._drained(self.effort.images))
        rate, usual, best, network = (statistics.median(rates) for rates in (ours, loops, alone, bare))
        amx = bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
        bar = 4.0 if amx else 2.0
        engine = f"{self.predictor.backend} on {self.predictor.device}, {'with' if amx else 'without'} AMX"
        note = f"{engine}; {self._strange()}"
        yield ratio_row("worker against a synchronous loop, images/s", usual, rate, bar, note)
        yield ratio_row("worker against the predictor on ready batches, images/s", best, rate, 0.8, note)
        note = "for comparison: nothing is decoded, checked or prepared there"
        yield Row("worker against the bare network, images/s", network, rate, rate / network, "none", None, note)

    def claiming(self) -> Row:
        """A claim must not cost more because much waits."""
        few = self._claim_seconds(200)
        many = self._claim_seconds(self.effort.backlog)
        self.laboratory.clear()
        ratio = many / few
        note = f"{self.effort.backlog} queued against 200"
        return Row("claim of a batch, ms", few * 1000, many * 1000, ratio, "ratio ≤ 2", ratio <= 2, note)

    def urgent(self) -> Row:
        """A STAT image behind a backlog, in times of a batch."""
        idle: list[float] = []
        behind: list[float] = []
        batch_times: list[float] = []
        for _ in range(self.effort.repeats):
            self.laboratory.queue(1, Priority.STAT)
            self._drain_all()
            idle.append(self._waited())
            self.laboratory.clear()
            self.laboratory.queue(self.effort.backlog)
            behind.append(self._stat_amid_backlog(batch_times))
            self.laboratory.clear()
        batches_waited = statistics.median(behind) / statistics.median(batch_times)
        note = f"{statistics.median(batch_times):.2f} s a batch, {self.effort.backlog} routine images before it"
        return Row(
            "STAT behind a backlog, s",
            statistics.median(idle),
            statistics.median(behind),
            batches_waited,
            "within 3 batch times",
            batches_waited <= 3,
            note,
        )

    def two_workers(self) -> Row:
        """Real processes, one thread each."""
        rates = {count: self._with_workers(count) for count in (1, 2)}
        enough = len(os.sched_getaffinity(0)) >= 2 and os.getloadavg()[0] < 3.5
        row = ratio_row("two workers against one, images/s", rates[1], rates[2], 1.8, "one thread each")
        return row if enough else Row(**{**row.as_dict(), "met": row.met or None, "note": "the cores were not free"})

    # --- what is done -----------------------------------------------------------------------------------------------

    def _strange(self) -> str:
        strange = sum("unlike_training" in answer.reasons for answer in self.predictor.predict(self.pictures))
        return (
            f"{strange} of {len(self.pictures)} pictures unlike the training data, so that their cells are typed too"
        )

    def _drain_all(self) -> None:
        while queue_drain():
            pass

    def _drained(self, count: int) -> float:
        self.laboratory.queue(count)
        started = time.perf_counter()
        self._drain_all()
        return count / (time.perf_counter() - started)

    def _usual_loop(self, data: list[bytes]) -> float:
        """As the usual web application does it: one after the other, fp32, plain layout of memory."""
        exact = with_engine(self.predictor, eager(self.predictor, 1, Path()))
        net = exact.net.to(memory_format=torch.contiguous_format)
        started = time.perf_counter()
        for item in data:
            ready = preprocessing.apply(decode(item), self.predictor.steps)
            with torch.inference_mode():
                net(torch.from_numpy(ready[None]).to(exact.engine.device)).softmax(dim=1).cpu()
        took = time.perf_counter() - started
        net.to(memory_format=torch.channels_last)
        return len(data) / took

    def _predicted(self) -> float:
        """The predictor alone: checks, preparation, network, cells where they are asked for."""
        rounds = max(1, self.effort.images // len(self.pictures))
        started = time.perf_counter()
        for _ in range(rounds):
            for part in batches(self.pictures, self.batch):
                self.predictor.predict(part, self.batch)
        return rounds * len(self.pictures) / (time.perf_counter() - started)

    def _ready_batches(self, ready: np.ndarray) -> float:
        rounds = max(1, self.effort.images // len(ready))
        started = time.perf_counter()
        for _ in range(rounds):
            for part in batches(list(ready), self.batch):
                forward(self.predictor.net, torch.from_numpy(np.stack(part)), self.predictor.engine)
        return rounds * len(ready) / (time.perf_counter() - started)

    def _claim_seconds(self, queued: int) -> float:
        self.laboratory.clear()
        self.laboratory.queue(queued)
        times = []
        for _ in range(11):
            started = time.perf_counter()
            claim = runs_claim(limit=self.batch, worker="benchmark", model_versions=[self.version.pk])
            times.append(time.perf_counter() - started)
            if claim:
                PredictionRun.objects.filter(lease_token=claim.token).update(
                    state=RunState.QUEUED, lease_token=None, lease_expires_at=None, attempts=0
                )
        return statistics.median(times)

    def _stat_amid_backlog(self, batch_times: list[float]) -> float:
        """Hand a STAT image in while the worker is in the middle of the backlog."""
        submitted = threading.Event()

        def hand_in() -> None:
            time.sleep(1.5)
            self.laboratory.queue(1, Priority.STAT)
            submitted.set()
            connection.close()

        thread = threading.Thread(target=hand_in)
        thread.start()
        stat = PredictionRun.objects.filter(priority=Priority.STAT, state=RunState.SUCCEEDED)
        before = stat.count()
        while not submitted.is_set() or stat.count() == before:
            queue_drain()
        thread.join()
        batch_times.append(self._batch_seconds())
        return self._waited()

    def _waited(self) -> float:
        done = PredictionRun.objects.filter(priority=Priority.STAT, state=RunState.SUCCEEDED)
        waited = done.order_by("-finished_at").values_list(F("finished_at") - F("queued_at"), flat=True)
        return float(waited[0].total_seconds())

    def _batch_seconds(self) -> float:
        """Between the ends of one batch and the next."""
        ends: list[Any] = list(
            PredictionRun.objects.filter(state=RunState.SUCCEEDED, priority=Priority.ROUTINE)
            .order_by("-finished_at")
            .values_list("finished_at", flat=True)
            .distinct()[:12]
        )
        return statistics.median((later - earlier).total_seconds() for later, earlier in itertools.pairwise(ends))

    def _with_workers(self, count: int) -> float:
        images = max(self.batch * 4, self.effort.images // 2)
        with workers(count):
            wait_for(lambda: WorkerHeartbeat.objects.filter(ready=True).count() == count)
            self.laboratory.queue(images)
            newest = PredictionRun.objects.filter(state=RunState.QUEUED)
            ids = list(newest.values_list("pk", flat=True))
            ours = PredictionRun.objects.filter(pk__in=ids)
            wait_for(lambda: not ours.exclude(state=RunState.SUCCEEDED).exclude(state=RunState.REFUSED).exists())
        span = ours.aggregate(first=Min("started_at"), last=Max("finished_at"))
        WorkerHeartbeat.objects.all().delete()
        return images / float((span["last"] - span["first"]).total_seconds())


def active_version() -> ModelVersion | None:
    return ModelVersion.objects.filter(status="active").order_by("task").first()
