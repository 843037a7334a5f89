"""Bring a weight file to its place: download, check, and move into place when whole.

Tested in tests/data/test_fetch_weights.py.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from patchshift.data.download import Patience, Unavailable
from patchshift.data.places import bring
from patchshift.data.weight_files import check_receipt, find_fault
from patchshift.errors import UserError
from patchshift.plan.backbone_specs import WeightsSpec
from patchshift.plan.data_specs import ArchiveSpec
from patchshift.runtime.files import digest_file, read_json, remove, write_json
from patchshift.runtime.locks import one_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsReceipt:
    """Where a weight file came from.

    Attributes:
        name: its name under the folder of weight files.
        licence: its licence, as the catalog states it.
        sha256: SHA-256 of the file.
        bytes: its size.
        accepted: that the licence was accepted; nobody asks for a file that was there already.
        origin: "downloaded", or "found": the file was there already.
        address: where it was downloaded from.
        checksum: the published checksum that it had, or "none published".
    """

    name: str
    licence: str
    sha256: str
    bytes: int
    accepted: bool = False
    origin: str = "found"
    address: str | None = None
    checksum: str | None = None


def fetch_weights(
    spec: WeightsSpec,
    weights_dir: Path,
    receipt: Path,
    *,
    terminal: TextIO | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring a weight file to `weights_dir / spec.weights` unless it is there, and write a receipt.

    A file that exists is used as it is, and its receipt kept. What an interrupted download left in `.{file}.download`
    beside it is gone on with. Of several processes one works, the others wait.

    Args:
        spec: the file's name, its licence and the places where it can be had.
        weights_dir: the folder of weight files.
        receipt: the receipt to write (JSON).
        terminal: where to draw a progress bar; None: say it in the log.
        patience: how long to go on with each place.

    Raises:
        UserError: if no place gives sound weights (each is named, with its reason, the file to bring and where to put
            it), the disk is full, or the file is not the one that its receipt names.
    """
    path = weights_dir / spec.weights
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link that leads nowhere: mend or remove it")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file: move it away, or set the backbone's `weights` to another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.download")
    with one_process(path.with_name(f".{path.name}.lock"), "fetching these weights"):
        if path.is_file():
            log.info("weight file '%s': %s exists and is used as it is", spec.weights, path)
            check_receipt(path)
        else:
            _bring(spec, path, work, terminal, patience)
        write_json(receipt, asdict(_receipt(spec, path, work, receipt)))
        remove(work)


def _bring(spec: WeightsSpec, path: Path, work: Path, terminal: TextIO | None, patience: Patience | None) -> None:
    name = f"weight file '{spec.weights}'"
    log.info("%s: its licence, accepted in the config: %s", name, spec.licence or "none stated")
    remove(work / "receipt.json")

    def accept(place: ArchiveSpec, file: Path, sha256: str) -> None:
        if fault := find_fault(file, spec.weights):
            remove(file)
            raise Unavailable(f"{place.address}: {fault}, and is deleted: look at what the address leads to")
        told = WeightsReceipt(
            spec.weights,
            spec.licence,
            sha256,
            file.stat().st_size,
            accepted=True,
            origin="downloaded",
            address=place.address,
            checksum=place.checksum or "none published",
        )
        # Written before the move, so that a run killed in between is completed by the next.
        write_json(work / "receipt.json", asdict(told))
        if path.exists():
            log.warning("%s appeared during the download: what was downloaded is dropped", path)
        else:
            file.rename(path)

    by_hand = (
        f"Bring {spec.places[0].address} as {path} by hand and run again: a file that exists is used as it is, and "
        "compute nodes need no network"
    )
    bring(name, spec.places, work, accept, by_hand=by_hand, terminal=terminal, patience=patience)


def _receipt(spec: WeightsSpec, path: Path, work: Path, receipt: Path) -> WeightsReceipt:
    """What this or an earlier run noted of the file that it moved into place; else, that it was found there."""
    sha256 = digest_file(path)
    for note in (work / "receipt.json", receipt):
        if note.is_file():
            told = WeightsReceipt(**read_json(note))
            if told.sha256 == sha256:
                return told
    return WeightsReceipt(spec.weights, spec.licence, sha256, path.stat().st_size)
