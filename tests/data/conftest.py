"""For the tests of downloads: what a terminal shows, scripts as processes of their own."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 60.0  # seconds


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


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address that nobody listens at, nor will, and that no proxy is asked for."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def start_script(repository: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a real script of the workflow; `under` is a command that runs it, if it is to run in another's hands."""

    def start(name: str, *arguments: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [sys.executable, str(repository / "workflow_scripts" / f"{name}.py"), *arguments]
        environment = {**os.environ, "NO_PROXY": "*"}
        return subprocess.Popen([*under, *command], env=environment, text=True, stderr=subprocess.PIPE)

    return start


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.005)

    return wait
