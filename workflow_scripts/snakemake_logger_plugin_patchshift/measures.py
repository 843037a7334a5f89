"""What jobs took: in earlier runs from their benchmarks, images per second from the jobs' own logs.

Tested in tests/test_logger_plugin_progress.py.
"""

import statistics
from collections.abc import Sequence
from heapq import nlargest
from pathlib import Path

from patchshift.detectors.pace import read_pace
from patchshift.plan.batches import EXTRACTION
from patchshift.runtime.pace import read_advance, read_passes

BENCHMARKS = Path("results/benchmarks")
SCORING = "score_images"
EXTRACTING = (EXTRACTION, "extract_shard")
NEWEST = 100  # benchmarks of a stage that are read: a first guess does not deserve thousands, nor old ones

Work = tuple[float, float]
"""Images, and the seconds that they took."""


def read_earlier_seconds(stage: str, benchmarks: Path = BENCHMARKS) -> float | None:
    """Mean wall time of a stage's jobs in earlier runs, in seconds; None where none has left a benchmark."""
    found = nlargest(NEWEST, (benchmarks / stage).rglob("*.tsv"), key=_time_of)
    seconds = [value for path in found if (value := _read_seconds(path)) is not None]
    return statistics.fmean(seconds) if seconds else None


def _time_of(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # its job is running again
        return 0


def read_work(stage: str, logs: Sequence[str]) -> Work | None:
    """Images that a job has extracted or scored, and the seconds that this took, as its log tells; None: it does not.

    Of an extraction that goes on, the images so far, at the pace of its last line.
    """
    text = _read_logs(logs)
    if stage == SCORING and (pace := read_pace(text)):
        return pace.images, pace.embedding_seconds + pace.searching_seconds
    if stage in EXTRACTING:
        passes = list(read_passes(text).values())
        advance = read_advance(text)
        if not passes and advance and advance.pace:
            return advance.done, advance.done / advance.pace
        images, seconds = sum(images for images, _ in passes), sum(seconds for _, seconds in passes)
        return (images, seconds) if images and seconds else None
    return None


def read_seconds_left(logs: Sequence[str], now: float) -> float | None:
    """What an extraction's log says is left of its only target, less the time since it said so; None: it does not."""
    try:
        said = max((Path(path).stat().st_mtime for path in logs), default=now)
    except OSError:
        return None
    advance = read_advance(_read_logs(logs))
    return max(0.0, advance.seconds_left - (now - said)) if advance else None


def _read_logs(logs: Sequence[str]) -> str:
    try:
        return "\n".join(Path(path).read_text(encoding="utf-8", errors="replace") for path in logs)
    except OSError:  # not there yet, or not to be read: then nothing is known
        return ""


def _read_seconds(path: Path) -> float | None:
    """The first column of a benchmark's first row."""
    try:
        return float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
    except (OSError, IndexError, ValueError):
        return None
