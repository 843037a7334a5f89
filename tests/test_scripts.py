"""Every workflow script's `main`, one after the other on a tiny study, as the rules would call them."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.numpy import save_file

from patchshift.data.index import read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.detectors.bank import Bank
from patchshift.detectors.scores import read_scores, write_scores
from patchshift.errors import UserError
from patchshift.features.store import FeatureStore
from patchshift.plan import Study, analyses, exhibits, load_study, provenance
from patchshift.plan.cells import CLEAN, POOLS, Cell, Target
from patchshift.runtime import threads
from patchshift.runtime.files import digest_file, read_json

SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[1] / "workflow_scripts").glob("*.py"))

STUDY = """
study: tiny
question: Do all scripts fit together?
add:
  datasets:
    tiny:
      adapter: mvtec_ad
      categories: [casting, connector]
      generate: {train_good: 5, test_good: 2, test_per_defect: 2}
    strips: {adapter: ksdd2, categories: [surface], licence: as you like}
  pools: {both: [tiny]}
  splits: {half: {protocol: source_plan, train_share: 0.8, val_anomalous_share: 0.5, seed: 1}}
  domains:
    synthetic_half: {synthesis: {split: half, part: val, count: 2}}
  thresholds:
    f1_max_joined: {policy: f1_max, defects_from: synthetic_half}
  backbones:
    small: {source: scattering, image_size: 64, octaves: 2, orientations: 2, stride: 8}
    small_resnet: {source: torchvision, model: resnet18, weights: small.safetensors, layers: [layer2]}
  detectors: {quick: {method: patchcore, representation: {normalise: whiten, shrinkage: 0.5}, sampler: {share: 0.2}}}
select: {splits: [half], backbones: [small], detectors: [quick], thresholds: [f1_max]}
experiments:
  shifted:
    title: Clean and shifted
    train: [tiny/casting]
    target_domains: [clean, geometric_mild, geometric_moderate]
  pooled:
    title: One bank for both
    train: [pools/both]
  synthetic:
    title: Synthetic defects among those that set the threshold
    train: [tiny/casting]
    thresholds: [f1_max_joined]
"""


@pytest.fixture(scope="module", autouse=True)
def _restored_threads() -> Iterator[None]:
    """Scripts fix the number of threads of their process, which here is that of all tests."""
    environment, count = dict(os.environ), torch.get_num_threads()
    yield
    while threads._limits:
        threads._limits.pop().restore_original_limits()
    torch.set_num_threads(count)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def study(
    repository: Path,
    serve: Callable[..., Any],
    write_ksdd2: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Study]:
    """A checked study, one dataset of which is to be had from a server."""
    folder = tmp_path_factory.mktemp("study")
    archive = Path(shutil.make_archive(str(folder / "strips"), "zip", write_ksdd2(folder / "strips")))
    config = {**yaml.safe_load(STUDY), "catalog": str(repository / "configs" / "catalog.yaml")}
    with serve() as server:
        os.environ["NO_PROXY"] = "*"
        source = {
            "address": server.put("strips.zip", archive.read_bytes()),
            "checksum": f"sha256:{digest_file(archive)}",
        }
        config["add"]["datasets"]["strips"] |= source
        yield load_study(config, "tiny.yaml", ids=folder / "ids.json")


def run(script: str, **options: Any) -> None:
    """Call a script's `main` with `--name value ...` for each option."""
    arguments: list[str] = []
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    import_module(script).main(arguments)


def place(study: Study, target: Target) -> dict[str, str]:
    """Where the images of a target are."""
    folder = f"results/domains/{target.path}"
    if study.is_made(target.domain):
        return {"index": f"{folder}/index.csv", "root": folder}
    index = f"results/images/{target.dataset}/{target.category}.csv"
    return {"index": index, "root": study.image_root(target.dataset, target.category)}


def prepare_target(study: Study, target: Target) -> None:
    """Images, pack and features of a target."""
    images = f"results/domains/{target.path}"
    if study.is_made(target.domain):
        clean, spec = place(study, Target(target.dataset, target.category, CLEAN)), study.domain_spec(target.domain)
        if study.domain_split(target.domain):
            split = f"results/splits/{target.dataset}/{target.category}/half.csv"
            run("synthesize_defects", **clean, split=split, spec=spec, images=images)
        else:
            run("synthesize_shift", **clean, spec=spec, images=images)
    run("pack_images", **place(study, target), stage=1, pack=f"results/packs/{target.path}.h5")
    features, spec = f"results/features/{target.path}/small.h5", study.backbone_spec("small")
    run("extract_features", **place(study, target), weights_dir="none", spec=spec, stage=1, features=features)


