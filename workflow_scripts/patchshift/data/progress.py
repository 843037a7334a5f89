"""Show how far a download is: a bar on a terminal, lines in the log elsewhere.

Tested in tests/data/test_progress.py.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


def open_terminal(descriptor: int) -> TextIO | None:
    """The terminal that a file descriptor leads to; None if it is closed or leads elsewhere.

    A job's standard error goes to its log file; a further descriptor can lead past it to the user's terminal.
    """
    if not os.isatty(descriptor):
        return None
    return os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)


class Progress:
    """How far one download is."""

    def __init__(self, name: str, terminal: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._terminal = terminal
        self._clock = clock
        self._bar: tqdm[None] | None = None
        self._total: int | None = None
        self._done = self._first = 0
        self._began = self._said = 0.0

    def begin(self, done: int, total: int | None) -> None:
        """Start, or start again after a cut.

        Args:
            done: bytes that are already there.
            total: bytes of the whole, if known.
        """
        self.end()
        self._done = self._first = done
        self._total = total
        self._began = self._said = self._clock()
        if self._terminal is not None:
            self._bar = tqdm(
                desc=self._name,
                initial=done,
                total=total,
                unit="B",
                unit_scale=True,
                dynamic_ncols=_columns(self._terminal) > 0,
                file=self._terminal,
            )

    def advance(self, count: int) -> None:
        """Take note of further bytes."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._clock() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = self._clock()
            log.info("%s: %s", self._name, self._describe())

    def end(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _describe(self) -> str:
        rate = (self._done - self._first) / max(self._clock() - self._began, 1e-9)
        if self._total is None:
            return f"{self._done / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "unknown"
        size = f"{self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB ({self._done / max(self._total, 1):.0%})"
        return f"{size}, {rate / 1e6:.1f} MB/s, time left {left}"


def _columns(terminal: TextIO) -> int:
    """The width of a terminal; 0 where it does not say, as in many containers."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns
    except OSError:
        return 0
