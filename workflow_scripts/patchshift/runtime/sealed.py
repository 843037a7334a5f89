"""A seal on a file: the SHA-256 of all its bytes, at its end, checked before any library reads the file.

HDF5 takes no notice of what stands behind its content. But it can loop for ever on content that is damaged, so the
digest is one of bytes, not of arrays. It is no signature: who changes a file on purpose can seal it anew.
Tested in tests/app/test_models.py.
"""

import hashlib
import hmac
from pathlib import Path

MARK = b"\npatchshift sealed sha256 "
SEAL_BYTES = len(MARK) + 64 + 1
BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Append the digest of a closed file to it."""
    digest = _digest(path, path.stat().st_size)
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
    length = path.stat().st_size - SEAL_BYTES
    with path.open("rb") as file:
        file.seek(length + len(MARK))
        sealed = file.read(65)
    if not hmac.compare_digest(sealed, _digest(path, length).encode() + b"\n"):
        raise ValueError("its content is not what was written: damaged, or edited")


def _digest(path: Path, length: int) -> str:
    """SHA-256 of the first `length` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(BLOCK, length))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
