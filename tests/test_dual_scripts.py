"""A dual bank on its way through the scripts: training defects, calibrated combination, decisions, tables."""

from collections.abc import Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from patchshift.data.regions import read_defective_patches
from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.dual import DualBank
from patchshift.detectors.scores import read_scores
from patchshift.evaluation.image_metrics import image_auroc, image_average_precision
from patchshift.plan import Study, load_study, training_inputs
from patchshift.plan.cells import Cell
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import read_json

STUDY = """
study: tiny
question: What do known defects add?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [weave]
      generate: {train_good: 5, test_good: 4, test_per_defect: 3}
  splits:
    known:
      {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.34, train_anomalous_share: 0.34, seed: 1}
  backbones:
    small: {source: scattering, image_size: 64, octaves: 2, orientations: 2, stride: 8, threads: 1}
  detectors:
    dual: {method: patchcore_dual, representation: {normalise: standardise}, combination: log_ratio}
    weighed: {method: patchcore_dual, representation: {normalise: standardise}, combination: calibrated}
select: {splits: [known], backbones: [small], detectors: [dual, weighed], thresholds: [f1_max]}
experiments:
  dual: {title: Dual banks, train: [tiny/weave]}
"""
TARGET = "tiny/weave/clean"
PACK = f"results/packs/{TARGET}.h5"
INDEX = "results/images/tiny/weave.csv"
PROTOCOL = EvaluationSpec(bootstrap_resamples=100).canonical()
FEATURES = f"results/features/{TARGET}/small.h5"
SPLIT = "results/splits/tiny/weave/known.csv"


def run(script: str, **options: Any) -> None:
    arguments: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)] if values else []
    import_module(script).main(arguments)


def prepare(study: Study) -> None:
    """Images, split, pack and features."""
    root, index = study.image_root("tiny", "weave"), INDEX
    run("generate_dataset", category="weave", spec=study.generator_spec("tiny"), images=root)
    run("index_images", root=root, spec=study.dataset_spec("tiny"), index=index)
    run("split_images", index=index, spec=study.split_spec("known"), split=SPLIT)
    run("pack_images", index=index, root=root, stage=1, pack=PACK)
    spec = study.backbone_spec("small")
    run("extract_features", index=index, root=root, weights_dir="none", spec=spec, stage=1, features=FEATURES)


def judge(study: Study, cell: Cell) -> None:
    """All that becomes of a cell's bank."""
    detector, bank = cell.bank.detector, f"results/banks/{cell.bank.path}.h5"
    threshold = f"results/thresholds/{cell.bank.path}/from/{TARGET}/f1_max.json"
    run(
        "fit_detector",
        members="tiny/weave",
        features=FEATURES,
        splits=SPLIT,
        packs=[PACK] * training_inputs.takes_training_defects(study, detector),
        indexes=[INDEX] * training_inputs.takes_training_defects(study, detector),
        spec=study.fit_spec(detector),
        seed=0,
        stage=1,
        bank=bank,
    )
    run(
        "score_images", bank=bank, features=FEATURES, split=SPLIT, spec=study.score_spec(detector), stage=1,
        scores=cell.scores,
    )  # fmt: skip
    common = {"scores": cell.scores, "pack": PACK, "split": SPLIT, "stage": 1}
    run("calibrate_threshold", smoothing_sigma=4, **common, spec=study.threshold_spec("f1_max"), threshold=threshold)
    run("evaluate", **common, spec=PROTOCOL, metrics=cell.metrics)
    run("decide", **common, spec=PROTOCOL, threshold=threshold, decisions=cell.decisions)


