import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.app.detector import Detector
from patchshift.app.heatmaps import find_mask
from patchshift.app.models import ExportedModel
from patchshift.data.images import read_image
from patchshift.data.shifts.views import cut_view
from patchshift.detectors.bank import Bank
from patchshift.detectors.scores import read_scores
from patchshift.errors import UserError
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.calibrated import LogOdds
from patchshift.features.held_maps import hold_maps
from patchshift.plan.domain_specs import ViewSpec
from patchshift.runtime.files import digest_file, read_json

Line = Any


def run(script: str, **options: Any) -> None:
    import_module(script).main([word for name, value in options.items() for word in (f"--{name}", str(value))])


CASES = [("small", "quick", "f1_max"), ("small", "top", "normal_p95"), ("resnet", "quick", "f1_max")]


@pytest.mark.parametrize(("backbone", "name", "policy"), CASES)
@pytest.mark.parametrize(("batch_size", "tolerance"), [(1, 1e-5), (4, 0.0)])  # 4: the backbone's own
def test_scores_maps_and_decisions_are_those_of_the_workflow(
    line: Line, tmp_path: Path, backbone: str, name: str, policy: str, batch_size: int, tolerance: float
) -> None:
    path = line.export(backbone, name, policy, tmp_path / "model.h5")
    detector = Detector.load(path, weights_dir=line.weights, batch_size=batch_size)
    files = line.sources(backbone, name, policy)
    known, threshold = read_scores(line.folder / files["scores"]), read_json(line.folder / files["threshold"])
    predictions = detector.predict([line.folder / "results/datasets/line/casting" / key for key in known.images])
    scores = [prediction.score for prediction in predictions]
    np.testing.assert_allclose(scores, known.scores.image_scores, rtol=tolerance)
    for prediction, patch_map in zip(predictions, known.scores.maps, strict=True):
        np.testing.assert_allclose(prediction.patch_scores, patch_map, rtol=20 * tolerance)
        expected = upsample_map(patch_map, (64, 64), (256, 256), detector.model.smoothing_sigma)
        np.testing.assert_allclose(prediction.anomaly_map, expected, rtol=20 * tolerance)
        assert prediction.anomaly_map.dtype == np.float32
    if not tolerance:
        decided = [score >= threshold["threshold"] for score in known.scores.image_scores]
        assert [prediction.decision for prediction in predictions] == decided


def test_zones_masks_and_probabilities_are_those_of_the_workflow(line: Line, zoned: Path, tmp_path: Path) -> None:
    files = {name: line.folder / path for name, path in line.sources("small", "quick", "everywhere").items()}
    spec, decisions = line.study.evaluation_spec(), tmp_path / "decisions.json"
    options = {name: files[name] for name in ("scores", "pack", "split", "threshold")}
    run("decide", **options, spec=spec, stage=1, decisions=decisions)
    decided = read_json(decisions)
    assert decided["metrics"]["f1"]["value"] > 0
    assert decided["metrics"]["pixel_iou"]["value"] > 0
    detector = Detector.load(zoned, batch_size=4)
    known = read_scores(files["scores"])
    maps = dict(zip(known.images, known.scores.maps, strict=True))
    images = [image["image"] for image in decided["images"]]
    predictions = detector.predict([line.folder / "results/datasets/line/casting" / image for image in images])
    marked = []
    for image, prediction in zip(decided["images"], predictions, strict=True):
        for name in ("zone", "probability", "probability_isotonic", "normalised_score"):
            assert getattr(prediction, name) == image[name]
        assert prediction.decision == image["decision"]
        assert bool(prediction.zone) == prediction.decision
        assert prediction.threshold is None
        expected = upsample_map(maps[image["image"]], (64, 64), (256, 256), detector.model.smoothing_sigma)
        mask = find_mask(detector.model, prediction)
        np.testing.assert_array_equal(mask, expected >= decided["pixel_threshold"])
        marked.append(expected >= decided["pixel_threshold"])
    assert 0 < np.mean(marked) < 0.5
    assert {prediction.decision for prediction in predictions} == {True, False}


def test_paths_arrays_and_opened_images_are_the_same_to_it(line: Line, model: Path) -> None:
    detector = Detector.load(model)
    paths = sorted(line.images.rglob("*.png"))[:3]
    expected = [prediction.score for prediction in detector.predict(paths)]
    assert [each.score for each in detector.predict([str(path) for path in paths])] == expected
    arrays = detector.predict([read_image(path) for path in paths])
    assert [each.score for each in arrays] == expected
    assert [each.image for each in arrays] == ["image 0", "image 1", "image 2"]
    assert [each.score for each in detector.predict([detector.open(path) for path in paths])] == expected
    assert detector.predict([]) == []
    for one in (paths[0], str(paths[0]), read_image(paths[0]), detector.open(paths[0])):
        assert [each.score for each in detector.predict(one)] == expected[:1]


def test_normalised_scores_are_deviations_of_the_normal_validation_scores(line: Line, model: Path) -> None:
    detector = Detector.load(model)
    prediction, *_ = detector.predict(sorted(line.images.rglob("*.png")))
    normal = detector.model.normal_scores.astype(np.float64)
    assert prediction.normalised_score == pytest.approx((prediction.score - normal.mean()) / normal.std(ddof=1))


