"""Write artifacts so that a name either holds a whole file or nothing.

Tested in tests/runtime/test_files.py.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from patchshift.errors import UserError

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run again, finished artifacts are kept",
    errno.EDQUOT: "the disk quota is used up: free some space and run again, finished artifacts are kept",
    errno.EFBIG: "the file is larger than this file system or your limits (ulimit -f) allow: choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder or remount it",
    errno.EACCES: "permission denied: make the folder writable for you",
    errno.EPERM: "permission denied: make the folder writable for you",
    errno.EEXIST: "a file stands where a folder must be: choose another folder",
    errno.ENOTDIR: "a file stands where a folder must be: choose another folder",
}

SEAL = "seal"
"""Key of the digest in a JSON artifact."""


def explain_write_failure(path: Path, error: BaseException) -> UserError | None:
    """The user's version of a failed write, or None where the operating system gave no known reason."""
    if not isinstance(error, OSError | RuntimeError):
        return None
    number = getattr(error, "errno", None)
    if number is None:  # HDF5 reports the reason in its text only, while closing a file as RuntimeError
        number = next((code for code in REMEDIES if os.strerror(code) in str(error)), None)
    return UserError(f"cannot write {path}: {REMEDIES[number]}") if number in REMEDIES else None


@contextmanager
def _renamed_when_whole(final: Path, like: str = "") -> Iterator[Path]:
    # A job whose Snakemake was killed may still be writing: under a name of its own it can harm no other writer, and
    # once the next one has cleared that name away it cannot finish. Processes of several machines, or of several
    # containers, may have one number, so that makes no name; it is there for who wonders what writes.
    name = like or final.name
    partial = final.with_name(f".{name}.{os.urandom(4).hex()}.{os.getpid()}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # Exactly: the name of another artifact may begin with this one and a dot.
        known = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.\d+\.partial")
        for stale in [path for path in final.parent.iterdir() if known.fullmatch(path.name)]:
            with suppress(FileNotFoundError):  # its writer gave up
                remove(stale.replace(partial))  # renamed first: who still adds files to a folder would keep it
        yield partial
        partial.replace(final)
    except BaseException as error:
        with suppress(OSError):  # on a disk that went read-only; the error that led here is the one to tell
            remove(partial)
        explained = explain_write_failure(final, error)
        if explained and _is_of_what_is_written(error, partial, final):
            raise explained from error
        raise


def _is_of_what_is_written(error: BaseException, *written: Path) -> bool:
    """Whether an error names no file, or one that is written, that lies in it or above it: no file that was read."""
    told = (getattr(error, "filename", None), getattr(error, "filename2", None))
    names = [Path(name).absolute() for name in told if isinstance(name, str)]
    places = [path.absolute() for path in written]
    return not names or any(
        name.is_relative_to(place) or place.is_relative_to(name) for name in names for place in places
    )


@contextmanager
def atomic_path(final: Path, *, like: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `final`; rename it to `final` when the block ends well, remove it otherwise.

    Args:
        final: the name of the whole file.
        like: another name there, for names that are never written twice: what a killed writer leaves is cleared away by
            the next that writes that one.

    Raises:
        UserError: where the disk is full, read-only or not writable.
    """
    with _renamed_when_whole(final, like) as partial:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def atomic_directory(final: Path) -> Iterator[Path]:
    """Like `atomic_path`, for a whole new folder; an existing `final` is replaced."""
    with _renamed_when_whole(final) as partial:
        partial.mkdir()
        with _opened(partial) as made:
            yield partial
            if not os.path.samestat(os.fstat(made), partial.stat()):  # cleared away, and half of it written again
                raise FileNotFoundError(errno.ENOENT, "another process makes this folder now", str(final))
        remove(final)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder; while it is open, no other folder can have its number."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, like: str = "") -> None:
    """Write UTF-8 text atomically; `like` as in `atomic_path`."""
    with atomic_path(path, like=like) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write canonical, readable JSON atomically: sorted keys, no NaN, a final newline.

    What says how it was made (`provenance`) also gets a `seal`: the digest of all the rest.
    """
    if isinstance(content, dict) and "provenance" in content:
        content = json.loads(_format(content))  # keys as they will be read
        content[SEAL] = digest_bytes(_format(content).encode())
    write_text(path, _format(content))


def read_json(path: Path) -> Any:
    """Read a JSON artifact; its seal, if it has one, is compared and left out.

    Raises:
        UserError: if the file is not JSON, or not what was written; it names the file and how to rebuild it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and SEAL in content:
            seal = content.pop(SEAL)
            if seal != digest_bytes(_format(content).encode()):
                raise ValueError("its content is not what was written: damaged, or edited")
    except (ValueError, RecursionError) as error:  # no text, no JSON, NaN, nested without end
        raise UserError(f"{path} is damaged ({error}): delete it and run again to rebuild it") from error
    return content


def _format(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def digest_bytes(content: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    Raises:
        UserError: if there is no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: bring it there") from None
