"""The data stages through Snakemake: a download, a natural shift, ignored regions, synthetic defects, crops."""

import csv
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from patchshift.data.index import read_index
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.detectors.scores import read_scores
from patchshift.runtime.files import digest_file, read_json

REPORT = "results/studies/parts/report.html"
"""What the study is run to: all of it but the PDF."""

LICENCE = "for tests, and for nothing else"
STUDY = """\
study: parts
question: Do all data stages fit together?
data_dir: mydata
add:
  datasets:
    parts:
      adapter: folder
      categories: [plate]
      address: ADDRESS
      checksum: sha256:CHECKSUM
      licence: for tests, and for nothing else
      ignore_mask: frame.png
    first: {adapter: mvtec_ad, categories: [casting], generate: {train_good: 5, test_good: 2, test_per_defect: 1}}
    second:
      adapter: mvtec_ad
      categories: [casting]
      generate: {train_good: 5, test_good: 2, test_per_defect: 1, seed: 1}
  aliases: {second_camera: {first: second}}
  domains: {synthetic_normals_only: {synthesis: {split: normals_only, part: val, count: 2}}}
  thresholds: {f1_max_made: {policy: f1_max, defects_from: synthetic_normals_only}}
  backbones:
    tiny_scattering: {source: scattering, image_size: 64, octaves: 2, orientations: 2, stride: 8, threads: 1}
  detectors:
    tiny_patchcore: {method: patchcore, representation: {normalise: standardise}, sampler: {share: 0.2}, threads: 1}
select: {splits: [normals_only], backbones: [tiny_scattering], detectors: [tiny_patchcore], thresholds: [normal_p95]}
experiments:
  plates:
    title: A threshold without any defect seen
    train: [parts]
    thresholds: [f1_max_made]
  cameras:
    title: Another camera, no adaptation
    train: [first]
    target_domains: [clean, second_camera]
    calibrate_on: training
  adapted:
    title: Another camera, adapted
    train: [first]
    train_domains: [second_camera]
"""
ACCEPT = ("--config", "accept_licence=true")
BANK = "normals_only/tiny_scattering/tiny_patchcore/seed0"
CROPS = "results/domains/ksdd2/surface/crops_official"
CROP_FEATURES = "results/features/ksdd2/surface/crops_official/tiny_scattering.h5"
INDEX = "results/images/parts/plate.csv"
WIDTH = 40  # pixels; 8 patches of 5
REGION = 20  # pixels from the left; what is further right is ignored


def write_parts(root: Path) -> Path:
    """Good and scratched plates; a lamp is mirrored in the frame around the scratched ones."""
    random = np.random.default_rng(0)
    for number in range(16):
        scratched = number >= 12
        pixels, mask = random.integers(60, 120, (30, WIDTH, 3), np.uint8), np.zeros((30, WIDTH), np.uint8)
        if scratched:
            mask[10:16, 5:12] = 255
            pixels[mask > 0] = 170
            pixels[5:25, WIDTH - 6 :] = 255
            save(mask, root / f"masks/scratch/{number:03d}.png")
        save(pixels, root / ("defect/scratch" if scratched else "good") / f"{number:03d}.png")
    frame = np.zeros((30, WIDTH), np.uint8)
    frame[:, REGION:] = 255
    save(frame, root / "frame.png")
    return root


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@dataclass(frozen=True)
class Finished:
    """A study that was run without consent and then with it, and what the first run had left."""

    checkout: Any
    server: Any
    refused: Any
    left_by_refused: list[str]
    accepted: Any

    @property
    def folder(self) -> Path:
        return Path(self.checkout.folder)


