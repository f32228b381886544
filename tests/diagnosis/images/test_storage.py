"""The storage "smears" on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import User
from diagnosis.models import SmearImage, StoredBlob
from diagnosis.storage import PIECE, PostgresStorage, blobs_collect_garbage
from tests.factories import CaseFactory, add_image

SMALL = b"\xff\xd8\xff" + bytes(range(256)) * 4
LARGE = os.urandom(3 * PIECE + 17)


@pytest.fixture
def smears(db: None) -> PostgresStorage:
    storage = storages["smears"]
    assert isinstance(storage, PostgresStorage)
    return storage


def stored(storage: PostgresStorage, data: bytes, name: str = "") -> str:
    return storage.save(name, ContentFile(data))


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"x", SMALL, LARGE])
def test_what_is_saved_is_read_back(smears: PostgresStorage, data: bytes) -> None:
    name = stored(smears, data)
    assert name == name_of(data)
    assert smears.exists(name)
    assert smears.size(name) == len(data)
    with smears.open(name) as opened:
        assert opened.size == len(data)
        assert opened.read() == data


@pytest.mark.parametrize("name", ["../../etc/passwd", "field.jpg", "a/b/c", "\u202egpj.exe"])
def test_the_name_is_the_hash_whatever_was_asked_for(smears: PostgresStorage, name: str) -> None:
    upload = File(io.BytesIO(SMALL), name=name)
    assert smears.save(None, upload) == name_of(SMALL)
    assert not smears.exists(name)


def test_bytes_that_do_not_match_the_hash_asked_for_are_refused(smears: PostgresStorage) -> None:
    with pytest.raises(SuspiciousFileOperation):
        stored(smears, SMALL, name_of(LARGE))
    assert not smears.exists(name_of(SMALL))


def test_the_same_bytes_are_kept_once(smears: PostgresStorage) -> None:
    assert stored(smears, SMALL) == stored(smears, SMALL, "another.jpg")
    assert StoredBlob.objects.count() == 1
    blob = StoredBlob.objects.get()
    assert (blob.size, blob.content_type) == (len(SMALL), "image/jpeg")


def test_a_missing_file_is_a_missing_file(smears: PostgresStorage) -> None:
    missing = name_of(b"nothing")
    assert not smears.exists(missing)
    smears.delete(missing)
    for ask in (smears.open, smears.size):
        with pytest.raises(FileNotFoundError):
            ask(missing)


def test_it_is_read_only_and_has_no_address(smears: PostgresStorage) -> None:
    name = stored(smears, SMALL)
    with pytest.raises(ValueError, match="only ever read"):
        smears.open(name, "wb")
    with pytest.raises(NotImplementedError):
        smears.url(name)
    with pytest.raises(NotImplementedError):
        smears.path(name)


def test_a_rolled_back_upload_leaves_no_bytes(smears: PostgresStorage) -> None:
    with transaction.atomic():
        stored(smears, SMALL)
        transaction.set_rollback(True)
    assert not smears.exists(name_of(SMALL))


def test_the_column_is_stored_so_that_pieces_are_cheap(smears: PostgresStorage) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attstorage FROM pg_attribute"
            " WHERE attrelid = 'diagnosis_storedblob'::regclass AND attname = 'data'"
        )
        assert cursor.fetchone()[0] in ("e", b"e")


def test_a_small_file_is_one_query(smears: PostgresStorage) -> None:
    name = stored(smears, SMALL)
    with CaptureQueriesContext(connection) as queries, smears.open(name) as opened:
        assert opened.read() == SMALL
    assert len(queries) == 1


def test_pieces_are_fetched_as_they_are_read(smears: PostgresStorage) -> None:
    """Seeking to the end must not carry the file through the connection."""
    name = stored(smears, LARGE)
    with smears.open(name) as opened, CaptureQueriesContext(connection) as queries:
        opened.seek(-10, io.SEEK_END)
        assert opened.read(10) == LARGE[-10:]
    assert len(queries) == 1
    with smears.open(name) as opened, CaptureQueriesContext(connection) as queries:
        assert b"".join(opened.chunks(PIECE)) == LARGE
    assert len(queries) == 3


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=2000),
    jumps=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-2500, 2500), st.integers(-1, 2500))),
)
@pytest.mark.django_db
def test_it_behaves_like_any_open_file(data: bytes, jumps: list[tuple[int, int, int]]) -> None:
    import diagnosis.storage as module

    storage, model = PostgresStorage(), io.BytesIO(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", 100)
        with storage.open(stored(storage, data)) as opened:
            for whence, offset, count in jumps:
                origin = {0: 0, 1: model.tell(), 2: len(data)}[whence]
                if origin + offset >= 0:
                    assert opened.seek(offset, whence) == model.seek(offset, whence)
                assert opened.read(count) == model.read(count)
                assert opened.tell() == model.tell()


def test_a_file_in_use_is_not_deleted(smears: PostgresStorage, technician: User) -> None:
    image = add_image(CaseFactory(submitted_by=technician))
    for name in (image.sha256, image.thumbnail_sha256):
        smears.delete(name)
        assert smears.exists(name)
    alone = stored(smears, LARGE)
    smears.delete(alone)
    assert not smears.exists(alone)


def test_garbage_is_what_is_old_and_not_referred_to(smears: PostgresStorage, technician: User) -> None:
    image = add_image(CaseFactory(submitted_by=technician))
    old, new = stored(smears, b"old"), stored(smears, b"new")
    StoredBlob.objects.exclude(pk=new).update(created_at=Now() - timedelta(days=2))
    assert blobs_collect_garbage() == 1
    assert not smears.exists(old)
    assert all(smears.exists(name) for name in (new, image.sha256, image.thumbnail_sha256))


@pytest.fixture
def committed(transactional_db: None) -> PostgresStorage:
    return PostgresStorage()


def in_thread(work: Any) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_upload_wins_over_garbage_collection_that_runs_beside_it(committed: PostgresStorage) -> None:
    """The old, unreferenced blob is uploaded again: collection waits for the upload, and then spares it."""
    name = stored(committed, SMALL)
    StoredBlob.objects.update(created_at=Now() - timedelta(days=2))
    with transaction.atomic():
        stored(committed, SMALL)
        collector = in_thread(blobs_collect_garbage)
        collector.join(0.5)
        assert collector.is_alive()
    collector.join(10)
    assert committed.exists(name)


def test_bytes_that_are_being_collected_are_written_again(committed: PostgresStorage) -> None:
    name = stored(committed, SMALL)
    StoredBlob.objects.update(created_at=Now() - timedelta(days=2))
    with transaction.atomic():
        assert blobs_collect_garbage() == 1
        uploader = in_thread(lambda: stored(committed, SMALL))
        uploader.join(0.5)
        assert uploader.is_alive()
    uploader.join(10)
    assert committed.exists(name)


def test_two_uploads_of_the_same_bytes_at_once_keep_them_once(committed: PostgresStorage) -> None:
    threads = [in_thread(lambda: stored(committed, LARGE)) for _ in range(4)]
    for thread in threads:
        thread.join(10)
    assert StoredBlob.objects.count() == 1
    assert not SmearImage.objects.exists()
