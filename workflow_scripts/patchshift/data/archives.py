"""Unpack archives that nobody vouches for: no file lands outside its folder, no flood of bytes fills the disk.

Names, types and sizes in an archive are claims of whoever packed it. `zipfile.extractall` and `tarfile.extractall`
trust some of them, so members are written here one by one, as plain files.

Tested in tests/data/test_archives.py.
"""

import bz2
import errno
import gzip
import logging
import lzma
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from patchshift.errors import UserError
from patchshift.runtime.files import explain_write_failure

log = logging.getLogger(__name__)

CHUNK = 1 << 20
LONGEST_READ = 64 << 20
LONGEST_NAME = 255
DEEPEST_PATH = 100
MEMBERS = 2_000_000
PADDING = 64
TWICE = "another member has the same name"

ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1

COMPRESSIONS: dict[bytes, Callable[[Path], BinaryIO]] = {
    b"\x1f\x8b": cast(Callable[[Path], BinaryIO], gzip.GzipFile),
    b"BZh": cast(Callable[[Path], BinaryIO], bz2.BZ2File),
    b"\xfd7zXZ\x00": cast(Callable[[Path], BinaryIO], lzma.LZMAFile),
}


class ArchiveRefused(UserError):
    """The archive is not safe, too large, or packed in a way that is not read here."""


class ArchiveDamaged(ArchiveRefused):
    """The archive is not what was packed, or no archive at all; another copy of it may be sound."""


@dataclass(frozen=True)
class Unpacked:
    """What an archive held."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Member:
    """One entry of an archive, as the archive describes it."""

    name: str
    kind: str
    open: Callable[[], "Readable"]


class Readable(Protocol):
    """What the bytes of a member are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""

    def close(self) -> None:
        """Let go of it."""


def extract(
    archive: Path, folder: Path, *, limit_bytes: int, limit_members: int = MEMBERS, name: str | None = None
) -> Unpacked:
    """Unpack a zip, tar, tar.gz, tar.bz2 or tar.xz file, told apart by content, into a new folder.

    Files get plain permissions and the time of unpacking. What macOS adds for itself is left out.

    Args:
        archive: the archive.
        folder: the folder to make; it must not exist.
        limit_bytes: most bytes that all files may have together, counted as they are written.
        limit_members: most entries.
        name: how messages call the archive; default: its file name.

    Raises:
        ArchiveDamaged: if the archive is damaged, or of another kind.
        ArchiveRefused: if it is encrypted or larger than the limits, or has a member that is a link, a device or a
            pipe, whose name leads out of the folder, or that comes twice.
        UserError: if the folder cannot be written.
    """
    with _naming(name or archive.name), closing(_members(archive, limit_members)) as members:
        with _writing(folder, ""):
            folder.mkdir(parents=True)
        seen: set[str] = set()
        written = left_out = 0
        for count, member in enumerate(members, start=1):
            if count > limit_members:
                raise ArchiveRefused(f"it has more than {limit_members} entries")
            parts = _safe_parts(member)
            if _belongs_to_macos(parts):
                left_out += 1
            elif member.kind == "folder":
                with _writing(folder.joinpath(*parts), member.name):
                    folder.joinpath(*parts).mkdir(parents=True, exist_ok=True)
            else:
                normalised = unicodedata.normalize("NFC", "/".join(parts))
                if normalised in seen:
                    raise ArchiveRefused(f"member {member.name!r}: {TWICE}")
                seen.add(normalised)
                written += _write(member, folder.joinpath(*parts), limit_bytes - written, limit_bytes)
        if not seen:
            raise ArchiveRefused("it holds no file")
    if left_out:
        log.info("%s: left out %d entries that macOS adds for itself", name or archive.name, left_out)
    return Unpacked(len(seen), written)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the archive in every refusal; call damaged what the decoders choke on."""
    try:
        yield
    except ArchiveRefused as refused:
        raise type(refused)(f"{name}: {refused}") from refused
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders fail on damaged files in many ways
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a seek to nowhere
            raise
        raise ArchiveDamaged(f"{name}: damaged ({error or type(error).__name__})") from error


def _safe_parts(member: Member) -> tuple[str, ...]:
    """The parts of a member's path below the folder."""

    def refuse(reason: str) -> ArchiveRefused:
        return ArchiveRefused(f"member {member.name!r}: {reason}")

    name = member.name
    if member.kind not in ("file", "folder"):
        raise refuse(f"it is a {member.kind}, only files and folders are unpacked")
    if name.startswith("/"):
        raise refuse("its path is absolute")
    if "\\" in name or re.match("[A-Za-z]:", name):
        raise refuse("its path has a drive letter or backslashes: pack it again with '/' between folders")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise refuse("its path has '..'")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise refuse("its name has characters that are not printable, or not UTF-8")
    if len(parts) > DEEPEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise refuse("its path is too long")
    if not parts and member.kind == "file":
        raise refuse("it has no name")
    return parts


