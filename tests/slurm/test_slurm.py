"""A study on a real Slurm of one node, through profiles/slurm. `make test-slurm` starts it, runs these, stops it."""

import csv
import os
import pwd
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.checkout import copy_workflow

SLURM = ["--profile", "profiles/slurm"]
ACCOUNT = "inspection"
ADAPTED = [f"slurm_account: {ACCOUNT}", "slurm_partition: cpu"]
"""Lines of the profile that are comments until a user adapts it. Where no account is named, Slurm takes another."""

FOR_THIS_CLUSTER = [
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--latency-wait",
    "5",
    "--slurm-keep-successful-logs",
]
ASKING_OFTEN = """
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 2, lambda *_: None)
sys.argv[0] = "snakemake"
main()
"""
"""Snakemake, as it is but for one thing: it asks for the state of jobs every two seconds.

Else the plugin waits ten seconds longer after each time that no job had ended: most of the time of a study this small.
"""
TOO_LITTLE_MB = 75
"""Less than Snakemake alone holds in a job."""
FOR_THIS_TEST = [
    "--set-resources",
    "extract_features:gpu=1",
    "extract_features:slurm_partition=gpu",
    f"fit_detector:mem_mb={TOO_LITTLE_MB}",
]

TIMED = ("costs.csv", "timings.csv", "rules.csv", "manifest.json", "summary.json")
"""Files of a study that hold times."""

IN_SHARDS = "results/features/tiny/weave/clean/tiny_shards.h5"
"""A target of its own: the study's cells have the backbone without shards."""

CELL = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
CALIBRATED = "from/tiny/weave/clean/tiny_quantile.json"


@dataclass(frozen=True)
class Job:
    """What the accounting database says of one submission, and what ran in it."""

    facts: dict[str, str]
    steps: list[dict[str, str]]
    log: str

    @property
    def number(self) -> int:
        return int(self.facts["JobID"])

    @cached_property
    def made(self) -> dict[str, str]:
        """First output -> rule, of the jobs that ran in it."""
        return find_outputs(self.log)

    @property
    def asked(self) -> tuple[str, str, str, str]:
        """Memory, cores, time and cards."""
        cards = dict(pair.split("=") for pair in self.facts["ReqTRES"].split(",")).get("gres/gpu", "0")
        return self.facts["ReqMem"], self.facts["ReqCPUS"], self.facts["Timelimit"], cards

    @property
    def held_mb(self) -> float:
        """The most memory that one of its steps held, in MB."""
        return max(float(step["MaxRSS"].removesuffix("M")) for step in self.steps if step["MaxRSS"])


@dataclass(frozen=True)
class Runs:
    """The same study run here and on Slurm."""

    here: Path
    cluster: Path
    planned: dict[str, str]
    said: str

    @cached_property
    def jobs(self) -> list[Job]:
        """The submissions, in their order."""
        logs = {int(log.stem): log.read_text() for log in (self.cluster / ".snakemake/slurm_logs").rglob("*.log")}
        own, rows = list_ended(self.cluster, len(logs)), list_accounted()
        assert sorted(int(row["JobID"]) for row in own) == sorted(logs), "submissions and their logs"
        steps = {row["JobID"]: [step for step in rows if step["JobID"].startswith(f"{row['JobID']}.")] for row in own}
        return [Job(row, steps[row["JobID"]], logs[int(row["JobID"])]) for row in own]

    def jobs_of(self, *rules: str) -> list[Job]:
        return [job for job in self.jobs if set(job.made.values()) == set(rules)]

    def submissions_of(self, output: str) -> list[int]:
        return [job.number for job in self.jobs if f"results/{output}" in job.made]


