import errno
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from patchshift.errors import UserError
from patchshift.runtime.files import (
    REMEDIES,
    atomic_directory,
    atomic_path,
    digest_bytes,
    digest_file,
    explain_write_failure,
    read_json,
    remove,
    write_json,
    write_text,
)

Atomic = Callable[[Path], AbstractContextManager[Path]]


def fill(partial: Path, text: str) -> None:
    path = partial / "inner" / "file.txt" if partial.is_dir() else partial
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def fill_and_raise(partial: Path, error: BaseException) -> None:
    fill(partial, "half")
    raise error


def content(final: Path) -> str:
    return (final / "inner" / "file.txt" if final.is_dir() else final).read_text()


@pytest.fixture(params=[atomic_path, atomic_directory])
def atomic(request: pytest.FixtureRequest) -> Atomic:
    return request.param


def test_the_name_appears_only_when_the_whole_is_written(tmp_path: Path, atomic: Atomic) -> None:
    final = tmp_path / "new" / "folder" / "artifact"
    with atomic(final) as partial:
        fill(partial, "whole")
        assert not final.exists()
        assert partial.parent == final.parent  # a rename within one file system is atomic
    assert content(final) == "whole"
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_block_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, atomic: Atomic, error: type[BaseException]
) -> None:
    for before in ([], [tmp_path / "artifact"]):
        with pytest.raises(error), atomic(tmp_path / "artifact") as partial:
            fill_and_raise(partial, error())
        assert list(tmp_path.iterdir()) == before
        if not before:
            with atomic(tmp_path / "artifact") as partial:
                fill(partial, "first")
    assert content(tmp_path / "artifact") == "first"


def test_the_whole_is_replaced(tmp_path: Path, atomic: Atomic) -> None:
    for text in ("first", "second"):
        with atomic(tmp_path / "artifact") as partial:
            fill(partial, text)
    assert content(tmp_path / "artifact") == "second"
    assert list(tmp_path.iterdir()) == [tmp_path / "artifact"]


@pytest.mark.parametrize("left", ["file", "folder"])
def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path, atomic: Atomic, left: str) -> None:
    with atomic(tmp_path / "artifact") as partial:
        fill(partial, "first")
        name = partial.name.replace(str(os.getpid()), "1234567")
    if left == "file":
        (tmp_path / name).write_text("half a file")
    else:
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "stale.txt").touch()
    with atomic(tmp_path / "artifact") as partial:
        fill(partial, "second")
    assert content(tmp_path / "artifact") == "second"
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {"artifact", "file.txt"}


@pytest.mark.parametrize("longer", ["artifact.5", "artifact.deadbeef", "artifact.partial"])
def test_what_another_writes_whose_name_begins_with_this_one_stays(tmp_path: Path, atomic: Atomic, longer: str) -> None:
    with atomic(tmp_path / longer) as other:
        fill(other, "half")
        with atomic(tmp_path / "artifact") as partial:
            fill(partial, "whole")
        fill(other, "all")
    assert content(tmp_path / longer) == "all"


@pytest.mark.parametrize("read", ["images.csv", "artifact.csv"])
def test_what_cannot_be_read_while_something_is_written_is_no_failed_write(
    tmp_path: Path, atomic: Atomic, read: str
) -> None:
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / read))
    with pytest.raises(PermissionError, match=read), atomic(tmp_path / "artifact") as partial:
        fill_and_raise(partial, denied)


@pytest.mark.parametrize("inner", ["", "inner/picture.png"])
def test_what_cannot_be_written_is_told_by_the_final_name(tmp_path: Path, atomic: Atomic, inner: str) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write .*/artifact: the disk is full"),
        atomic(tmp_path / "artifact") as at,
    ):
        fill_and_raise(at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(at / inner)))


def test_a_writer_that_outlived_its_run_cannot_spoil_the_next_ones_artifact(tmp_path: Path) -> None:
    def write_while_orphaned() -> None:
        with atomic_path(tmp_path / "artifact") as orphaned:
            fill(orphaned, "half, of the run that was killed")
            with atomic_path(tmp_path / "artifact") as partial:
                fill(partial, "whole")

    with pytest.raises(FileNotFoundError):
        write_while_orphaned()
    assert content(tmp_path / "artifact") == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "artifact"]


