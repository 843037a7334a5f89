import bz2
import errno
import gzip
import io
import lzma
import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from patchshift.data import archives
from patchshift.data.archives import ArchiveDamaged, ArchiveRefused, Unpacked, extract
from patchshift.errors import UserError

GIGABYTE = 10**9
FILES = {"bolt/train/good/000.png": b"one" * 5000, "bolt/test/crack/000.png": b"two", "readme.txt": b""}
Pack = Callable[[dict[str, bytes]], bytes]


def pack_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def pack_entries(*entries: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pack_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            archive.addfile(entry(name, size=len(content)), io.BytesIO(content))
    return buffer.getvalue()


def then(compress: Callable[[bytes], bytes]) -> Pack:
    return lambda files: compress(pack_tar(files))


PACKERS: dict[str, Pack] = {
    "zip": pack_zip,
    "tar": pack_tar,
    "tar.gz": then(gzip.compress),
    "tar.bz2": then(bz2.compress),
    "tar.xz": then(lzma.compress),
}


@pytest.fixture(params=PACKERS)
def pack(request: pytest.FixtureRequest) -> Pack:
    return PACKERS[request.param]


def unpack(tmp_path: Path, content: bytes, limit_bytes: int = GIGABYTE, **limits: int) -> dict[str, bytes]:
    """Extract an archive, named without any suffix; what its folder holds then."""
    (tmp_path / "archive").write_bytes(content)
    folder = tmp_path / "new" / "folder"
    unpacked = extract(tmp_path / "archive", folder, limit_bytes=limit_bytes, **limits)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert unpacked == Unpacked(len(found), sum(map(len, found.values())))
    return found


def outside(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()} - {"archive", "new"}


def test_every_kind_is_told_by_its_content_and_unpacked_whole(tmp_path: Path, pack: Pack) -> None:
    assert unpack(tmp_path, pack(FILES)) == FILES


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_tar_format_are_read(tmp_path: Path, kind: int) -> None:
    name = "folder/" * 20 + "ü" * 60 + ".png"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        archive.addfile(entry(name, size=3), io.BytesIO(b"one"))
    assert unpack(tmp_path, buffer.getvalue()) == {name: b"one"}


def test_folders_and_roundabout_names_are_understood(tmp_path: Path) -> None:
    content = pack_entries(entry("./", tarfile.DIRTYPE), entry("./a/", tarfile.DIRTYPE), entry("./a//b.png"))
    assert unpack(tmp_path, content) == {"a/b.png": b""}


def test_files_get_plain_permissions(tmp_path: Path) -> None:
    content = pack_entries(entry("a", mode=0o7777), entry("b", mode=0o000), entry("c", tarfile.DIRTYPE, mode=0o000))
    unpack(tmp_path, content)
    plain = tmp_path / "plain"
    plain.touch()
    for name in ("a", "b"):
        assert (tmp_path / "new" / "folder" / name).stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "new" / "folder" / "c").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_permissions_of_a_zip_are_dropped_as_well(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFREG | 0o7777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"one")
    unpack(tmp_path, buffer.getvalue())
    mode = (tmp_path / "new" / "folder" / "a").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | 0o111)


def test_what_macos_adds_is_left_out(tmp_path: Path, pack: Pack) -> None:
    extra = {"__MACOSX/bolt/._000.png": b"x", "bolt/._000.png": b"x", "bolt/.DS_Store": b"x"}
    assert unpack(tmp_path, pack({**FILES, **extra})) == FILES


HOSTILE_NAMES = {
    "/etc/cron.d/job": "its path is absolute",
    "//host/share/a": "its path is absolute",
    "../a": r"its path has '\.\.'",
    "a/../../b": r"its path has '\.\.'",
    "a/..": r"its path has '\.\.'",
    "C:/a": "its path has a drive letter or backslashes",
    "c:a": "its path has a drive letter or backslashes",
    "..\\a": "its path has a drive letter or backslashes",
    "a\\b": "its path has a drive letter or backslashes",
    "a\nb": "its name has characters that are not printable",
    "a\x1b[2Jb": "its name has characters that are not printable",
    "x" * 256: "its path is too long",
    "ü" * 128: "its path is too long",
    "a/" * 101 + "b": "its path is too long",
}


