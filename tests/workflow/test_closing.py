"""What closes a study: failed experiments fail alone, summary and log say why, `patchshift check` finds damage."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from patchshift.app.check import find_study
from patchshift.app.checklist import check_study
from patchshift.app.main import main
from patchshift.errors import UserError
from tests.checkout import PATIENCE

STUDY = """\
study: closed
question: What is left when one experiment fails?
log_level: debug
add:
  datasets:
    closed:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 5, test_good: 3, test_per_defect: 1}
  splits:
    closed_split: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}
  backbones:
    closed_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    closed_few:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {share: 0.1}
      image_score: {method: max}
      threads: 1
    closed_many:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {method: random, count: 100000}
      image_score: {method: max}
      threads: 1
  thresholds:
    closed_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [closed_split]
  backbones: [closed_scattering]
  detectors: [closed_few]
  thresholds: [closed_quantile]
experiments:
  few: {title: Few patches, train: [closed]}
  too-many: {title: More patches than there are, train: [closed], detectors: [closed_many]}
"""

FOLDER = Path("results/studies/closed")
PLACE = "closed/weave/clean/closed_split/closed_scattering/closed_few/seed0"
SCORES = f"results/scores/{PLACE}/on/closed/weave/clean.h5"
EARLIER = f"results/logs/score_images/{PLACE.replace('few', 'many')}/on/closed/weave/clean.log"
"""The log of a job that is to run, and never does."""
REASON = "sampler.count: 100000 patches are asked for"
MakeCheckout = Callable[[Path, str], Any]


@pytest.fixture(scope="module")
def failed(make_checkout: MakeCheckout, tmp_path_factory: pytest.TempPathFactory) -> Any:
    checkout = make_checkout(tmp_path_factory.mktemp("failed") / "checkout", STUDY)
    (checkout.folder / EARLIER).parent.mkdir(parents=True)
    (checkout.folder / EARLIER).write_text("error: of an earlier run\n")
    run = checkout.run("--cores", "1", "all")
    assert run.returncode != 0
    assert REASON in run.stderr
    return checkout


@pytest.fixture(scope="module")
def finished(failed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    checkout = failed.copy(tmp_path_factory.mktemp("finished") / "checkout")
    checkout.edit("config.yaml", "count: 100000", "count: 10")
    run = checkout.run("--cores", "1", "all")
    assert run.returncode == 0, run.stderr
    return checkout


@pytest.fixture
def damaged(finished: Any, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished study to damage, as the working folder."""
    checkout = finished.copy(tmp_path / "checkout")
    with chdir(checkout.folder):
        yield checkout.folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / FOLDER / name).read_text())


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def find_problems() -> dict[str, list[str]]:
    return {each.check: each.problems for each in check_study(find_study("closed")) if each.problems}


def test_a_failed_experiment_fails_alone_and_the_summary_says_why(failed: Any) -> None:
    summary = read(failed.folder, "summary.json")
    assert (summary["status"], summary["successful"], summary["failed"]) == ("failed", 1, 1)
    few, many = summary["experiments"]
    assert (few["name"], few["status"], few["failed_jobs"]) == ("few", "finished", [])
    assert few["duration_seconds"] > 0
    assert len(few["results_sha256"]) == 64
    assert (many["name"], many["status"], many["results_sha256"]) == ("too-many", "failed", None)
    (job,) = many["failed_jobs"]
    assert (job["rule"], summary["failed_jobs"]) == ("fit_detector", [job])
    assert job["reason"].startswith(REASON)
    assert job["output"].startswith("results/banks/closed/weave/clean/closed_split/closed_scattering/closed_many")
    assert (failed.folder / FOLDER / "experiments/few/results.csv").is_file()
    assert not (failed.folder / FOLDER / "experiments/too-many/results.csv").exists()
    assert {"numpy", "torch", "faiss-cpu", "timm"} <= summary["versions"].keys()


def test_logs_of_earlier_runs_are_gone_when_a_run_starts(failed: Any) -> None:
    assert not (failed.folder / EARLIER).exists()


