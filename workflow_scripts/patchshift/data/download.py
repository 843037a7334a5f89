"""Download one file over HTTP(S), in as many attempts as it takes, from where the last one was cut.

Tested in tests/data/test_download.py.
"""

import hashlib
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from patchshift.data.progress import Progress
from patchshift.errors import UserError
from patchshift.runtime.files import explain_write_failure, read_json, remove, write_json

log = logging.getLogger(__name__)

CHUNK = 1 << 16
PASSING = {408, 425, 429}
"""Beside 5xx, the answers that may be another one later."""


class Unavailable(UserError):
    """This address does not give the file; another one may."""


class _Cut(Exception):
    """An attempt failed in a way that the next may not."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Patience:
    """How long a download goes on in spite of failures.

    Attributes:
        attempts: most attempts in a row that bring nothing new.
        first_wait: seconds before the second attempt; they double with each further one.
        longest_wait: most seconds between two attempts, also where the server asks for more.
        timeout: seconds without a byte after which a connection counts as cut.
        wait: how to wait.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 60.0
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Version:
    """Which content of an address a partial file belongs to, in the server's words.

    Attributes:
        etag: the ETag; None where there is none, or a weak one, which says nothing about bytes.
        modified: the Last-Modified date, if any.
        length: bytes of the whole file, if known.
    """

    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @property
    def validator(self) -> str | None:
        """What an If-Range header says."""
        return self.etag or self.modified


def download(address: str, final: Path, *, progress: Progress | None = None, patience: Patience | None = None) -> None:
    """Download a file to `final`, which appears only when it is whole.

    Until then it is `{final}.part`, with its version in `{final}.part.json`. A later call goes on from there, if the
    server still has that version and sends parts; else it starts anew.

    Raises:
        Unavailable: if the address gives no such file, or did not in spite of all patience.
        UserError: if the file cannot be written, or the disk has too little space. The part is kept.
    """
    patience = patience or Patience()
    progress = progress or Progress(address)
    part = final.with_name(f"{final.name}.part")
    final.parent.mkdir(parents=True, exist_ok=True)
    longest, failures = _size(part), 0
    with requests.Session() as session:
        while True:
            try:
                with _sorted_failures(address, part):
                    _transfer(session, address, part, patience.timeout, progress)
                    break
            except _Cut as cut:
                failures = failures + 1 if _size(part) <= longest else 1
                longest = max(longest, _size(part))
                if failures >= patience.attempts:
                    raise Unavailable(f"{address}: {cut}, {failures} times in a row") from cut
                pause = _pause(failures, cut.retry_after, patience)
                log.warning("%s: %s; next attempt in %.0f s", address, cut, pause)
                patience.wait(pause)
            finally:
                progress.end()
    part.replace(final)
    remove(_version_file(part))


def check_download(address: str, path: Path, checksum: str | None) -> str:
    """Compare a whole file with its published checksum, `sha256:...` or `md5:...`; return its SHA-256.

    Of a SHA-256 its first digits do: some publishers state no more.

    Raises:
        Unavailable: if they differ; the file is deleted then.
    """
    name, _, expected = (checksum or "sha256:").partition(":")
    sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            for each in {"sha256", name}:
                sums[each].update(chunk)
    actual = sums[name].hexdigest()
    if not actual.startswith(expected):
        path.unlink()
        stated = expected if len(expected) == len(actual) else f"{expected}..."
        raise Unavailable(
            f"{address}: the file's {name} is {actual}, not {stated}: it was altered on its way or replaced on the "
            "server, and is deleted. Run again; if that does not help, compare with what the publisher states"
        )
    return sums["sha256"].hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Stop where a disk has less space than is needed, in bytes.

    Raises:
        UserError: naming both figures.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: its disk has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: free some space and "
            "run again, what was downloaded is kept"
        )


@contextmanager
def _sorted_failures(address: str, part: Path) -> Iterator[None]:
    """Sort failures of the network, which pass, from those of the disk, which keep the part."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Unavailable(f"{address}: the server's certificate cannot be verified") from error
        raise _Cut(_reason(error)) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
        raise Unavailable(f"{address}: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Cut(_reason(error)) from error
    except OSError as error:
        if explained := explain_write_failure(part, error):
            raise UserError(f"{explained}; what was downloaded is kept") from error
        raise


def _transfer(session: requests.Session, address: str, part: Path, timeout: float, progress: Progress) -> None:
    """One attempt: ask for what is missing and append it, or for the whole."""
    version = _read_version(part)
    done = _size(part) if version.validator else 0
    if done and done == version.length:
        return
    # Compressed on its way, a file could be neither measured nor resumed.
    headers = {"User-Agent": "patchshift", "Accept-Encoding": "identity"}
    if done and version.validator:
        headers |= {"Range": f"bytes={done}-", "If-Range": version.validator}
    with session.get(address, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == 206 and _goes_on(response, done, version):
            length = version.length or _range_of(response)[1]
        elif response.status_code == 200:
            done, length = 0, _content_length(response)
            remove(part)
            write_json(_version_file(part), asdict(_version_of(response, length)))
        else:
            raise _refusal(address, part, response)
        if length is not None:
            require_space(part.parent, length - done)
        progress.begin(done, length)
        with part.open("ab") as file:
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                progress.advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if length is not None and _size(part) != length:
        raise _Cut(f"the connection was cut after {_size(part)} of {length} bytes")


def _goes_on(response: requests.Response, done: int, version: Version) -> bool:
    """Whether a partial answer begins where the part ends, in the same version of the file."""
    first, total = _range_of(response)
    found = _version_of(response, total)
    return first == done and all(
        new is None or old is None or new == old
        for new, old in ((found.etag, version.etag), (found.length, version.length))
    )


def _range_of(response: requests.Response) -> tuple[int | None, int | None]:
    """The first byte of a partial answer, and the bytes of the whole, where the server says so."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _refusal(address: str, part: Path, response: requests.Response) -> Exception:
    """What an answer without the file means."""
    status = response.status_code
    if status in (206, 416):
        remove(part)
        return _Cut("the file on the server changed, starting anew")
    answer = f"the server answered {status} {response.reason}"
    if status in PASSING or status >= 500:
        return _Cut(answer, _retry_after(response))
    return Unavailable(f"{address}: {answer}")


def _version_of(response: requests.Response, length: int | None) -> Version:
    etag = response.headers.get("ETag", "")
    return Version(etag if etag.startswith('"') else None, response.headers.get("Last-Modified"), length)


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks for, given as such or as a date."""
    wish = response.headers.get("Retry-After", "")
    if wish.isdigit():
        return float(wish)
    try:
        return max((parsedate_to_datetime(wish) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _pause(failures: int, retry_after: float, patience: Patience) -> float:
    """Seconds to wait: doubled each time, jittered lest many clients come back at once."""
    backoff = patience.first_wait * 2.0 ** (failures - 1) * random.uniform(0.5, 1.0)
    return min(max(backoff, retry_after), patience.longest_wait)


def _reason(error: BaseException) -> str:
    """The innermost cause of a failed connection, without the layers that report it."""
    while causes := [
        cause for cause in (getattr(error, "reason", None), *error.args) if isinstance(cause, BaseException)
    ]:
        error = causes[0]
    return f"no connection, or it was cut ({str(error).rpartition('>: ')[2] or type(error).__name__})"


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_version(part: Path) -> Version:
    """The version that a part belongs to; an empty one where that is not known."""
    try:
        return Version(**read_json(_version_file(part)))
    except (FileNotFoundError, UserError, TypeError):
        return Version()