def read(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def list_accounted() -> list[dict[str, str]]:
    """Jobs and their steps, in their order, as the accounting database has them."""
    names = "JobID,State,Account,Partition,Comment,WorkDir,ReqMem,ReqCPUS,Timelimit,ReqTRES,MaxRSS"
    told = read("sacct", "--parsable2", "--units=M", "--starttime=now-1days", f"--format={names}")
    return list(csv.DictReader(told.splitlines(), delimiter="|"))


def list_ended(folder: Path, count: int) -> list[dict[str, str]]:
    """So many submissions from a folder, when the accounting database has heard how they ended: some seconds later."""
    for _ in range(300):
        rows = [row for row in list_accounted() if row["WorkDir"] == str(folder)]
        if len(rows) >= count and not {row["State"] for row in rows} & {"PENDING", "RUNNING", "COMPLETING"}:
            return rows
        time.sleep(0.2)
    raise AssertionError(f"{count} submissions were to end: {rows}")


def list_waiting(folder: Path) -> list[str]:
    """Submissions from a folder that wait or run."""
    told = read("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%i %Z")
    return [number for number, place in (line.split(maxsplit=1) for line in told.splitlines()) if place == str(folder)]


def find_outputs(log: str) -> dict[str, str]:
    """First output -> rule, of the jobs that Snakemake's log has."""
    pairs = re.findall(r"^(?:local)?rule (\w+):\n(?:    \w+:.*\n)*?    output: ([^\s,]+)", log, re.MULTILINE)
    return {output: rule for rule, output in pairs}


def copy_adapted(folder: Path, *adapted: str) -> Path:
    """The workflow with the study in a folder of its own, lines of its Slurm profile taken out of their comments."""
    copy_workflow(folder, Path(__file__).with_name("study.yaml").read_text())
    profile = folder / "profiles/slurm/profile.yaml"
    for line in adapted:
        text = profile.read_text()
        assert text.count(f"  # {line}\n") == 1, f"{profile}: {line}"
        profile.write_text(text.replace(f"  # {line}\n", f"  {line}\n"))
    return folder


def snakemake(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run Snakemake in a copy of the workflow; what it said."""
    scripts = Path(sys.executable).parent
    own = {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(folder / "workflow_scripts")}
    # With no answer from Slurm it would wait without end.
    command = ["timeout", "--foreground", "--kill-after=10", "600", sys.executable, "-c", ASKING_OFTEN, *arguments]
    with (folder / "said.txt").open("w+") as said:
        ended = subprocess.run(command, cwd=folder, env=os.environ | own, stdout=said, stderr=said).returncode
        said.seek(0)
        text = said.read()
    assert ended == code, f"exit status {ended} in {folder}:\n{text}"
    return text


def cards(job: Job) -> set[str]:
    """The cards that its steps saw, according to the cluster."""
    return set(re.findall(r"^cards: (\S+)$", job.log, re.MULTILINE))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    here, cluster = copy_adapted(folder / "here"), copy_adapted(folder / "cluster", *ADAPTED)
    planned = find_outputs(snakemake(here, "--dry-run", "all", IN_SHARDS))
    snakemake(here, "--cores", "2", "all", IN_SHARDS)
    said = snakemake(cluster, *SLURM, *FOR_THIS_CLUSTER, *FOR_THIS_TEST, "--", "all", IN_SHARDS)
    return Runs(here, cluster, planned, said)


def test_every_job_of_the_study_ran_under_slurm(runs: Runs) -> None:
    ran = {output: rule for job in runs.jobs for output, rule in job.made.items()}
    assert len(runs.planned) > 20
    assert ran == runs.planned
    assert "Report: results/studies/slurm/report.html" in runs.said


def test_jobs_get_the_memory_cores_time_and_card_that_they_ask_for(runs: Runs) -> None:
    for job in runs.jobs_of("extract_features"):
        assert job.asked == ("3000M", "1", "04:00:00", "1")
        assert job.facts["Partition"] == "gpu"
        assert cards(job) == {"0"}
    assert len(runs.jobs_of("extract_features")) == 2
    assert [job.asked for job in runs.jobs_of("synthesize_shift")] == [("3000M", "4", "01:00:00", "0")]
    assert [job.asked for job in runs.jobs_of("score_images")] == [("4000M", "1", "01:00:00", "0")] * 2
    assert {job.facts["Partition"] for job in runs.jobs_of("score_images")} == {"cpu"}
    assert set().union(*map(cards, runs.jobs_of("score_images"))) == {"none"}


def test_jobs_run_under_the_account_and_partition_of_the_profile(runs: Runs) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    default = read("sacctmgr", "--noheader", "--parsable2", "show", "user", user, "format=defaultaccount")
    assert default.strip() not in ("", ACCOUNT)
    assert {job.facts["Account"] for job in runs.jobs} == {ACCOUNT}
    assert {job.facts["Partition"] for job in runs.jobs if "extract_features" not in job.made.values()} == {"cpu"}


def test_the_database_has_the_state_and_the_memory_of_every_job(runs: Runs) -> None:
    ended = [job for job in runs.jobs if job.facts["State"] == "COMPLETED"]
    assert len(ended) > 20
    for job in ended:
        assert {step["State"] for step in job.steps} == {"COMPLETED"}
        asked_mb = int(job.facts["ReqMem"].removesuffix("M"))
        assert 20 < job.held_mb <= asked_mb, job.made


def test_shards_are_submissions_of_their_own(runs: Runs) -> None:
    parts = IN_SHARDS.replace(".h5", ".shards/{}of2.h5").removeprefix("results/")
    picks = f"banks/{CELL}.shards/{{}}of2.h5"
    numbers = [runs.submissions_of(path.format(shard)) for path in (parts, picks) for shard in (1, 2)]
    assert all(len(found) == 1 for found in numbers)
    assert len({found[0] for found in numbers}) == 4
    assert [job.asked for job in runs.jobs_of("extract_shard")] == [("3000M", "1", "04:00:00", "0")] * 2
    assert len(runs.jobs_of("choose_shard")) == 2
    assert len(runs.jobs_of("merge_features")) == len(runs.jobs_of("fit_representation")) == 1


def test_a_job_killed_for_its_memory_is_tried_again_with_twice_as_much(runs: Runs) -> None:
    # A job that Slurm kills before its rule starts has said nothing of it: it is found by Slurm's comment.
    tries = [job for job in runs.jobs if job.facts["Comment"].startswith("rule_fit_detector_")]
    *killed, last = tries
    assert 1 <= len(killed) <= 2
    for job in killed:
        assert "exceeded memory limit" in job.log
        assert job.facts["State"] != "COMPLETED"
    assert last.facts["State"] == "COMPLETED"
    assert [job.asked[0] for job in tries] == [f"{TOO_LITTLE_MB * 2**number}M" for number in range(len(tries))]
    assert [job.asked[2] for job in tries] == ["01:00:00", "02:00:00", "04:00:00"][: len(tries)]
    assert all(job.facts["State"] == "COMPLETED" for job in runs.jobs if job not in killed)


def test_what_judges_one_cell_shares_a_submission(runs: Runs) -> None:
    clean = [
        f"metrics/{CELL}/on/tiny/weave/clean.json",
        f"thresholds/{CELL}/{CALIBRATED}",
        f"decisions/{CELL}/on/tiny/weave/clean/{CALIBRATED}",
    ]
    shifted = [f"metrics/{CELL}/on/tiny/weave/turned.json", f"decisions/{CELL}/on/tiny/weave/turned/{CALIBRATED}"]
    numbers = []
    for outputs in (clean, shifted):
        [number] = {number for output in outputs for number in runs.submissions_of(output)}
        assert all(runs.submissions_of(output) == [number] for output in outputs)
        numbers.append(number)
    assert numbers[0] != numbers[1]
    # Side by side: 4000 MB and a core of evaluation, 2000 MB and a core of calibration; one after the other: time.
    [cell] = [job for job in runs.jobs if job.number == numbers[0]]
    assert cell.asked == ("6000M", "2", "02:00:00", "0")


def test_small_jobs_share_submissions(runs: Runs) -> None:
    for rules in (
        ("generate_dataset", "index_images", "split_images"),
        ("collect_experiment", "analyse_experiment", "plot_experiment"),
        ("collect_study", "analyse_study", "plot_study"),
        ("write_report", "write_pdf"),
    ):
        assert len(runs.jobs_of(*rules)) == 1, rules
    assert len(runs.planned) == 32
    assert sum(job.facts["State"] == "COMPLETED" for job in runs.jobs) == 22


def test_results_are_those_of_a_local_run_byte_for_byte(runs: Runs) -> None:
    def list_files(folder: Path) -> dict[str, bytes]:
        paths = [path for path in (folder / "results").rglob("*") if path.is_file()]
        paths = [path for path in paths if path.name not in TIMED and not path.match("run*.log")]
        names = {path: path.relative_to(folder / "results") for path in paths}
        # Hidden files: what is remembered of images by their times.
        kept = [path for path in paths if names[path].parts[0] not in ("logs", "benchmarks") and path.name[0] != "."]
        return {names[path].as_posix(): path.read_bytes() for path in kept}

    local, slurm = list_files(runs.here), list_files(runs.cluster)
    assert sorted(slurm) == sorted(local)
    assert [name for name in local if local[name] != slurm[name]] == []
    for folder, count in {
        "metrics": 2,
        "decisions": 2,
        "thresholds": 1,
        "banks": 1,
        "scores": 2,
        "features": 3,
    }.items():
        assert sum(name.startswith(f"{folder}/") for name in local) == count
    assert local["studies/slurm/metrics.csv"].count(b"\n") > 20
    assert {"studies/slurm/report.html", "studies/slurm/report.pdf"} <= set(local)


def test_a_second_run_submits_nothing(runs: Runs) -> None:
    assert "Nothing to be done" in snakemake(runs.cluster, *SLURM, "--", "all")


def test_an_account_that_is_not_the_users_is_refused_once_before_any_job(tmp_path: Path) -> None:
    folder = copy_adapted(tmp_path / "refused")
    said = snakemake(folder, *SLURM, "--default-resources", "slurm_account=nobody", "--", "all", code=1)
    [line] = [line for line in said.splitlines() if "nobody" in line]
    assert line.startswith("slurm_account 'nobody' cannot be used: The given account nobody appears to be invalid.")
    assert ACCOUNT in line
    assert "Traceback" not in said
    assert [row for row in list_accounted() if row["WorkDir"] == str(folder)] == []
    refused = subprocess.run(["sbatch", "--account=nobody", "--wrap=true"], capture_output=True, text=True, timeout=60)
    assert "Invalid account" in refused.stderr  # by Slurm itself, too


def test_a_job_that_someone_cancels_is_noticed_where_squeue_is_asked(tmp_path: Path) -> None:
    """With `sacct`, version 2.8 of the plugin waits on: it does not know the state `CANCELLED by ...`."""
    folder = copy_adapted(tmp_path / "cancelled", *ADAPTED)
    asked = [*SLURM, *FOR_THIS_CLUSTER, "--slurm-status-command", "squeue", "--retries", "0"]
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(snakemake, folder, *asked, "--", "results/datasets/tiny/weave", code=1)
        while not (waiting := list_waiting(folder)):
            assert not run.done(), run.result()
            time.sleep(0.2)
        read("scancel", *waiting)
        said = run.result()
    assert "failed: generate_dataset" in said
    [row] = list_ended(folder, 1)
    assert row["State"].startswith("CANCELLED by ")


def test_the_profile_asks_for_more_time_where_rules_cannot_know(runs: Runs) -> None:
    plan = snakemake(runs.here, *SLURM, "--dry-run", "--forceall", "--", "all")
    minutes = dict(re.findall(r"^rule (\w+):\n(?:    .*\n)*?.*runtime=(\d+)", plan, re.MULTILINE))
    assert minutes["extract_features"] == "240"
    assert minutes["fit_detector"] == minutes["choose_shard"] == minutes["fit_representation"] == "240"
    assert minutes["score_images"] == "120"
    assert minutes["write_data_card"] == "20"
