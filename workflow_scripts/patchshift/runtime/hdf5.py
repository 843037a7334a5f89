"""Write HDF5 so that a full disk is an error like any other, and read it so that damage is one.

HDF5 keeps much of a file in memory until it is closed, and where closing fails (a full disk) it crashes the process,
before anyone can say why. So it writes through a file that never fails and remembers the first error instead.

What is written ends with a seal (`runtime.sealed`): the digest that tells whether a byte of it changed since. Who opens
a file says whether its seal is compared, which reads all of it once.
Tested in tests/runtime/test_hdf5.py.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from patchshift.errors import UserError
from patchshift.runtime.sealed import Check, seal

UNREADABLE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError)
"""What h5py raises where a file is not whole, or holds something else than is looked for."""

REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free some memory, or on a cluster ask for more (--set-resources RULE:mem_mb=...)",
}
"""What helps where the operating system gives nothing of a file for another reason than who may read it."""

STRANGE = (errno.EISDIR, errno.ENOTDIR, errno.ENOENT)
"""What says that no such file is there."""

REBUILD = "delete it and run again"


class _Recorder(io.FileIO):
    """A file that takes all writes; after the first that failed it drops them, and what it dropped reads as zeros."""

    error: OSError | None = None

    def readinto(self, buffer: Any, /) -> int:
        # h5py would leave what was in memory behind a short read, and HDF5 take that for addresses of text to free.
        view = memoryview(buffer).cast("B")
        count = super().readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def write(self, content: Any, /) -> int:
        view = memoryview(content).cast("B")
        written = 0
        try:
            while written < len(view) and self.error is None:
                written += super().write(view[written:])
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def create_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file for writing, sealed after the block; use inside `runtime.files.atomic_path`.

    Raises:
        OSError: the operating system's reason, after the block, where the file could not be written as a whole.
    """
    with _Recorder(path, "w+") as recorder:
        try:
            with h5py.File(recorder, "w", libver="v110") as file:
                yield file
        finally:
            if recorder.error:
                raise recorder.error
    seal(path)


@contextmanager
def open_hdf5(path: Path, kind: str = "", *, check: Check, remedy: str = REBUILD) -> Iterator[h5py.File]:
    """An HDF5 artifact, open for reading. What fails in the block as damage fails counts as such.

    Args:
        path: of the file.
        kind: what it should be, for messages: "bank". Empty: any artifact.
        check: what is done about its seal, before HDF5 sees a byte: one of `runtime.sealed`.
        remedy: what to do about a damaged one.

    Raises:
        UserError: if it is missing, damaged, or not what the block reads.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: run again to make it")
    with explain_damage(path, f"is not a whole {kind}" if kind else "is damaged", remedy):
        check(path)
        # Finished artifacts never change under their name, and shared disks without locks would refuse to open any.
        with h5py.File(path, "r", locking=False) as file:
            yield file


@contextmanager
def explain_damage(path: Path, fault: str, remedy: str = REBUILD) -> Iterator[None]:
    """Say of which file it is that the block cannot read something, and what to do.

    Raises:
        UserError: `{path} {fault} (the reason): {remedy}`; or that it cannot be read at all, and may be whole.
    """
    try:
        yield
    except UNREADABLE as error:
        number = error.errno if isinstance(error, OSError) else None
        if number and number not in STRANGE:  # the operating system gave nothing: no word of the content
            remedy = REMEDIES.get(number, "try again, or make it readable")
            told = f"{path} cannot be read ({os.strerror(number)}); it may be whole: {remedy}, and run again"
            raise UserError(told) from error
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} {fault} ({reason}): {remedy}") from error
