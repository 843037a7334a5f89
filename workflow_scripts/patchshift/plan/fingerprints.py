"""Fingerprints of folders that nothing declares: they change when a file comes, goes or is renamed, or more.

Tested in tests/plan/test_inputs.py.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path


def list_folders(root: Path) -> list[Path]:
    """A folder and all below it; links to folders are followed, each folder once."""
    found: dict[str, Path] = {}
    for folder, below, _ in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in found:
            below.clear()
        else:
            found[os.path.realpath(folder)] = Path(folder)
    return list(found.values())


def digest_folder(root: Path) -> str:
    """12 hex digits that change when a file of a folder comes, goes, is renamed or is written anew."""
    folders = list_folders(root)
    files = sorted(path for each in folders for path in each.iterdir() if path.is_file())
    sizes = [path.stat().st_size for path in files]  # a copy may keep the time of what it replaces
    return hashlib.sha256(f"{digest_times([*folders, *files], root)} {sizes}".encode()).hexdigest()[:12]


def digest_times(paths: Sequence[Path], root: Path) -> str:
    """12 hex digits of the times of files and folders below a root."""
    content = sorted(f"{os.path.relpath(path, root)} {path.stat().st_mtime_ns}" for path in paths)
    return hashlib.sha256("\n".join(content).encode(errors="surrogateescape")).hexdigest()[:12]
