import logging
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patchshift.data.progress import Progress, open_terminal


@pytest.fixture(params=[(24, 80), (0, 0)], ids=["sized", "of unknown size"])
def terminal(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: what the user sees, and what a program writes to."""
    seen, written = pty.openpty()
    termios.tcsetwinsize(written, request.param)
    yield seen, written
    os.close(seen)
    os.close(written)


def test_only_an_open_terminal_is_drawn_on(terminal: tuple[int, int], tmp_path: Path) -> None:
    opened = open_terminal(terminal[1])
    assert opened is not None
    assert opened.fileno() == terminal[1]
    with (tmp_path / "file").open("w") as file:
        assert open_terminal(file.fileno()) is None
        closed = os.dup(file.fileno())
    os.close(closed)
    assert open_terminal(closed) is None


def test_a_terminal_gets_a_bar_and_the_log_nothing(
    terminal: tuple[int, int], caplog: pytest.LogCaptureFixture, read_lines: Callable[[int, int], str]
) -> None:
    seen, written = terminal
    clock = iter(range(0, 1000, 20))
    progress = Progress("parts.zip", open_terminal(written), lambda: next(clock))
    with caplog.at_level(logging.INFO):
        progress.begin(500_000, 2_000_000)
        progress.advance(1_500_000)
        progress.end()
    drawn = read_lines(seen, 1)
    assert "parts.zip" in drawn
    assert "25%" in drawn
    assert "100%" in drawn
    assert "2.00M" in drawn
    assert caplog.messages == []
    os.fstat(written)  # still open: it is the caller's


def test_without_a_terminal_the_log_gets_a_line_every_ten_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    progress = Progress("parts.zip", None, lambda: now)
    with caplog.at_level(logging.INFO):
        progress.begin(10_000_000, 50_000_000)
        for second in range(1, 41):
            now = float(second)
            progress.advance(1_000_000)
        progress.end()
    assert caplog.messages == [
        "parts.zip: 20.0 of 50.0 MB (40%), 1.0 MB/s, time left 00:30",
        "parts.zip: 30.0 of 50.0 MB (60%), 1.0 MB/s, time left 00:20",
        "parts.zip: 40.0 of 50.0 MB (80%), 1.0 MB/s, time left 00:10",
        "parts.zip: 50.0 of 50.0 MB (100%), 1.0 MB/s, time left 00:00",
    ]


def test_of_an_unknown_size_only_what_is_known_is_said(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    progress = Progress("parts.zip", None, lambda: now)
    with caplog.at_level(logging.INFO):
        progress.begin(0, None)
        now = 10.0
        progress.advance(5_000_000)
    assert caplog.messages == ["parts.zip: 5.0 MB, 0.5 MB/s"]


def test_a_second_attempt_begins_where_the_first_was_cut(
    terminal: tuple[int, int], read_lines: Callable[[int, int], str]
) -> None:
    progress = Progress("parts.zip", open_terminal(terminal[1]))
    for done in (0, 1_000_000):
        progress.begin(done, 2_000_000)
        progress.advance(1_000_000)
    progress.end()
    drawn = read_lines(terminal[0], 2)
    assert "150%" not in drawn
    assert "100%" in drawn


def test_a_descriptor_beyond_standard_error_reaches_the_terminal_from_a_job(
    terminal: tuple[int, int], repository: Path, read_lines: Callable[[int, int], str]
) -> None:
    program = (
        "from patchshift.data.progress import Progress, open_terminal\n"
        "progress = Progress('parts.zip', open_terminal(3))\n"
        "progress.begin(0, 10)\n"
        "progress.advance(10)\n"
        "progress.end()\n"
    )
    subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$1" 3>&1 > /dev/null 2>&1', "bash", program],
        stdout=terminal[1],
        check=True,
        env={"PYTHONPATH": str(repository / "workflow_scripts"), "PATH": os.environ["PATH"]},
    )
    assert "parts.zip: 100%" in read_lines(terminal[0], 1)
