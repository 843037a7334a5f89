"""Bring a file from the first of several places that has it, whole and right.

Tested in tests/data/test_fetch.py and tests/data/test_fetch_weights.py.
"""

import hashlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from patchshift.data.download import Patience, Unavailable, check_download, download
from patchshift.data.progress import Progress
from patchshift.errors import UserError
from patchshift.plan.data_specs import KAGGLE, ArchiveSpec
from patchshift.runtime.files import remove

log = logging.getLogger(__name__)


def bring(
    name: str,
    places: Sequence[ArchiveSpec],
    work: Path,
    accept: Callable[[ArchiveSpec, Path, str], None],
    *,
    by_hand: str,
    terminal: TextIO | None = None,
    patience: Patience | None = None,
) -> None:
    """Try the places in turn, until one gives a file with the checksum stated that `accept` takes.

    Args:
        name: what is brought, for messages: "dataset 'mtd'".
        places: where it can be had, in the order to try.
        work: the folder for downloads. What an interrupted run left there is gone on with.
        accept: is given the place, the whole file and its SHA-256, and takes the file away. It raises `Unavailable`
            where the file is no good, so that the next place is tried.
        by_hand: how to bring it by hand, for the message when all places fail.
        terminal: where to draw a progress bar; None: say it in the log.
        patience: how long to go on with each place.

    Raises:
        UserError: if no place gives such a file (each is named, with its reason), or the disk is full.
    """
    work.mkdir(exist_ok=True)
    failures = []
    for place in places:
        log.info("%s: from %s", name, place.address)
        try:
            file = _obtain(place.address, work, terminal, patience)
            accept(place, file, check_download(place.address, file, place.checksum))
        except Unavailable as failure:
            log.warning("%s", failure)
            failures.append(str(failure))
            continue
        return
    reasons = failures or ["the catalog has no address for it"]
    if any(work.iterdir()):
        by_hand += f". What was downloaded is kept in {work}, delete it to begin anew"
    else:
        work.rmdir()
    raise UserError("\n  ".join([f"{name} could not be downloaded:", *reasons]) + f"\n{by_hand}")


def _obtain(address: str, work: Path, terminal: TextIO | None, patience: Patience | None) -> Path:
    """The file of an address, downloaded now or by a run that was interrupted behind that."""
    file = work / hashlib.sha256(address.encode()).hexdigest()[:12]
    if file.is_file():
        log.info("%s: already downloaded", address)
    elif address.startswith(KAGGLE):
        download_from_kaggle(address, file)
    else:
        name = address.rstrip("/").rpartition("/")[2]
        download(address, file, progress=Progress(name, terminal), patience=patience)
    return file


def download_from_kaggle(address: str, final: Path) -> None:
    """Download the archive of `kaggle:owner/dataset` by Kaggle's command-line client, which knows the user's account.

    Raises:
        Unavailable: if there is no such client, it fails, or it leaves anything but one file.
    """
    client = shutil.which("kaggle")
    if client is None:
        raise Unavailable(f"{address}: passed over, Kaggle's command-line client is not installed (pip install kaggle)")
    folder = final.with_name(f"{final.name}.kaggle")
    remove(folder)
    folder.mkdir(parents=True)
    command = [client, "datasets", "download", "-d", address.removeprefix(KAGGLE), "-p", str(folder)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    files = [path for path in folder.iterdir() if path.is_file()]
    if run.returncode or len(files) != 1:
        remove(folder)
        said = (run.stderr.strip() or run.stdout.strip() or "nothing").splitlines()[-1]
        raise Unavailable(
            f"{address}: Kaggle's client ended with code {run.returncode} and {len(files)} files, saying: {said}"
        )
    files[0].replace(final)
    remove(folder)
