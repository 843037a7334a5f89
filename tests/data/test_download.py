import errno
import hashlib
import json
import logging
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchshift.data import download as module
from patchshift.data.download import Patience, Unavailable, check_download, download, require_space
from patchshift.errors import UserError

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetch(tmp_path: Path, waits: list[float]) -> Callable[..., bytes]:
    """Download to a file of its own, waiting without time passing."""

    def download_to(address: str, **options: Any) -> bytes:
        download(address, tmp_path / "a.zip", patience=Patience(**{"wait": waits.append, "timeout": 5.0} | options))
        return (tmp_path / "a.zip").read_bytes()

    return download_to


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_downloaded_whole_and_nothing_else_is_left(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path, waits: list[float]
) -> None:
    assert fetch(server.put("a.zip", CONTENT)) == CONTENT
    assert names(tmp_path) == {"a.zip"}
    assert waits == []


def test_a_cut_connection_is_resumed_with_only_the_missing_bytes(
    server: Any, fetch: Callable[..., bytes], waits: list[float]
) -> None:
    address = server.put("a.zip", CONTENT, {"cut_after": 100_000}, {"cut_after": 50_000})
    assert fetch(address) == CONTENT
    assert [served.headers.get("Range") for served in server.served] == [None, "bytes=100000-", "bytes=150000-"]
    assert [served.status for served in server.served] == [200, 206, 206]
    assert sum(served.sent for served in server.served) == len(CONTENT)
    assert len(waits) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(1, 3000), max_size=8))
def test_wherever_a_connection_is_cut_the_file_is_whole(
    server: Any, fetch: Callable[..., bytes], cuts: list[int]
) -> None:
    content = CONTENT[:10_000]
    server.served.clear()
    assert fetch(server.put("a.zip", content, *({"cut_after": cut} for cut in cuts))) == content
    assert sum(served.sent for served in server.served) == len(content)


def test_what_an_interrupted_run_left_is_resumed_by_the_next(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path
) -> None:
    address = server.put("a.zip", CONTENT, {"cut_after": 100_000}, *[{"status": 503}] * 6)
    with pytest.raises(Unavailable, match="503"):
        fetch(address)
    assert names(tmp_path) == {"a.zip.part", "a.zip.part.json"}
    assert json.loads((tmp_path / "a.zip.part.json").read_text())["length"] == len(CONTENT)
    assert fetch(address) == CONTENT
    assert server.served[-1].sent == 200_000


def test_a_whole_part_needs_no_further_request(server: Any, fetch: Callable[..., bytes], tmp_path: Path) -> None:
    address = server.put("a.zip", CONTENT)
    version = {"etag": '"x"', "modified": None, "length": len(CONTENT)}
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    (tmp_path / "a.zip.part.json").write_text(json.dumps(version))
    assert fetch(address) == CONTENT
    assert server.served == []


@pytest.mark.parametrize("left", [None, "", "{", '{"etag": 1, "other": 2}', "[]"])
def test_a_part_of_unknown_version_is_not_trusted(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path, left: str | None
) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"of another file")
    if left is not None:
        (tmp_path / "a.zip.part.json").write_text(left)
    assert fetch(server.put("a.zip", CONTENT)) == CONTENT
    assert server.served[0].headers.get("Range") is None