def _belongs_to_macos(parts: tuple[str, ...]) -> bool:
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1] == ".DS_Store"))


@contextmanager
def _writing(path: Path, member: str) -> Iterator[None]:
    """Explain why a member's file or folder could not be made."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ArchiveRefused(f"member {member!r}: {TWICE}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveRefused(f"member {member!r}: its path is too long") from error
        if explained := explain_write_failure(path, error):
            raise explained from error
        raise


def _write(member: Member, path: Path, left: int, limit: int) -> int:
    """Write a member's bytes to a new file; return how many."""
    written = 0
    with closing(member.open()) as source, _writing(path, member.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusive, for file systems that take two names for one where Python does not.
        with path.open("xb") as target:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > left:
                    raise ArchiveRefused(
                        f"it unpacks to more than {limit / 1e9:g} GB: if that is right, raise unpacked_gigabytes"
                    )
                target.write(chunk)
    return written


def _members(archive: Path, limit: int) -> Generator[Member, None, None]:
    with archive.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members(archive, limit)
    compression = next((opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), None)
    return _tar_members(compression(archive) if compression else archive.open("rb"), start)


def _zip_members(archive: Path, limit: int) -> Generator[Member, None, None]:
    with zipfile.ZipFile(archive) as file:
        if len(file.infolist()) > limit:
            raise ArchiveRefused(f"it has more than {limit} entries")
        for info in file.infolist():
            if info.flag_bits & ENCRYPTED:
                raise ArchiveRefused(f"member {info.filename!r} is encrypted: unpack it by hand")
            if info.compress_type not in ZIP_METHODS:
                raise ArchiveRefused(
                    f"member {info.filename!r} is compressed by method {info.compress_type}, which is not supported: "
                    "unpack it by hand"
                )
            kind = _kind_of_mode(info.external_attr >> 16) or ("folder" if info.is_dir() else "file")
            yield Member(info.filename, kind, lambda info=info: file.open(info))  # type: ignore[misc]


def _kind_of_mode(mode: int) -> str | None:
    """What the Unix mode in a zip file makes of a member that is neither a file nor a folder."""
    kinds = {stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kinds |= {stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode))


def _tar_members(source: BinaryIO, start: bytes) -> Generator[Member, None, None]:
    with closing(_Bounded(source)) as reader:
        with _open_tar(reader, start) as file:
            while info := file.next():
                yield Member(info.name, _kind_of_entry(info), lambda info=info: _opened(file, info))  # type: ignore[misc]
                file.members = []  # type: ignore[attr-defined]  # else a list of all that was read is kept
        # tarfile takes a broken header for the end, so that half an archive would pass for a whole one.
        if len(reader.last) != tarfile.BLOCKSIZE or any(reader.last):
            raise ArchiveDamaged("damaged (it ends before its end mark)")
        for _ in range(PADDING):  # the checksum of the compressed stream comes last
            if not reader.read(CHUNK):
                break


def _open_tar(reader: "_Bounded", start: bytes) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=cast(BinaryIO, reader), mode="r:")
    except tarfile.ReadError as error:
        raise ArchiveDamaged(
            f"damaged, or neither a zip nor a tar archive (it begins with {start!r}): look at what the address leads to"
        ) from error


def _kind_of_entry(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() else "pipe" if info.isfifo() else "device"


def _opened(file: tarfile.TarFile, info: tarfile.TarInfo) -> Readable:
    content = file.extractfile(info)
    if content is None:
        raise ArchiveRefused(f"member {info.name!r} has no content")
    return content


class _Bounded:
    """A tar archive's bytes, without the long reads that a header could ask for, and with a memory of the last one."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= LONGEST_READ:
            raise ArchiveDamaged(f"damaged (a header asks for {size} bytes)")
        self.last = self._source.read(size)
        return self.last

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        return self._source.seek(position, whence)

    def tell(self) -> int:
        return self._source.tell()

    def close(self) -> None:
        self._source.close()
