"""Ignored regions, relabelled images and synthetic defects on their way through the scripts that score and judge."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.splits import Split, write_split
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.scores import ScoresFile, read_scores
from patchshift.errors import UserError
from patchshift.features.store import FeatureStore, FeatureWriter
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.plan.score_specs import ImageScoreSpec, ScoringSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.plan.threshold_specs import ThresholdSpec
from patchshift.runtime.files import digest_file, read_json

PARTS = {"0": "train", "1": "train", "2": "val", "3": "val", "4": "test", "5": "test", "6": "test", "7": "test"}
ANOMALOUS = frozenset("367")  # what is wrong with 7 lies in the ignored region
SYNTHETIC = ["2#perlin0", "2#cutpaste0"]
SIDE = 32  # pixels, of 4 x 4 patches; the two right columns of patches can be ignored
SCORING = ScoringSpec(image_score=ImageScoreSpec(), threads=1).canonical()
F1_MAX = ThresholdSpec(policy="f1_max").canonical()
PROTOCOL = EvaluationSpec(bootstrap_resamples=100, smoothing_sigma=0).canonical()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a bank, and features, packs and split of a category with and without ignored regions."""
    monkeypatch.chdir(tmp_path)
    for script in ("score_images", "evaluate"):  # the limits would be those of all tests
        monkeypatch.setattr(import_module(script), "limit_threads", lambda count: None)
    ignore = np.zeros((SIDE, SIDE), np.uint8)
    ignore[:, SIDE // 2 :] = 1
    Image.fromarray(ignore).save("ignore.png")
    write_split(Path("split.csv"), Split(PARTS, ANOMALOUS))
    write_features("features.h5", list(PARTS))
    write_features("synthetic_features.h5", SYNTHETIC)
    write_images("plain.h5", list(PARTS), "")
    write_images("ignoring.h5", list(PARTS), "ignore.png")
    write_images("synthetic.h5", SYNTHETIC, "")
    with FeatureStore(Path("features.h5")) as store:
        spec = PatchCoreSpec(method="patchcore", representation=RepresentationSpec(neighbourhood="none"), threads=1)
        bank = fit_detector(spec, store.select(["0", "1"]), seed=0)
    bank.save(Path("bank.h5"), {})
    return tmp_path


def write_features(path: str, keys: Sequence[str]) -> None:
    """Noise; but for training the last patch of every image is far out, a defect is half as far."""
    values = np.random.default_rng(0).normal(size=(len(keys), 4, 4, 3)).astype(np.float16)
    for row, key in enumerate(keys):
        values[row, 3, 3] += 100 * (PARTS.get(key) != "train")
        if is_anomalous(key):
            values[row, 0, column(key)] += 50
    with FeatureWriter(Path(path), keys, (SIDE, SIDE), {}) as writer:
        writer.write(0, {"layer": values})


def write_images(path: str, keys: Sequence[str], ignore: str) -> None:
    rows = []
    for key in keys:
        name, mask = f"{key}.png", np.zeros((SIDE, SIDE), np.uint8)
        Image.new("RGB", (SIDE, SIDE), (int(key[0]), 0, 0)).save(name)
        mask[:8, 8 * column(key) : 8 * column(key) + 8] = 255
        Image.fromarray(mask).save(f"mask_{name}")
        anomalous = is_anomalous(key)
        rows.append(
            ImageRow(name, f"mask_{name}" if anomalous else "", "", int(anomalous), "spot" * anomalous, key, "", ignore)
        )
    write_pack(Path(path), add_digests(rows, Path()), Path(), {})


def is_anomalous(key: str) -> bool:
    return key in ANOMALOUS or "#" in key


def column(key: str) -> int:
    """Where the defect of an image is."""
    return 2 if key == "7" else 0


def run(script: str, **options: Any) -> None:
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    import_module(script).main(arguments)


def score(scores: str, **options: Any) -> ScoresFile:
    arguments = {"features": "features.h5", "split": "split.csv"} | options
    run("score_images", bank="bank.h5", spec=SCORING, stage=1, scores=scores, **arguments)
    return read_scores(Path(scores))


def test_image_scores_look_past_ignored_patches_and_maps_keep_them() -> None:
    plain, ignoring = score("plain_scores.h5"), score("scores.h5", pack="ignoring.h5")
    np.testing.assert_array_equal(ignoring.scores.maps, plain.scores.maps)
    np.testing.assert_array_equal(plain.scores.image_scores, plain.scores.maps.max((1, 2)))
    np.testing.assert_array_equal(ignoring.scores.image_scores, plain.scores.maps[:, :, :2].max((1, 2)))
    assert (ignoring.scores.image_scores < plain.scores.image_scores).all()
    assert ignoring.provenance["inputs"]["pack"] == digest_file(Path("ignoring.h5"))


def test_a_pack_without_ignored_regions_changes_no_score() -> None:
    plain, same = score("plain_scores.h5"), score("scores.h5", pack="plain.h5")
    np.testing.assert_array_equal(same.scores.image_scores, plain.scores.image_scores)
    assert set(plain.provenance["inputs"]) == {"bank", "features", "split"}
    assert set(same.provenance["inputs"]) == {"bank", "features", "pack", "split"}


def test_an_image_that_is_ignored_as_a_whole_is_named() -> None:
    Image.new("L", (SIDE, SIDE), 1).save("ignore.png")
    write_images("ignoring.h5", list(PARTS), "ignore.png")
    with pytest.raises(UserError, match=r"covers every patch of 2, 3, 4, 5, 6 \(6 in all\)"):
        score("scores.h5", pack="ignoring.h5")
    assert not Path("scores.h5").exists()


def test_without_a_split_all_images_are_scored() -> None:
    options = {"bank": "bank.h5", "spec": SCORING, "stage": 1, "features": "synthetic_features.h5"}
    run("score_images", **options, scores="scores.h5")
    found = read_scores(Path("scores.h5"))
    assert found.images == SYNTHETIC
    assert set(found.provenance["inputs"]) == {"bank", "features"}


def test_metrics_and_decisions_leave_ignored_regions_out_and_count_relabelled_images() -> None:
    for name, options in (("plain", {}), ("ignoring", {"pack": "ignoring.h5"})):
        score(f"{name}_scores.h5", **options)
        common = {"scores": f"{name}_scores.h5", "pack": f"{name}.h5", "split": "split.csv", "stage": 1}
        run("calibrate_threshold", smoothing_sigma=4, **common, spec=F1_MAX, threshold=f"{name}_threshold.json")
        run("evaluate", **common, spec=PROTOCOL, metrics=f"{name}_metrics.json")
        threshold = f"{name}_threshold.json"
        run("decide", **common, threshold=threshold, spec=PROTOCOL, decisions=f"{name}_decisions.json")
    plain, ignoring = (read_json(Path(f"{name}_metrics.json")) for name in ("plain", "ignoring"))
    assert plain["counts"] == {"normal": 2, "anomalous": 2, "regions": 2, "relabelled": 0}
    assert ignoring["counts"] == {"normal": 3, "anomalous": 1, "regions": 1, "relabelled": 1}
    assert plain["metrics"]["pixel_auroc"]["value"] < ignoring["metrics"]["pixel_auroc"]["value"]
    assert ignoring["metrics"]["image_auroc"]["value"] == 1
    plain, ignoring = (read_json(Path(f"{name}_decisions.json")) for name in ("plain", "ignoring"))
    assert [image["relabelled"] for image in plain["images"]] == [0, 0, 0, 0]
    assert [image["relabelled"] for image in ignoring["images"]] == [0, 0, 0, 1]
    assert [image["label"] for image in ignoring["images"]] == [0, 0, 1, 0]
    assert ignoring["images"][3]["defect"] == ""
    assert ignoring["counts"] == {"tp": 1, "fp": 0, "tn": 3, "fn": 0, "relabelled": 1}


def test_decisions_without_a_threshold_know_relabelled_images_too() -> None:
    write_split(
        Path("split.csv"), Split({key: part.replace("val", "unused") for key, part in PARTS.items()}, ANOMALOUS)
    )
    score("scores.h5", pack="ignoring.h5")
    common = {"scores": "scores.h5", "pack": "ignoring.h5", "split": "split.csv", "stage": 1}
    run("calibrate_threshold", smoothing_sigma=4, **common, spec=F1_MAX, threshold="threshold.json")
    run("decide", **common, threshold="threshold.json", spec=PROTOCOL, decisions="decisions.json")
    content = read_json(Path("decisions.json"))
    assert content["counts"] is None
    assert [image["relabelled"] for image in content["images"]] == [0, 0, 0, 1]


def calibrate(**options: Any) -> dict[str, Any]:
    common = {"scores": "scores.h5", "pack": "plain.h5", "split": "split.csv", "stage": 1, "spec": F1_MAX}
    run("calibrate_threshold", smoothing_sigma=4, **common, threshold="threshold.json", **options)
    content: dict[str, Any] = read_json(Path("threshold.json"))
    return content


def test_synthetic_defects_join_the_calibration_and_stand_in_its_provenance() -> None:
    score("scores.h5")
    options = {"bank": "bank.h5", "spec": SCORING, "stage": 1, "features": "synthetic_features.h5"}
    run("score_images", **options, scores="synthetic_scores.h5")
    alone = calibrate()
    assert (alone["normal"], alone["anomalous"]) == (1, 1)
    assert set(alone["provenance"]["inputs"]) == {"pack", "scores", "split"}
    joined = calibrate(defects_scores="synthetic_scores.h5", defects_pack="synthetic.h5")
    assert (joined["normal"], joined["anomalous"]) == (1, 3)
    validation = [read_scores(Path("scores.h5")), read_scores(Path("synthetic_scores.h5"))]
    scores = {key: value for one in validation for key, value in zip(one.images, one.scores.image_scores, strict=True)}
    assert np.float32(joined["threshold"]) in [scores[key] for key in ("2", "3", *SYNTHETIC)]
    inputs = joined["provenance"]["inputs"]
    assert inputs["defects_scores"] == [digest_file(Path("synthetic_scores.h5"))]
    assert inputs["defects_pack"] == [digest_file(Path("synthetic.h5"))]


def test_thresholds_never_see_test_images_not_even_as_ground_for_synthetic_defects() -> None:
    score("scores.h5")
    with pytest.raises(UserError, match=r"not of part val in split\.csv: 6 \(test\), 7 \(test\) \(2 in all\)"):
        calibrate(defects_scores="scores.h5", defects_pack="plain.h5")  # what is tested, in place of synthetic defects
    made = ["2#perlin0", "6#perlin0"]
    write_features("made_features.h5", made)
    write_images("made.h5", made, "")
    options = {"bank": "bank.h5", "spec": SCORING, "stage": 1, "features": "made_features.h5"}
    run("score_images", **options, scores="made_scores.h5")
    with pytest.raises(UserError, match=r"not of part val in split\.csv: 6#perlin0 \(test\) \(1 in all\)"):
        calibrate(defects_scores="made_scores.h5", defects_pack="made.h5")
    assert not Path("threshold.json").exists()


@pytest.mark.parametrize("option", ["defects_scores", "defects_pack"])
def test_scores_and_pack_of_synthetic_defects_belong_together(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        calibrate(**{option: "synthetic.h5"})
    assert "belong together" in capsys.readouterr().err
