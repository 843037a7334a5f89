"""A pool that crosses datasets, fitted once and scored on categories that it has never seen, from bank to tables."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from patchshift.app.models import ExportedModel
from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.scores import read_scores, write_scores
from patchshift.errors import UserError
from patchshift.features.store import FeatureWriter
from patchshift.plan import Study, load_study, predictions
from patchshift.plan.cells import Cell
from patchshift.report.timings import timings
from patchshift.runtime.files import digest_file, read_json

STUDY = """
study: transfer
question: Does a bank carry over?
add:
  datasets:
    first: {adapter: mvtec_ad, categories: [bolt, nut]}
    second: {adapter: mvtec_ad, categories: [cloth]}
    third: {adapter: mvtec_ad, categories: [pill]}
  pools: {source: [first, second]}
  backbones: {waves: {source: scattering, image_size: 64, octaves: 3, stride: 8}}
  splits: {plan: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.3}}
  detectors:
    whole: {method: patchcore, representation: {neighbourhood: none}, sampler: {share: 0.25}, threads: 1}
    quota:
      method: patchcore
      representation: {neighbourhood: none}
      sampler: {share: 0.25, per_category: true}
      threads: 1
select: {splits: [plan], backbones: [waves], detectors: [whole, quota], thresholds: [f1_max]}
experiments:
  own: {title: A bank each, train: [first, second, third], detectors: [whole]}
  pool: {title: One bank for all, train: [pools/source], targets: [first, second, third]}
  recalibrated: {title: Thresholds from the target, train: [pools/source], targets: [third], calibrate_on: target}
  zero_shot: {title: Thresholds from the pool, train: [pools/source], targets: [third]}
  crossed: {title: Thresholds from the source, train: [first/bolt], targets: [third/pill], detectors: [whole]}
"""

PARTS = {f"{number}.png": part for number, part in enumerate(["train"] * 4 + ["val"] * 4 + ["test"] * 6)}
ANOMALOUS = frozenset(["6.png", "7.png", "11.png", "12.png", "13.png"])
CENTRES = {"first/bolt": 0, "first/nut": 4, "second/cloth": 8, "third/pill": 5}
SPREAD = {"first/bolt": 1.0, "first/nut": 0.1, "second/cloth": 0.1, "third/pill": 0.1}


def write_category(study: Study, category: str) -> None:
    """Features about the category's centre, a defect far out in one patch; its split and its pack."""
    random = np.random.default_rng(CENTRES[category])
    values = random.normal(CENTRES[category], SPREAD[category], (len(PARTS), 4, 4, 3))
    folder, rows = Path("images", category), []
    folder.mkdir(parents=True)
    for row, name in enumerate(PARTS):
        mask = np.zeros((32, 32), np.uint8)
        mask[:8, :8] = 255
        Image.new("RGB", (32, 32)).save(folder / name)
        Image.fromarray(mask).save(folder / f"mask_{name}")
        label = int(name in ANOMALOUS)
        values[row, 0, 0] += 3 * label
        rows.append(ImageRow(name, f"mask_{name}" * label, "", label, "spot" * label))
    write_split(Path(f"results/splits/{category}/plan.csv"), Split(PARTS, ANOMALOUS))
    write_pack(Path(f"results/packs/{category}/clean.h5"), add_digests(rows, folder), folder, {})
    features = Path(f"results/features/{category}/clean/waves.h5")
    features.parent.mkdir(parents=True)
    provenance = {"spec": json.loads(study.backbone_spec("waves")), "inputs": {}}
    with FeatureWriter(features, list(PARTS), (64, 64), provenance) as writer:
        writer.write(0, {"layer": values.astype(np.float16)})


def run(script: str, **options: Any) -> None:
    """Call a script's `main` with `--name value ...` for each option."""
    module, arguments = import_module(script), []
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "limit_threads", lambda count: None, raising=False)  # they would be those of all tests
        module.main(arguments)


