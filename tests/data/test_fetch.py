import fcntl
import hashlib
import io
import json
import logging
import os
import pty
import random
import re
import signal
import subprocess
import sys
import tarfile
import termios
import threading
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from patchshift.data import fetch as module
from patchshift.data.download import Patience
from patchshift.data.fetch import fetch_dataset
from patchshift.errors import UserError
from patchshift.plan.data_specs import DatasetSpec, FetchSpec
from patchshift.runtime.files import read_json

FILES = {
    "bolt/train/good/000.png": random.Random(1).randbytes(40_000),
    "nut/train/good/000.png": random.Random(2).randbytes(50_000),
    "license.txt": b"free",
}
DEADLINE = 60.0


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


ARCHIVE = packed(FILES)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Fetch dataset `parts` without waits; its receipt."""

    def fetch_parts(**spec: Any) -> dict[str, Any]:
        spec = {"licence": "CC BY 4.0", "categories": ["bolt", "nut"]} | spec
        receipt = tmp_path / "data" / "parts.receipt.json"
        patience = Patience(attempts=2, timeout=5.0, wait=lambda seconds: None)
        fetch_dataset("parts", FetchSpec(**spec), tmp_path / "data" / "parts", receipt, patience=patience)
        return dict(read_json(receipt))

    return fetch_parts


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "data").iterdir()}


@pytest.fixture
def no_kaggle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


def test_a_missing_dataset_is_brought_whole_with_a_receipt(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    address = server.put("parts.zip", ARCHIVE)
    assert fetch(address=address, checksum=f"sha256:{SHA256}") == {
        "dataset": "parts",
        "licence": "CC BY 4.0",
        "accepted": True,
        "origin": "downloaded",
        "address": address,
        "checksum": f"sha256:{SHA256}",
        "archive_sha256": SHA256,
        "archive_bytes": len(ARCHIVE),
        "files": 3,
        "unpacked_bytes": sum(map(len, FILES.values())),
    }
    assert found(tmp_path / "data" / "parts") == FILES
    assert left(tmp_path) == {"parts", "parts.receipt.json"}


def test_the_same_archive_gives_the_same_receipt(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    address = server.put("parts.zip", ARCHIVE)
    receipts = set()
    for _ in range(2):
        fetch(address=address)
        receipts.add((tmp_path / "data" / "parts.receipt.json").read_bytes())
        (tmp_path / "data" / "parts").rename(tmp_path / f"kept{len(receipts)}-{time.monotonic_ns()}")
    assert len(receipts) == 1
    assert b'"checksum": "none published"' in receipts.pop()


def test_a_dataset_spec_says_all_that_a_download_needs() -> None:
    spec = DatasetSpec(
        adapter="mvtec_ad",
        categories=["bolt"],
        address="https://example.org/a.zip",
        checksum="md5:" + "0" * 32,
        mirrors=[{"address": "kaggle:owner/parts"}],
        licence="free",
    )
    part = FetchSpec.model_validate_json(spec.canonical(include=set(FetchSpec.model_fields)))
    assert part.archives == spec.archives
    assert (part.licence, part.categories, part.unpacked_gigabytes) == ("free", ["bolt"], 50)


def test_the_licence_is_shown_before_the_download(
    server: Any, fetch: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(address=server.put("parts.zip", ARCHIVE))
    assert caplog.messages[0] == "dataset 'parts': its licence, accepted in the config: CC BY 4.0"


def test_a_folder_that_exists_is_used_as_it_is(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data" / "parts" / "own").mkdir(parents=True)
    (tmp_path / "data" / "parts" / "own" / "a.png").write_bytes(b"mine")
    before = {path: path.stat() for path in (tmp_path / "data" / "parts").rglob("*")}
    with caplog.at_level(logging.INFO):
        receipt = fetch(address=server.put("parts.zip", ARCHIVE))
    assert {path: path.stat() for path in (tmp_path / "data" / "parts").rglob("*")} == before
    assert found(tmp_path / "data" / "parts") == {"own/a.png": b"mine"}
    assert server.served == []
    assert receipt["origin"] == "found"
    assert receipt["address"] is None
    assert caplog.messages == [f"dataset 'parts': {tmp_path}/data/parts exists and is used as it is"]


def test_a_link_to_a_folder_is_a_folder_and_a_broken_one_is_named(
    fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "parts").symlink_to(tmp_path / "elsewhere")
    assert fetch()["origin"] == "found"
    assert (tmp_path / "data" / "parts").is_symlink()
    (tmp_path / "elsewhere").rmdir()
    with pytest.raises(UserError, match="data/parts is a link that leads nowhere: mend or remove it"):
        fetch()
    (tmp_path / "data" / "parts").unlink()
    (tmp_path / "data" / "parts").touch()
    with pytest.raises(UserError, match="data/parts is not a folder"):
        fetch()


@pytest.mark.usefixtures("no_kaggle")
def test_mirrors_are_tried_in_order_and_each_failure_is_one_line(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirrors = [
        {"address": "kaggle:owner/parts"},
        {"address": server.put("wrong.zip", b"altered"), "checksum": f"sha256:{SHA256}"},
        {"address": server.put("page", b"<!DOCTYPE html>" * 100)},
        {"address": server.put("hostile.zip", packed({"../evil": b"x"}))},
        {"address": server.put("busy.zip", ARCHIVE, *[{"status": 503}] * 2)},
        {"address": server.put("right.zip", ARCHIVE), "checksum": f"sha256:{SHA256}"},
        {"address": server.put("never.zip", ARCHIVE)},
    ]
    with caplog.at_level(logging.WARNING):
        receipt = fetch(address=f"{server.address}/gone.zip", mirrors=mirrors)
    assert receipt["address"] == f"{server.address}/right.zip"
    reasons = [
        r"gone\.zip: the server answered 404 Not Found",
        r"kaggle:owner/parts: passed over, Kaggle's command-line client is not installed",
        rf"wrong\.zip: the file's sha256 is [0-9a-f]+, not {SHA256}",
        r"page: damaged, or neither a zip nor a tar archive",
        r"hostile\.zip: member '\.\./evil': its path has '\.\.'",
        r"busy\.zip: the server answered 503 Service Unavailable; next attempt",
        r"busy\.zip: the server answered 503 Service Unavailable, 2 times in a row",
    ]
    assert len(caplog.messages) == len(reasons)
    for message, reason in zip(caplog.messages, reasons, strict=True):
        assert re.search(reason, message)
        assert "\n" not in message
    assert not any(served.path == "never.zip" for served in server.served)
    assert found(tmp_path / "data" / "parts") == FILES
    assert left(tmp_path) == {"parts", "parts.receipt.json"}


@pytest.mark.usefixtures("no_kaggle")
def test_when_all_fail_one_message_lists_them_and_the_way_by_hand(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as failure:
        fetch(address=f"{server.address}/gone.zip", mirrors=[{"address": "kaggle:owner/parts"}])
    assert str(failure.value).splitlines() == [
        "dataset 'parts' could not be downloaded:",
        f"  {server.address}/gone.zip: the server answered 404 Not Found",
        "  kaggle:owner/parts: passed over, Kaggle's command-line client is not installed (pip install kaggle)",
        f"Bring it by hand: unpack it to {tmp_path}/data/parts and run again, a folder that exists is used as it is",
    ]
    assert left(tmp_path) == set()


def test_without_an_address_the_way_by_hand_is_named(fetch: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="the catalog has no address for it\nBring it by hand"):
        fetch()


def test_a_failed_download_is_resumed_by_the_next_run(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    address = server.put("parts.zip", ARCHIVE, {"cut_after": 60_000}, *[{"status": 503}] * 2)
    with pytest.raises(UserError, match=r"What was downloaded is kept in .*\.parts\.download, delete it to begin anew"):
        fetch(address=address)
    assert left(tmp_path) == {".parts.download"}
    fetch(address=address)
    assert server.served[-1].sent == len(ARCHIVE) - 60_000
    assert left(tmp_path) == {"parts", "parts.receipt.json"}


def test_an_archive_larger_than_allowed_is_kept_for_a_higher_limit(
    server: Any, fetch: Callable[..., dict[str, Any]]
) -> None:
    address = server.put("parts.zip", ARCHIVE)
    with pytest.raises(
        UserError, match=r"it unpacks to more than 5e-05 GB: if that is right, raise unpacked_gigabytes"
    ):
        fetch(address=address, unpacked_gigabytes=5e-5)
    fetch(address=address)
    assert len(server.served) == 1


def test_a_damaged_archive_is_downloaded_anew(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    address = server.put("parts.zip", ARCHIVE[:-30])
    with pytest.raises(UserError, match="damaged"):
        fetch(address=address)
    server.put("parts.zip", ARCHIVE)
    fetch(address=address)
    assert found(tmp_path / "data" / "parts") == FILES


def test_a_full_disk_while_unpacking_ends_it_and_keeps_the_archive(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(archive: Path, folder: Path, **options: object) -> None:
        (folder / "half").mkdir(parents=True)
        raise UserError("the disk is full")

    address, mirror = server.put("parts.zip", ARCHIVE), server.put("other.zip", ARCHIVE)
    with monkeypatch.context() as patch:
        patch.setattr(module, "extract", fill)
        with pytest.raises(UserError, match=r"^the disk is full$"):
            fetch(address=address, mirrors=[{"address": mirror}])
    assert len(list((tmp_path / "data" / ".parts.download").iterdir())) == 1
    fetch(address=address)
    assert [served.path for served in server.served] == ["parts.zip"]


def wrapped(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{prefix}/{name}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (wrapped("parts-master", FILES), FILES),
        (wrapped("a/b/c", FILES), FILES),
        (
            {**wrapped("BTech", FILES), "README.txt": b"read", "LICENSE": b"x"},
            {**FILES, "README.txt": b"read", "LICENSE": b"x"},
        ),
        ({**wrapped("BTech", FILES), "license.txt": b"other"}, FILES),
        ({**wrapped("parts", FILES), ".gitignore": b"", "__MACOSX/x": b""}, FILES),
        ({"bolt/train/good/0.png": b"1"}, {"bolt/train/good/0.png": b"1"}),
        ({"top/bolt/train/0.png": b"1"}, {"bolt/train/0.png": b"1"}),
        ({"train/0.png": b"1"}, {"train/0.png": b"1"}),
        ({"parts/good/0.png": b"1"}, {"good/0.png": b"1"}),
        ({"one/0.png": b"1", "two/0.png": b"1"}, {"one/0.png": b"1", "two/0.png": b"1"}),
        ({"one/0.png": b"1", "0.png": b"1"}, {"one/0.png": b"1", "0.png": b"1"}),
    ],
    ids=[
        "one",
        "many",
        "documents",
        "twice",
        "hidden",
        "category",
        "to category",
        "layout",
        "to layout",
        "two",
        "images",
    ],
)
def test_a_folder_that_only_wraps_the_dataset_is_taken_off(
    server: Any,
    fetch: Callable[..., dict[str, Any]],
    tmp_path: Path,
    files: dict[str, bytes],
    expected: dict[str, bytes],
) -> None:
    fetch(address=server.put("parts.zip", packed(files)))
    assert found(tmp_path / "data" / "parts") == expected


def test_a_folder_that_appears_during_the_download_is_left_alone(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def appear(archive: Path, folder: Path, **options: Any) -> Any:
        (tmp_path / "data" / "parts").mkdir()
        (tmp_path / "data" / "parts" / "mine.png").touch()
        return extract(archive, folder, **options)

    extract = module.extract
    monkeypatch.setattr(module, "extract", appear)
    assert fetch(address=server.put("parts.zip", ARCHIVE))["origin"] == "found"
    assert set(found(tmp_path / "data" / "parts")) == {"mine.png"}
    assert left(tmp_path) == {"parts", "parts.receipt.json"}


KAGGLE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("-p") + 1])
(pathlib.Path({log!r})).write_text(json.dumps(sys.argv[1:]))
for name in {names!r}:
    (folder / name).write_bytes(pathlib.Path({archive!r}).read_bytes())
print("Downloading")
print("403 - Forbidden", file=sys.stderr)
sys.exit({code})
"""


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a client of Kaggle's name on the PATH; it tells its arguments in a file."""

    def install(names: tuple[str, ...] = ("parts.zip",), code: int = 0) -> Path:
        (tmp_path / "bin").mkdir()
        (tmp_path / "archive").write_bytes(ARCHIVE)
        log = tmp_path / "arguments.json"
        program = KAGGLE.format(
            python=sys.executable, log=str(log), names=names, archive=str(tmp_path / "archive"), code=code
        )
        (tmp_path / "bin" / "kaggle").write_text(program)
        (tmp_path / "bin" / "kaggle").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return log

    return install