def score(study: Study, cell: Cell, target: Target, scores: str, **options: Any) -> None:
    run(
        "score_images",
        bank=f"results/banks/{cell.bank.path}.h5",
        features=f"results/features/{target.path}/small.h5",
        **options,
        spec=study.score_spec(cell.bank.detector),
        stage=1,
        scores=scores,
    )


def calibrate(study: Study, cell: Cell, threshold: str, **common: Any) -> None:
    """A threshold, with the synthetic defects that its policy asks for."""
    for domain in study.defects_of(cell.threshold):
        target = Target(cell.calibration.dataset, cell.calibration.category, domain)
        prepare_target(study, target)
        scores = f"results/scores/{cell.bank.path}/on/{target.path}.h5"
        score(study, cell, target, scores)
        common |= {"defects_scores": scores, "defects_pack": f"results/packs/{target.path}.h5"}
    run(
        "calibrate_threshold",
        smoothing_sigma=4,
        **common,
        spec=study.threshold_spec(cell.threshold),
        threshold=threshold,
    )


def bring_crops(study: Study) -> None:
    """A dataset is fetched, and its training defects are cropped."""
    root, index, split = study.image_root("strips", "surface"), "results/images/strips/surface.csv", "official.csv"
    folder, receipt = study.dataset_folder("strips"), study.receipt("strips")
    run("fetch_dataset", dataset="strips", spec=study.fetch_spec("strips"), folder=folder, receipt=receipt)
    run("index_images", root=root, spec=study.dataset_spec("strips"), index=index)
    run("split_images", index=index, spec=study.split_spec("official"), split=split)
    spec = study.domain_spec("crops_official")
    run("crop_defects", index=index, split=split, root=root, spec=spec, images=CROPS)


def show(study: Study) -> None:
    """Cards, figures and the report."""
    for dataset in exhibits.card_datasets(study):
        run(
            "write_data_card",
            dataset=dataset,
            categories=exhibits.card_categories(study, dataset),
            splits=exhibits.card_splits(study, dataset),
            settings=study.card_spec(dataset),
            stage=1,
            json=f"{study.folder}/data_cards/{dataset}.json",
            html=f"{study.folder}/data_cards/{dataset}.html",
        )
    for dataset, category in exhibits.list_galleries(study):
        domains = exhibits.gallery_domains(study, dataset, category)
        packs = [f"results/packs/{dataset}/{category}/{domain}.h5" for domain in domains]
        run("plot_shifts", packs=packs, domains=domains, gallery=f"{study.folder}/shifts/{dataset}/{category}.png")
    tables = {name: f"{study.folder}/{name}.csv" for name in ("metrics", "predictions", "timings")}
    run("collect_study", plan=study.plan_spec(), **tables, table=f"{study.folder}/results.txt")
    words = iter(analyses.options(study))
    options = {name.removeprefix("--"): value for name, value in zip(words, words, strict=True)}
    for name in study.config.experiments:
        folder = f"{study.folder}/experiments/{name}"
        plan, results, costs = study.plan_spec(name), f"{folder}/results.csv", f"{folder}/costs.csv"
        run("collect_experiment", plan=plan, experiment=name, results=results, costs=costs)
        made = [f"{folder}/{table}" for table in analyses.EXPERIMENT_TABLES]
        run("analyse_experiment", **options, experiment=name, tables=made)
        run("plot_experiment", **options, experiment=name, figures=f"{folder}/figures")
    run("analyse_study", **options, tables=[f"{study.folder}/{table}" for table in analyses.STUDY_TABLES])
    run("plot_study", **options, figures=f"{study.folder}/figures")
    for table in exhibits.list_pool_tables(study):
        spec, name = study.evaluation_spec(), Path(table).parent.name
        run("compare_pools", plan=study.plan_spec(), experiment=name, folder=study.folder, spec=spec, pools=table)
    report = f"{study.folder}/report.html"
    run("write_report", **options, provenance=provenance.provenance_spec(study), report=report)
    run("write_pdf", **options, provenance=provenance.provenance_spec(study), pdf=f"{study.folder}/report.pdf")