def test_the_log_is_in_order_of_time_and_has_what_jobs_wrote(failed: Any) -> None:
    log = (failed.folder / FOLDER / "run.log").read_text()
    moments = re.findall(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\]$", log, re.MULTILINE)
    assert len(moments) > 10
    assert moments == sorted(moments)
    both = re.findall(r"^(?:\[|    \| )(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[\] ]", log, re.MULTILINE)
    assert len(both) > len(moments)
    assert both == sorted(both)
    passed = re.findall(r"^    \| (\S+ \S+) INFO .*passed \d+ images through the backbone", log, re.MULTILINE)
    assert len(passed) == 1
    assert log.count(f"error: {REASON}") == 1
    assert "DEBUG arguments: " in log


@pytest.mark.parametrize(
    ("sent", "to_all", "status"),
    [
        (signal.SIGTERM, False, "interrupted"),
        (signal.SIGTERM, True, "interrupted"),
        (signal.SIGINT, True, "interrupted"),
        (signal.SIGKILL, True, "running"),
    ],
)
def test_a_run_that_is_stopped_does_not_count_results_of_the_one_before(
    finished: Any, tmp_path: Path, sent: signal.Signals, to_all: bool, status: str
) -> None:
    checkout = finished.copy(tmp_path / "checkout")
    checkout.edit("config.yaml", "share: 0.1}", "share: 0.2}")
    logs = checkout.folder / "results/logs/fit_detector"
    shutil.rmtree(logs)
    with (tmp_path / "told.txt").open("w") as stream:
        # a shell that starts the tests in the background has them, and what they start, ignore SIGINT
        heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        run = checkout.start(
            "--cores", "1", "all", stdout=stream, stderr=stream, start_new_session=True, preexec_fn=heed
        )
        while not any(log.stat().st_size for log in logs.rglob("*.log")):  # a job has begun
            assert run.poll() is None, (tmp_path / "told.txt").read_text()
            time.sleep(0.01)
        (os.killpg if to_all else os.kill)(run.pid, sent)
        assert run.wait(PATIENCE) != 0
    summary = read(checkout.folder, "summary.json")
    assert (summary["status"], summary["failed"], summary["failed_jobs"]) == (status, 0, [])
    assert {each["name"]: each["status"] for each in summary["experiments"]}["few"] == "not run"
    if status == "interrupted":
        assert summary["reason"]
        assert (checkout.folder / FOLDER / "run.log").read_text().endswith(f"{summary['reason']}\n")


def test_an_experiment_that_nobody_asked_for_has_not_failed(failed: Any, tmp_path: Path) -> None:
    checkout = failed.copy(tmp_path / "checkout")
    (checkout.folder / FOLDER / "experiments/few/results.csv").unlink()
    run = checkout.run("--cores", "1", "too-many")
    assert run.returncode != 0
    assert f"too-many: failed (fit_detector: {REASON}" in run.stdout
    summary = read(checkout.folder, "summary.json")
    assert [(each["name"], each["status"]) for each in summary["experiments"]] == [
        ("few", "not run"),
        ("too-many", "failed"),
    ]
    assert summary["failed"] == 1
    assert summary["report"] is None


def test_the_level_of_logs_is_no_reason_to_run_anything_again(finished: Any) -> None:
    run = finished.run("--cores", "1", "--config", "log_level=error")
    assert "Nothing to be done" in run.stderr


def test_an_experiment_is_a_target_by_its_name(failed: Any) -> None:
    assert failed.plan_rules("few") == set()
    jobs = failed.plan("too-many")
    rules = {"fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide", "collect_experiment"}
    assert {rule for rule, _ in jobs} == rules
    assert not any("closed_few" in output or "experiments/few" in output for _, output in jobs)


