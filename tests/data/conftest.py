"""For the tests of downloads: what a terminal shows."""

import os
import select
from collections.abc import Callable

import pytest


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
