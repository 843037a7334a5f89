"""Let one process in at a time.

Tested in tests/runtime/test_locks.py; waiting in tests/data/test_fetch.py.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def one_process(lock: Path, task: str) -> Iterator[None]:
    """Let one process in; the operating system lets the next one in when that one ends, however it ends.

    Args:
        lock: the file to lock, in a folder that exists; it is removed afterwards.
        task: what the processes do, for messages: "fetching this dataset".
    """
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, lock, task)
            if not _is_at(lock, descriptor):
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _is_at(lock: Path, descriptor: int) -> bool:
    """Whether the locked file is still there: its last holder removed it, and a third process may have made another."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, lock: Path, task: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("another process is %s (%s): waiting for it", task, lock)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        log.warning("%s: this file system has no locks: keep two processes from %s at a time", lock, task)