def test_an_experiment_cannot_have_a_rules_name(make_checkout: MakeCheckout, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout", STUDY.replace("too-many:", "evaluate:"))
    run = checkout.run("--dry-run", "all")
    assert run.returncode != 0
    assert "experiments: rules of the workflow have the names evaluate: choose others" in run.stderr


def test_a_run_that_mends_a_study_lists_all_of_it(finished: Any) -> None:
    listed = read(finished.folder, "manifest.json")["artifacts"]
    assert f"{FOLDER}/report.html" in listed
    assert listed[f"results/banks/{PLACE}.h5"]["inputs"] == [
        "results/features/closed/weave/clean/closed_scattering.h5",
        "results/splits/closed/weave/closed_split.csv",
    ]
    costs = (finished.folder / FOLDER / "rules.csv").read_text().splitlines()
    assert costs[0].startswith("rule,jobs,seconds,share,cpu_seconds")
    assert next(line for line in costs if line.startswith("fit_detector,")).split(",")[1] == "2"
    assert any(line.startswith("write_report,1,") for line in costs)


def test_a_finished_study_passes_every_check(finished: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(finished.folder):
        assert main(["check", "closed"]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert main(["check", "config.yaml", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert printed[-1] == f"study closed: all {len(printed) - 1} checks passed"
    assert all(line.startswith("ok ") for line in printed[:-1])
    assert told["passed"]
    assert len(told["checks"]) == len(printed) - 1


def test_a_failed_check_is_named_and_is_the_exit_status(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / FOLDER / "metrics.csv").unlink()
    assert main(["check", "closed"]) == 1
    out, error = capsys.readouterr()
    assert f"{FOLDER}/metrics.csv is missing" in out
    assert "FAIL  metrics.csv as planned" in out
    assert error.startswith("error: study closed: ")
    assert "files are there" in error


def test_a_study_that_failed_does_not_pass(failed: Any) -> None:
    with chdir(failed.folder):
        problems = find_problems()
    assert "experiment too-many: failed" in problems["last run without error"]
    assert any(REASON in problem for problem in problems["last run without error"])
    assert f"{FOLDER}/report.html is missing" in problems["files are there"]


def test_a_row_that_is_missing_is_found(damaged: Path) -> None:
    path = damaged / FOLDER / "experiments/few/results.csv"
    header, _ = path.read_text().splitlines()
    path.write_text(f"{header}\n")
    (problem,) = find_problems()["results.csv as planned"]
    assert problem.startswith("few/results.csv: 1 rows are missing, such as closed weave clean")


def test_a_metric_that_stands_there_twice_is_found(damaged: Path) -> None:
    path = damaged / FOLDER / "metrics.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], ""]))
    assert "metrics.csv: 1 metrics stand there twice" in find_problems()["metrics.csv as planned"]


def test_an_image_that_is_missing_is_found(damaged: Path) -> None:
    path = damaged / FOLDER / "predictions.csv"
    path.write_text("\n".join([*path.read_text().splitlines()[:-1], ""]))
    problems = find_problems()
    assert "test images" in problems["predictions.csv as planned"][0]
    assert "counts add up" in problems


@pytest.mark.parametrize(
    ("pattern", "new", "said"),
    [
        (r"image_auroc,[\d.]+,", "image_auroc,1.5,", "is not between 0 and 1"),
        (r"(image_auroc),[\d.]+,[\d.]+,([\d.]+)", r"\1,0.5,0.9,\2", "is not in its interval"),
        (r"count_tp,[\d.]+,", "count_tp,1.5,", "is no count"),
        (r"specificity,[\d.]+,[\d.]+,[\d.]+,", "specificity,,,,", "is empty without a reason"),
    ],
)
def test_a_value_that_cannot_be_is_found(damaged: Path, pattern: str, new: str, said: str) -> None:
    path = damaged / FOLDER / "metrics.csv"
    text, count = re.subn(pattern, new, path.read_text(), count=1)
    assert count
    path.write_text(text)
    problems = find_problems()
    assert any(said in problem and "metrics.csv, line" in problem for problem in problems["values in range"])


def test_a_decision_that_does_not_follow_from_its_score_is_found(damaged: Path) -> None:
    path = damaged / FOLDER / "predictions.csv"
    header, first, *others = path.read_text().splitlines()
    place = header.split(",").index("decision")
    values = first.split(",")
    values[place] = "1" if values[place] == "0" else "0"
    path.write_text("\n".join([header, ",".join(values), *others, ""]))
    problems = find_problems()
    assert problems["values in range"] == ["predictions.csv, line 2: decision does not follow from score and threshold"]
    assert all("count_" in problem for problem in problems["counts add up"])


def test_tables_that_disagree_are_found(damaged: Path) -> None:
    path = damaged / FOLDER / "experiments/few/results.csv"
    header, row = path.read_text().splitlines()
    values = row.split(",")
    values[header.split(",").index("image_ap")] = "0.123"
    path.write_text(f"{header}\n{','.join(values)}\n")
    (problem,) = find_problems()["tables agree"]
    assert problem.startswith("few/results.csv: image_ap of ")
    assert "is 0.123, in metrics.csv " in problem


@pytest.mark.parametrize(("name", "said"), [("bars.png", "cannot be opened"), ("bars.svg", "cannot be opened")])
def test_a_figure_that_is_cut_off_is_found(damaged: Path, name: str, said: str) -> None:
    path = damaged / FOLDER / "experiments/few/figures" / name
    path.write_bytes(path.read_bytes()[:500])
    (problem,) = find_problems()["figures can be opened"]
    assert problem.startswith(str(path.relative_to(damaged)))
    assert said in problem


def test_a_figure_without_its_numbers_is_found(damaged: Path) -> None:
    (damaged / FOLDER / "experiments/few/figures/bars.csv").unlink()
    problems = find_problems()
    assert problems["figures can be opened"] == [f"{FOLDER}/experiments/few/figures/bars.png has no .csv beside it"]
    assert problems["digests as in the manifest"] == [f"{FOLDER}/experiments/few/figures has changed"]


def test_an_error_in_the_log_is_found(damaged: Path) -> None:
    path = damaged / FOLDER / "run.log"
    path.write_text(path.read_text() + "    | error: the disk is full\n")
    assert find_problems()["last run without error"] == [f"{FOLDER}/run.log: error: the disk is full"]


def test_a_file_that_was_changed_is_found(damaged: Path) -> None:
    split = damaged / "results/splits/closed/weave/closed_split.csv"
    times = split.stat()
    text = split.read_text()
    split.write_text(text.replace("val", "lav", 1).replace("lav", "val", 1)[:-1] + " ")
    os.utime(split, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find_problems()["digests as in the manifest"] == [f"{split.relative_to(damaged)} has changed"]


def test_what_was_made_from_other_inputs_is_found(damaged: Path) -> None:
    manifest = damaged / FOLDER / "manifest.json"
    digest = read(damaged, "manifest.json")["artifacts"][SCORES]["sha256"]
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    problems = find_problems()
    assert problems["digests as in the manifest"] == [f"{SCORES} has changed"]
    assert any(f"was made from another {SCORES}" in problem for problem in problems["made from these inputs"])


def test_what_was_made_with_other_settings_is_found(damaged: Path) -> None:
    replace_once(damaged / "config.yaml", "quantile: 0.9", "quantile: 0.8")
    problems = find_problems()["up to date with the config"]
    assert len(problems) == 2
    assert all(
        re.fullmatch(r"results/thresholds/closed/\S+ was made with other settings: quantile was 0\.9, is 0\.8", problem)
        for problem in problems
    )


def test_an_unknown_study_is_refused_with_the_nearest_name(finished: Any) -> None:
    with chdir(finished.folder), pytest.raises(UserError, match=r"no config file here is of a study 'closd'.*'closed'"):
        find_study("closd")


def test_a_study_that_was_never_run_is_refused(
    make_checkout: MakeCheckout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chdir(make_checkout(tmp_path / "checkout", STUDY).folder):
        assert main(["check", "closed"]) == 1
    assert "results/studies/closed does not exist: run the study first" in capsys.readouterr().err