def test_a_file_that_changed_on_the_server_is_downloaded_anew(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        fetch(server.put("a.zip", CONTENT, {"cut_after": 100_000}, *[{"status": 503}] * 6))
    assert fetch(server.put("a.zip", CONTENT[::-1])) == CONTENT[::-1]
    assert server.served[-1].headers["Range"] == "bytes=100000-"
    assert server.served[-1].status == 200


@pytest.mark.parametrize(
    ("new", "answer"),
    [
        (CONTENT[:50_000], {"ignore_if_range": True}),
        (CONTENT[:250_000], {"ignore_if_range": True}),
        (CONTENT[::-1], {"ignore_if_range": True}),
        (CONTENT, {"headers": {"Content-Range": "bytes 7-299999/300000"}}),
        (CONTENT, {"headers": {"Content-Range": "nonsense"}}),
    ],
    ids=["shorter", "other length", "other etag", "other place", "no place"],
)
def test_a_partial_answer_that_does_not_fit_the_part_is_not_appended(
    server: Any, fetch: Callable[..., bytes], new: bytes, answer: dict[str, Any]
) -> None:
    with pytest.raises(Unavailable):
        fetch(server.put("a.zip", CONTENT, {"cut_after": 100_000}, *[{"status": 503}] * 6))
    assert fetch(server.put("a.zip", new, answer)) == new
    assert [served.status for served in server.served][-1] == 200


def test_a_server_that_sends_no_parts_is_asked_for_the_whole(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path
) -> None:
    address = server.put("a.zip", CONTENT, {"cut_after": 100_000}, {"ignore_range": True})
    assert fetch(address) == CONTENT
    assert server.served[1].sent == len(CONTENT)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_version_a_part_is_not_resumed(
    server: Any, fetch: Callable[..., bytes], etag: str | None
) -> None:
    first = {"cut_after": 100_000} | ({"headers": {"ETag": etag}} if etag else {"omit": ("ETag",)})
    assert fetch(server.put("a.zip", CONTENT, first)) == CONTENT
    assert server.served[1].headers.get("Range") is None


def test_without_an_etag_the_date_of_change_is_the_version(server: Any, fetch: Callable[..., bytes]) -> None:
    date = "Tue, 24 Nov 2020 10:00:00 GMT"
    first = {"cut_after": 100_000, "omit": ("ETag",), "headers": {"Last-Modified": date}}
    fetch(server.put("a.zip", CONTENT, first, {"ignore_if_range": True}))
    assert server.served[1].headers["If-Range"] == date
    assert server.served[1].sent == 200_000


def test_a_server_that_says_no_length_is_believed(server: Any, fetch: Callable[..., bytes]) -> None:
    assert fetch(server.put("a.zip", CONTENT, {"omit": ("Content-Length",)})) == CONTENT


def test_a_body_shorter_than_its_length_is_never_taken_for_whole(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path
) -> None:
    lie = {"claim": len(CONTENT) + 5, "ignore_range": True}
    with pytest.raises(Unavailable, match="6 times in a row"):
        fetch(server.put("a.zip", CONTENT, *[lie] * 20))
    assert not (tmp_path / "a.zip").exists()


def test_a_part_shorter_than_what_is_missing_is_not_the_last(server: Any, fetch: Callable[..., bytes]) -> None:
    short = {"claim": 50_000, "cut_after": 50_000}
    assert fetch(server.put("a.zip", CONTENT, {"cut_after": 100_000}, short)) == CONTENT
    assert [served.sent for served in server.served] == [100_000, 50_000, 150_000]


def test_bytes_are_kept_as_sent_whatever_their_encoding_is_called(server: Any, fetch: Callable[..., bytes]) -> None:
    assert fetch(server.put("a.tar.gz", CONTENT, {"headers": {"Content-Encoding": "gzip"}})) == CONTENT
    assert server.served[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_after_growing_waits(
    server: Any, fetch: Callable[..., bytes], waits: list[float], status: int
) -> None:
    assert fetch(server.put("a.zip", CONTENT, *[{"status": status}] * 4), first_wait=1.0) == CONTENT
    for wait, full in zip(waits, (1, 2, 4, 8), strict=True):
        assert full / 2 <= wait <= full


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (403, "Forbidden"), (401, ""), (410, "Gone")])
def test_a_final_failure_is_named_and_not_tried_again(
    server: Any, fetch: Callable[..., bytes], waits: list[float], tmp_path: Path, status: int, words: str
) -> None:
    address = server.put("a.zip", CONTENT, {"status": status})
    with pytest.raises(Unavailable, match=f"{re.escape(address)}: the server answered {status} {words}"):
        fetch(address)
    assert waits == []
    assert names(tmp_path) == set()


def test_patience_ends(server: Any, fetch: Callable[..., bytes], waits: list[float]) -> None:
    address = server.put("a.zip", CONTENT, *[{"status": 503}] * 9)
    with pytest.raises(Unavailable, match=r"the server answered 503 Service Unavailable, 3 times in a row"):
        fetch(address, attempts=3)
    assert len(waits) == 2


def test_patience_counts_only_attempts_that_bring_nothing(server: Any, fetch: Callable[..., bytes]) -> None:
    assert fetch(server.put("a.zip", CONTENT, *[{"cut_after": 10_000}] * 20), attempts=2) == CONTENT


@pytest.mark.parametrize(
    ("wish", "wait"),
    [
        ("30", 30.0),
        ("3600", 120.0),
        (format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), 120.0),
    ],
    ids=["seconds", "too many seconds", "date"],
)
def test_a_wait_that_the_server_asks_for_is_kept_within_bounds(
    server: Any, fetch: Callable[..., bytes], waits: list[float], wish: str, wait: float
) -> None:
    fetch(server.put("a.zip", CONTENT, {"status": 429, "headers": {"Retry-After": wish}}))
    assert waits == [wait]