@pytest.fixture(scope="module")
def finished(
    make_checkout: Callable[[Path, str], Any],
    serve: Callable[..., Any],
    write_ksdd2: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("data_stages")
    write_parts(folder / "archive/parts-1.0")
    archive = Path(shutil.make_archive(str(folder / "parts"), "zip", folder / "archive")).read_bytes()
    with serve() as server:
        address, checksum = server.put("parts.zip", archive), hashlib.sha256(archive).hexdigest()
        study = STUDY.replace("ADDRESS", address).replace("CHECKSUM", checksum)
        checkout = make_checkout(folder / "checkout", study)
        write_ksdd2(checkout.folder / "mydata/ksdd2")
        refused = checkout.run("--cores", "2", REPORT)
        found = [*checkout.folder.glob("mydata/*"), *checkout.folder.glob("results/logs/*")]
        left = [path.name for path in found] + [each.path for each in server.served]
        accepted = checkout.run("--cores", "2", *ACCEPT, REPORT)
        yield Finished(checkout, server, refused, left, accepted)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Any:
    """A copy of the finished study that a test may change."""
    return finished.checkout.copy(tmp_path / "copy")


def scores(folder: Path, bank: str, target: str) -> Any:
    return read_scores(folder / f"results/scores/{bank}/clean/{BANK}/on/{target}.h5")


def results(folder: Path, experiment: str) -> list[dict[str, str]]:
    with (folder / f"results/studies/parts/experiments/{experiment}/results.csv").open() as file:
        return list(csv.DictReader(file))


def test_nothing_is_downloaded_or_run_before_the_licence_is_accepted(finished: Finished) -> None:
    assert finished.refused.returncode == 1
    message = " ".join(finished.refused.stderr.split())
    assert f"dataset 'parts': folder mydata/parts does not exist. Its licence: {LICENCE}. Read it" in message
    assert "set `accept_licence: true` (or --config accept_licence=true) to download it from http://" in message
    assert "Traceback" not in message
    assert finished.left_by_refused == ["ksdd2"]


def test_an_accepted_licence_is_shown_before_the_first_job_and_the_study_runs_to_its_report(finished: Finished) -> None:
    run = finished.accepted
    assert run.returncode == 0, run.stderr
    shown = run.stderr.index(f"downloading dataset 'parts' to mydata/parts; its licence, as you accept it: {LICENCE}")
    assert shown < run.stderr.index("[ 1/")
    assert f"Report: {REPORT}" in run.stdout
    assert [each.path for each in finished.server.served] == ["parts.zip"]
    receipt = read_json(finished.folder / "mydata/parts.receipt.json")
    assert (receipt["origin"], receipt["licence"], receipt["accepted"]) == ("downloaded", LICENCE, True)
    assert len(read_index(finished.folder / INDEX)) == 16


def test_a_second_run_needs_no_consent_and_has_nothing_to_do(finished: Finished) -> None:
    run = finished.checkout.run("--cores", "2", REPORT)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stderr


def test_an_edited_licence_or_mirror_reaches_only_cards_and_report(copied: Any) -> None:
    copied.edit("config.yaml", LICENCE, "another")
    copied.edit("config.yaml", "ignore_mask", 'mirrors: [{address: "kaggle:someone/parts"}]\n      ignore_mask')
    copied.edit("config.yaml", "data_dir", "accept_licence: true\ndata_dir")
    assert copied.plan(REPORT) == {
        ("write_data_card", "results/studies/parts/data_cards/parts.json"),
        ("write_report", REPORT),
    }


def test_an_image_that_comes_to_a_downloaded_folder_is_indexed_and_nothing_is_downloaded_again(
    finished: Finished, copied: Any
) -> None:
    data, receipt = copied.folder / "mydata/parts", copied.folder / "mydata/parts.receipt.json"
    shutil.copy(data / "good/000.png", data / "good/new.png")
    assert copied.plan(INDEX) == {("index_images", INDEX)}
    receipt.unlink()
    run = copied.run("--cores", "1", INDEX)
    assert run.returncode == 0, run.stderr
    assert "good/new.png" in {row.image for row in read_index(copied.folder / INDEX)}
    assert not receipt.exists()
    assert len(finished.server.served) == 1


def test_a_downloaded_folder_that_is_gone_is_not_downloaded_again_unasked(finished: Finished, copied: Any) -> None:
    shutil.rmtree(copied.folder / "mydata/parts")
    run = copied.run("--cores", "1", *ACCEPT, REPORT)
    assert run.returncode == 1
    assert "dataset 'parts': folder mydata/parts does not exist. It was downloaded once" in run.stderr
    assert "delete mydata/parts.receipt.json to download it again, or bring it back" in run.stderr
    assert len(finished.server.served) == 1


def test_an_ignore_mask_keeps_image_scores_inside_the_region_of_interest(finished: Finished) -> None:
    found = scores(finished.folder, "parts/plate", "parts/plate/clean")
    inside = found.scores.maps[:, :, : 8 * REGION // WIDTH].max((1, 2))
    np.testing.assert_array_equal(found.scores.image_scores, inside)
    everywhere = found.scores.maps.max((1, 2))
    scratched = np.array([image.startswith("defect/") for image in found.images])
    assert scratched.sum() == 4
    assert (everywhere[scratched] > inside[scratched]).all()  # the lamp is the brightest of all
    provenance = found.provenance["inputs"]
    assert provenance["pack"] == digest_file(finished.folder / "results/packs/parts/plate/clean.h5")
    assert "pack" not in scores(finished.folder, "first/casting", "first/casting/clean").provenance["inputs"]


def test_without_its_ignore_mask_a_dataset_is_indexed_anew(copied: Any) -> None:
    copied.edit("config.yaml", "ignore_mask: frame.png", "masks: optional")
    plan = copied.plan(REPORT)
    of_parts = {rule for rule, output in plan if "/parts/plate" in output}
    assert {"index_images", "split_images", "pack_images", "synthesize_defects", "extract_features"} <= of_parts
    assert {"fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide"} <= of_parts
    assert not [output for _, output in plan if "casting" in output]
    assert "fetch_dataset" not in {rule for rule, _ in plan}


def test_a_threshold_from_synthetic_defects_sees_neither_defects_nor_test_images(finished: Finished) -> None:
    folder = finished.folder
    split = read_split(folder / "results/splits/parts/plate/normals_only.csv")
    assert not split.anomalous & set(split.of("val"))
    place = f"parts/plate/clean/{BANK}"
    threshold = read_json(folder / f"results/thresholds/{place}/from/parts/plate/clean/f1_max_made.json")
    assert (threshold["normal"], threshold["anomalous"]) == (len(split.of("val")), 2 * 2)
    domain = "parts/plate/synthetic_normals_only"
    made = scores(folder, "parts/plate", domain)
    assert {image.partition("#")[0] for image in made.images} <= set(split.of("val"))
    inputs = threshold["provenance"]["inputs"]
    assert inputs["defects_scores"] == [digest_file(folder / f"results/scores/{place}/on/{domain}.h5")]
    assert inputs["defects_pack"] == [digest_file(folder / f"results/packs/{domain}.h5")]
    with Pack(folder / f"results/packs/{domain}.h5") as pack:
        assert pack.images == made.images
    clean = scores(folder, "parts/plate", "parts/plate/clean")
    validation = [score for image, score in pairs(clean) if image in split.of("val")]
    assert np.float32(threshold["threshold"]) in [*validation, *(score for _, score in pairs(made))]
    decisions = read_json(
        folder / f"results/decisions/{place}/on/parts/plate/clean/from/parts/plate/clean/f1_max_made.json"
    )
    assert [image["image"] for image in decisions["images"]] == split.of("test")
    assert {image["decision"] for image in decisions["images"]} <= {0, 1}


def pairs(found: Any) -> list[tuple[str, Any]]:
    return list(zip(found.images, found.scores.image_scores, strict=True))


def test_a_natural_shift_is_scored_on_the_other_camera_at_the_first_ones_threshold(finished: Finished) -> None:
    for image in ("train/good/000.png", "test/good/000.png"):
        first, second = (finished.folder / f"results/datasets/{name}/casting/{image}" for name in ("first", "second"))
        assert first.read_bytes() != second.read_bytes()
    rows = [*results(finished.folder, "cameras"), *results(finished.folder, "adapted")]
    columns = ("train_dataset", "target_dataset", "calibration_dataset", "alias")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("first", "first", "first", ""),
        ("first", "second", "first", "second_camera"),
        ("second", "second", "second", "second_camera"),
    ]
    assert rows[0]["threshold"] == rows[1]["threshold"] != rows[2]["threshold"]
    thresholds = finished.folder / f"results/thresholds/first/casting/clean/{BANK}/from"
    assert [path.relative_to(thresholds).as_posix() for path in thresholds.rglob("*.json")] == [
        "first/casting/clean/normal_p95.json"
    ]
    report = (finished.folder / REPORT).read_text(encoding="utf-8")
    for said in ("second_camera", "in domain", "no adaptation", "adapted"):
        assert said in report


@pytest.fixture(scope="module")
def cropped(finished: Finished) -> Any:
    """The same study, asked for features of crops: no experiment uses them."""
    run = finished.checkout.run("--cores", "2", CROP_FEATURES)
    assert run.returncode == 0, run.stderr
    return finished.checkout


def test_crops_show_training_defects_only_and_have_features(cropped: Any) -> None:
    split = read_split(cropped.folder / "results/splits/ksdd2/surface/official.csv")
    positives = [key for key in split.of("train") if key in split.anomalous]
    rows = read_index(cropped.folder / CROPS / "index.csv")
    assert [row.key for row in rows] == [f"{key}#crop0" for key in positives]
    assert len(positives) == 3
    assert all(key.startswith("train/") for key in positives)
    assert (cropped.folder / CROP_FEATURES).is_file()


def test_a_folder_that_is_there_is_used_without_download_and_consent(cropped: Any) -> None:
    catalog = yaml.safe_load((cropped.folder / "configs/catalog.yaml").read_text())
    assert catalog["datasets"]["ksdd2"]["address"]
    assert not (cropped.folder / "mydata/ksdd2.receipt.json").exists()
    assert not (cropped.folder / "results/logs/fetch_dataset/ksdd2.log").exists()


def test_another_margin_crops_again_from_the_same_split(cropped: Any) -> None:
    catalog = cropped.folder / "configs/catalog.yaml"
    text = catalog.read_text()
    cropped.edit(
        "configs/catalog.yaml",
        "crops_official: {crops: {split: official}}",
        "crops_official: {crops: {split: official, margin: 4}}",
    )
    try:
        assert cropped.plan(CROP_FEATURES) == {("crop_defects", CROPS), ("extract_features", CROP_FEATURES)}
    finally:
        catalog.write_text(text)
