from datetime import datetime
from pathlib import Path

import pytest
import yaml

from patchshift.plan import Study, load_study
from patchshift.runtime.files import read_json
from patchshift.runtime.summary import finish_run, missing_inputs

CATALOG = """
datasets: {parts: {adapter: mvtec_ad, categories: [bolt], generate: {}}}
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


def finish_experiment(name: str) -> None:
    path = FOLDER / "experiments" / name / "results.csv"
    path.parent.mkdir(parents=True)
    path.touch()


def test_a_finished_run_is_summed_up_and_shows_its_results(study: Study, log: Path) -> None:
    for name in ("first", "second"):
        finish_experiment(name)
    (FOLDER / "results.txt").write_text("the table\n")
    (FOLDER / "report.html").touch()
    message = finish_run(study, log, failed=False)
    assert "the table" in message
    assert message.endswith(f"Report: {FOLDER}/report.html")
    summary = read_json(FOLDER / "summary.json")
    assert summary["status"] == "finished"
    assert (summary["total_experiments"], summary["successful"], summary["failed"]) == (2, 2, 0)
    assert datetime.fromisoformat(summary["execution_timestamp"]) == datetime(2026, 2, 3, 4, 5, 6).astimezone()
    assert summary["duration_seconds"] == pytest.approx(
        (datetime.now() - datetime(2026, 2, 3, 4, 5, 6)).total_seconds(), abs=60
    )
    assert {"python", "patchshift", "snakemake"} <= set(summary["versions"])


def test_a_failed_run_says_which_experiments_failed_and_where_to_look(study: Study, log: Path) -> None:
    finish_experiment("first")
    message = finish_run(study, log, failed=True)
    assert f"see {FOLDER}/run.log" in message
    summary = read_json(FOLDER / "summary.json")
    assert summary["status"] == "failed"
    assert (summary["successful"], summary["failed"]) == (1, 1)
    assert [(each["name"], each["status"]) for each in summary["experiments"]] == [
        ("first", "finished"),
        ("second", "failed"),
    ]


def test_the_log_of_every_run_is_kept_and_the_last_one_has_a_fixed_name(study: Study, log: Path) -> None:
    finish_run(study, log, failed=True)
    later = log.rename(log.with_name("2026-02-03T050000.000000.snakemake.log"))
    later.write_text("few jobs\n")
    finish_run(study, later, failed=True)
    assert len(list(FOLDER.glob("run_2026*.log"))) == 2
    assert (FOLDER / "run.log").read_text() == "few jobs\n"


def test_a_run_for_single_artifacts_says_nothing(study: Study, log: Path) -> None:
    assert finish_run(study, log, failed=False) == ""


def test_nothing_missing_says_nothing(study: Study) -> None:
    assert missing_inputs(study) == ""
