"""The whole workflow through Snakemake, on a study small enough for a test: results, reruns, interruption."""

import os
import re
import shutil
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.checkout import TINY_STUDY

TURNED = "results/domains/tiny/weave/turned"
OF_TURNED = (
    "results/packs/tiny/weave/turned.h5",
    "results/features/tiny/weave/turned/tiny_scattering.h5",
)
METRICS = "results/studies/tiny/metrics.csv"
TEMPORARY = ("--config", "temp_domains=true")
MakeCheckout = Callable[[Path, str], Any]


@pytest.fixture(scope="module")
def checkout(finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return finished_tiny.copy(tmp_path_factory.mktemp("workflow") / "checkout")


@pytest.fixture(scope="module")
def lean(finished_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The study whose shifted images are made anew and deleted after use, in a run that was killed and resumed."""
    lean = finished_tiny.copy(tmp_path_factory.mktemp("lean") / "checkout")
    pack, features = (lean.folder / path for path in OF_TURNED)
    pack.unlink()
    for made in (lean.folder / TURNED, features.parent):
        shutil.rmtree(made)
    asked = ("--cores", "1", *TEMPORARY, *OF_TURNED, METRICS)
    run = lean.start(*asked, start_new_session=True)
    while not features.parent.exists():  # the job that makes the features makes their folder
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    for path in (lean.folder / "results").rglob("*.h5"):
        if not path.name.startswith("."):
            h5py.File(path, "r").close()
    lean.run("--unlock")
    resumed = lean.run(*asked)
    assert resumed.returncode == 0, resumed.stderr
    return lean


def test_a_study_leaves_its_tables_figures_report_and_summary(checkout: Any) -> None:
    study = checkout.folder / "results/studies/tiny"
    for name in ("metrics.csv", "predictions.csv", "timings.csv", "report.html", "summary.json", "run.log"):
        assert (study / name).stat().st_size > 0, name
    assert (study / "experiments/shifted/results.csv").read_text().count("\n") == 3
    for name in ("experiments/shifted/figures/bars.png", "shifts/tiny/weave.png"):
        assert (study / name).read_bytes().startswith(b"\x89PNG")
    assert (study / "data_cards/tiny.html").stat().st_size > 0


def test_a_second_run_has_nothing_to_do(checkout: Any) -> None:
    run = checkout.run("--cores", "2", "all")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stderr


FROM_ANALYSE = {"analyse_experiment", "analyse_study", "plot_experiment", "plot_study", "write_report", "write_pdf"}
FROM_COLLECT = {"collect_experiment", "collect_study", *FROM_ANALYSE}
FROM_DECIDE = {"decide", *FROM_COLLECT}
FROM_CALIBRATE = {"calibrate_threshold", *FROM_DECIDE}
FROM_SCORE = {"score_images", "evaluate", *FROM_CALIBRATE}
FROM_FIT = {"fit_detector", *FROM_SCORE}
FROM_SPLIT = {"split_images", "write_data_card", *FROM_FIT}


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("share: 0.3}", "share: 0.3, train_contamination: 0.2}", FROM_SPLIT),
        ("share: 0.1", "share: 0.2", FROM_FIT),
        ("{method: max}", "{method: top_share, share: 0.1}", FROM_SCORE),
        ("quantile: 0.9", "quantile: 0.8", FROM_CALIBRATE),
        ("question: Does", "question: How does", {"write_report", "write_pdf"}),
        ("add:\n", "analysis: {cases: 2}\nadd:\n", FROM_ANALYSE),
    ],
)
def test_an_edit_reruns_only_what_depends_on_it(checkout: Any, old: str, new: str, rules: set[str]) -> None:
    checkout.edit("config.yaml", old, new)
    try:
        assert checkout.plan_rules() == rules
    finally:
        (checkout.folder / "config.yaml").write_text(TINY_STUDY)


DELIVERABLES = """\
deliverables:
  results.csv: {columns: {category: target_category, auroc: image_auroc, ms: inference_ms, timestamp: timestamp}}
  thresholds.json: {thresholds: true}
  comparison.png: {experiments: [shifted], figure: bars}
"""


def test_deliverables_are_added_to_a_finished_study_one_file_a_job(checkout: Any) -> None:
    folder = "results/studies/tiny/deliverables"
    assert not (checkout.folder / folder).exists()
    try:
        checkout.edit("config.yaml", "add:\n", f"{DELIVERABLES}add:\n")
        names = ("results.csv", "thresholds.json", "comparison.png")
        assert checkout.plan() == {("write_deliverables", f"{folder}/{name}") for name in names}
        run = checkout.run("--cores", "2", "all")
        assert run.returncode == 0, run.stderr
        rows = (checkout.folder / folder / "results.csv").read_text().splitlines()
        assert rows[0] == "category,auroc,auroc_low,auroc_high,ms,timestamp"
        assert len(rows) == 1 + 2
        assert all(rows[1].split(","))
        checkout.edit("config.yaml", "ms: inference_ms", "ms: scoring_ms")
        assert checkout.plan() == {("write_deliverables", f"{folder}/results.csv")}
        other = checkout.run("--dry-run", f"{folder}/other.csv")
        assert other.returncode == 1
        assert "MissingRuleException" in other.stdout + other.stderr
    finally:
        (checkout.folder / "config.yaml").write_text(TINY_STUDY)


def test_another_severity_makes_that_domain_anew_and_no_other(checkout: Any) -> None:
    checkout.edit("config.yaml", "moderate", "1.5")
    try:
        plan = checkout.plan()
    finally:
        (checkout.folder / "config.yaml").write_text(TINY_STUDY)
    of_images = {"synthesize_shift", "pack_images", "extract_features"}
    assert {rule for rule, _ in plan} == {*of_images, "score_images", "evaluate", "plot_shifts", *FROM_DECIDE}
    assert {output for rule, output in plan if rule in of_images} == {
        TURNED,
        *OF_TURNED,
    }


def test_a_killed_run_resumes_to_the_same_results_on_another_number_of_cores(checkout: Any, lean: Any) -> None:
    assert not list((lean.folder / "results").rglob(".*.partial"))
    for pattern in ("studies/tiny/metrics.csv", "studies/tiny/predictions.csv", "features/**/*.h5", "banks/**/*.h5"):
        expected = sorted((checkout.folder / "results").glob(pattern))
        assert expected
        for path in expected:
            assert (lean.folder / path.relative_to(checkout.folder)).read_bytes() == path.read_bytes(), path


def test_temporary_domains_are_gone_when_all_is_done_and_are_not_missed(lean: Any) -> None:
    assert not (lean.folder / TURNED).exists()
    run = lean.run("--cores", "2", *TEMPORARY, *OF_TURNED, METRICS)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stderr


def test_a_domain_that_is_made_again_on_another_number_of_cores_has_the_same_bytes(
    checkout: Any, lean: Any, tmp_path: Path
) -> None:
    other = lean.copy(tmp_path / "other")
    assert other.run("--cores", "1", *TEMPORARY, TURNED).returncode == 0
    expected, made = (read_files(each.folder / TURNED) for each in (checkout, other))
    assert len(expected) == 1 + 13 + 5  # index, images, masks
    assert made == expected


def read_files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("[!.]*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_missing_data_is_named_before_any_job_starts(checkout: Any) -> None:
    run = checkout.run("--cores", "1", "--configfile", "configs/mtd.yaml", "all")
    assert run.returncode == 1
    assert "dataset 'mtd': folder data/mtd does not exist" in run.stderr
    assert "weight file weights/resnet18-f37072fd.pth does not exist" in run.stderr
    assert not (checkout.folder / "results/images/mtd").exists()
    assert '"status": "failed"' in (checkout.folder / "results/studies/mtd/summary.json").read_text()


def test_mistakes_in_a_config_are_reported_together_without_a_traceback(
    make_checkout: MakeCheckout, tmp_path: Path
) -> None:
    study = TINY_STUDY.replace("[tiny_split]", "[tiny_splot]").replace("title", "tilte")
    run = make_checkout(tmp_path / "checkout", study).run("--cores", "1", "all")
    assert run.returncode == 1
    assert "'tiny_splot' is not in splits (did you mean 'tiny_split'?)" in run.stderr
    assert "experiments.shifted.tilte: unknown key (did you mean 'title'?)" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("inspection", "message"),
    [
        ("", "study 'tiny' does not look inside its features: add `inspection: {}` to its config for these figures"),
        ("inspection: {}\n", "study 'tiny' does not look inside tiny/weave of backbone 'resnet18', only inside"),
    ],
)
def test_a_figure_that_the_study_does_not_make_is_refused_in_one_line(
    make_checkout: MakeCheckout, tmp_path: Path, inspection: str, message: str
) -> None:
    figure = "results/studies/tiny/inspections/tiny/weave/resnet18/patch_map.png"
    run = make_checkout(tmp_path / "checkout", TINY_STUDY + inspection).run("--cores", "1", "--dry-run", figure)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in run.stdout + run.stderr


def test_heatmaps_are_drawn_where_asked_for(checkout: Any, tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "copy")
    assert "render_heatmaps" not in copy.plan_rules("all", "--forceall")
    run = copy.run("--cores", "2", "heatmaps")
    assert run.returncode == 0, run.stderr
    tables = sorted((copy.folder / "results/studies/tiny/heatmaps").rglob("images.csv"))
    assert [table.parts[-7] for table in tables] == ["clean", "turned"]
    for table in tables:
        names = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
        assert names
        for kind in ("heatmap", "overlay"):
            pictures = {
                path.relative_to(table.parent / kind).as_posix() for path in table.parent.rglob(f"{kind}/**/*.png")
            }
            assert pictures == {f"{name}.png" for name in names}
    assert copy.plan("heatmaps") == set()


def test_snakemakes_own_report_has_figures_tables_and_pages(checkout: Any, tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "copy")
    run = copy.run("--report", "report.zip")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(copy.folder / "report.zip") as packed:
        names = {Path(name).name for name in packed.namelist()}
        (page,) = (name for name in packed.namelist() if name.count("/") == 1 and name.endswith(".html"))
        text = packed.read(page).decode()
    assert {"results.csv", "summary.csv", "metrics.csv", "robustness.csv", "curves.png", "weave.png"} <= names
    for category in ("Report", "Tables", "Data cards", "Experiments", "Study", "Shifts"):
        assert f'"{category}": {{' in text
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.?https?:", text)
