"""A study on a real Slurm of one node, through profiles/slurm. `make test-slurm` starts it, runs these, stops it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["Snakefile", "rules", "workflow_scripts", "configs", "envs", "profiles"]

SLURM = ["--profile", "profiles/slurm"]
FOR_THIS_CLUSTER = [
    *("--slurm-status-command", "squeue"),  # it has no accounting database
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1"),
    *("--latency-wait", "5"),
    "--slurm-keep-successful-logs",
]
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

CELL = "tiny/weave/clean/tiny_split/tiny_scattering/tiny_patchcore/seed0"
CALIBRATED = "from/tiny/weave/clean/tiny_quantile.json"


@dataclass(frozen=True)
class Job:
    """What Slurm says of one submission, and what ran in it."""

    number: int
    facts: dict[str, str]
    log: str

    @cached_property
    def made(self) -> dict[str, str]:
        """First output -> rule, of the jobs that ran in it."""
        pairs = re.findall(r"^(?:local)?rule (\w+):\n(?:    \w+:.*\n)*?    output: ([^\s,]+)", self.log, re.MULTILINE)
        return {output: rule for rule, output in pairs}

    @property
    def asked(self) -> tuple[str, str, str, str]:
        """Memory, cores, time and cards."""
        return tuple(self.facts.get(key, "") for key in ("MinMemoryNode", "NumCPUs", "TimeLimit", "TresPerJob"))


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
        lines = read("scontrol", "show", "job", "--oneliner", "--detail").splitlines()
        told = [dict(re.findall(r"(?<!\S)([\w:/]+)=(\S*)", line)) for line in lines]
        own = {int(facts["JobId"]): facts for facts in told if facts.get("WorkDir") == str(self.cluster)}
        assert sorted(own) == sorted(logs), "submissions and their logs"
        return [Job(number, own[number], logs[number]) for number in sorted(own)]

    def jobs_of(self, *rules: str) -> list[Job]:
        return [job for job in self.jobs if set(job.made.values()) == set(rules)]

    def submissions_of(self, output: str) -> list[int]:
        return [job.number for job in self.jobs if f"results/{output}" in job.made]


def read(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def snakemake(folder: Path, *arguments: str) -> str:
    """Run Snakemake in a copy of the workflow; what it said."""
    scripts = Path(sys.executable).parent
    own = {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(folder / "workflow_scripts")}
    # With no answer from Slurm it would wait without end.
    command = ["timeout", "--foreground", "--kill-after=10", "300", str(scripts / "snakemake"), *arguments]
    with (folder / "said.txt").open("w+") as said:
        code = subprocess.run(command, cwd=folder, env=os.environ | own, stdout=said, stderr=said).returncode
        said.seek(0)
        text = said.read()
    assert code == 0, f"exit status {code} in {folder}:\n{text}"
    return text


def cards(job: Job) -> set[str]:
    """The cards that its steps saw, according to the cluster."""
    return set(re.findall(r"^cards: (\S+)$", job.log, re.MULTILINE))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    here, cluster = (tmp_path_factory.mktemp("runs") / name for name in ("here", "cluster"))
    for folder in (here, cluster):
        folder.mkdir()
        for part in PARTS:
            source, ignore = ROOT / part, shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
        shutil.copy(Path(__file__).with_name("study.yaml"), folder / "config.yaml")
    planned = Job(0, {}, snakemake(here, "--dry-run", "all")).made
    snakemake(here, "--cores", "2", "all")
    said = snakemake(cluster, *SLURM, *FOR_THIS_CLUSTER, *FOR_THIS_TEST, "--", "all")
    return Runs(here, cluster, planned, said)


def test_every_job_of_the_study_ran_under_slurm(runs: Runs) -> None:
    ran = {output: rule for job in runs.jobs for output, rule in job.made.items()}
    assert len(runs.planned) > 20
    assert ran == runs.planned
    assert "Report: results/studies/slurm/report.html" in runs.said


def test_jobs_get_the_memory_cores_time_and_card_that_they_ask_for(runs: Runs) -> None:
    for job in runs.jobs_of("extract_features"):
        assert job.asked == ("3000M", "1", "04:00:00", "gres:gpu:1")
        assert job.facts["Partition"] == "gpu"
        assert cards(job) == {"0"}
    assert len(runs.jobs_of("extract_features")) == 2
    assert [job.asked for job in runs.jobs_of("synthesize_shift")] == [("3000M", "4", "01:00:00", "")]
    assert [job.asked for job in runs.jobs_of("score_images")] == [("4000M", "1", "01:00:00", "")] * 2
    assert {job.facts["Partition"] for job in runs.jobs_of("score_images")} == {"cpu"}
    assert set().union(*map(cards, runs.jobs_of("score_images"))) == {"none"}


def test_a_job_killed_for_its_memory_is_tried_again_with_twice_as_much(runs: Runs) -> None:
    # A job that Slurm kills before its rule starts has said nothing of it: it is found by Slurm's comment.
    tries = [job for job in runs.jobs if job.facts["Comment"].startswith("rule_fit_detector_")]
    *killed, last = tries
    assert 1 <= len(killed) <= 2
    for job in killed:
        assert "exceeded memory limit" in job.log
        assert job.facts["JobState"] != "COMPLETED"
    assert last.facts["JobState"] == "COMPLETED"
    assert [job.asked[0] for job in tries] == [f"{TOO_LITTLE_MB * 2**number}M" for number in range(len(tries))]
    assert [job.asked[2] for job in tries] == ["01:00:00", "02:00:00", "04:00:00"][: len(tries)]
    assert all(job.facts["JobState"] == "COMPLETED" for job in runs.jobs if job not in killed)


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
    assert cell.asked == ("6000M", "2", "02:00:00", "")


def test_small_jobs_share_submissions(runs: Runs) -> None:
    for rules in (
        ("generate_dataset", "index_images", "split_images"),
        ("collect_experiment", "analyse_experiment", "plot_experiment"),
        ("collect_study", "analyse_study", "plot_study"),
        ("write_report", "write_pdf"),
    ):
        assert len(runs.jobs_of(*rules)) == 1, rules
    assert len(runs.planned) == 26
    assert sum(job.facts["JobState"] == "COMPLETED" for job in runs.jobs) == 16


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
        "features": 2,
    }.items():
        assert sum(name.startswith(f"{folder}/") for name in local) == count
    assert local["studies/slurm/metrics.csv"].count(b"\n") > 20
    assert {"studies/slurm/report.html", "studies/slurm/report.pdf"} <= set(local)


def test_a_second_run_submits_nothing(runs: Runs) -> None:
    assert "Nothing to be done" in snakemake(runs.cluster, *SLURM, "--", "all")


def test_the_profile_asks_for_more_time_where_rules_cannot_know(runs: Runs) -> None:
    plan = snakemake(runs.here, *SLURM, "--dry-run", "--forceall", "--", "all")
    minutes = dict(re.findall(r"^rule (\w+):\n(?:    .*\n)*?.*runtime=(\d+)", plan, re.MULTILINE))
    assert minutes["extract_features"] == "240"
    assert minutes["fit_detector"] == "240"
    assert minutes["score_images"] == "120"
    assert minutes["write_data_card"] == "20"
