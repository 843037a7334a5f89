"""Digests of many files, remembered from one run to the next.

Tested in tests/data/test_digests.py.
"""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from patchshift.data.tables import read_table, write_table
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file

READERS = 8
FILES_AT_ONCE = 64
SETTLED = 2_000_000_000  # nanoseconds; no common file system counts time in larger steps

COLUMNS = ["path", "size", "mtime_ns", "ctime_ns", "digest"]


class State(NamedTuple):
    """What changes with every write to a file: bytes, and the times of the last change of content and of metadata."""

    size: int
    mtime_ns: int
    ctime_ns: int


Digests = dict[str, tuple[State, str]]


def digest_files(paths: Sequence[str], root: Path, cache: Path | None = None) -> list[str]:
    """The SHA-256 of files, in order.

    Args:
        paths: the files, relative to `root`.
        root: their folder.
        cache: CSV file with the digests of earlier calls, brought up to date at the end. Files that still have their
            size and times are not read again. A damaged cache counts as empty.

    Raises:
        UserError: if a file is missing.
    """
    started = time.time_ns()
    states = [_read_state(root / path) for path in paths]
    known = _read_cache(cache) if cache else {}
    found = [_recall(known.get(path), state) for path, state in zip(paths, states, strict=True)]
    unread = [row for row, digest in enumerate(found) if not digest]
    for row, digest in zip(unread, _read_all([root / paths[row] for row in unread]), strict=True):
        found[row] = digest
    if cache:
        # A file that was written moments ago could be written again without its times changing.
        settled = {
            path: (state, digest)
            for path, state, digest in zip(paths, states, found, strict=True)
            if state and max(state.mtime_ns, state.ctime_ns) <= started - SETTLED
        }
        if settled != known:
            write_table(cache, COLUMNS, ((path, *state, digest) for path, (state, digest) in settled.items()))
    return found


def _read_state(path: Path) -> State | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return State(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _recall(known: tuple[State, str] | None, state: State | None) -> str:
    return known[1] if known and known[0] == state else ""


def _read_all(paths: Sequence[Path]) -> list[str]:
    batches = [paths[first : first + FILES_AT_ONCE] for first in range(0, len(paths), FILES_AT_ONCE)]
    with ThreadPoolExecutor(READERS) as pool:
        return [digest for digests in pool.map(lambda batch: [*map(digest_file, batch)], batches) for digest in digests]


def _read_cache(path: Path) -> Digests:
    try:
        rows = read_table(path, COLUMNS)
        return {
            row["path"]: (State(int(row["size"]), int(row["mtime_ns"]), int(row["ctime_ns"])), _checked(row["digest"]))
            for row in rows
        }
    except (UserError, ValueError, OSError):
        return {}


def _checked(digest: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(digest)
    return digest
