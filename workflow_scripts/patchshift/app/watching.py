"""The images of a folder, and those that come while it fills.

Tested in tests/app/test_watching.py.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from patchshift.app.prediction_tables import PICTURES, TABLE, is_table
from patchshift.data.adapters import IMAGE_SUFFIXES
from patchshift.errors import UserError

POLL_SECONDS = 1.0


def list_folder(folder: Path, *, without: Path | None = None) -> list[Path]:
    """The images of a folder and those below it, sorted; hidden ones and those in the folder `without` are left out.

    So are heatmaps and masks of earlier predictions, which are no images of products. Links to folders are followed,
    each folder once.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        if (real := here.resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        drawn = PICTURES if TABLE in files and is_table(here / TABLE) else ()
        folders[:] = sorted(
            name for name in folders if name[0] != "." and name not in drawn and not _is_same(here / name, without)
        )
        found += [here / name for name in files if name[0] != "." and Path(name).suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)


def check_folder(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        UserError: if it is none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds the images")


def list_images(folder: Path, *, without: Path | None = None) -> list[Path]:
    """As `list_folder`, of a folder that must hold some.

    Raises:
        UserError: if there is no such folder, or no image in it.
    """
    check_folder(folder)
    paths = list_folder(folder, without=without)
    if not paths:
        raise UserError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): give the folder that does")
    return paths


def explain_name(name: str) -> str | None:
    """Why no table can hold the name of a file, in printable characters; None where one can."""
    shown = escape(name)
    return None if shown == name else f"{shown}: its name is not UTF-8: rename it"


def escape(text: str) -> str:
    """Text with `\\udcff` for a byte ff that is not UTF-8, as names of files may have it."""
    return text.encode("utf-8", "backslashreplace").decode()


def watch_folder(
    folder: Path,
    *,
    without: Path | None = None,
    seconds: float = POLL_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[list[Path]]:
    """What has newly come, poll by poll, for ever: images that are there already, and those that come.

    A file is taken once its size and time have stayed the same between two polls and it is not empty: before that it
    may still be written. One that is taken is not taken again while it is there; a new file of the name of one that has
    gone is.

    Args:
        folder: the folder; it may come later.
        without: a folder that is left out.
        seconds: between two polls.
        wait: what waits so long.

    Yields:
        At each poll the images that can be taken, sorted; often none.
    """
    taken: set[Path] = set()
    before: dict[Path, tuple[int, int]] = {}
    while True:
        listed = list_folder(folder, without=without)
        now = {path: state for path in listed if (state := _state(path))}
        taken.intersection_update(listed)
        settled = [path for path, state in now.items() if path not in taken and before.get(path) == state]
        taken.update(settled)
        before = now
        yield settled
        wait(seconds)


def _state(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of a file; None where it is empty or has gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None


def _is_same(one: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and one.samefile(other)
