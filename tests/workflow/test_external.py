"""Scores of another method through Snakemake, beside a fitted detector: with maps and without."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STUDY = """\
study: beside
question: Is the other method better?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 6, test_good: 4, test_per_defect: 2}
  backbones:
    tiny_scattering: {source: scattering, image_size: 64, octaves: 3, orientations: 2, stride: 8, threads: 1}
  detectors:
    fitted: {method: patchcore, sampler: {share: 0.1}, threads: 1}
    mapped: {method: external, folder: scores/mapped, weights: in-house}
    bare: {method: external, folder: scores/bare}
  thresholds:
    tiny_quantile: {policy: normal_quantile, quantile: 0.9}
select:
  splits: [source_plan]
  backbones: [tiny_scattering, resnet18]
  detectors: [fitted, mapped, bare]
  thresholds: [tiny_quantile]
experiments:
  beside:
    title: Beside each other
    train: [tiny]
    include:
      - {detector: fitted, backbone: tiny_scattering}
      - {detector: [mapped, bare], backbone: resnet18}
"""

INDEX = "results/images/tiny/weave.csv"
REPORT = "results/studies/beside/report.html"
TABLES = {name: f"data/scores/{name}/tiny/weave/clean.csv" for name in ("mapped", "bare")}


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cell(folder: str, detector: str, *end: str) -> str:
    return "/".join(
        [f"results/{folder}/tiny/weave/clean/source_plan/resnet18/{detector}/seed0/on/tiny/weave/clean", *end]
    )


@pytest.fixture(scope="module")
def checkout(make_checkout: Callable[[Path, str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run. The other method gives defects higher scores, and maps of 8 x 8 that stand out in the middle."""
    checkout = make_checkout(tmp_path_factory.mktemp("workflow") / "checkout", STUDY)
    indexed = checkout.run("--cores", "1", INDEX)
    assert indexed.returncode == 0, indexed.stderr
    missing = checkout.run("--cores", "1", "all")
    assert missing.returncode == 1
    for name, table in TABLES.items():
        assert f"detector '{name}': scores {table} do not exist" in missing.stderr
    assert "resnet18" not in missing.stderr  # no weights are asked for
    random = np.random.default_rng(0)
    for name, table in TABLES.items():
        path = checkout.folder / table
        (path.parent / "maps").mkdir(parents=True)
        lines = ["image,score" + ",map" * (name == "mapped")]
        for number, row in enumerate(read_table(checkout.folder / INDEX)):
            score = random.random() + 0.5 * int(row["label"])
            values = random.random((8, 8)).astype(np.float32)
            values[2:6, 2:6] += int(row["label"])
            np.save(path.parent / "maps" / f"{number}.npy", values)
            lines.append(f"{row['image']},{score}" + f",maps/{number}.npy" * (name == "mapped"))
        path.write_text("\n".join(lines) + "\n")
    run = checkout.run("--cores", "2", REPORT)
    assert run.returncode == 0, run.stderr
    return checkout


def test_external_detectors_are_evaluated_beside_a_fitted_one(checkout: Any) -> None:
    rows = read_table(checkout.folder / "results/studies/beside/experiments/beside/results.csv")
    assert [(row["detector"], row["weights"]) for row in rows] == [
        ("fitted", "none"), ("mapped", "in-house"), ("bare", "external"),
    ]  # fmt: skip
    for row in rows:
        assert 0 <= float(row["image_auroc"]) <= 1
        assert row["f1"]
    assert [bool(row["pixel_auroc"]) for row in rows] == [True, True, False]


def test_without_maps_pixel_metrics_say_why_there_are_none(checkout: Any) -> None:
    metrics = json.loads((checkout.folder / f"{cell('metrics', 'bare')}.json").read_text())["metrics"]
    for name in ("pixel_auroc", "pixel_ap", "pro"):
        assert metrics[name] == {"undefined": "the method gave no maps"}


def test_decisions_and_predictions_keep_the_scores_of_the_table(checkout: Any) -> None:
    table = {row["image"]: np.float32(row["score"]) for row in read_table(checkout.folder / TABLES["bare"])}
    predictions = read_table(checkout.folder / "results/studies/beside/predictions.csv")
    rows = [row for row in predictions if row["detector"] == "bare"]
    calibration = json.loads(
        (checkout.folder / cell("thresholds", "bare", "tiny_quantile.json").replace("/on/", "/from/")).read_text()
    )
    assert len(rows) == 4 + 5 * 2
    for row in rows:
        assert np.float32(row["score"]) == table[row["image"]]
        assert row["decision"] == str(int(float(row["score"]) >= calibration["threshold"]))
        expected = (float(row["score"]) - calibration["location"]) / calibration["scale"]
        assert float(row["normalised_score"]) == pytest.approx(expected)


def test_no_feature_is_extracted_and_no_bank_fitted_for_them(checkout: Any) -> None:
    results = checkout.folder / "results"
    assert [path.name for path in results.glob("features/**/*.h5")] == ["tiny_scattering.h5"]
    assert {path.parent.name for path in results.glob("banks/**/*.h5")} == {"fitted"}
    assert '"successful": 1' in (results / "studies/beside/summary.json").read_text()


@pytest.mark.parametrize("path", [cell("banks", "bare").partition("/on/")[0], cell("exports", "bare", "tiny_quantile")])
def test_a_bank_or_an_export_of_them_is_asked_for_in_vain(checkout: Any, path: str) -> None:
    target = f"{path.replace('/on/', '/from/')}.h5"
    run = checkout.run("--cores", "1", target)
    assert run.returncode == 1
    assert f"No rule to produce {target}" in run.stdout + run.stderr
    assert "AssertionError" not in run.stdout + run.stderr


def test_the_report_shows_the_other_method_without_a_heatmap_where_it_gave_no_maps(checkout: Any) -> None:
    page = (checkout.folder / REPORT).read_text()
    assert "bare" in page
    assert 'src=""' not in page


@pytest.mark.parametrize("file", ["clean.csv", "maps/3.npy"])
def test_a_table_or_map_that_is_edited_is_read_again(checkout: Any, file: str) -> None:
    path = checkout.folder / "data/scores/mapped/tiny/weave" / file
    content = path.read_bytes()
    path.write_bytes(content.replace(b"image,", b"image ,"))
    try:
        plan = checkout.plan(REPORT)
    finally:
        path.write_bytes(content)
    assert {job for job in plan if job[0] in ("import_scores", "score_images")} == {
        ("import_scores", f"{cell('scores', 'mapped')}.h5")
    }