def test_a_writer_never_gives_the_final_name_to_what_another_is_still_writing(tmp_path: Path, atomic: Atomic) -> None:
    """Both have one process number, as processes of two machines or containers may."""
    orphan, following = ExitStack(), ExitStack()
    fill(orphan.enter_context(atomic(tmp_path / "artifact")), "half, of the run that was killed")
    partial = following.enter_context(atomic(tmp_path / "artifact"))
    fill(partial, "half")
    with pytest.raises(FileNotFoundError):
        orphan.close()
    assert list(tmp_path.iterdir()) == [partial]
    fill(partial, "whole")
    following.close()
    assert content(tmp_path / "artifact") == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "artifact"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_the_users_to_mend(tmp_path: Path, atomic: Atomic) -> None:
    fault = f"cannot write {tmp_path}/artifact: the disk is full: free some space"
    with pytest.raises(UserError, match=fault), atomic(tmp_path / "artifact"):
        Path("/dev/full").write_text("more")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)  # the superuser, who runs these tests in containers, may write anywhere
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: permission denied: make the folder writable"):
        write_text(tmp_path / "new" / "a.txt", "text")


@pytest.mark.parametrize("number", REMEDIES)
def test_every_known_failure_is_recognised_by_number_and_by_text(tmp_path: Path, number: int) -> None:
    for error in (
        OSError(number, os.strerror(number)),
        OSError(f"unable to write (errno = {number}, error message = '{os.strerror(number)}')"),
        RuntimeError(f"Can't decrement id ref count (errno = {number}, error message = '{os.strerror(number)}')"),
    ):
        explained = explain_write_failure(tmp_path, error)
        assert str(explained) == f"cannot write {tmp_path}: {REMEDIES[number]}"


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), RuntimeError("bug"), ValueError("bug")])
def test_other_failures_are_not_explained_away(tmp_path: Path, error: Exception) -> None:
    assert explain_write_failure(tmp_path, error) is None
    with pytest.raises(type(error)), atomic_path(tmp_path / "artifact"):
        raise error


def test_json_is_written_canonically(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": "ü"})
    write_json(tmp_path / "b.json", {"a": "ü", "b": [1, 0.1]})
    text = (tmp_path / "a.json").read_bytes()
    assert text == (tmp_path / "b.json").read_bytes()
    assert text.endswith(b"}\n")
    assert read_json(tmp_path / "a.json") == {"a": "ü", "b": [1, 0.1]}


def test_json_never_holds_what_is_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b'{"a": ', b"\xff\xfe", b"\x00"])
def test_damaged_json_is_named_with_the_remedy(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"a\.json is damaged .*delete it and run again"):
        read_json(path)


def test_removing_takes_files_folders_and_links_but_not_what_links_point_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("link", "folder", "absent"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


def test_digests_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a") == digest_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert json.dumps(digest_bytes(b"")).strip('"').startswith("e3b0c442")


def test_a_writer_of_a_folder_that_outlived_its_run_does_not_replace_the_whole_by_what_it_wrote_since(
    tmp_path: Path,
) -> None:
    def write_while_orphaned() -> None:
        with atomic_directory(tmp_path / "artifact") as orphaned:
            fill(orphaned, "of the run that was killed")
            with atomic_directory(tmp_path / "artifact") as partial:
                fill(partial, "whole")
            (orphaned / "inner").mkdir(parents=True)  # as writers of images make the folder of each
            (orphaned / "inner" / "last.txt").write_text("half of it")

    with pytest.raises(FileNotFoundError, match="another process makes this folder now"):
        write_while_orphaned()
    assert content(tmp_path / "artifact") == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "artifact"]


def test_what_cannot_be_cleared_away_does_not_hide_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for method in ("replace", "unlink"):
        monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: the file system is read-only: choose another folder"):
        write_text(tmp_path / "a.txt", "text")


def test_what_was_left_of_a_name_that_is_never_written_twice_goes_with_the_next_of_its_kind(tmp_path: Path) -> None:
    write_text(tmp_path / "run_1.log", "first", like="run.log")
    killed = ExitStack()
    fill(killed.enter_context(atomic_path(tmp_path / "run_2.log", like="run.log")), "half")
    write_text(tmp_path / "run_3.log", "third", like="run.log")
    assert {path.name for path in tmp_path.iterdir()} == {"run_1.log", "run_3.log"}
    with pytest.raises(FileNotFoundError):
        killed.close()


def test_an_artifacts_json_is_sealed_and_read_as_written(tmp_path: Path) -> None:
    path, content = tmp_path / "a.json", {"provenance": {"stage": "decide"}, "values": {2: 0.1, 10: [1e-300, None]}}
    write_json(path, content)
    assert read_json(path) == {"provenance": {"stage": "decide"}, "values": {"2": 0.1, "10": [1e-300, None]}}
    write_json(tmp_path / "b.json", read_json(path))
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()
    path.write_text(json.dumps(json.loads(path.read_text())))  # another layout of the same
    assert read_json(path)["values"]["2"] == 0.1


def test_a_digit_that_changed_in_a_sealed_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"provenance": {}, "threshold": 0.125})
    path.write_text(path.read_text().replace("0.125", "0.725"))
    with pytest.raises(UserError, match=r"a\.json is damaged \(its content is not what was written.*delete it"):
        read_json(path)


def test_json_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
