import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.runtime.files import digest_file
from patchshift.runtime.hdf5 import UNREADABLE, _Recorder, create_hdf5, open_hdf5
from patchshift.runtime.sealed import SEAL_BYTES, Check, check_seal, check_seal_if_any, leave_seal

# A limit on file sizes stands for a full disk, which a test cannot make without being superuser.
PROGRAM = """
import resource
from pathlib import Path
import h5py
import numpy as np
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5
from patchshift.runtime.script import run_script

def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    with atomic_path(Path({path!r})) as partial, create_hdf5(partial) as file:
        for number in range(3):
            values = file.create_dataset(f"values{{number}}", shape=(90_000,), chunks={chunks}, dtype="u1")
            values[:] = 1
        for number in range(9):
            names = [f"{{number}} {{name}}" for name in range(200)]
            file.create_dataset(f"names{{number}}", data=names, dtype=h5py.string_dtype())
        file.create_dataset("packed", data=np.arange(9000), chunks=(500,), compression="gzip")
        file.attrs["text"] = "x" * 30_000

run_script(main)
"""


@pytest.mark.parametrize("limit", [100, 3_000, 60_000, 200_000, 280_000, 310_000])
@pytest.mark.parametrize("chunks", [None, (1000,)])
def test_a_full_disk_ends_in_one_message_and_leaves_nothing(
    repository: Path, tmp_path: Path, limit: int, chunks: tuple[int] | None
) -> None:
    path = tmp_path / "artifact.h5"
    program = PROGRAM.format(limit=limit, path=str(path), chunks=chunks)
    environment = {"PYTHONPATH": str(repository / "workflow_scripts")}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith(f"error: cannot write {path}: the file is larger than")
    assert run.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_content_is_read_as_written_and_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 70, 90)).astype(np.float16)
    for name in ("a.h5", "b.h5"):
        with create_hdf5(tmp_path / name) as file:
            array = file.create_dataset("layer", values.shape, np.float16, chunks=(1, 70, 90), track_times=False)
            for row, content in enumerate(values):
                array[row] = content
    assert digest_file(tmp_path / "a.h5") == digest_file(tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["layer"][:], values)


def test_a_failure_inside_the_block_passes_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bug"), create_hdf5(tmp_path / "a.h5"):
        raise ValueError("bug")


def test_what_was_never_written_reads_as_zeros_not_as_what_was_in_memory(tmp_path: Path) -> None:
    with _Recorder(tmp_path / "a.h5", "w+") as file:
        file.write(b"abc")
        file.seek(1)
        buffer = bytearray(b"x" * 6)
        assert file.readinto(buffer) == 6
    assert bytes(buffer) == b"bc\0\0\0\0"


def read(path: Path, check: Check) -> float:
    with open_hdf5(path, "bank", check=check) as file:
        return float(file["values"][-1])


@pytest.mark.parametrize("check", [check_seal, check_seal_if_any, leave_seal])
def test_what_is_whole_is_opened_whatever_the_opener_says_of_its_seal(artifact: Path, check: Check) -> None:
    assert read(artifact, check) == 8999


def test_the_opener_says_what_is_done_about_the_seal(artifact: Path) -> None:
    content = artifact.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for changed, refusing in ((flipped, [check_seal, check_seal_if_any]), (content[:-SEAL_BYTES], [check_seal])):
        artifact.write_bytes(changed)
        for check in (check_seal, check_seal_if_any, leave_seal):
            if check in refusing:
                with pytest.raises(UserError, match=r"artifact\.h5 is not a whole bank \(it.*: delete it and run"):
                    read(artifact, check)
            else:
                assert read(artifact, check) == 8999


@pytest.mark.parametrize("error", UNREADABLE)
@pytest.mark.parametrize(("kind", "fault"), [("bank", "is not a whole bank"), ("", "is damaged")])
def test_whatever_fails_while_it_is_read_names_the_file_its_kind_and_the_remedy(
    artifact: Path, error: type[Exception], kind: str, fault: str
) -> None:
    with (
        pytest.raises(UserError, match=rf"^{artifact} {fault} \(it has none\): export it again$"),
        open_hdf5(artifact, kind, check=check_seal, remedy="export it again"),
    ):
        raise error("it has none\nof its values")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "try again, or make it readable"),
        (errno.EIO, "try again, or make it readable"),
        (errno.ENOLCK, "try again, or make it readable"),
        (errno.EAGAIN, "try again, or make it readable"),
        (errno.EREMOTEIO, "try again, or make it readable"),
        (errno.EMFILE, "raise the limit of open files (ulimit -n)"),
        (errno.ENOMEM, "free some memory, or on a cluster ask for more (--set-resources RULE:mem_mb=...)"),
    ],
)
def test_what_the_system_does_not_give_is_not_called_damaged(artifact: Path, number: int, remedy: str) -> None:
    def denied(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with pytest.raises(UserError) as told, open_hdf5(artifact, check=denied):
        pass
    assert str(told.value) == (
        f"{artifact} cannot be read ({os.strerror(number)}); it may be whole: {remedy}, and run again"
    )


def test_a_folder_in_the_place_of_a_file_is_to_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "bank.h5").mkdir()
    with pytest.raises(UserError, match=r"is not a whole bank \(.*\): delete it and run again"):
        read(tmp_path / "bank.h5", check_seal)


@pytest.mark.parametrize("length", [0, 100, 9_000])
def test_what_is_cut_off_is_called_damaged_not_out_of_reach(artifact: Path, length: int) -> None:
    os.truncate(artifact, length)
    with pytest.raises(UserError, match=r"is not a whole bank \(.*\): delete it and run again"):
        read(artifact, leave_seal)


def test_reading_asks_for_no_lock_which_some_shared_disks_refuse(artifact: Path) -> None:
    with artifact.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert read(artifact, check_seal) == 8999


def test_hdf5_is_opened_in_one_place_of_the_library(repository: Path) -> None:
    library = repository / "workflow_scripts"
    opening = [path for path in library.rglob("*.py") if "h5py.File(" in path.read_text(encoding="utf-8")]
    assert opening == [library / "patchshift/runtime/hdf5.py"]


def test_a_missing_file_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.h5 does not exist: run again to make it"):
        read(tmp_path / "none.h5", leave_seal)
