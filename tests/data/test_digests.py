import os
import time
from pathlib import Path

import pytest

from patchshift.data import digests
from patchshift.data.digests import digest_files
from patchshift.errors import UserError
from patchshift.runtime.files import digest_bytes, digest_file

NAMES = ["a.png", "sub/b, c.png", 'sub/"d".png', "ü 面.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "images" / name).write_text(name)
    return tmp_path / "images"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "results" / ".category.digests.csv"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in the order of their names."""
    names: list[str] = []

    def digest_and_note(path: Path) -> str:
        names.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(digests, "digest_file", digest_and_note)
    return names


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a minute ahead of the files."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)


def test_digests_come_in_the_order_of_the_paths(root: Path) -> None:
    paths = NAMES * 100
    assert digest_files(paths, root) == [digest_bytes(path.encode()) for path in paths]


@pytest.mark.usefixtures("later")
def test_a_file_is_read_once(root: Path, cache: Path, read: list[str]) -> None:
    first = digest_files(NAMES, root, cache)
    assert len(read) == len(NAMES)
    written = cache.read_bytes()
    assert digest_files(NAMES, root, cache) == first == digest_files(NAMES, root)
    assert len(read) == 2 * len(NAMES)  # by the call without a cache
    assert cache.read_bytes() == written


@pytest.mark.usefixtures("later")
def test_only_new_and_changed_files_are_read_and_forgotten_ones_leave_the_cache(
    root: Path, cache: Path, read: list[str]
) -> None:
    digest_files(NAMES, root, cache)
    read.clear()
    (root / "new.png").write_text("new")
    (root / "a.png").write_text("longer than before")
    assert digest_files(["a.png", "new.png"], root, cache) == [
        digest_bytes(b"longer than before"),
        digest_bytes(b"new"),
    ]
    assert sorted(read) == ["a.png", "new.png"]
    assert len(cache.read_text().splitlines()) == 3


@pytest.mark.usefixtures("later")
def test_other_content_of_the_same_size_and_time_is_seen(root: Path, cache: Path) -> None:
    digest_files(NAMES, root, cache)
    before = (root / "a.png").stat()
    (root / "other").write_text("gna.p")
    os.utime(root / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / "other").replace(root / "a.png")
    after = (root / "a.png").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest_files(["a.png"], root, cache) == [digest_bytes(b"gna.p")]


@pytest.mark.parametrize(("age", "reads"), [(2 * 10**9 - 1, 2), (2 * 10**9, 1)])
def test_a_file_written_in_the_last_two_seconds_is_read_again(
    root: Path, cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, age: int, reads: int
) -> None:
    os.utime(root / "a.png", ns=(0, 0))  # as unpacking an archive does: the content is new, its time is not
    moment = (root / "a.png").stat().st_ctime_ns + age
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    for _ in range(2):
        digest_files(["a.png"], root, cache)
    assert len(read) == reads


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"path,size,mtime_ns,digest\na.png,5,0,0\n",
        b"path,size,mtime_ns,ctime_ns,digest\na.png,five,0,0,0\n",
        b"path,size,mtime_ns,ctime_ns,digest\na.png,5\n",
    ],
)
def test_a_damaged_cache_counts_as_empty(root: Path, cache: Path, damage: bytes) -> None:
    first = digest_files(NAMES, root, cache)
    whole = cache.read_bytes()
    cache.write_bytes(damage)
    assert digest_files(NAMES, root, cache) == first
    assert cache.read_bytes() == whole


@pytest.mark.usefixtures("later")
def test_a_cache_with_a_cut_digest_counts_as_empty(root: Path, cache: Path) -> None:
    first = digest_files(NAMES, root, cache)
    cache.write_bytes(cache.read_bytes()[:-5] + b"\n")
    assert digest_files(NAMES, root, cache) == first


def test_a_missing_file_is_named(root: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png does not exist: bring it there"):
        digest_files([*NAMES, "gone.png"], root, cache)
    assert not cache.exists()