def test_kaggles_client_is_used_where_it_is_installed(
    fetch: Callable[..., dict[str, Any]], kaggle: Callable[..., Path], tmp_path: Path
) -> None:
    log = kaggle()
    receipt = fetch(address="kaggle:owner/parts", checksum=f"sha256:{SHA256}")
    arguments = json.loads(log.read_text())
    assert arguments[:5] == ["datasets", "download", "-d", "owner/parts", "-p"]
    assert Path(arguments[5]).parent == tmp_path / "data" / ".parts.download"
    assert receipt["address"] == "kaggle:owner/parts"
    assert found(tmp_path / "data" / "parts") == FILES
    assert left(tmp_path) == {"parts", "parts.receipt.json"}


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [((), 1, "code 1 and 0 files"), ((), 0, "code 0 and 0 files"), (("a.zip", "b.zip"), 0, "code 0 and 2 files")],
)
def test_a_failure_of_kaggles_client_is_told_in_its_words(
    fetch: Callable[..., dict[str, Any]],
    kaggle: Callable[..., Path],
    tmp_path: Path,
    names: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    kaggle(names, code)
    with pytest.raises(UserError, match=f"kaggle:owner/parts: .* ended with {said}, saying: 403 - Forbidden"):
        fetch(address="kaggle:owner/parts")
    assert left(tmp_path) == set()


def arguments(data: Path, spec: dict[str, Any]) -> list[str]:
    return [
        *("--dataset", "parts", "--spec", json.dumps({"categories": ["bolt", "nut"]} | spec)),
        *("--folder", str(data / "parts"), "--receipt", str(data / "parts.receipt.json")),
    ]


def test_a_process_killed_while_it_downloads_harms_nothing_and_the_next_goes_on(
    server: Any, start_script: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    hold = threading.Event()
    half = 1 << 16  # a chunk, lest any byte of it be still on its way
    spec = {"address": server.put("parts.zip", ARCHIVE, {"cut_after": half, "hold": hold})}
    first = start_script("fetch_dataset", *arguments(tmp_path, spec))
    wait_until(
        lambda: (
            any(path.stat().st_size == half for path in tmp_path.glob(".parts.download/*.part"))
            or first.poll() is not None
        )
    )
    first.send_signal(signal.SIGKILL)
    assert first.wait(DEADLINE) == -signal.SIGKILL
    hold.set()
    assert {path.name for path in tmp_path.iterdir()} == {".parts.download", ".parts.lock"}

    second = start_script("fetch_dataset", *arguments(tmp_path, spec))
    _, said = second.communicate(timeout=DEADLINE)
    assert second.returncode == 0, said
    assert server.served[-1].sent == len(ARCHIVE) - half
    assert found(tmp_path / "parts") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "parts.receipt.json"}


KILLED = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import fetch_dataset
from patchshift.data import archives, fetch

def kill(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

count = 0
write = archives._write

def write_some(*args):
    global count
    count += 1
    return kill() if count == 3 else write(*args)

if {place!r} == "unpacking":
    archives._write = write_some
elif {place!r} == "before the move":
    fetch.write_json = kill
else:
    fetch.remove = lambda path: kill() if path.name == ".parts.download" else None
fetch_dataset.main(sys.argv[1:])
"""


@pytest.mark.parametrize("place", ["unpacking", "before the move", "after the move"])
def test_a_process_killed_while_it_unpacks_or_moves_leaves_no_half_dataset_and_the_next_completes_it(
    server: Any, repository: Path, start_script: Callable[..., Any], tmp_path: Path, place: str
) -> None:
    spec = {"address": server.put("parts.zip", ARCHIVE)}
    program = KILLED.format(scripts=str(repository / "workflow_scripts"), place=place)
    command = [sys.executable, "-c", program, *arguments(tmp_path, spec)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert (tmp_path / "parts").exists() == (place == "after the move")
    if place == "unpacking":
        assert 0 < len(found(tmp_path / ".parts.download" / "unpacked")) < len(FILES)
    (tmp_path / "parts.receipt.json").unlink(missing_ok=True)  # as Snakemake does with what a failed job leaves

    second = start_script("fetch_dataset", *arguments(tmp_path, spec))
    _, said = second.communicate(timeout=DEADLINE)
    assert second.returncode == 0, said
    assert len(server.served) == 1
    assert found(tmp_path / "parts") == FILES
    assert read_json(tmp_path / "parts.receipt.json")["origin"] == "downloaded"
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "parts.receipt.json"}


def test_of_two_processes_one_downloads_and_the_other_waits(
    server: Any, start_script: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    hold = threading.Event()
    spec = {"address": server.put("parts.zip", ARCHIVE, {"hold": hold, "cut_after": 60_000})}
    first = start_script("fetch_dataset", *arguments(tmp_path, spec))
    wait_until(lambda: len(server.served) == 1)
    second = start_script("fetch_dataset", *arguments(tmp_path, spec))
    assert second.stderr is not None
    assert "another process is fetching this dataset" in second.stderr.readline()
    hold.set()
    for process in (first, second):
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, said
    assert "exists and is used as it is" in said
    assert sum(served.sent for served in server.served) == len(ARCHIVE)
    assert found(tmp_path / "parts") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "parts.receipt.json"}


def test_a_file_system_without_locks_is_named_and_used(
    server: Any,
    fetch: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    fetch(address=server.put("parts.zip", ARCHIVE))
    assert "this file system has no locks" in caplog.messages[0]
    assert found(tmp_path / "data" / "parts") == FILES


def test_the_bar_is_drawn_on_the_terminal_that_a_descriptor_leads_to(
    server: Any, repository: Path, tmp_path: Path, read_lines: Callable[[int, int], str]
) -> None:
    seen, written = pty.openpty()
    termios.tcsetwinsize(written, (24, 80))
    spec = {"address": server.put("parts.zip", ARCHIVE)}
    command = [sys.executable, str(repository / "workflow_scripts" / "fetch_dataset.py"), *arguments(tmp_path, spec)]
    line = f'"$@" --progress-fd {written} 2> "{tmp_path}/log"'
    subprocess.run(
        ["bash", "-c", line, "bash", *command],
        check=True,
        pass_fds=[written],
        timeout=DEADLINE,
        env={**os.environ, "NO_PROXY": "*"},
    )
    drawn = read_lines(seen, 1)
    os.close(seen)
    os.close(written)
    assert "parts.zip: 100%" in drawn
    assert "%" not in (tmp_path / "log").read_text()


def test_the_script_reads_a_tar_and_says_mistakes_without_a_traceback(
    server: Any, start_script: Callable[..., Any], tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        info = tarfile.TarInfo("bolt/0.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
    import_module("fetch_dataset").main(arguments(tmp_path, {"address": server.put("parts.tar.xz", buffer.getvalue())}))
    assert found(tmp_path / "parts") == {"bolt/0.png": b"one"}
    process = start_script("fetch_dataset", *arguments(tmp_path / "other", {"address": f"{server.address}/gone.zip"}))
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "error: dataset 'parts' could not be downloaded:" in said
    assert "Traceback" not in said
