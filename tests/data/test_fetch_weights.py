import hashlib
import logging
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save

from patchshift.data import fetch_weights as module
from patchshift.data.download import Patience
from patchshift.data.fetch_weights import fetch_weights
from patchshift.errors import UserError
from patchshift.plan.backbone_specs import WeightsSpec
from patchshift.runtime.files import read_json

WEIGHTS = save({"weight": np.random.default_rng(0).standard_normal((300, 100)).astype(np.float32)})
OTHERS = save({"weight": np.zeros((300, 100), np.float32)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
PAGE = b"<!DOCTYPE html><title>Sign in</title>" * 100
NAME = "timm/small.safetensors"
HIDDEN = ".small.safetensors.download"
DEADLINE = 60.0


def spec(*places: str | dict[str, str], weights: str = NAME) -> WeightsSpec:
    """Of places given by an address or by address and checksum."""
    listed = [{"address": place} if isinstance(place, str) else place for place in places]
    return WeightsSpec(weights=weights, licence="Apache-2.0", places=listed)


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Fetch weights without waits; their receipt."""

    def fetch_small(*places: str | dict[str, str], weights: str = NAME) -> dict[str, Any]:
        receipt = tmp_path / "weights" / f"{weights}.receipt.json"
        patience = Patience(attempts=2, timeout=5.0, wait=lambda seconds: None)
        fetch_weights(spec(*places, weights=weights), tmp_path / "weights", receipt, patience=patience)
        return dict(read_json(receipt))

    return fetch_small


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights" / NAME


def left(file: Path) -> set[str]:
    return {path.name for path in file.parent.iterdir()}


BOTH = {"small.safetensors", "small.safetensors.receipt.json"}


def test_a_missing_file_is_brought_whole_with_a_receipt(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path
) -> None:
    address = server.put("a.safetensors", WEIGHTS)
    assert fetch({"address": address, "checksum": f"sha256:{SHA256}"}) == {
        "name": NAME,
        "licence": "Apache-2.0",
        "sha256": SHA256,
        "bytes": len(WEIGHTS),
        "accepted": True,
        "origin": "downloaded",
        "address": address,
        "checksum": f"sha256:{SHA256}",
    }
    assert file.read_bytes() == WEIGHTS
    assert left(file) == BOTH


def test_the_licence_is_shown_before_the_download(
    server: Any, fetch: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(server.put("a.safetensors", WEIGHTS))
    assert caplog.messages[0] == f"weight file '{NAME}': its licence, accepted in the config: Apache-2.0"


def test_a_file_that_exists_is_used_as_it_is(server: Any, fetch: Callable[..., dict[str, Any]], file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    before = file.stat()
    receipt = fetch({"address": server.put("a.safetensors", WEIGHTS), "checksum": f"sha256:{SHA256}"})
    assert file.read_bytes() == b"mine"
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert server.served == []
    assert (receipt["origin"], receipt["accepted"], receipt["address"]) == ("found", False, None)
    assert (receipt["sha256"], receipt["bytes"]) == (hashlib.sha256(b"mine").hexdigest(), 4)
    assert left(file) == BOTH


def test_what_a_receipt_says_of_a_download_is_kept_when_the_job_runs_again(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path
) -> None:
    address = server.put("a.safetensors", WEIGHTS)
    receipt = fetch(address)
    assert (receipt["origin"], receipt["address"]) == ("downloaded", address)
    assert fetch(address) == receipt
    file.write_bytes(OTHERS)
    with pytest.raises(UserError, match="names another SHA-256"):
        fetch(address)
    assert file.read_bytes() == OTHERS


def test_a_file_that_appears_during_the_download_is_left_alone(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def appear(downloaded: Path, name: str) -> None:
        file.write_bytes(b"mine")

    monkeypatch.setattr(module, "find_fault", appear)
    receipt = fetch(server.put("a.safetensors", WEIGHTS))
    assert file.read_bytes() == b"mine"
    assert (receipt["origin"], receipt["bytes"]) == ("found", 4)
    assert left(file) == BOTH


def test_what_is_there_and_no_file_is_named(fetch: Callable[..., dict[str, Any]], file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"small\.safetensors is a link that leads nowhere: mend or remove it"):
        fetch("https://example.org/a")
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"small\.safetensors is not a file"):
        fetch("https://example.org/a")


def test_a_cut_connection_is_resumed_in_the_same_run_and_in_the_next(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path
) -> None:
    cuts = [{"cut_after": 50_000}, {"cut_after": 30_000}, *[{"status": 503}] * 2]
    address = server.put("a.safetensors", WEIGHTS, *cuts)
    with pytest.raises(UserError, match=rf"What was downloaded is kept in .*/{re.escape(HIDDEN)}, delete it to begin"):
        fetch(address)
    assert left(file) == {HIDDEN}
    assert fetch(address)["sha256"] == SHA256
    assert [each.sent for each in server.served if each.status != 503] == [50_000, 30_000, len(WEIGHTS) - 80_000]
    assert left(file) == BOTH


def test_the_next_place_is_tried_where_one_gives_no_sound_weights(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = [
        f"{server.address}/gone",
        {"address": server.put("wrong", OTHERS), "checksum": f"sha256:{SHA256}"},
        {"address": server.put("other", OTHERS), "checksum": f"sha256:{SHA256[:8]}"},
        server.put("page", PAGE),
        server.put("half", WEIGHTS[:-1]),
        {"address": server.put("right", WEIGHTS), "checksum": f"md5:{hashlib.md5(WEIGHTS).hexdigest()}"},
        server.put("never", OTHERS),
    ]
    with caplog.at_level(logging.WARNING):
        receipt = fetch(*places)
    reasons = [
        r"gone: the server answered 404 Not Found",
        rf"wrong: the file's sha256 is [0-9a-f]{{64}}, not {SHA256}: it was altered",
        rf"other: the file's sha256 is [0-9a-f]{{64}}, not {SHA256[:8]}\.\.\.: it was altered",
        r"page: not a safetensors file: it has no header \(it begins with b'<!DOCTYP'\), and is deleted: look at what",
        r"half: not whole: it holds 119999 bytes of tensors, its header says 120000 ",
    ]
    assert len(caplog.messages) == len(reasons)
    for message, reason in zip(caplog.messages, reasons, strict=True):
        assert re.search(reason, message)
        assert "\n" not in message
    assert receipt["address"] == f"{server.address}/right"
    assert file.read_bytes() == WEIGHTS
    assert "never" not in {each.path for each in server.served}
    assert left(file) == BOTH


def test_the_first_digits_of_a_checksum_do(server: Any, fetch: Callable[..., dict[str, Any]], file: Path) -> None:
    receipt = fetch({"address": server.put("a-1.pth", WEIGHTS), "checksum": f"sha256:{SHA256[:8]}"})
    assert receipt["checksum"] == f"sha256:{SHA256[:8]}"
    assert receipt["sha256"] == SHA256
    assert file.read_bytes() == WEIGHTS


def test_what_torch_wrote_is_taken_under_its_own_suffix_alone(
    server: Any, fetch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    torch = import_module("torch")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "saved")
    address = server.put("a", (tmp_path / "saved").read_bytes())
    fetch(address, weights="b.pth")
    assert (tmp_path / "weights" / "b.pth").read_bytes() == (tmp_path / "saved").read_bytes()
    with pytest.raises(UserError, match=r"a: not a safetensors file: it has no header \(it begins with b'PK"):
        fetch(address, weights="b.safetensors")


def test_when_all_places_fail_one_message_names_them_the_file_to_bring_and_where_to_put_it(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path
) -> None:
    with pytest.raises(UserError) as failure:
        fetch(f"{server.address}/gone", server.put("page", PAGE))
    assert str(failure.value).splitlines() == [
        f"weight file '{NAME}' could not be downloaded:",
        f"  {server.address}/gone: the server answered 404 Not Found",
        f"  {server.address}/page: not a safetensors file: it has no header (it begins with b'<!DOCTYP'), and is "
        "deleted: look at what the address leads to",
        f"Bring {server.address}/gone as {file} by hand and run again: a file that exists is used as it is, and "
        "compute nodes need no network",
    ]
    assert left(file) == set()


def test_without_a_network_the_file_to_bring_is_named(
    nowhere: str, fetch: Callable[..., dict[str, Any]], file: Path
) -> None:
    with pytest.raises(UserError, match=rf"no connection, or it was cut .*\nBring {nowhere}/a as {file} by"):
        fetch(f"{nowhere}/a")


def test_a_disk_without_space_ends_it_and_no_other_place_is_tried(
    server: Any, fetch: Callable[..., dict[str, Any]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [server.put("a", WEIGHTS), server.put("b", WEIGHTS)]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(WEIGHTS) - 1))
        with pytest.raises(UserError, match=r"GB free, .* GB are needed: free some space"):
            fetch(*places)
    assert [each.path for each in server.served] == ["a"]
    assert fetch(*places)["address"] == places[0]


def arguments(weights_dir: Path, *places: str) -> list[str]:
    receipt = str(weights_dir / f"{NAME}.receipt.json")
    return ["--spec", spec(*places).canonical(), "--weights-dir", str(weights_dir), "--receipt", receipt]


def test_a_disk_that_fills_up_keeps_what_was_downloaded_for_the_next_run(
    server: Any, start_script: Callable[..., Any], fetch: Callable[..., dict[str, Any]], file: Path, tmp_path: Path
) -> None:
    address = server.put("a.safetensors", WEIGHTS)
    # A limit on file sizes stands for a full disk, which a test cannot make without being superuser.
    limited = ("bash", "-c", 'ulimit -f 50; exec "$@"', "bash")
    process = start_script("fetch_weights", *arguments(tmp_path / "weights", address), under=limited)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert re.search(r"error: cannot write .*: the file is larger than .*; what was downloaded is kept", said)
    assert "Traceback" not in said
    assert left(file) == {HIDDEN}
    assert fetch(address)["sha256"] == SHA256
    assert server.served[-1].sent == len(WEIGHTS) - 50 * 1024
    assert left(file) == BOTH


def test_a_process_killed_while_it_downloads_harms_nothing_and_the_next_goes_on(
    server: Any, start_script: Callable[..., Any], wait_until: Callable[..., None], file: Path, tmp_path: Path
) -> None:
    hold = threading.Event()
    half = 1 << 16  # a chunk, lest any byte of it be still on its way
    address = server.put("a.safetensors", WEIGHTS, {"cut_after": half, "hold": hold})
    first = start_script("fetch_weights", *arguments(tmp_path / "weights", address))
    wait_until(
        lambda: (
            any(path.stat().st_size == half for path in file.parent.glob(f"{HIDDEN}/*.part"))
            or first.poll() is not None
        )
    )
    first.send_signal(signal.SIGKILL)
    assert first.wait(DEADLINE) == -signal.SIGKILL
    hold.set()
    assert left(file) == {HIDDEN, ".small.safetensors.lock"}

    second = start_script("fetch_weights", *arguments(tmp_path / "weights", address))
    _, said = second.communicate(timeout=DEADLINE)
    assert second.returncode == 0, said
    assert server.served[-1].sent == len(WEIGHTS) - half
    assert file.read_bytes() == WEIGHTS
    assert left(file) == BOTH


KILLED = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import fetch_weights
from patchshift.data import fetch_weights as module

setattr(module, {function!r}, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
fetch_weights.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("function", "moved"), [("write_json", False), ("digest_file", True)])
def test_a_process_killed_around_the_move_is_completed_by_the_next_without_another_download(
    server: Any,
    fetch: Callable[..., dict[str, Any]],
    repository: Path,
    file: Path,
    tmp_path: Path,
    function: str,
    moved: bool,
) -> None:
    address = server.put("a.safetensors", WEIGHTS)
    program = KILLED.format(scripts=str(repository / "workflow_scripts"), function=function)
    command = [sys.executable, "-c", program, *arguments(tmp_path / "weights", address)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert file.exists() == moved
    assert fetch(address)["origin"] == "downloaded"
    assert len(server.served) == 1
    assert file.read_bytes() == WEIGHTS
    assert left(file) == BOTH


def test_of_two_processes_one_downloads_and_the_other_waits(
    server: Any, start_script: Callable[..., Any], wait_until: Callable[..., None], file: Path, tmp_path: Path
) -> None:
    hold = threading.Event()
    address = server.put("a.safetensors", WEIGHTS, {"hold": hold, "cut_after": 60_000})
    first = start_script("fetch_weights", *arguments(tmp_path / "weights", address))
    wait_until(lambda: len(server.served) == 1)
    second = start_script("fetch_weights", *arguments(tmp_path / "weights", address))
    assert "another process is fetching these weights" in second.stderr.readline()
    hold.set()
    for process in (first, second):
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, said
    assert "exists and is used as it is" in said
    assert sum(each.sent for each in server.served) == len(WEIGHTS)
    assert file.read_bytes() == WEIGHTS
    assert left(file) == BOTH


@pytest.mark.parametrize("name", ["../a.safetensors", "/tmp/a.safetensors", "timm/../../a.safetensors"])
def test_no_file_is_written_outside_the_folder_of_weight_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError, match=r"must stay inside its folder"):
        spec("https://example.org/a", weights=name)
    command = arguments(tmp_path / "weights", "https://example.org/a")
    command[1] = command[1].replace(NAME, name)
    with pytest.raises(SystemExit):
        import_module("fetch_weights").main(command)
    assert "--spec: invalid" in capsys.readouterr().err
    assert not (tmp_path / "weights").exists()
