"""How fast a long job gets on, in its log; and how many images went through a backbone, read from there.

Tested in tests/runtime/test_pace.py.
"""

import logging
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

REPORT_SECONDS = 10.0

ADVANCED = "%s: %d of %d images, %.1f images/s, %.0f s left"
"""A line about a store that is being made, with its path; `read_advance` reads it."""

PASSED = "%s: passed %d images through the backbone in %.3f s"
"""The last line about a store, with its path; `read_passes` reads it."""

_PASSED_LINE = re.compile(
    r"^(?:\S+ \S+ [A-Z]+ )?(.+): passed (\d+) images through the backbone in (\d+\.\d+) s$", re.MULTILINE
)

_ADVANCED_LINE = re.compile(r": (\d+) of \d+ images, (\d+\.\d) images/s, (\d+) s left$", re.MULTILINE)

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # whatever the config's `log_level`: costs.csv and the summary read these lines


@dataclass(frozen=True)
class Advance:
    """How far a store is.

    Attributes:
        done: images that have been passed through the backbone.
        pace: images per second.
        seconds_left: at that pace.
    """

    done: int
    pace: float
    seconds_left: float


class Pace:
    """Logs the pace of a long job now and then, and in the end, also of one that failed, how far it came.

    Args:
        name: what is made; each line begins with it.
        total: number of images.

    Attributes:
        done: how many of them have been passed through the backbone.
    """

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        self.start = self.last = time.monotonic()

    def report(self, done: int) -> None:
        """Log images per second and the remaining time, if the last such line is old or all images are done."""
        now, self.done = time.monotonic(), done
        if now - self.last < REPORT_SECONDS and done < self.total:
            return
        self.last = now
        pace = done / max(now - self.start, 1e-9)
        left = (self.total - done) / pace
        log.info(ADVANCED, self.name, done, self.total, pace, left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        log.info(PASSED, self.name, self.done, time.monotonic() - self.start)


def count_images(log_text: str) -> int:
    """How many images went through a backbone, as a log tells."""
    return sum(int(images) for _, images, _ in _PASSED_LINE.findall(log_text))


def read_passes(log_text: str) -> dict[str, tuple[int, float]]:
    """Path of each store that a log tells of -> its images, and the seconds from file to map, without start-up."""
    return {path: (int(images), float(seconds)) for path, images, seconds in _PASSED_LINE.findall(log_text)}


def read_advance(log_text: str) -> Advance | None:
    """How far the store is that a log tells of last; None where it does not say."""
    lines = _ADVANCED_LINE.findall(log_text)
    return Advance(int(lines[-1][0]), float(lines[-1][1]), float(lines[-1][2])) if lines else None
