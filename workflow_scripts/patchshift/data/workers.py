"""Share the images of a category out among processes.

Tested in tests/data/test_workers.py.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

from threadpoolctl import threadpool_limits

from patchshift.data.images import raise_all
from patchshift.data.index import ImageRow
from patchshift.errors import UserError
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.threads import limit_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8  # images that a worker takes at a time
REPORT_SECONDS = 10
WORTH_SECONDS = 6  # of work left: for less, starting workers takes longer than they save

log = logging.getLogger(__name__)


def map_rows(function: Callable[[ImageRow], Result], rows: Sequence[ImageRow], workers: int = 1) -> list[Result]:
    """What a function makes of each image, in order; the pace is logged.

    Args:
        function: reads an image and makes something of it. Processes call it, so it is a function of a module, or a
            `partial` of one.
        rows: the images.
        workers: processes that share the work. The results do not depend on their number.

    Raises:
        UserError: listing what was wrong with every image, or if a worker was killed.
    """
    outcomes = list(_report_pace(_share_out(partial(_attempt, function), rows, workers), len(rows)))
    raise_all([str(outcome) for outcome in outcomes if isinstance(outcome, UserError)])
    return [outcome for outcome in outcomes if not isinstance(outcome, UserError)]


def _attempt(function: Callable[[ImageRow], Result], rows: Sequence[ImageRow]) -> list[Result | UserError]:
    outcomes: list[Result | UserError] = []
    for row in rows:
        try:
            outcomes.append(function(row))
        except UserError as error:
            outcomes.append(error)
    return outcomes


def _report_pace(chunks: Iterable[list[Result]], total: int) -> Iterator[Result]:
    """Pass the outcomes on; now and then, log how fast they come."""
    start = last = time.monotonic()
    done = 0
    for chunk in chunks:
        yield from chunk
        done += len(chunk)
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last, pace = now, done / max(now - start, 1e-9)
            log.info("%d of %d images, %.1f images/s, %.0f s left", done, total, pace, (total - done) / pace)


def _share_out(
    attempt: Callable[[Sequence[ImageRow]], Result], rows: Sequence[ImageRow], workers: int
) -> Iterator[Result]:
    """Results in order: the first image is done here, the others by processes where that is worth their start."""
    start = time.perf_counter()
    yield from _map_in_processes(attempt, [rows[:1]], 1)
    left = (time.perf_counter() - start) * (len(rows) - 1)
    chunks = [rows[first : first + CHUNK] for first in range(1, len(rows), CHUNK)]
    yield from _map_in_processes(attempt, chunks, workers if left > WORTH_SECONDS else 1)


def _map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Results in order, each computed by a process with one numerical thread; a single worker is this process."""
    workers = min(workers, len(items))
    if workers <= 1:
        with threadpool_limits(1):
            yield from map(function, items)
        return
    # forked processes would inherit locks that this process' threads hold
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool:
        raise UserError(
            "a worker was killed, most likely because memory ran out: run again with fewer cores (--cores), or on a "
            "cluster with fewer threads (--set-threads RULE=...) or more memory (--set-resources RULE:mem_mb=...)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(1)
    keep_freed_memory()


def _end_with_parent() -> None:
    """End this process when its parent is killed: the queue never tells, as workers hold both ends of its pipe."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