def calibration_files(cell: Cell) -> dict[str, list[str]]:
    """What a threshold is calibrated on, as the rule says it: member by member."""
    places = cell.calibrated_on
    return {
        "scores": [f"results/scores/{cell.bank.path}/on/{place.path}.h5" for place in places],
        "pack": [f"results/packs/{place.path}.h5" for place in places],
        "split": [f"results/splits/{place.dataset}/{place.category}/plan.csv" for place in places],
    }


def run_study(study: Study) -> None:
    """All that is behind features, packs and splits, each artifact once."""
    for category in CENTRES:
        write_category(study, category)
    cells = study.all_cells()
    for bank in dict.fromkeys(cell.bank for cell in cells):
        members = ["/".join(pair) for pair in study.members(bank.training.dataset, bank.training.category)]
        run(
            "fit_detector",
            members=members,
            features=[f"results/features/{member}/clean/waves.h5" for member in members],
            splits=[f"results/splits/{member}/plan.csv" for member in members],
            **{"spec": study.fit_spec(bank.detector), "seed": bank.seed, "stage": 1},
            bank=f"results/banks/{bank.path}.h5",
        )
    for bank, target in dict.fromkeys(
        (cell.bank, each) for cell in cells for each in (cell.target, *cell.calibrated_on)
    ):
        run(
            "score_images",
            bank=f"results/banks/{bank.path}.h5",
            features=f"results/features/{target.path}/waves.h5",
            split=f"results/splits/{target.dataset}/{target.category}/plan.csv",
            **{"spec": study.score_spec(bank.detector), "stage": 1},
            scores=f"results/scores/{bank.path}/on/{target.path}.h5",
        )
    protocol = json.dumps(json.loads(study.evaluation_spec()) | {"bootstrap_resamples": 100})
    for cell in cells:
        threshold, policy = cell.threshold_file, study.threshold_spec(cell.threshold)
        run(
            "calibrate_threshold",
            **calibration_files(cell),
            spec=policy,
            smoothing_sigma=4,
            stage=1,
            threshold=threshold,
        )
        common = {"scores": cell.scores, "pack": cell.pack, "split": cell.split, "stage": 1, "spec": protocol}
        run("evaluate", **common, category=f"{cell.target.dataset}/{cell.target.category}", metrics=cell.metrics)
        run("decide", **common, threshold=threshold, decisions=cell.decisions)
    plan, tables = study.plan_spec(), {name: f"{study.folder}/{name}.csv" for name in TABLES}
    run("collect_study", plan=plan, **tables, table=f"{study.folder}/results.txt")
    for name in ("pool", "recalibrated"):
        pools = f"{study.folder}/experiments/{name}/pools.csv"
        run("compare_pools", plan=plan, experiment=name, folder=study.folder, spec=protocol, pools=pools)


TABLES = ("metrics", "predictions", "timings")