def run_study(study: Study) -> None:
    """All stages of a study, in the current folder."""
    cells = study.all_cells()
    for dataset, category in sorted(study.used_categories()):
        root, index = study.image_root(dataset, category), f"results/images/{dataset}/{category}.csv"
        split = f"results/splits/{dataset}/{category}/half.csv"
        run("generate_dataset", category=category, spec=study.generator_spec(dataset), images=root)
        run("index_images", root=root, spec=study.dataset_spec(dataset), index=index)
        run("split_images", index=index, spec=study.split_spec("half"), split=split)
    for target in dict.fromkeys(target for cell in cells for target in (cell.target, cell.calibration)):
        prepare_target(study, target)
    for bank in dict.fromkeys(cell.bank for cell in cells):
        members = study.members(bank.training.dataset, bank.training.category)
        run(
            "fit_detector",
            members=[f"{dataset}/{category}" for dataset, category in members],
            features=[f"results/features/{dataset}/{category}/clean/small.h5" for dataset, category in members],
            splits=[f"results/splits/{dataset}/{category}/half.csv" for dataset, category in members],
            spec=study.fit_spec(bank.detector),
            seed=bank.seed,
            stage=1,
            bank=f"results/banks/{bank.path}.h5",
        )
    for cell in cells:
        common = {"scores": cell.scores, "pack": cell.pack, "split": cell.split, "stage": 1}
        threshold = f"results/thresholds/{cell.bank.path}/from/{cell.calibration.path}/{cell.threshold}.json"
        score(study, cell, cell.target, cell.scores, split=cell.split)
        if cell.calibration == cell.target:  # clean before shifted, in the order of the config
            calibrate(study, cell, threshold, **common)
        category = f"{cell.target.dataset}/{cell.target.category}"
        run("evaluate", **common, category=category, spec=study.evaluation_spec(), metrics=cell.metrics)
        run("decide", **common, spec=study.evaluation_spec(), threshold=threshold, decisions=cell.decisions)
    bring_crops(study)
    show(study)


