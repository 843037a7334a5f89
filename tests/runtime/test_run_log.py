import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchshift.runtime.jobs import Job, find_behind, first_error
from patchshift.runtime.run_log import ZONE, weave_log

ACCOUNT = """\
Building DAG of jobs...
[Sun Nov  1 00:45:41 2026]
localrule index_images:
    output: results/images/d/c.csv
    jobid: 8
[Sun Nov  1 00:45:50 2026]
Finished jobid: 8 (Rule: index_images)
1 of 3 steps (33%) done
[Sun Nov  1 00:45:51 2026]
Error in rule fit_detector:
    message: None
    jobid: 9
    output: results/banks/d.h5
Shutting down, this might take some time.
"""


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is two hours ahead of UTC."""
    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write_log(folder: Path, name: str, text: str) -> list[str]:
    path = folder / name
    path.write_text(text)
    return [str(path)]


def test_what_jobs_wrote_stands_at_its_time_and_all_times_are_utc(tmp_path: Path) -> None:
    indexing = write_log(tmp_path, "8.log", "2026-11-01 00:45:49,100 INFO 12 images\nwarning: one is odd\n")
    fitting = write_log(tmp_path, "9.log", "error: sampler.count: 9 patches are asked for\n")
    jobs = [
        Job(8, "index_images", {}, ["results/images/d/c.csv"], indexing),
        Job(9, "fit_detector", {}, ["results/banks/d.h5"], fitting, failed=True),
        Job(10, "evaluate", {}, ["results/metrics/d.json"], write_log(tmp_path, "10.log", "of an earlier run\n")),
    ]
    assert weave_log(ACCOUNT, jobs).splitlines() == [
        ZONE,
        "Building DAG of jobs...",
        "[2026-10-31 22:45:41]",
        "localrule index_images:",
        "    output: results/images/d/c.csv",
        "    jobid: 8",
        "    jobid 8 (index_images) wrote:",
        "    | 2026-10-31 22:45:49 INFO 12 images",
        "    | warning: one is odd",
        "[2026-10-31 22:45:50]",
        "Finished jobid: 8 (Rule: index_images)",
        "1 of 3 steps (33%) done",
        "    jobid 9 (fit_detector) wrote:",
        "    | error: sampler.count: 9 patches are asked for",
        "[2026-10-31 22:45:51]",
        "Error in rule fit_detector:",
        "    message: None",
        "    jobid: 9",
        "    output: results/banks/d.h5",
        "Shutting down, this might take some time.",
    ]


def test_times_never_run_backwards_where_jobs_ran_side_by_side(tmp_path: Path) -> None:
    indexing = write_log(tmp_path, "8.log", "2026-11-01 00:45:42,900 INFO a\n2026-11-01 00:45:50,100 INFO c\n")
    fitting = write_log(tmp_path, "9.log", "2026-11-01 00:45:42,100 INFO b\n2026-11-01 00:45:51,000 INFO d\n")
    woven = weave_log(ACCOUNT, [Job(8, "i", {}, [], indexing), Job(9, "f", {}, [], fitting, failed=True)])
    moments = re.findall(r"^(?:\[|    \| )(\S+ \d\d:\d\d:\d\d)", woven, re.MULTILINE)
    assert len(moments) == 7
    assert moments == sorted(moments)
    assert re.findall(r"INFO (.)", woven) == ["a", "b", "c", "d"]
    assert woven.index("INFO c") < woven.index("Finished jobid: 8")
    assert woven.count("jobid 8 (i) wrote:") == 2


def test_a_log_that_snakemake_has_shown_is_not_shown_twice(tmp_path: Path) -> None:
    (path,) = fitting = write_log(tmp_path, "9.log", "error: no\n")
    account = f"{ACCOUNT}Logfile {path}:\n=====\nerror: no\n=====\n"
    woven = weave_log(account, [Job(9, "fit_detector", {}, [], fitting, failed=True)])
    assert woven.count("error: no") == 1


@pytest.mark.parametrize("line", ["[Tue 32 2026]", "[2026-11-01 00:45:41]", "[Son Nov 31 00:45:41 2026]"])
def test_what_is_no_time_stays_as_it_is(line: str) -> None:
    assert weave_log(f"{line}\n", []) == f"{ZONE}\n{line}\n"


def test_what_looks_like_a_time_in_a_jobs_log_and_is_none_stays_as_it_is(tmp_path: Path) -> None:
    odd = write_log(tmp_path, "8.log", "2026-99-01 00:45:42,900 INFO a\n")
    assert "    | 2026-99-01 00:45:42,900 INFO a\n" in weave_log(ACCOUNT, [Job(8, "i", {}, [], odd)])


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("2026 INFO x\nerror: no images: bring some\n  a.png\n", "no images: bring some a.png"),
        ("error: 5 files cannot be used:\n  a\n  b\n  c\n  d\n  e\n", "5 files cannot be used: a; b; c; and 2 more"),
        ('Traceback (most recent call last):\n  File "a.py"\n    f()\nValueError: odd\nnote\n', "ValueError: odd"),
        ("Killed\n\n", "Killed"),
        ("", ""),
    ],
)
def test_the_reason_of_a_failure_is_its_error_with_the_first_things_that_it_lists(log: str, reason: str) -> None:
    assert first_error(log) == reason


def test_behind_a_file_are_the_jobs_that_it_comes_from_and_no_others() -> None:
    jobs = [
        Job(1, "fit_detector", {}, ["bank"]),
        Job(2, "score_images", {}, ["scores"], needs=frozenset({1})),
        Job(3, "score_images", {}, ["others"]),
        Job(4, "evaluate", {}, ["metrics"], needs=frozenset({1, 2})),
    ]
    assert [job.number for job in find_behind(jobs, "metrics")] == [1, 2, 4]
    assert find_behind(jobs, "gone") == []