@pytest.mark.parametrize("wish", ["soon", "", "-5", "Tue, 24 Nov 2020 10:00:00 GMT", "Tue, 24 Nov 2020 10:00:00 -0000"])
def test_a_wish_that_makes_no_sense_is_passed_over(
    server: Any, fetch: Callable[..., bytes], waits: list[float], wish: str
) -> None:
    fetch(server.put("a.zip", CONTENT, {"status": 429, "headers": {"Retry-After": wish}}))
    assert 0.5 <= waits[0] <= 1.0


def test_a_server_that_is_not_there_is_named_with_the_reason(
    nowhere: str, fetch: Callable[..., bytes], waits: list[float]
) -> None:
    with pytest.raises(Unavailable) as failure:
        fetch(f"{nowhere}/a.zip", attempts=2)
    assert str(failure.value).startswith(f"{nowhere}/a.zip: no connection, or it was cut (")
    assert "Connection refused" in str(failure.value)
    assert "object at 0x" not in str(failure.value)


def test_a_server_that_falls_silent_is_left(server: Any, fetch: Callable[..., bytes]) -> None:
    hold = threading.Event()
    address = server.put("a.zip", CONTENT, {"cut_after": 100_000, "hold": hold})
    try:
        assert fetch(address, timeout=2.0) == CONTENT
    finally:
        hold.set()
    assert [served.status for served in server.served] == [200, 206]


def test_redirections_are_followed_and_endless_ones_are_final(server: Any, fetch: Callable[..., bytes]) -> None:
    moved = server.put("moved", b"", {"status": 302, "headers": {"Location": server.put("a.zip", CONTENT)}})
    assert fetch(moved) == CONTENT
    loop = {"status": 302, "headers": {"Location": f"{server.address}/loop"}}
    with pytest.raises(Unavailable, match="redirects"):
        fetch(server.put("loop", b"", *[loop] * 40))


def test_a_disk_without_space_is_named_before_the_download(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(CONTENT) - 1))
    with pytest.raises(UserError, match=r"GB free, .* GB are needed: free some space") as failure:
        fetch(server.put("a.zip", CONTENT))
    assert not isinstance(failure.value, Unavailable)  # another address would not help
    require_space(tmp_path, len(CONTENT) - 1)


PROGRAM = """
import resource, sys
from pathlib import Path
from patchshift.data.download import download
from patchshift.runtime.script import run_script

def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    download({address!r}, Path({path!r}))

run_script(main)
"""


def test_a_disk_that_fills_up_ends_in_one_message_and_the_part_is_resumed(
    server: Any, fetch: Callable[..., bytes], tmp_path: Path, repository: Path
) -> None:
    # A limit on file sizes stands for a full disk, which a test cannot make without being superuser.
    address = server.put("a.zip", CONTENT)
    program = PROGRAM.format(limit=100_000, address=address, path=str(tmp_path / "a.zip"))
    environment = {"PYTHONPATH": str(repository / "workflow_scripts"), "NO_PROXY": "*"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith(f"error: cannot write {tmp_path}/a.zip.part: the file is larger than")
    assert "what was downloaded is kept" in run.stderr
    assert run.stderr.count("\n") == 1
    assert (tmp_path / "a.zip.part").stat().st_size == 100_000
    assert fetch(address) == CONTENT
    assert server.served[-1].sent == 200_000


def test_a_full_disk_is_told_from_a_cut_connection(
    server: Any, fetch: Callable[..., bytes], waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", refuse)
    with pytest.raises(UserError, match="the disk is full: free some space") as failure:
        fetch(server.put("a.zip", CONTENT))
    assert not isinstance(failure.value, Unavailable)
    assert waits == []


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_right_checksum_is_confirmed_and_a_wrong_one_is_named_and_deletes_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(CONTENT)
    right = hashlib.new(kind, CONTENT).hexdigest()
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert check_download("there", path, f"{kind}:{right}") == check_download("there", path, None) == sha256
    wrong = "0" * len(right)
    with pytest.raises(Unavailable, match=f"there: the file's {kind} is {right}, not {wrong}.* deleted. Run again"):
        check_download("there", path, f"{kind}:{wrong}")
    assert not path.exists()


def test_failures_on_the_way_are_in_the_log(
    server: Any, fetch: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fetch(server.put("a.zip", CONTENT, {"cut_after": 1000}, {"status": 503}))
    assert len(caplog.messages) == 2
    assert "cut" in caplog.messages[0]
    assert re.search(r"the server answered 503 Service Unavailable; next attempt in [12] s", caplog.messages[1])
