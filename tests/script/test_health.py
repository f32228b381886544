"""What the start makes of the portal's word on its health."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from portal.local.health import Health, ask_health

WELL = {"ok": True, "message": "well"}
NO_MODEL = {"ok": False, "message": "No model version is active."}
Serve = Callable[[int, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that gives one answer to everything; returns its address."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:

        def answering(code: int, body: bytes) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(code)
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_arguments: object) -> None:
                    """Not into the tests' output."""

            server.RequestHandlerClass = Handler
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}"

        yield answering
        server.shutdown()


def said(**checks: dict[str, Any]) -> bytes:
    return json.dumps({"checks": {"database": WELL, "redis": WELL, "beat": WELL} | checks}).encode()


def test_all_is_well(serve: Serve) -> None:
    assert ask_health(serve(200, said())) == Health(answered=True, ok=True)


@pytest.mark.parametrize(
    ("checks", "final"),
    [
        ({"worker": NO_MODEL | {"starting": False}, "model": NO_MODEL}, True),
        ({"worker": NO_MODEL | {"starting": False}, "model": WELL}, True),
        ({"worker": NO_MODEL | {"starting": True}, "model": NO_MODEL}, False),
        ({"worker": NO_MODEL | {"starting": False}, "model": NO_MODEL, "beat": NO_MODEL}, False),
    ],
)
def test_waiting_ends_when_the_worker_has_said_why_and_nothing_else_is_missing(
    checks: dict[str, dict[str, Any]], final: bool, serve: Serve
) -> None:
    health = ask_health(serve(503, said(**checks)))
    assert (health.answered, health.ok, health.final) == (True, False, final)
    assert "worker: No model version is active." in health.troubles


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"checks": []}', b'{"checks": {"worker": 1}}'])
def test_an_answer_of_something_else_is_not_taken_for_health(body: bytes, serve: Serve) -> None:
    assert ask_health(serve(502, body)) == Health(answered=True, ok=False, troubles=("no readable answer",))


def test_no_answer_is_no_health() -> None:
    assert ask_health("http://127.0.0.1:1") == Health(answered=False, ok=False)
