"""The files below a category's folder, as adapters see them.

Tested in tests/data/test_adapters.py.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from patchshift.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """What one folder holds: names of its files, of its folders, and those of the folders that are symbolic links."""

    files: frozenset[str]
    folders: tuple[str, ...]
    links: frozenset[str]


class Tree:
    """The files below a folder. Each folder is listed once, however often its files are asked for.

    Paths are relative to the folder and have `/`; the folder itself is the empty path. Symbolic links are followed,
    hidden files and folders are never listed. The tree remembers which files an adapter took into account, so that
    the others can be reported.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, Listing | None] = {}
        self._seen: set[str] = set()

    def images(self, folder: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[str]:
        """The paths of the images in a folder, sorted.

        Raises:
            UserError: if there is no such folder.
        """
        names = self._need(folder).files
        paths = [_join(folder, name) for name in sorted(names) if _is_visible(name) and _ends_in(name, suffixes)]
        self._seen.update(paths)
        return paths

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted.

        Raises:
            UserError: if there is no such folder.
        """
        return [name for name in self._need(folder).folders if _is_visible(name)]

    def has_folder(self, folder: str) -> bool:
        """Whether there is such a folder."""
        return self._list(folder) is not None

    def find(self, path: str) -> str:
        """The path, if there is such a file, else an empty text."""
        folder, _, name = path.rpartition("/")
        listing = self._list(folder)
        if listing is None or name not in listing.files:
            return ""
        self._seen.add(path)
        return path

    def find_image(self, folder: str, stem: str) -> str:
        """The path of the image of this stem, of whatever suffix, or an empty text.

        Raises:
            UserError: if there are several.
        """
        found = [path for suffix in IMAGE_SUFFIXES if (path := self.find(_join(folder, stem + suffix)))]
        if len(found) > 1:
            raise UserError(f"{self.root}: {' and '.join(found)} have one name: leave the one that is meant")
        return next(iter(found), "")

    def unseen_images(self) -> list[str]:
        """The paths of all images that no other call came upon, sorted by folder."""
        return [path for path in self._walk("") if path not in self._seen]

    def _walk(self, folder: str) -> Iterator[str]:
        listing = self._list(folder)
        if listing is None:
            return
        for name in sorted(listing.files):
            if _is_visible(name) and _ends_in(name, IMAGE_SUFFIXES):
                yield _join(folder, name)
        for name in listing.folders:
            path = _join(folder, name)
            # A link that no adapter followed may lead anywhere, round in a circle, too.
            if _is_visible(name) and (name not in listing.links or path in self._listings):
                yield from self._walk(path)

    def _need(self, folder: str) -> Listing:
        listing = self._list(folder)
        if listing is None:
            path = self.root / folder
            raise UserError(f"folder {path} does not exist: it belongs to this dataset's layout (docs/data.md)")
        return listing

    def _list(self, folder: str) -> Listing | None:
        if folder not in self._listings:
            self._listings[folder] = _list_folder(self.root / folder)
        return self._listings[folder]


def name_some(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def stem(path: str) -> str:
    """A path's last part without its suffix."""
    return PurePosixPath(path).stem


def _list_folder(path: Path) -> Listing | None:
    files: list[str] = []
    folders: list[str] = []
    links: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                # A broken link counts as a file, so that reading it says what is wrong.
                (folders if entry.is_dir() else files).append(entry.name)
                if entry.is_symlink():
                    links.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    unreadable = [ascii(name) for name in (*files, *folders) if not _is_text(name)]
    if unreadable:
        raise UserError(f"{path}: rename {name_some(sorted(unreadable))}: these names are not UTF-8")
    return Listing(frozenset(files), tuple(sorted(folders)), frozenset(links))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _ends_in(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