@pytest.fixture(scope="module")
def finished(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """The folder of a finished study, and the study."""
    folder = tmp_path_factory.mktemp("transfer")
    config = {**yaml.safe_load(STUDY), "catalog": str(repository / "configs" / "catalog.yaml")}
    study = load_study(config, "transfer.yaml", ids=folder / "ids.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_study(study)
    return folder, study


@pytest.fixture
def study(finished: tuple[Path, Study], monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study, in its finished folder."""
    monkeypatch.chdir(finished[0])
    return finished[1]


def read_pools(study: Study, experiment: str, detector: str) -> pd.DataFrame:
    table = pd.read_csv(Path(study.folder, "experiments", experiment, "pools.csv"))
    table.index = pd.Index(table.target_dataset + "/" + table.target_category)
    return table[table.detector == detector]


def test_a_pool_of_two_datasets_is_fitted_once_and_scored_frozen_on_a_third(study: Study) -> None:
    cells = [cell for name in ("pool", "recalibrated") for cell in study.cells[name] if cell.bank.detector == "whole"]
    assert {cell.bank.path for cell in cells} == {"pools/source/clean/plan/waves/whole/seed0"}
    bank = Path(f"results/banks/{cells[0].bank.path}.h5")
    assert list(Bank.load(bank).members) == ["first/bolt", "first/nut", "second/cloth"]
    for cell in cells:
        provenance = read_scores(Path(cell.scores)).provenance
        assert provenance["inputs"]["bank"] == digest_file(bank)


def test_thresholds_come_from_the_validation_images_that_the_study_names(study: Study) -> None:
    (source,) = study.cells["crossed"]
    (target,) = (cell for cell in study.cells["recalibrated"] if cell.bank.detector == "whole")
    assert (source.calibration.path, target.calibration.path) == ("first/bolt/clean", "third/pill/clean")
    for cell in (source, target):
        scored = read_scores(Path(f"results/scores/{cell.bank.path}/on/{cell.calibration.path}.h5"))
        validation = [
            score for name, score in zip(scored.images, scored.scores.image_scores, strict=True) if PARTS[name] == "val"
        ]
        assert np.float32(read_json(Path(cell.decisions))["threshold"]) in validation
    assert read_json(Path(source.decisions))["metrics"]["specificity"]["value"] == 0  # all are strange to the bolt


def find_cell(study: Study, experiment: str) -> Cell:
    (cell,) = (cell for cell in study.cells[experiment] if cell.bank.detector == "whole")
    return cell


def test_a_frozen_pool_decides_strange_images_by_the_validation_images_of_all_its_members(study: Study) -> None:
    cell = find_cell(study, "zero_shot")
    assert (cell.target.path, cell.calibration.path) == ("third/pill/clean", "pools/source/clean")
    calibration = read_json(Path(cell.threshold_file))
    assert (calibration["normal"], calibration["anomalous"]) == (3 * 2, 3 * 2)
    scores: list[tuple[np.float32, bool]] = []
    for path in calibration_files(cell)["scores"]:
        scored = read_scores(Path(path))
        found = zip(scored.images, scored.scores.image_scores, strict=True)
        scores += [(score, name in ANOMALOUS) for name, score in found if PARTS[name] == "val"]
    best = max(score for score, _ in scores if f1(scores, score) == max(f1(scores, each) for each, _ in scores))
    assert np.float32(calibration["threshold"]) == best
    assert calibration["provenance"]["inputs"]["pack"] == [
        digest_file(Path(path)) for path in calibration_files(cell)["pack"]
    ]
    assert np.float32(read_json(Path(cell.decisions))["threshold"]) == best
    assert best != np.float32(read_json(Path(find_cell(study, "recalibrated").threshold_file))["threshold"])


def f1(scores: list[tuple[np.float32, bool]], threshold: np.float32) -> float:
    """F1 of calling defective what is at or above a threshold."""
    found = sum(anomalous for score, anomalous in scores if score >= threshold)
    called = sum(score >= threshold for score, _ in scores)
    return 2 * found / (called + sum(anomalous for _, anomalous in scores))


def test_test_images_of_members_have_no_part_in_the_pools_threshold(study: Study, tmp_path: Path) -> None:
    cell = find_cell(study, "zero_shot")
    files = calibration_files(cell)
    for number, path in enumerate(map(Path, files["scores"])):
        scored = read_scores(path)
        unseen = [PARTS[name] != "val" for name in scored.images]
        scored.scores.image_scores[unseen] = 1e6
        files["scores"][number] = str(tmp_path / f"{number}.h5")
        write_scores(tmp_path / f"{number}.h5", scored.scores, scored.images, scored.input_size, scored.provenance)
    options = {"spec": study.threshold_spec("f1_max"), "smoothing_sigma": 4, "stage": 1}
    run("calibrate_threshold", **files, **options, threshold=tmp_path / "threshold.json")
    kept, found = (read_json(path) for path in (Path(cell.threshold_file), tmp_path / "threshold.json"))
    assert kept.pop("provenance") != found.pop("provenance")
    assert found == kept


def test_as_many_files_are_given_of_each_kind(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = calibration_files(find_cell(study, "zero_shot"))
    options = {"spec": study.threshold_spec("f1_max"), "smoothing_sigma": 4, "stage": 1, "threshold": "none.json"}
    for wrong, message in (
        ({"pack": files["pack"][:2]}, "--scores, --pack and --split belong together: as many of each"),
        (
            {"defects_scores": files["scores"]},
            "--defects-scores and --defects-pack belong together: none, or as many as --split",
        ),
        ({"defects_scores": "a.h5", "defects_pack": "a.h5"}, "none, or as many as --split"),
    ):
        with pytest.raises(SystemExit):
            run("calibrate_threshold", **{**files, **wrong}, **options)
        assert message in capsys.readouterr().err
    assert not Path("none.json").exists()


def export(study: Study, cell: Cell, **others: Any) -> ExportedModel:
    """The exported model of a cell's bank and threshold."""
    run(
        "export_model",
        **{**calibration_files(cell), "threshold": cell.threshold_file, **others},
        bank=f"results/banks/{cell.bank.path}.h5",
        features=[f"results/features/{member.path}/waves.h5" for member in cell.bank.fitted_on],
        backbone=predictions.export_spec(study, "waves"),
        **{"domain": study.domain_spec("clean"), "spec": study.evaluation_spec(), "stage": 1, "model": "model.h5"},
    )
    return ExportedModel.load(Path("model.h5"))


def test_a_pools_bank_is_exported_with_the_threshold_and_the_normal_scores_of_all_members(study: Study) -> None:
    cell = find_cell(study, "zero_shot")
    model = export(study, cell)
    assert model.calibration.threshold == read_json(Path(cell.threshold_file))["threshold"]
    assert len(model.normal_scores) == model.calibration.normal == 3 * 2
    assert model.ignore is None
    assert len(model.provenance["inputs"]["scores"]) == 3
    member = next(cell for cell in study.cells["pool"] if cell.bank == find_cell(study, "zero_shot").bank)
    assert len(export(study, member).normal_scores) == 2  # its own validation images alone


def test_a_model_is_not_made_of_other_members_than_its_threshold(study: Study) -> None:
    cell = find_cell(study, "zero_shot")
    for files in (
        {name: paths[:2] for name, paths in calibration_files(cell).items()},
        {name: paths[::-1] for name, paths in calibration_files(cell).items()},
    ):
        with pytest.raises(UserError, match=r"f1_max\.json was not made from results/scores/.*, results/scores/"):
            export(study, cell, **files)


def ignore_corner(cell: Cell, members: int, folder: Path) -> dict[str, list[str]]:
    """The files of a calibration as if the first so many members ignored the lower right corner of each image."""
    files = calibration_files(cell)
    for number, place in enumerate(cell.calibrated_on[:members]):
        images = Path("images", place.dataset, place.category)
        corner = np.zeros((32, 32), np.uint8)
        corner[24:, 24:] = 255
        Image.fromarray(corner).save(images / "corner.png")
        rows = [
            ImageRow(name, f"mask_{name}" * (name in ANOMALOUS), "", int(name in ANOMALOUS), "", ignore="corner.png")
            for name in PARTS
        ]
        scores, pack = (folder / f"{number}_{kind}.h5" for kind in ("scores", "pack"))
        write_pack(pack, add_digests(rows, images), images, {})
        scored = read_scores(Path(files["scores"][number]))
        provenance = {"inputs": {**scored.provenance["inputs"], "pack": digest_file(pack)}}
        write_scores(scores, scored.scores, scored.images, scored.input_size, provenance)
        files["scores"][number], files["pack"][number] = str(scores), str(pack)
    return files


def test_a_model_looks_past_what_all_members_ignore_and_is_refused_where_only_some_do(
    study: Study, tmp_path: Path
) -> None:
    cell = find_cell(study, "zero_shot")
    options = {"spec": study.threshold_spec("f1_max"), "smoothing_sigma": 4, "stage": 1}
    files, threshold = ignore_corner(cell, 3, tmp_path), tmp_path / "threshold.json"
    run("calibrate_threshold", **files, **options, threshold=threshold)
    ignore = export(study, cell, **files, threshold=threshold).ignore
    assert ignore is not None
    assert (ignore.shape, np.argwhere(ignore).tolist()) == ((4, 4), [[3, 3]])
    files = ignore_corner(cell, 2, tmp_path)
    run("calibrate_threshold", **files, **options, threshold=threshold)
    with pytest.raises(UserError, match="images ignore different regions"):
        export(study, cell, **files, threshold=threshold)


def test_timings_list_the_scores_of_each_member_that_a_pools_threshold_comes_from(study: Study, tmp_path: Path) -> None:
    cell = find_cell(study, "zero_shot")
    jobs = [("extract_features", f"{member}/clean/waves") for member in ("third/pill", *list(CENTRES)[:3])]
    jobs += [("score_images", f"{cell.bank.path}/on/{member}/clean") for member in ("third/pill", *list(CENTRES)[:3])]
    jobs += [("calibrate_threshold", f"{cell.bank.path}/from/pools/source/clean/f1_max")]
    for stage, artifact in jobs:
        benchmark = tmp_path / stage / f"{artifact}.tsv"
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text("s\tcpu_time\tmax_rss\n1\t1\t1\n")
    found = timings([cell], benchmarks=tmp_path, logs=tmp_path)
    assert list(zip(found.stage, found.artifact, strict=True)) == jobs


def test_whole_pool_coreset_and_quota_divide_the_vectors_otherwise(study: Study) -> None:
    whole, quota = (read_pools(study, "pool", name) for name in ("whole", "quota"))
    assert whole.bank_vectors.tolist() == quota.bank_vectors.tolist() == [3 * 16] * 4  # a quarter of 3 x 4 x 16 patches
    assert quota.own_vector_share.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert whole.own_vector_share["first/bolt"] > 2 / 3  # whose patches vary most
    assert whole.own_vector_share.sum() == pytest.approx(1)


def test_shares_of_foreign_neighbours_follow_the_categories_distance(study: Study) -> None:
    pools = read_pools(study, "pool", "quota")
    assert pools.is_member.tolist() == [1, 1, 1, 0]
    assert pools.foreign_neighbours_normal[["first/nut", "second/cloth"]].tolist() == [0, 0]
    # A defect of the nut, 3 further out, lies with the cloth: one patch of sixteen.
    assert pools.foreign_neighbours_anomalous["first/nut"] == pytest.approx(1 / 16)
    assert pools.loc["third/pill", ["foreign_neighbours_normal", "own_vector_share"]].tolist() == [1, 0]


def test_the_loss_is_against_the_targets_own_bank_also_where_the_pool_has_it_not(study: Study) -> None:
    pools = read_pools(study, "pool", "whole")
    assert pools.undefined.isna().all()
    assert (pools.own_image_auroc == 1).all()
    np.testing.assert_allclose(pools.loss, pools.own_image_auroc - pools.image_auroc)
    assert (pools.loss_low <= pools.loss).all()
    assert (pools.loss <= pools.loss_high).all()
    assert pools.loss["third/pill"] > 0  # its defects end where the cloth is


def test_metrics_hold_the_vectors_of_each_category(study: Study) -> None:
    metrics = pd.read_csv(Path(study.folder, "metrics.csv"))
    pooled = metrics[(metrics.train_category == "source") & (metrics.detector == "quota")]
    vectors = pooled[pooled.metric.str.startswith("bank_vectors/")]
    assert set(vectors.metric) == {f"bank_vectors/{name}" for name in CENTRES if name != "third/pill"}
    assert set(vectors.value) == {16}