@pytest.mark.parametrize(("name", "reason"), HOSTILE_NAMES.items())
def test_a_name_that_could_lead_astray_is_refused(tmp_path: Path, pack: Pack, name: str, reason: str) -> None:
    with pytest.raises(ArchiveRefused, match=f"^archive: member {re.escape(repr(name))}: {reason}"):
        unpack(tmp_path, pack({"good.png": b"", name: b"evil"}))
    assert outside(tmp_path) == set()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    names=st.lists(
        st.lists(st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "~", "a\\..", "é", "e\u0301", "\x00", "..."]))
        .map("/".join)
        .flatmap(lambda name: st.sampled_from([name, f"/{name}", f"{name}/"]))
        .filter(lambda name: name.partition("\x00")[0]),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(["zip", "tar"]),
)
@example(names=["a", "a/b"], kind="tar")
@example(names=["a/b", "a"], kind="zip")
def test_whatever_the_names_nothing_is_written_outside_the_folder(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    content = PACKERS[kind](dict.fromkeys(names, b"x"))
    with suppress(ArchiveRefused):
        assert unpack(tmp_path, content)
    assert outside(tmp_path) == set()
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {"folder"}


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (b"Z", "device"),
    ],
)
def test_links_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes, word: str) -> None:
    content = pack_entries(entry("a", kind, linkname="/etc/passwd"), entry("a/b"))
    with pytest.raises(ArchiveRefused, match=f"member 'a': it is a {word}, only files and folders are unpacked"):
        unpack(tmp_path, content)
    assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "pipe"), (stat.S_IFBLK, "device"), (stat.S_IFSOCK, "socket")],
)
def test_links_devices_and_pipes_of_a_zip_are_refused(tmp_path: Path, kind: int, word: str) -> None:
    info = zipfile.ZipInfo("a")
    info.external_attr = (kind | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(ArchiveRefused, match=f"member 'a': it is a {word}"):
        unpack(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("names", [("a", "a"), ("a/b", "a//./b"), ("é", "e\u0301"), ("a", "a/b"), ("a/b", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    for number, content in enumerate((buffer.getvalue(), pack_entries(*map(entry, names)))):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ArchiveRefused, match="another member has the same name"):
            unpack(tmp_path / str(number), content)


def test_a_flood_is_stopped_when_it_has_written_as_much_as_it_may(tmp_path: Path, pack: Pack) -> None:
    content = pack({"a": bytes(3_000_000), "b": bytes(3_000_000)})
    assert pack is pack_tar or len(content) < 100_000
    with pytest.raises(ArchiveRefused, match=r"it unpacks to more than 0\.005 GB: .* raise unpacked_gigabytes"):
        unpack(tmp_path, content, limit_bytes=5_000_000)
    written = sum(path.stat().st_size for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert written <= 5_000_000
    (tmp_path / "again").mkdir()
    assert len(unpack(tmp_path / "again", content, limit_bytes=6_000_000)) == 2


def test_a_zip_that_lies_about_its_sizes_is_damaged(tmp_path: Path) -> None:
    content = pack_zip({"a": bytes(1_000_000)})
    lying = content.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != content
    with pytest.raises(ArchiveDamaged, match="archive: damaged"):
        unpack(tmp_path, lying)


def test_too_many_members_are_refused(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(ArchiveRefused, match="it has more than 2 entries"):
        unpack(tmp_path, pack(FILES), limit_members=2)


def test_a_header_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    header = entry("././@PaxHeader", tarfile.XHDTYPE, size=8_000_000_000).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(ArchiveDamaged, match="a header asks for 8000000000 bytes"):
        unpack(tmp_path, pack_tar({"a": b""})[:512] + header)


def test_endless_headers_are_damaged(tmp_path: Path) -> None:
    header = entry("././@PaxHeader", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(ArchiveDamaged, match="damaged"):
        unpack(tmp_path, header * 5000)


def test_an_encrypted_zip_is_named(tmp_path: Path) -> None:
    content = bytearray(pack_zip({"a": b"one"}))
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ArchiveRefused, match="archive: member 'a' is encrypted: unpack it by hand"):
        unpack(tmp_path, bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_compression_cannot_be_bounded_is_refused(tmp_path: Path, method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a", b"one")
    with pytest.raises(ArchiveRefused, match=f"member 'a' is compressed by method {method}"):
        unpack(tmp_path, buffer.getvalue())


def test_an_archive_without_files_is_refused(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(ArchiveRefused, match=r"archive: (it holds no file|damaged)"):
        unpack(tmp_path, pack({}))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b", b"PK\x03\x04", b"\xfd7zXZ\x00", b"BZh9"])
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArchiveDamaged, match="archive: damaged"):
        unpack(tmp_path, content)


def test_a_web_page_in_place_of_an_archive_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ArchiveDamaged, match=r"neither a zip nor a tar archive \(it begins with b'<!DOCTYP'\)"):
        unpack(tmp_path, b"<!DOCTYPE html><html>" * 100)


def test_no_truncated_archive_passes_for_a_whole_one(tmp_path: Path, pack: Pack) -> None:
    content = pack({f"{number}": os.urandom(700) for number in range(5)})
    # A tar's end mark is a block of zeros behind the members; what it is padded with further may be missing.
    end = 5 * (512 + 1024) + 512 if pack is pack_tar else len(content)
    for number, length in enumerate({*range(0, end, 97), *range(0, end, 512), end - 1}):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ArchiveDamaged, match="archive: damaged"):
            unpack(tmp_path / str(number), content[:length])


def test_a_tar_is_damaged_where_a_header_is(tmp_path: Path) -> None:
    content = bytearray(pack_tar(FILES))
    content[content.index(b"bolt/test")] ^= 1
    with pytest.raises(ArchiveDamaged, match="it ends before its end mark"):
        unpack(tmp_path, bytes(content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_damaged_byte_never_gives_other_content_or_another_error(
    tmp_path_factory: pytest.TempPathFactory, pack: Pack, place: float, value: int
) -> None:
    content = bytearray(pack(FILES))
    content[int(place * len(content))] ^= value
    tmp_path = tmp_path_factory.mktemp("any")
    with suppress(ArchiveRefused):
        # What passes is damaged in a name, a time or padding, except that a tar has no checksum of contents.
        found = unpack(tmp_path, bytes(content))
        assert pack is pack_tar or set(found.values()) <= set(FILES.values())
    assert outside(tmp_path) == set()


PROGRAM = """
import resource
from pathlib import Path
from patchshift.data.archives import extract
from patchshift.runtime.script import run_script

def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    extract(Path({archive!r}), Path({folder!r}), limit_bytes=10**9)

run_script(main)
"""


def test_a_disk_that_fills_up_ends_in_one_message(tmp_path: Path, repository: Path) -> None:
    # A limit on file sizes stands for a full disk, which a test cannot make without being superuser.
    (tmp_path / "archive").write_bytes(pack_zip(FILES))
    program = PROGRAM.format(archive=str(tmp_path / "archive"), folder=str(tmp_path / "folder"))
    environment = {"PYTHONPATH": str(repository / "workflow_scripts")}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: cannot write {tmp_path}/folder/bolt/train/good/000.png: the file is larger")
    assert run.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").write_bytes(pack_zip(FILES))

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives.Path, "mkdir", refuse)
    with pytest.raises(UserError, match="the disk is full") as failure:
        extract(tmp_path / "archive", tmp_path / "folder", limit_bytes=GIGABYTE)
    assert not isinstance(failure.value, ArchiveRefused)


def test_an_archive_is_called_as_the_caller_wants(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"no")
    with pytest.raises(ArchiveDamaged, match=r"^parts from there: damaged"):
        extract(tmp_path / "archive", tmp_path / "folder", limit_bytes=GIGABYTE, name="parts from there")
