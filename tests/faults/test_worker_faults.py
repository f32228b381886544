"""The rows of the fault table that concern the worker, done for real."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import redis
from django.db import connection

from diagnosis.models import Case, PredictionRun, StoredBlob, WorkerHeartbeat
from diagnosis.services.cases import case_submit
from diagnosis.states import CaseState, Priority, RunState
from portal.local.service import Service
from tests.conftest import SignedIn
from tests.faults.conftest import Laboratory
from tests.faults.poisoned import CRASHES_ON, HANGS_ON

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def all_have_one_result(case: Case, images: int) -> bool:
    """Every image of the case has one run, that one succeeded, and the case went on to its reader."""
    runs = PredictionRun.objects.filter(image__case=case)
    case.refresh_from_db()
    return (
        runs.filter(state=RunState.SUCCEEDED).values("image").distinct().count() == runs.count() == images
        and case.state == CaseState.AWAITING_REVIEW
    )


def some_results(count: int) -> bool:
    return PredictionRun.objects.filter(state=RunState.SUCCEEDED).count() >= count


def test_images_of_a_killed_worker_get_exactly_one_result(laboratory: Laboratory) -> None:
    case = laboratory.hand_in(50)
    worker = laboratory.start_worker(RUN_LEASE_SECONDS="20", INFERENCE_BATCH_SIZE="8")
    laboratory.until(lambda: some_results(1))
    laboratory.kill(worker)
    held = set(PredictionRun.objects.filter(state=RunState.RUNNING).values_list("pk", flat=True))
    done = dict(PredictionRun.objects.filter(state=RunState.SUCCEEDED).values_list("pk", "finished_at"))
    assert held
    assert len(done) < 50

    laboratory.start_beat()
    laboratory.start_worker()
    laboratory.until(lambda: all_have_one_result(case, 50))

    attempts = dict(PredictionRun.objects.values_list("pk", "attempts"))
    assert {pk for pk, tried in attempts.items() if tried == 2} == held
    assert dict(PredictionRun.objects.filter(pk__in=done).values_list("pk", "finished_at")) == done


def test_only_the_child_has_torch_and_says_goodbye_when_stopped(laboratory: Laboratory) -> None:
    worker = laboratory.start_worker()
    laboratory.until(laboratory.worker_ready)
    case = laboratory.hand_in(1)
    laboratory.until(lambda: all_have_one_result(case, 1))

    parent = psutil.Process(worker.pid)
    while not parent.children():
        parent = parent.children()[0]
    (child,) = parent.children()
    said = WorkerHeartbeat.objects.get()
    assert said.name.endswith(f":{child.pid}")
    assert said.loaded == ["b-all-stage 0.0.1"]
    assert said.device == "cpu"
    assert has_torch(child.pid)
    assert not has_torch(parent.pid)

    worker.stop()
    assert not WorkerHeartbeat.objects.exists()


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("trouble", ["stopped", "hanging"])
def test_a_case_is_taken_while_redis_is_away_and_run_when_it_is_back(laboratory: Laboratory, trouble: str) -> None:
    laboratory.start_worker()
    laboratory.start_beat()
    laboratory.until(laboratory.worker_ready)
    case = laboratory.draft(2)
    broker = laboratory.stores.redis.service
    browser = SignedIn(laboratory.technician)
    browser.get(f"/cases/{case.pk}/edit/")
    take_away(broker, trouble)
    try:
        started = time.monotonic()
        answer = browser.post(f"/cases/{case.pk}/submit/")
        took = time.monotonic() - started
        page = browser.get(answer["Location"])
    finally:
        give_back(laboratory, trouble)
    assert took < 1.0
    assert "is submitted and safe. Processing is delayed" in page.content.decode()
    laboratory.until(lambda: all_have_one_result(case, 2))


def take_away(broker: Service, trouble: str) -> None:
    if trouble == "stopped":
        broker.stop()
    else:
        os.kill(server_pid(broker), signal.SIGSTOP)


def give_back(laboratory: Laboratory, trouble: str) -> None:
    broker = laboratory.stores.redis.service
    if trouble == "stopped":
        broker.start()
        laboratory.stores.redis.wait_until_ready(time.sleep)
    else:
        os.kill(server_pid(broker), signal.SIGCONT)


def server_pid(broker: Service) -> int:
    return next((child.pid for child in psutil.Process(broker.pid).children()), broker.pid)


def test_a_flushed_redis_loses_no_run(laboratory: Laboratory) -> None:
    """Flushed before the first of five hundred is taken, and again in their midst."""
    cases = laboratory.hand_in_copies(20, of=laboratory.draft(25))
    with redis.Redis.from_url(laboratory.stores.redis.url) as client:
        client.flushall()
        laboratory.start_worker()
        laboratory.start_beat()
        laboratory.until(lambda: some_results(50))
        client.flushall()
    assert laboratory.states()[RunState.QUEUED] > 0
    laboratory.until(lambda: all(all_have_one_result(case, 25) for case in cases), seconds=240)
    assert PredictionRun.objects.count() == 500
    assert set(PredictionRun.objects.values_list("attempts", flat=True)) == {1}


def test_a_restart_of_postgresql_in_the_middle_loses_nothing(laboratory: Laboratory) -> None:
    case = laboratory.hand_in(48)
    laboratory.start_worker(INFERENCE_BATCH_SIZE="8")
    laboratory.start_beat()
    laboratory.until(lambda: some_results(1))
    connection.close()
    postgres = laboratory.stores.postgres
    postgres.service.stop()
    time.sleep(1)
    postgres.service.start()
    postgres.wait_until_ready(time.sleep)
    assert laboratory.states().get(RunState.SUCCEEDED, 0) < 48

    laboratory.until(lambda: all_have_one_result(case, 48))
    laboratory.until(laboratory.worker_ready)


def test_an_image_that_kills_its_process_fails_alone_and_says_why(laboratory: Laboratory) -> None:
    """Beside good ones and one whose bytes have gone bad."""
    case = laboratory.draft(6)
    crashes, spoilt, *good = case.images.all()
    StoredBlob.objects.filter(pk=spoilt.sha256).update(data=b"\xff\xd8\xff but no picture", size=20)
    case_submit(case=case, actor=laboratory.technician)
    laboratory.start_worker("tests.faults.poisoned:app", **{CRASHES_ON: crashes.sha256, "RUN_LEASE_SECONDS": "3"})
    laboratory.start_beat()
    laboratory.until(lambda: is_awaiting(case), seconds=200)

    runs = {run.image_id: run for run in PredictionRun.objects.all()}
    assert {runs[image.pk].state for image in good} == {RunState.SUCCEEDED}
    for image in (crashes, spoilt):
        assert (runs[image.pk].state, runs[image.pk].attempts) == (RunState.FAILED, 3)
    assert "stopped or did not answer" in runs[crashes.pk].error
    assert "could not be read" in runs[spoilt.pk].error


def test_an_image_that_hangs_is_ended_with_its_process_and_holds_nobody_up_for_ever(laboratory: Laboratory) -> None:
    case = laboratory.draft(5)
    hangs, *good = case.images.all()
    case_submit(case=case, actor=laboratory.technician)
    laboratory.start_worker(
        "tests.faults.poisoned:app",
        **{HANGS_ON: hangs.sha256, "RUN_LEASE_SECONDS": "4", "RUN_MAX_ATTEMPTS": "2"},
    )
    laboratory.start_beat(RUN_MAX_ATTEMPTS="2")
    laboratory.until(lambda: is_awaiting(case), seconds=200)

    runs = {run.image_id: run for run in PredictionRun.objects.all()}
    assert {runs[image.pk].state for image in good} == {RunState.SUCCEEDED}
    assert (runs[hangs.pk].state, runs[hangs.pk].attempts) == (RunState.FAILED, 2)
    assert "did not answer" in runs[hangs.pk].error


def is_awaiting(case: Case) -> bool:
    return Case.objects.get(pk=case.pk).state == CaseState.AWAITING_REVIEW


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_without_sound_weights_runs_wait_and_the_worker_says_why(
    laboratory: Laboratory, fault: str, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    place = models / "b-all-stage" / "0.0.1"
    place.mkdir(parents=True)
    source = laboratory.stores.models / "b-all-stage" / "0.0.1"
    (place / "manifest.json").write_bytes((source / "manifest.json").read_bytes())
    whole = (source / "model.safetensors").read_bytes()
    if fault == "altered":
        (place / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    case = laboratory.hand_in(2)
    laboratory.start_worker(MODELS_DIR=str(models))
    laboratory.start_beat()
    laboratory.until(lambda: WorkerHeartbeat.objects.filter(message__contains="model.safetensors").exists())
    said = WorkerHeartbeat.objects.exclude(name="sweeper").get()
    assert not said.ready
    assert ("no readable weights" if fault == "missing" else "not the file its manifest names") in said.message
    assert laboratory.states() == {RunState.QUEUED: 2}

    (place / "model.safetensors").write_bytes(whole)
    laboratory.until(lambda: all_have_one_result(case, 2))
    assert set(PredictionRun.objects.values_list("attempts", flat=True)) == {1}


def test_many_nudges_and_poisoned_messages_do_no_harm(laboratory: Laboratory) -> None:
    """Two workers, each told many times and told nonsense: every run is done once, by one of them."""
    laboratory.start_worker(INFERENCE_BATCH_SIZE="2")
    laboratory.start_worker(INFERENCE_BATCH_SIZE="2")
    laboratory.until(lambda: laboratory.worker_ready(2))
    canary = laboratory.folder / "canary"
    send_nonsense(laboratory, canary)
    cases = [laboratory.hand_in(4, priority=priority) for priority in (Priority.ROUTINE, Priority.STAT)]
    with laboratory_app().connection_for_write() as broker:
        for _ in range(12):
            laboratory_app().send_task("worker.drain", kwargs={"of_next_year": 1}, connection=broker)
    laboratory.until(lambda: all(all_have_one_result(case, 4) for case in cases))
    results = list(PredictionRun.objects.order_by("pk").values())
    assert {result["attempts"] for result in results} == {1}
    with redis.Redis.from_url(laboratory.stores.redis.url) as client:
        laboratory_app().send_task("worker.drain")  # one that comes late
        laboratory.until(lambda: client.llen("leukoscope") == client.hlen("unacked") == 0)
    assert list(PredictionRun.objects.order_by("pk").values()) == results
    assert not canary.exists()
    assert all(process.running for process in laboratory.processes)


def laboratory_app():  # noqa: ANN201 - Celery's own type is generic over the task
    from worker.celery import app

    return app


def send_nonsense(laboratory: Laboratory, canary: Path) -> None:
    """A pickle that would write a file, a task nobody knows, a text that is no message."""
    pickled = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    with laboratory_app().connection_for_write() as broker:
        producer = broker.Producer()
        headers = {"task": "worker.drain", "id": "1", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
        producer.publish(
            pickled,
            routing_key="leukoscope",
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers=headers,
        )
        laboratory_app().send_task("worker.of_next_year", connection=broker)
