import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from patchshift.errors import UserError
from patchshift.plan import Study, load_study
from patchshift.plan.data_specs import DatasetSpec
from patchshift.runtime.files import digest_file, read_json
from patchshift.runtime.jobs import Job
from patchshift.runtime.run_log import ZONE
from patchshift.runtime.summary import finish_run, start_run

CATALOG = """
datasets: {parts: {adapter: mvtec_ad, categories: [weave], generate: {}}}
splits: {plan: {protocol: published}}
domains: {clean: {}}
backbones: {waves: {source: scattering}}
detectors: {plain: {method: patchcore}}
thresholds: {f1_max: {policy: f1_max}}
"""
STUDY = """
study: trial
question: Does it work?
select: {splits: [plan], backbones: [waves], detectors: [plain], thresholds: [f1_max]}
experiments: {first: {title: One, train: [parts]}, second: {title: Two, train: [parts], seeds: [1]}}
"""
FOLDER = Path("results/studies/trial")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/catalog.yaml").write_text(CATALOG)
    return load_study(yaml.safe_load(STUDY), "study.yaml")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "2026-02-03T040506.789012.snakemake.log"
    path.write_text("all jobs\n")
    return path


def finish_experiment(study: Study, name: str) -> None:
    results = str(FOLDER / "experiments" / name / "results.csv")
    for path in map(Path, [results, *(artifact for cell in study.cells[name] for artifact in cell.artifacts)]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_finished_run_is_summed_up_and_shows_its_results(study: Study, log: Path) -> None:
    for name in ("first", "second"):
        finish_experiment(study, name)
    (FOLDER / "results.txt").write_text("the table\n")
    (FOLDER / "report.html").touch()
    message = finish_run(study, log, failed=False)
    assert "the table" in message
    assert message.endswith(f"Report: {FOLDER}/report.html")
    summary = read_json(FOLDER / "summary.json")
    assert summary["status"] == "finished"
    assert (summary["total_experiments"], summary["successful"], summary["failed"]) == (2, 2, 0)
    started = datetime(2026, 2, 3, 4, 5, 6).astimezone()
    assert datetime.fromisoformat(summary["execution_timestamp"]) == started
    assert summary["duration_seconds"] == pytest.approx((datetime.now(UTC) - started).total_seconds(), abs=60)
    assert {"python", "patchshift", "snakemake"} <= set(summary["versions"])


def collect(name: str, number: int, **state: bool) -> Job:
    """The job that makes an experiment's results."""
    return Job(number, "collect_experiment", {}, [str(FOLDER / "experiments" / name / "results.csv")], **state)


def test_a_failed_run_says_which_experiments_failed_and_where_to_look(study: Study, log: Path) -> None:
    finish_experiment(study, "first")
    message = finish_run(study, log, failed=True, jobs=[collect("first", 1), collect("second", 2, failed=True)])
    assert f"see {FOLDER}/run.log" in message
    assert message.splitlines()[-2:] == ["  first: finished", "  second: failed (collect_experiment: )"]
    summary = read_json(FOLDER / "summary.json")
    assert summary["status"] == "failed"
    assert (summary["successful"], summary["failed"]) == (1, 1)
    assert [(each["name"], each["status"]) for each in summary["experiments"]] == [
        ("first", "finished"),
        ("second", "failed"),
    ]


def test_results_of_an_earlier_run_do_not_hide_that_what_they_come_from_failed(study: Study, log: Path) -> None:
    for name in ("first", "second"):
        finish_experiment(study, name)
    (cell,) = study.cells["second"]
    Path(f"results/banks/{cell.bank.path}.h5").unlink()  # as Snakemake leaves it when fitting anew fails
    finish_run(study, log, failed=True, jobs=[collect("first", 1), collect("second", 2, failed=True)])
    summary = read_json(FOLDER / "summary.json")
    assert [each["status"] for each in summary["experiments"]] == ["finished", "failed"]


def test_results_of_an_earlier_run_do_not_count_where_an_interrupted_one_was_to_make_them_anew(
    study: Study, log: Path
) -> None:
    for name in ("first", "second"):
        finish_experiment(study, name)
    message = finish_run(study, log, failed=True, jobs=[collect("first", 1), collect("second", 2, pending=True)])
    assert "The run was interrupted" in message
    summary = read_json(FOLDER / "summary.json")
    assert (summary["status"], summary["reason"]) == ("interrupted", "interrupted before all jobs had run")
    assert [each["status"] for each in summary["experiments"]] == ["finished", "not run"]
    assert (summary["successful"], summary["failed"], summary["failed_jobs"]) == (1, 0, [])
    assert (FOLDER / "run.log").read_text().endswith("interrupted before all jobs had run\n")


@pytest.mark.parametrize(
    ("wrote", "status", "experiment"),
    [
        ("2026-02-03 04:05:07,000 INFO on cpu\n", "interrupted", "not run"),
        ("error: no images\n", "failed", "failed"),
        ("Traceback (most recent call last):\nValueError: odd\n", "failed", "failed"),
    ],
)
def test_a_job_that_a_signal_to_all_processes_ended_has_not_failed(
    study: Study, log: Path, wrote: str, status: str, experiment: str
) -> None:
    log.write_text("all jobs\nWill exit after finishing currently running jobs (scheduler).\n")
    Path("job.log").write_text(wrote)
    results = str(FOLDER / "experiments/second/results.csv")
    job = Job(2, "collect_experiment", {}, [results], ["job.log"], failed=True, pending=True)
    finish_run(study, log, failed=True, jobs=[job])
    summary = read_json(FOLDER / "summary.json")
    assert (summary["status"], summary["experiments"][1]["status"]) == (status, experiment)
    assert summary["reason"] == "interrupted before all jobs had run"
    assert len(summary["failed_jobs"]) == summary["failed"] == (status == "failed")


def test_what_was_not_asked_for_has_not_failed(study: Study, log: Path) -> None:
    finish_run(study, log, failed=False)
    summary = read_json(FOLDER / "summary.json")
    assert [each["status"] for each in summary["experiments"]] == ["not run", "not run"]
    assert (summary["successful"], summary["failed"]) == (0, 0)


def test_the_log_of_every_run_is_kept_and_the_last_one_has_a_fixed_name(study: Study, log: Path) -> None:
    finish_run(study, log, failed=True)
    later = log.rename(log.with_name("2026-02-03T050000.000000.snakemake.log"))
    later.write_text("few jobs\n")
    finish_run(study, later, failed=True)
    assert len(list(FOLDER.glob("run_2026*.log"))) == 2
    assert (FOLDER / "run.log").read_text().startswith(f"{ZONE}\nfew jobs\n")


def test_a_run_for_single_artifacts_says_nothing(study: Study, log: Path) -> None:
    assert finish_run(study, log, failed=False) == ""


def test_a_run_that_lacks_its_images_is_refused_and_summed_up_as_failed(study: Study, log: Path) -> None:
    other = {"dataset": "brought", "category": "bolt"}
    study.catalog.datasets["brought"] = DatasetSpec(adapter="mvtec_ad", categories=["bolt"])
    with pytest.raises(UserError, match="folder data/brought/bolt does not exist"):
        start_run(study, [("index_images", other)], log)
    summary = read_json(FOLDER / "summary.json")
    assert (summary["status"], summary["failed"], summary["report"]) == ("failed", 0, None)
    assert "folder data/brought/bolt does not exist" in summary["reason"]
    assert "folder data/brought/bolt does not exist" in (FOLDER / "run.log").read_text()


def test_a_run_that_lacks_nothing_starts_and_says_so_until_it_ends(study: Study, log: Path) -> None:
    finish_run(study, log, failed=False)
    later = log.rename(log.with_name("2026-02-03T050000.000000.snakemake.log"))
    start_run(study, [("generate_dataset", {"dataset": "parts", "category": "weave"})], later)
    summary = read_json(FOLDER / "summary.json")
    assert (summary["status"], summary["successful"], summary["reason"]) == ("running", 0, None)
    assert datetime.fromisoformat(summary["execution_timestamp"]) == datetime(2026, 2, 3, 5).astimezone()


def test_a_job_that_died_without_a_word_is_not_explained_by_the_log_of_an_earlier_run(study: Study, log: Path) -> None:
    fitted, other = Path("fit.log"), Path("other.log")
    for path in (fitted, other):
        path.write_text("error: an earlier mistake\n")
    start_run(study, [("fit_detector", {})], log, logs=[str(fitted), "never_written.log"])
    results = str(FOLDER / "experiments/first/results.csv")
    job = Job(1, "fit_detector", {}, [results], [str(fitted)], failed=True)
    told = finish_run(study, log, failed=True, jobs=[job])
    assert "first: failed (fit_detector: nothing in its log: it was killed, or never started)" in told
    assert "earlier mistake" not in (FOLDER / "run.log").read_text()
    assert other.exists()  # of a job that is not to run


def test_the_summary_counts_the_images_that_this_run_passed_through_backbones(study: Study, log: Path) -> None:
    started = datetime(2026, 2, 3, 4, 5, 6).timestamp()
    line = "2026-02-03 04:05:07,000 INFO store.h5: passed {} images through the backbone in 1.5 s\n"
    for name, text, seconds in (
        ("extract_features/parts/weave/clean/new.log", line.format(7) + line.format(5), 60),
        ("extract_features/parts/weave/clean/old.log", line.format(100), -60),
        ("trace_attention/parts/weave/clean/plan/new.log", line.format(3), 60),
        ("score_images/parts/weave/clean/new.log", line.format(1000), 60),
    ):
        path = Path("results/logs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (started + seconds, started + seconds))
    (FOLDER / "report.html").parent.mkdir(parents=True)
    (FOLDER / "report.html").touch()
    (FOLDER / "results.txt").write_text("the table\n")
    assert "Images passed through a backbone in this run: 15\n" in finish_run(study, log, failed=False)
    assert read_json(FOLDER / "summary.json")["images_through_backbones"] == 15


def test_an_experiment_tells_its_jobs_their_time_its_digest_and_what_failed(study: Study, log: Path) -> None:
    finish_experiment(study, "first")
    results = [str(FOLDER / "experiments" / name / "results.csv") for name in ("first", "second")]
    Path("fit.log").write_text("2026-02-03 04:05:07,000 INFO on cpu\nerror: memory_mb: too little: raise it\n")
    Path("shared.tsv").write_text("s\tcpu_time\n1.5\t1\n")
    jobs = [
        Job(1, "split_images", {}, ["results/splits/a.csv"], benchmark="shared.tsv"),
        Job(2, "fit_detector", {}, ["results/banks/b.h5"], ["fit.log"], failed=True, needs=frozenset({1})),
        Job(3, "collect_experiment", {}, [results[0]], needs=frozenset({1})),
        Job(4, "collect_experiment", {}, [results[1]], needs=frozenset({1, 2})),
    ]
    finish_run(study, log, failed=True, jobs=jobs)
    summary = read_json(FOLDER / "summary.json")
    first, second = summary["experiments"]
    assert (first["status"], first["jobs"], first["duration_seconds"]) == ("finished", 2, 1.5)
    assert (first["results_sha256"], first["failed_jobs"]) == (digest_file(Path(results[0])), [])
    assert (second["status"], second["jobs"], second["results_sha256"]) == ("failed", 3, None)
    reason = "memory_mb: too little: raise it"
    told = {"rule": "fit_detector", "output": "results/banks/b.h5", "log": ["fit.log"], "reason": reason}
    assert second["failed_jobs"] == summary["failed_jobs"] == [told]
    assert read_json(FOLDER / "manifest.json")["artifacts"].keys() == {results[0]}
    assert (FOLDER / "rules.csv").read_text().startswith("rule,jobs,seconds")