@pytest.fixture(scope="module")
def study(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    ids = tmp_path_factory.mktemp("study") / "ids.json"
    config = {**yaml.safe_load(STUDY), "catalog": str(repository / "configs/catalog.yaml")}
    return load_study(config, "tiny.yaml", ids=ids)


@pytest.fixture(scope="module", autouse=True)
def _finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, chdir(tmp_path_factory.mktemp("run")):
        for script in ("fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide"):
            patch.setattr(import_module(script), "limit_threads", lambda count: None)  # would be that of all tests
        prepare(study)
        for cell in study.all_cells():
            judge(study, cell)
        results = "results/experiment.csv"
        run("collect_experiment", plan=study.plan_spec("dual"), experiment="dual", results=results, costs="costs.csv")
        tables = {name: f"{name}.csv" for name in ("metrics", "predictions", "timings")}
        run("collect_study", plan=study.plan_spec(), **tables, table="results.txt")
        yield


@pytest.fixture
def cells(study: Study) -> dict[str, Cell]:
    """Detector -> its cell."""
    return {cell.bank.detector: cell for cell in study.all_cells()}


def bank_of(cell: Cell) -> Bank:
    return Bank.load(Path(f"results/banks/{cell.bank.path}.h5"))


def threshold_of(cell: Cell) -> dict[str, Any]:
    content: dict[str, Any] = read_json(Path(f"results/thresholds/{cell.bank.path}/from/{TARGET}/f1_max.json"))
    return content


def test_the_positive_bank_holds_a_tenth_of_the_patches_under_the_masks_of_training_defects(
    cells: dict[str, Cell],
) -> None:
    split = read_split(Path(SPLIT))
    known = [key for key in split.of("train") if key in split.anomalous]
    assert known
    marked = int(read_defective_patches(Path(PACK), known, (8, 8)).sum())
    bank = bank_of(cells["dual"])
    assert isinstance(bank.model, DualBank)
    assert bank.model.positive is not None
    assert bank.model.positive.size == max(1, int(0.1 * marked))
    assert bank.model.negative.size == max(1, int(0.01 * len(split.taken_for_good) * 8 * 8))


def test_scores_keep_both_distances_and_metrics_the_size_of_the_positive_bank(cells: dict[str, Cell]) -> None:
    dual = read_scores(Path(cells["dual"].scores)).scores
    expected = np.log((dual.parts["negative"] + 1e-6) / (dual.parts["positive"] + 1e-6))
    np.testing.assert_allclose(dual.maps, expected, atol=1e-5)
    model = bank_of(cells["dual"]).model
    assert isinstance(model, DualBank)
    assert model.positive is not None
    assert read_json(Path(cells["dual"].metrics))["facts"]["positive_vectors"] == model.positive.size


def test_thresholds_name_the_weights_of_a_calibrated_combination_alone(cells: dict[str, Cell]) -> None:
    assert threshold_of(cells["dual"])["combination"] is None
    weights = threshold_of(cells["weighed"])["combination"]
    assert set(weights) == {"intercept", "negative", "positive"}
    assert all(np.isfinite(weight) and weight for weight in weights.values())


def test_calibrated_decisions_and_ranking_are_of_log_odds(cells: dict[str, Cell]) -> None:
    cell, weights = cells["weighed"], threshold_of(cells["weighed"])["combination"]
    content, scored = read_json(Path(cell.decisions)), read_scores(Path(cell.scores))
    images = content["images"]
    rows = [scored.images.index(image["image"]) for image in images]
    logs = [np.log(scored.scores.parts[name][rows].astype(float) + 1e-6) for name in ("negative", "positive")]
    maps = weights["intercept"] + weights["negative"] * logs[0] + weights["positive"] * logs[1]
    scores = np.array([image["score"] for image in images])
    np.testing.assert_allclose(scores, maps.max(axis=(1, 2)), rtol=1e-5, atol=1e-5)
    assert [image["decision"] for image in images] == [int(score >= content["threshold"]) for score in scores]
    labels = np.array([image["label"] for image in images]) == 1
    # image AP is average precision, not the AUC, which the code of the source kept under that name
    assert content["ranking"]["image_auroc"]["value"] == image_auroc(labels, scores)
    assert content["ranking"]["image_ap"]["value"] == image_average_precision(labels, scores)
    assert "ranking" not in read_json(Path(cells["dual"].decisions))
    unranked, ranked = (read_json(Path(cells[name].metrics)) for name in ("weighed", "dual"))
    assert {next(iter(metric)) for metric in unranked["metrics"].values()} == {"undefined"}
    assert unranked["counts"] == ranked["counts"]


def test_tables_take_the_ranking_of_calibrated_detectors_from_their_decisions(cells: dict[str, Cell]) -> None:
    results, metrics = pd.read_csv("results/experiment.csv"), pd.read_csv("metrics.csv", keep_default_na=False)
    for name, path in (("dual", cells["dual"].metrics), ("weighed", cells["weighed"].decisions)):
        content = read_json(Path(path))
        ranking = content.get("ranking", content["metrics"])
        row, tidy = results[results.detector == name].iloc[0], metrics[metrics.detector == name]
        for metric in ("image_auroc", "image_ap", "pixel_auroc", "pro"):
            assert row[metric] == ranking[metric]["value"]
            values = tidy[tidy.metric == metric]
            assert values.value.astype(float).tolist() == [ranking[metric]["value"]]
            assert values.policy.tolist() == ["" if name == "dual" else "f1_max"]


def test_image_ap_is_average_precision_not_the_area_under_the_roc_curve() -> None:
    labels, scores = np.array([True, False, False, True]), np.array([4.0, 3.0, 2.0, 1.0])
    assert image_average_precision(labels, scores) == (1 / 1 + 2 / 4) / 2
    assert image_auroc(labels, scores) == 0.5


def test_calibration_without_masks_leaves_scores_and_ranking_undefined_with_a_reason(
    study: Study, cells: dict[str, Cell], tmp_path: Path
) -> None:
    rows = Path("results/images/tiny/weave.csv").read_text().splitlines()
    header, *lines = [row.split(",") for row in rows]
    column = header.index("mask")
    without = [",".join([*line[:column], "", *line[column + 1 :]]) for line in lines]
    (tmp_path / "index.csv").write_text("\n".join([rows[0], *without]) + "\n")
    pack, threshold, decisions = (tmp_path / name for name in ("pack.h5", "threshold.json", "decisions.json"))
    run("pack_images", index=tmp_path / "index.csv", root=study.image_root("tiny", "weave"), stage=1, pack=pack)
    common = {"scores": cells["weighed"].scores, "pack": pack, "split": SPLIT, "stage": 1}
    run("calibrate_threshold", smoothing_sigma=4, **common, spec=study.threshold_spec("f1_max"), threshold=threshold)
    run("decide", **common, spec=PROTOCOL, threshold=threshold, decisions=decisions)
    content = read_json(decisions)
    assert (read_json(threshold)["threshold"], read_json(threshold)["combination"]) == (None, None)
    for undefined in (content["ranking"]["image_auroc"], content["metrics"]["f1"]):
        assert "no validation image has a mask that marks a defect" in undefined["undefined"]
    assert {(image["score"], image["decision"]) for image in content["images"]} == {(None, None)}
