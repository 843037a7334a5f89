"""For the tests of downloads: a real HTTP server on loopback that misbehaves on request, and what a terminal shows."""

import os
import re
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Answer:
    """How one request is answered; by default as a good server would."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    claim: int | None = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    omit: tuple[str, ...] = ()
    hold: threading.Event | None = None


@dataclass
class Served:
    """One request, and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int
    sent: int = 0


class Server:
    """Files by path, and the answers to give next; what is not said is answered well."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, deque[Answer]] = {}
        self.served: list[Served] = []
        self.address = ""

    def put(self, path: str, content: bytes, *answers: dict[str, Any]) -> str:
        self.files[path] = content
        self.answers[path] = deque(Answer(**answer) for answer in answers)
        return f"{self.address}/{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.strip("/")
        queue = self.answers.get(path) or deque()
        answer = queue.popleft() if queue else Answer()
        content = self.files.get(path)
        status = answer.status or (200 if content is not None else 404)
        body = (content or b"") if status == 200 else b"sorry"
        headers = {"ETag": f'"{hash(content)}"', "Content-Length": str(len(body))} | answer.headers
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        same = answer.ignore_if_range or handler.headers.get("If-Range") == headers["ETag"]
        if wanted and status == 200 and same and not answer.ignore_range:
            first, total = int(wanted[1]), len(body)
            if first >= total:
                status, body = 416, b""
            else:
                status, body = 206, body[first:]
                headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
            headers |= {"Content-Length": str(len(body))} | answer.headers
        if answer.claim is not None:
            headers["Content-Length"] = str(answer.claim)
        served = Served(path, dict(handler.headers), status)
        self.served.append(served)
        handler.send_response(status)
        for name, value in headers.items():
            if name not in answer.omit:
                handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        body = body[: answer.cut_after]
        handler.wfile.write(body)
        served.sent = len(body)
        if answer.hold is not None:
            handler.wfile.flush()
            answer.hold.wait(60)
        handler.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    own = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            own.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        own.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield own
        listening.shutdown()
        thread.join()


@pytest.fixture
def read_lines() -> Callable[[int, int], str]:
    """Read from a terminal until so many lines ended; the system hands on in its own time what was written to it."""

    def read(seen: int, lines: int) -> str:
        drawn = b""
        while drawn.count(b"\n") < lines:
            ready, _, _ = select.select([seen], [], [], 30.0)
            assert ready, f"only {drawn!r} was drawn"
            drawn += os.read(seen, 100_000)
        return drawn.decode()

    return read
