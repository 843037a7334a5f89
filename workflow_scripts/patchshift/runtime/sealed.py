"""A seal on a file: the SHA-256 of all its bytes, at its end, checked before any library reads the file.

HDF5 takes no notice of what stands behind its content. But it can loop for ever on content that is damaged, so the
digest is one of bytes, not of arrays. It is no signature: who changes a file on purpose can seal it anew.

All HDF5 artifacts are sealed (`runtime.hdf5`). Banks, exported models and shards must have their seal; of the others a
file without one, of an earlier version or edited with HDF5, is taken as it is. A seal is one of the whole file: a job
that reads a part of a store leaves it to the one that joins the parts.
Tested in tests/runtime/test_sealed.py and tests/app/test_models.py.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

MARK = b"\npatchshift sealed sha256 "
SEAL_BYTES = len(MARK) + 64 + 1
BLOCK = 1 << 20
Check = Callable[[Path], None]
"""What a reader does about a seal before it reads: `check_seal`, `check_seal_if_any` or `leave_seal`."""

BROKEN = "its content is not what was written: damaged, or edited"


def seal(path: Path) -> None:
    """Append the digest of a closed file to it."""
    with path.open("rb") as file:
        digest = _feed(file, path.stat().st_size).hexdigest()
    with path.open("ab") as file:
        file.write(MARK + digest.encode() + b"\n")


def is_sealed(path: Path) -> bool:
    """Whether a file ends as a sealed one does."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - SEAL_BYTES))
        return file.read(len(MARK)) == MARK


def check_seal(path: Path) -> None:
    """Compare a file with its seal.

    Raises:
        ValueError: if it has no seal, or another one.
    """
    if not is_sealed(path):
        raise ValueError("it has no seal at its end: damaged, or edited, or another kind of file")
    digest_sealed(path)


def check_seal_if_any(path: Path) -> None:
    """Compare a file with its seal, if it has one.

    Raises:
        ValueError: if the seal is of other content.
    """
    if is_sealed(path):
        digest_sealed(path)


def leave_seal(path: Path) -> None:
    """Compare nothing: for who reads a part of a file, or a note in it, and leaves the whole to another reader."""


def digest_sealed(path: Path) -> str:
    """SHA-256 of a whole file, 64 hex digits; the seal at its end, if it has one, is checked in passing.

    A process reads a file once for all that ask, as long as it does not change.

    Raises:
        ValueError: if the seal is of other content.
    """
    state = path.stat()
    digest = _digest(path.absolute(), state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    if not digest:
        raise ValueError(BROKEN)
    return digest


@lru_cache(maxsize=10_000)
def _digest(path: Path, size: int, *state: int) -> str:
    """The same, empty where the seal is of other content; size and state tell other content of one name."""
    with path.open("rb") as file:
        digest = _feed(file, max(0, size - SEAL_BYTES))
        own = digest.hexdigest().encode()
        rest = file.read()
    if rest.startswith(MARK) and not hmac.compare_digest(rest[len(MARK) :], own + b"\n"):
        return ""
    digest.update(rest)
    return digest.hexdigest()


def _feed(file: BinaryIO, length: int) -> "hashlib._Hash":
    """SHA-256 of the next `length` bytes of a file, to go on with."""
    digest = hashlib.sha256()
    while length > 0 and (block := file.read(min(BLOCK, length))):
        digest.update(block)
        length -= len(block)
    return digest
