"""Bring a dataset to its folder: download, check, unpack, and move into place when whole.

Tested in tests/data/test_fetch.py.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from patchshift.data.archives import ArchiveDamaged, ArchiveRefused, Unpacked, extract
from patchshift.data.download import Patience, Unavailable
from patchshift.data.places import bring
from patchshift.errors import UserError
from patchshift.plan.data_specs import ArchiveSpec, FetchSpec
from patchshift.runtime.files import read_json, remove, write_json
from patchshift.runtime.locks import one_process

log = logging.getLogger(__name__)

LAYOUT_FOLDERS = {"train", "test", "good", "defect", "masks"}
"""Folders of a category, which are no wrapping around a dataset even where an archive holds one of them alone."""

DOCUMENTS = {"", ".txt", ".md", ".pdf", ".html", ".rst"}
"""Suffixes of what may lie beside the one folder that wraps a dataset."""


@dataclass(frozen=True)
class Receipt:
    """Where a dataset's folder came from. The last five say nothing about a folder that was there already.

    Attributes:
        dataset: the dataset's id.
        licence: its licence, as the catalog states it.
        accepted: that the licence was accepted; nobody asks for a folder that was there already.
        origin: "downloaded", or "found": the folder was there already.
        address: the archive's address.
        checksum: the published checksum that the archive had, or "none published".
        archive_sha256: SHA-256 of the archive.
        archive_bytes: its size.
        files: number of files unpacked.
        unpacked_bytes: their size together.
    """

    dataset: str
    licence: str
    accepted: bool = False
    origin: str = "found"
    address: str | None = None
    checksum: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    files: int | None = None
    unpacked_bytes: int | None = None


def fetch_dataset(
    dataset: str,
    spec: FetchSpec,
    folder: Path,
    receipt: Path,
    *,
    terminal: TextIO | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring a dataset to `folder` unless it is there, and write a receipt.

    A folder that exists is used as it is. What an interrupted download left in `.{folder}.download` beside it is gone
    on with; what an interrupted unpacking left there is cleared away. Of several processes one works, the others wait.

    Args:
        dataset: the dataset's id, for messages and receipt.
        spec: addresses, checksums, bounds, licence and categories.
        folder: where the dataset is to be.
        receipt: the receipt to write (JSON).
        terminal: where to draw a progress bar; None: say it in the log.
        patience: how long to go on with each address.

    Raises:
        UserError: if no address gives a sound archive (each is named, with its reason), or the disk is full.
    """
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{folder} is a link that leads nowhere: mend or remove it")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: move it away, or set the dataset's `folder`")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.download"
    with one_process(folder.parent / f".{folder.name}.lock", "fetching this dataset"):
        if not folder.is_dir():
            _bring(dataset, spec, folder, work, terminal, patience)
        write_json(receipt, asdict(_read_receipt(work) or _found(dataset, spec, folder)))
        remove(work)


def _found(dataset: str, spec: FetchSpec, folder: Path) -> Receipt:
    log.info("dataset '%s': %s exists and is used as it is", dataset, folder)
    return Receipt(dataset, spec.licence)


def _bring(
    dataset: str, spec: FetchSpec, folder: Path, work: Path, terminal: TextIO | None, patience: Patience | None
) -> None:
    log.info("dataset '%s': its licence, accepted in the config: %s", dataset, spec.licence or "none stated")
    for stale in ("unpacked", "whole", "receipt.json"):
        remove(work / stale)

    def accept(place: ArchiveSpec, archive: Path, sha256: str) -> None:
        unpacked = _unpack(place.address, archive, work / "unpacked", spec.unpacked_gigabytes)
        log.info("dataset '%s': unpacked %d files, %d bytes", dataset, unpacked.files, unpacked.bytes)
        receipt = _receipt(dataset, spec, place, sha256, archive, unpacked)
        _move_into_place(work, folder, set(spec.categories), receipt)

    by_hand = f"Bring it by hand: unpack it to {folder} and run again, a folder that exists is used as it is"
    bring(f"dataset '{dataset}'", spec.archives, work, accept, by_hand=by_hand, terminal=terminal, patience=patience)


def _unpack(address: str, archive: Path, folder: Path, gigabytes: float) -> Unpacked:
    """Extract an archive whole or not at all; a damaged one is deleted, so that it is downloaded anew."""
    try:
        return extract(archive, folder, limit_bytes=int(gigabytes * 1e9), name=address)
    except BaseException as error:
        remove(folder)
        if isinstance(error, ArchiveDamaged):
            remove(archive)
        if isinstance(error, ArchiveRefused):
            raise Unavailable(str(error)) from error
        raise


def _receipt(
    dataset: str, spec: FetchSpec, source: ArchiveSpec, sha256: str, archive: Path, unpacked: Unpacked
) -> Receipt:
    return Receipt(
        dataset,
        spec.licence,
        accepted=True,
        origin="downloaded",
        address=source.address,
        checksum=source.checksum or "none published",
        archive_sha256=sha256,
        archive_bytes=archive.stat().st_size,
        files=unpacked.files,
        unpacked_bytes=unpacked.bytes,
    )


def _move_into_place(work: Path, folder: Path, categories: set[str], receipt: Receipt) -> None:
    """One rename. The receipt is written before, so that a run killed in between is completed by the next."""
    _unwrapped(work / "unpacked", categories).rename(work / "whole")
    write_json(work / "receipt.json", asdict(receipt))
    try:
        (work / "whole").rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        log.warning("%s appeared during the download: what was downloaded is dropped", folder)


def _unwrapped(folder: Path, categories: set[str]) -> Path:
    """The folder in which the dataset begins: archives often wrap it in one of their own.

    Documents beside the wrapped folder, such as the licence, move into it.
    """
    while True:
        visible = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        folders = [path for path in visible if path.is_dir()]
        documents = [path for path in visible if path.is_file()]
        if (
            len(folders) != 1
            or folders[0].name in categories | LAYOUT_FOLDERS
            or any(path.suffix.lower() not in DOCUMENTS for path in documents)
        ):
            return folder
        for document in documents:
            if not (folders[0] / document.name).exists():
                document.rename(folders[0] / document.name)
        folder = folders[0]


def _read_receipt(work: Path) -> Receipt | None:
    """The receipt of a dataset that this or an interrupted run moved into place."""
    if (work / "whole").exists() or not (work / "receipt.json").is_file():
        return None
    return Receipt(**read_json(work / "receipt.json"))
