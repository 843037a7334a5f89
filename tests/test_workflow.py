"""The whole workflow through Snakemake, on a study small enough for a test: results, reruns, interruption."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).parents[1]
PARTS = ["Snakefile", "rules", "workflow_scripts", "configs", "envs", "profiles"]
STUDY = """\
study: tiny
question: Does everything fit together?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 6, test_good: 4, test_per_defect: 2}
  backbones:
    tiny_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    tiny_patchcore:
      method: patchcore
      representation: {normalise: standardise}
      sampler: {share: 0.1}
      image_score: {method: max}
      threads: 1
  thresholds:
    tiny_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [source_plan]
  backbones: [tiny_scattering]
  detectors: [tiny_patchcore]
  thresholds: [tiny_quantile]
experiments:
  shifted:
    title: Clean bank on shifted images
    train: [tiny]
    target_domains: [clean, geometric_moderate]
"""


def make_checkout(folder: Path, study: str = STUDY) -> Path:
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / part, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    (folder / "config.yaml").write_text(study)
    return folder


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("snakemake")), *arguments]


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(folder / "workflow_scripts")}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


def planned_rules(folder: Path) -> set[str]:
    """The rules that a run would start, from the table of a dry run."""
    output = snakemake(folder, "--dry-run", "all").stdout
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total", "all"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkout(tmp_path_factory.mktemp("workflow") / "checkout")
    run = snakemake(folder, "--cores", "2", "all")
    assert run.returncode == 0, run.stderr
    assert "Report: results/studies/tiny/report.html" in run.stdout
    return folder


def test_a_study_leaves_its_tables_figures_report_and_summary(checkout: Path) -> None:
    study = checkout / "results/studies/tiny"
    for name in ("metrics.csv", "predictions.csv", "timings.csv", "report.html", "summary.json", "run.log"):
        assert (study / name).stat().st_size > 0, name
    assert (study / "experiments/shifted/results.csv").read_text().count("\n") == 3
    assert (study / "experiments/shifted/bars.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_has_nothing_to_do(checkout: Path) -> None:
    run = snakemake(checkout, "--cores", "2", "all")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stderr


FROM_COLLECT = {"collect_experiment", "collect_study", "plot_experiment", "write_report"}
FROM_DECIDE = {"decide", *FROM_COLLECT}
FROM_CALIBRATE = {"calibrate_threshold", *FROM_DECIDE}
FROM_SCORE = {"score_images", "evaluate", *FROM_CALIBRATE}
FROM_FIT = {"fit_detector", *FROM_SCORE}


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("share: 0.1", "share: 0.2", FROM_FIT),
        ("{method: max}", "{method: top_share, share: 0.1}", FROM_SCORE),
        ("quantile: 0.9", "quantile: 0.8", FROM_CALIBRATE),
        ("question: Does", "question: How does", {"write_report"}),
    ],
)
def test_an_edit_reruns_only_what_depends_on_it(checkout: Path, old: str, new: str, rules: set[str]) -> None:
    config = checkout / "config.yaml"
    config.write_text(STUDY.replace(old, new))
    try:
        assert planned_rules(checkout) == rules
    finally:
        config.write_text(STUDY)


def test_a_killed_run_resumes_to_the_same_results_on_another_number_of_cores(checkout: Path, tmp_path: Path) -> None:
    other = make_checkout(tmp_path / "other")
    run = subprocess.Popen(command("--cores", "1", "all"), cwd=other, env=environment(other), start_new_session=True)
    features = other / "results/features/tiny/weave/clean"
    while not features.exists():  # the job that makes the features makes their folder
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    for path in (other / "results").rglob("*.h5"):
        if not path.name.startswith("."):
            h5py.File(path, "r").close()

    snakemake(other, "--unlock")
    resumed = snakemake(other, "--cores", "1", "all")
    assert resumed.returncode == 0, resumed.stderr
    assert not list((other / "results").rglob(".*.partial"))
    for pattern in ("studies/tiny/metrics.csv", "studies/tiny/predictions.csv", "features/**/*.h5", "banks/**/*.h5"):
        expected = sorted((checkout / "results").glob(pattern))
        assert expected
        for path in expected:
            assert (other / path.relative_to(checkout)).read_bytes() == path.read_bytes(), path


def test_missing_data_is_named_before_any_job_starts(checkout: Path) -> None:
    run = snakemake(checkout, "--cores", "1", "--configfile", "configs/mtd.yaml", "all")
    assert run.returncode == 1
    assert "dataset 'mtd': folder data/mtd does not exist" in run.stderr
    assert "weight file weights/resnet18_layer3.safetensors does not exist" in run.stderr
    assert not (checkout / "results/images/mtd").exists()
    assert '"status": "failed"' in (checkout / "results/studies/mtd/summary.json").read_text()


def test_mistakes_in_a_config_are_reported_together_without_a_traceback(tmp_path: Path) -> None:
    folder = make_checkout(
        tmp_path / "checkout", STUDY.replace("[source_plan]", "[source_plam]").replace("title", "tilte")
    )
    run = snakemake(folder, "--cores", "1", "all")
    assert run.returncode == 1
    assert "'source_plam' is not in splits (did you mean 'source_plan'?)" in run.stderr
    assert "experiments.shifted.tilte: unknown key (did you mean 'title'?)" in run.stderr
    assert "Traceback" not in run.stderr