@pytest.fixture(scope="module")
def runs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two runs of all stages, with the same libraries loaded: artifacts name their versions."""
    for script in SCRIPTS:
        import_module(script)
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    for folder in folders:
        with chdir(folder):
            run_study(study)
    return folders


@pytest.fixture(scope="module")
def finished(runs: list[Path]) -> Path:
    return runs[0]


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run that a test may damage, as current folder."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(autouse=True)
def _inside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "finished" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("finished"))


CASTING = Target("tiny", "casting", CLEAN)
BANK = "results/banks/tiny/casting/clean/half/small/quick/seed0.h5"
SPLIT = "results/splits/tiny/casting/half.csv"
FEATURES = "results/features/tiny/casting/clean/small.h5"
CROPS = "results/domains/strips/surface/crops_official"


def test_metrics_say_how_long_embeddings_are_and_how_many_an_image_has(runs: list[Path], study: Study) -> None:
    for cell in study.all_cells():
        metrics = read_json(runs[0] / cell.metrics)
        facts = metrics["facts"]
        assert (facts["feature_dim"], facts["patches_per_image"]) == (3 + 4 + 4, 8 * 8)
        bank = Bank.load(runs[0] / f"results/banks/{cell.bank.path}.h5")
        assert facts["bank_vectors"] == bank.model.size
        assert facts["bank_bytes"] >= bank.model.vectors.nbytes
        assert facts["covering_radius"] == bank.model.covering_radius > 0
        assert facts["search_recall"] == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        import_module(script).main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert str(import_module(script).__doc__).split("\n")[0].split()[0] in text
    assert "options:" in text


def test_running_again_elsewhere_gives_the_same_bytes(runs: list[Path]) -> None:
    first, second = (
        {
            path.relative_to(folder).as_posix(): digest_file(path)
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")  # what the index remembers of files' times
        }
        for folder in runs
    )
    assert first == second


def test_no_artifact_names_the_folder_it_was_made_in(finished: Path) -> None:
    named = [
        path.name for path in finished.rglob("*") if path.is_file() and str(finished).encode() in path.read_bytes()
    ]
    assert named == []


def test_all_images_are_indexed_split_packed_and_extracted(finished: Path, study: Study) -> None:
    for domain in ("clean", "geometric_mild", "geometric_moderate"):
        keys = [row.key for row in read_index(Path(place(study, Target("tiny", "casting", domain))["index"]))]
        assert len(keys) == 5 + 2 + 5 * 2
        assert list(read_split(Path(SPLIT)).parts) == keys
        with Pack(Path(f"results/packs/tiny/casting/{domain}.h5")) as pack:
            assert pack.images == keys
            assert pack.has_masks
        with FeatureStore(Path(f"results/features/tiny/casting/{domain}/small.h5")) as store:
            assert store.images == keys
            assert store.input_size == (64, 64)
            assert all(shape[:2] == (8, 8) for shape in store.layer_shapes.values())


def test_a_bank_keeps_its_share_of_the_patches_of_the_training_images(finished: Path) -> None:
    single, pooled = (Bank.load(Path(f"results/banks/{name}/clean/half/small/quick/seed0.h5")) for name in (
        "tiny/casting", f"{POOLS}/both",
    ))  # fmt: skip
    training = len(read_split(Path(SPLIT)).taken_for_good)
    assert single.model.size == round(0.2 * training * 8 * 8)
    assert pooled.model.size == pytest.approx(2 * single.model.size, abs=1)


def test_validation_and_test_images_are_scored_and_training_images_are_not(finished: Path, study: Study) -> None:
    split = read_split(Path(SPLIT))
    for cell in study.cells["shifted"]:
        scored = read_scores(Path(cell.scores))
        assert set(scored.images) == {*split.of("val"), *split.of("test")}
        assert (scored.scores.image_scores > 0).all()


def test_the_threshold_is_a_validation_score_and_decides_the_test_images(finished: Path, study: Study) -> None:
    split = read_split(Path(SPLIT))
    scored = read_scores(Path(study.cells["shifted"][0].scores))
    validation = dict(zip(scored.images, scored.scores.image_scores, strict=True))
    for cell in study.cells["shifted"]:
        content = read_json(Path(cell.decisions))
        assert np.float32(content["threshold"]) in [validation[key] for key in split.of("val")]
        assert [image["image"] for image in content["images"]] == split.of("test")
        assert all(image["decision"] == (image["score"] >= content["threshold"]) for image in content["images"])
        assert sum(content["counts"].values()) == len(split.of("test"))


def test_metrics_count_the_test_images_and_lie_in_their_range(finished: Path, study: Study) -> None:
    for cell in study.all_cells():
        content = read_json(Path(cell.metrics))
        assert (content["counts"]["normal"], content["counts"]["anomalous"]) == (2, 5)
        for name in ("image_auroc", "image_ap", "pixel_auroc", "pro"):
            estimate = content["metrics"][name]
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
        assert content["metrics"]["pixel_auroc"]["value"] > 0.6


def test_every_artifact_says_what_made_it_from_what(finished: Path, study: Study) -> None:
    cell = study.cells["shifted"][1]
    for path in (cell.metrics, cell.decisions):
        provenance = read_json(Path(path))["provenance"]
        assert provenance["inputs"]["scores"] == digest_file(Path(cell.scores))
        assert provenance["spec"] == json.loads(study.evaluation_spec())
    with FeatureStore(Path(FEATURES)) as store:
        assert store.provenance["spec"] == json.loads(study.backbone_spec("small"))


def test_tables_hold_every_cell_and_every_test_image(finished: Path, study: Study) -> None:
    folder = Path(study.folder)
    cells = study.all_cells()
    assert len(pd.read_csv(folder / "experiments/shifted/results.csv")) == len(study.cells["shifted"]) == 3
    assert len(pd.read_csv(folder / "predictions.csv")) == 7 * len(cells)
    metrics = pd.read_csv(folder / "metrics.csv")
    for cell in cells:
        rows = metrics[(metrics.target_domain == cell.target.domain) & (metrics.metric == "image_auroc")]
        rows = rows[(rows.train_dataset == cell.bank.training.dataset) & (rows.target_category == cell.target.category)]
        assert rows.value.tolist() == [read_json(Path(cell.metrics))["metrics"]["image_auroc"]["value"]]
    assert "One bank for both" in (folder / "results.txt").read_text()


def test_a_pools_bank_is_set_against_the_banks_of_its_categories(finished: Path, study: Study) -> None:
    pools = pd.read_csv(Path(study.folder, "experiments/pooled/pools.csv")).set_index("target_category")
    bank = Bank.load(Path(f"results/banks/{POOLS}/both/clean/half/small/quick/seed0.h5"))
    assert list(bank.members) == ["tiny/casting", "tiny/connector"]
    assert list(pools.index) == ["casting", "connector"]
    assert pools.bank_vectors.tolist() == [bank.model.size] * 2
    vectors = np.bincount(bank.model.members, minlength=2)
    assert pools.own_vector_share.tolist() == pytest.approx(list(vectors / bank.model.size))
    assert (pools.foreign_neighbours_normal < 0.5).all()  # most patches know their own kind
    assert pools.loss["casting"] == pytest.approx(pools.own_image_auroc["casting"] - pools.image_auroc["casting"])
    assert pools.undefined["connector"] == "the study has no bank of the target's category alone"
    assert [Path(table).parent.name for table in exhibits.list_pool_tables(study)] == ["pooled"]


def test_a_dataset_is_fetched_and_its_training_defects_are_cropped(finished: Path, study: Study) -> None:
    receipt = read_json(study.receipt("strips"))
    assert (receipt["origin"], receipt["licence"], receipt["files"]) == ("downloaded", "as you like", 2 * 2 * 9 + 1)
    crops = read_index(Path(CROPS, "index.csv"))
    split = read_split(Path("official.csv"))
    positives = [key for key in split.of("train") if key in split.anomalous]
    assert len(positives) == 4 - 1  # 30 % of four go to val
    assert [row.key for row in crops] == [f"{key}#crop0" for key in positives]
    assert all(row.label and (Path(CROPS) / row.mask).is_file() for row in crops)


def test_synthetic_defects_join_the_validation_images_of_a_threshold(finished: Path, study: Study) -> None:
    (cell,) = study.cells["synthetic"]
    folder = Path("results/thresholds", cell.bank.path, "from", cell.calibration.path)
    alone, joined = (read_json(folder / f"{name}.json") for name in ("f1_max", "f1_max_joined"))
    assert joined["normal"] == alone["normal"]
    assert joined["anomalous"] == alone["anomalous"] + 2 * 2  # two of each of two types
    assert {"defects_scores", "defects_pack"} <= joined["provenance"]["inputs"].keys()


def test_a_report_figures_and_cards_are_drawn(finished: Path, study: Study) -> None:
    experiments, shifts = Path(study.folder, "experiments"), Path(study.folder, "shifts")
    bars = [experiments / name / "figures/bars.png" for name in study.cells]
    for path in (*bars, experiments / "shifted/figures/severity_ladder.png", shifts / "tiny/casting.png"):
        with Image.open(path) as figure:
            assert min(figure.size) > 100
    assert [path.name for path in shifts.rglob("*.png")] == ["casting.png"]
    assert "Do all scripts fit together?" in Path(study.folder, "report.html").read_text(encoding="utf-8")
    assert "connector" in Path(study.folder, "data_cards/tiny.html").read_text(encoding="utf-8")
    assert read_json(Path(study.folder, "data_cards/tiny.json"))["dataset"] == "tiny"


# --- what a user can get wrong -------------------------------------------------------------------------------------


def extract(study: Study, backbone: str = "small", weights: Path = Path("weights")) -> None:
    spec = study.backbone_spec(backbone)
    run("extract_features", **place(study, CASTING), weights_dir=weights, spec=spec, stage=1, features="new.h5")


def test_images_that_changed_since_indexing_are_named(copied: Path, study: Study) -> None:
    root = Path(study.image_root("tiny", "casting"))
    (root / "train/good/001.png").write_bytes((root / "train/good/000.png").read_bytes())
    (root / "test/good/000.png").unlink()
    with pytest.raises(UserError) as caught:
        extract(study)
    message = str(caught.value)
    assert "2 files cannot be used" in message
    assert "train/good/001.png: changed since it was indexed; run again with --forcerun index_images" in message
    assert "test/good/000.png: cannot be read" in message
    with pytest.raises(UserError, match="changed since it was indexed"):
        run("pack_images", **place(study, CASTING), stage=1, pack="new.h5")
    assert not Path("new.h5").exists()
    assert not list(copied.rglob("*.partial"))


def test_a_missing_weight_file_is_named(copied: Path, study: Study) -> None:
    with pytest.raises(UserError, match=r"weights/small\.safetensors"):
        extract(study, "small_resnet")


def test_a_weight_file_of_another_model_is_refused(copied: Path, study: Study) -> None:
    path = Path("weights/small.safetensors")
    path.parent.mkdir()
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, path)
    with pytest.raises(UserError, match=r"small\.safetensors does not fit resnet18: it lacks bn1\.weight"):
        extract(study, "small_resnet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        extract(study, "small_resnet")
    assert not Path("new.h5").exists()


@pytest.mark.parametrize("artifact", [BANK, FEATURES, SPLIT])
def test_a_damaged_artifact_is_named_with_the_remedy(copied: Path, study: Study, artifact: str) -> None:
    Path(artifact).write_bytes(Path(artifact).read_bytes()[:200])
    with pytest.raises(UserError, match=f"{artifact} is .*delete it and run again"):
        run(
            "score_images",
            bank=BANK,
            features=FEATURES,
            split=SPLIT,
            spec=study.score_spec("quick"),
            stage=1,
            scores="new.h5",
        )
    assert not Path("new.h5").exists()


def test_features_of_other_images_than_the_split_names_are_refused(copied: Path, study: Study) -> None:
    text = Path(SPLIT).read_text()
    Path(SPLIT).write_text(text + "train/good/new.png,train,normal\n")
    with pytest.raises(UserError, match=r"has no features of train/good/new\.png \(1 in all\): the images changed"):
        run(
            "fit_detector",
            members="tiny/casting",
            features=FEATURES,
            splits=SPLIT,
            spec=study.fit_spec("quick"),
            seed=0,
            stage=1,
            bank="new.h5",
        )


def test_identical_images_in_different_parts_are_reported(
    copied: Path, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(study.image_root("tiny", "casting"))
    shutil.copy(root / "train/good/000.png", root / "test/good/000.png")
    run("index_images", root=root, spec=study.dataset_spec("tiny"), index="new.csv")
    with caplog.at_level(logging.WARNING):
        run("split_images", index="new.csv", spec=study.split_spec("half"), split="split.csv")
    (message,) = caplog.messages
    assert message.startswith("identical images in different parts of the split: train/good/000.png (")
    assert message.endswith("), test/good/000.png (test)")


def test_without_validation_images_decisions_are_undefined_with_the_reason(copied: Path, study: Study) -> None:
    cell = study.cells["shifted"][0]
    common = {"scores": "new.h5", "pack": cell.pack, "split": "new.csv", "stage": 1}
    run("split_images", index=place(study, CASTING)["index"], spec=study.split_spec("published"), split="new.csv")
    run(
        "score_images",
        bank=BANK,
        features=FEATURES,
        split="new.csv",
        spec=study.score_spec("quick"),
        stage=1,
        scores="new.h5",
    )
    run(
        "calibrate_threshold",
        smoothing_sigma=4,
        **common,
        spec=study.threshold_spec("f1_max"),
        threshold="threshold.json",
    )
    assert read_json(Path("threshold.json"))["undefined"] == "no validation image"
    run("decide", **common, spec=study.evaluation_spec(), threshold="threshold.json", decisions="decisions.json")
    content = read_json(Path("decisions.json"))
    assert content["metrics"]["f1"]["undefined"] == "no validation image"
    assert {image["decision"] for image in content["images"]} == {None}


def test_scores_that_are_not_finite_are_null_and_leave_decisions_undefined(copied: Path, study: Study) -> None:
    cell = study.cells["shifted"][0]
    threshold = f"results/thresholds/{cell.bank.path}/from/{cell.calibration.path}/{cell.threshold}.json"
    found, test = read_scores(Path(cell.scores)), read_split(Path(SPLIT)).of("test")
    found.scores.image_scores[found.images.index(test[1])] = np.nan
    write_scores(Path("new.h5"), found.scores, found.images, found.input_size, found.provenance)
    common = {"scores": "new.h5", "pack": cell.pack, "split": SPLIT, "stage": 1}
    run("decide", **common, spec=study.evaluation_spec(), threshold=threshold, decisions="decisions.json")
    content = read_json(Path("decisions.json"))
    assert content["metrics"]["f1"]["undefined"] == f"the score of 1 of {len(test)} images is not finite"
    assert [number for number, image in enumerate(content["images"]) if image["score"] is None] == [1]
    assert [number for number, image in enumerate(content["images"]) if image["decision"] is None] == [1]