def test_without_a_threshold_there_is_a_reason_in_place_of_a_decision(line: Line, model: Path) -> None:
    detector = Detector.load(model)
    calibration = dataclasses.replace(detector.model.calibration, threshold=None, undefined="no validation image")
    detector.model = dataclasses.replace(detector.model, calibration=calibration)
    prediction, *_ = detector.predict(sorted(line.images.rglob("*.png"))[:1])
    assert (prediction.decision, prediction.threshold) == (None, None)
    assert prediction.undefined == "no validation image"


def test_ignored_patches_do_not_count(line: Line, model: Path) -> None:
    detector = Detector.load(model)
    path = sorted(line.images.rglob("*.png"))[0]
    before, *_ = detector.predict([path])
    ignore = before.patch_scores == before.patch_scores.max()
    detector.model = dataclasses.replace(detector.model, ignore=ignore)
    after, *_ = detector.predict([path])
    assert after.score == before.patch_scores[~ignore].max() < before.score
    np.testing.assert_array_equal(after.patch_scores, before.patch_scores)


def test_a_view_is_cut_as_the_workflow_cuts_it(line: Line, model: Path) -> None:
    detector, view = Detector.load(model), ViewSpec(short_side=128, centre_crop=96)
    path = sorted(line.images.rglob("*.png"))[0]
    expected, *_ = detector.predict([cut_view(read_image(path), [], view)[0]])
    detector.model = dataclasses.replace(detector.model, view=view)
    prediction, *_ = detector.predict([path])
    assert prediction.score == expected.score
    assert prediction.anomaly_map.shape == (96, 96)


def test_a_calibrated_dual_bank_is_scored_by_its_log_odds(
    line: Line, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(model)
    image = detector.open(sorted(line.images.rglob("*.png"))[0])
    scores = detector.model.bank.score(detector._extract([image]), detector.model.scoring)
    parts = {"negative": scores.maps, "positive": scores.maps[:, ::-1]}
    monkeypatch.setattr(Bank, "score", lambda *_: dataclasses.replace(scores, parts=parts))
    detector.model = dataclasses.replace(detector.model, combination=LogOdds(0.5, 2.0, -1.0))
    prediction, *_ = detector.predict([image])
    expected = 0.5 + 2 * np.log(scores.maps + 1e-6) - np.log(scores.maps[:, ::-1] + 1e-6)
    np.testing.assert_allclose(prediction.patch_scores, expected[0], rtol=1e-5, atol=1e-5)
    assert prediction.score == prediction.patch_scores.max()


def test_what_cannot_be_read_is_named(line: Line, model: Path, tmp_path: Path) -> None:
    detector = Detector.load(model)
    with pytest.raises(UserError, match=r"missing\.png: cannot be read"):
        detector.predict([tmp_path / "missing.png"])
    with pytest.raises(UserError, match=r"image 1 is float64 \[4, 4, 3\]: give \[H, W, 3\] uint8"):
        detector.predict([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3))])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"image 0 is uint8 \[4, 4\]"):
        detector.predict([np.zeros((4, 4), np.uint8)])


def test_features_that_are_not_finite_are_refused_by_name() -> None:
    maps = np.zeros((2, 3, 3, 2), np.float16)
    maps[1, 0, 0, 0] = np.inf
    with pytest.raises(UserError, match=r"not finite .* for second:"):
        hold_maps(["first", "second"], (8, 8), {"layer": maps})


def test_another_weight_file_is_refused_with_both_digests(line: Line, tmp_path: Path) -> None:
    path = line.export("resnet", "quick", "f1_max", tmp_path / "model.h5")
    other = tmp_path / "weights" / "resnet.safetensors"
    other.parent.mkdir()
    right = (line.weights / "resnet.safetensors").read_bytes()
    other.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    wanted = digest_file(line.weights / "resnet.safetensors")
    with pytest.raises(UserError, match=rf"{digest_file(other)}.*{wanted}"):
        Detector.load(path, weights_dir=other.parent)


def test_a_missing_weight_file_is_looked_for_where_it_says(line: Line, tmp_path: Path) -> None:
    path = line.export("resnet", "quick", "f1_max", tmp_path / "model.h5")
    digest = digest_file(line.weights / "resnet.safetensors")
    with pytest.raises(UserError, match=rf"nowhere/resnet\.safetensors, which does not exist.*{digest}.*--weights-dir"):
        Detector.load(path, weights_dir=tmp_path / "nowhere")
    model = ExportedModel.load(path)
    known = model.backbone.model_copy(update={"address": "https://example.org/resnet.safetensors"})
    dataclasses.replace(model, backbone=known).save(path)
    with pytest.raises(UserError, match=r"https://example\.org/resnet.*rule fetch_weights"):
        Detector.load(path, weights_dir=tmp_path / "nowhere")


def test_grey_images_are_scored_as_the_workflow_reads_them(line: Line, model: Path, tmp_path: Path) -> None:
    detector = Detector.load(model)
    pixels = read_image(sorted(line.images.rglob("*.png"))[0])[..., 0]
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    grey, colour = detector.predict([tmp_path / "grey.png", np.repeat(pixels[..., None], 3, axis=2)])
    assert grey.score == colour.score


def test_a_model_that_was_extended_since_its_calibration_says_so(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = ExportedModel.load(model)
    assert "recalibrate" not in caplog.text
    dataclasses.replace(loaded, provenance={**loaded.provenance, "calibrated_before_extension": True}).save(
        tmp_path / "extended.h5"
    )
    Detector.load(tmp_path / "extended.h5")
    assert [record.message for record in caplog.records] == [
        "the model was extended after its threshold was chosen: recalibrate (docs/detectors.md)"
    ]
