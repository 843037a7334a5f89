import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import Pack, write_pack
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.calibration import Calibration, PixelThreshold, Probabilities, ZoneThresholds
from patchshift.evaluation.decisions import PIXEL_DECISION_METRICS, decide_images, measure_masks
from patchshift.evaluation.evaluate import decide_target
from patchshift.evaluation.image_metrics import DECISION_METRICS
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.reliability import PROBABILITY_METRICS, probability_metrics
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import calibrate, normalise
from patchshift.plan.score_specs import ScoringSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import write_json

SIDE, GRID = 24, 4
SPEC = EvaluationSpec(bootstrap_resamples=200, smoothing_sigma=1.0)
PIXELS = PixelThreshold("max_normal", 1.5, None, normal=100, anomalous=0)
ZONES = ZoneThresholds(1, 2, (2.0, 3.5), (None, None))
CALIBRATION = calibrate("f1_max", np.array([1, 1.5, 2, 2.5, 3, 4]), np.array([0, 0, 0, 1, 0, 1]))
MakePack = Callable[..., Path]


def make(count: int = 10, seed: int = 0) -> ScoredImages:
    """Images of which every other one has a defect in its upper left corner."""
    random = np.random.default_rng(seed)
    maps = random.lognormal(0, 0.4, (count, GRID, GRID)).astype(np.float32)
    labels = np.arange(count) % 2
    maps[labels == 1, :2, :2] += 0.8
    return ScoredImages(
        images=[f"{number}" for number in range(count)],
        labels=labels,
        relabelled=np.arange(count) == 2,
        defects=["spot" * label for label in labels.tolist()],
        scores=maps.max(axis=(1, 2)),
        maps=maps,
        input_size=(SIDE, SIDE),
        parts={},
        facts={},
        members=[],
        scoring=ScoringSpec(),
    )


@pytest.fixture
def pack(tmp_path: Path) -> MakePack:
    def write(images: ScoredImages, *, masks: bool = True, ignored: slice | None = None) -> Path:
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "image.png")
        mask, ignore = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        mask[:10, :9] = 1
        if ignored:
            ignore[:, ignored] = 1
        Image.fromarray(mask).save(tmp_path / "mask.png")
        Image.fromarray(ignore).save(tmp_path / "ignore.png")
        rows = [
            ImageRow(
                "image.png", "mask.png" if label and masks else "", "", int(label), "spot" * label, key,
                ignore="ignore.png" if ignored else "",
            )
            for key, label in zip(images.images, images.labels.tolist(), strict=True)
        ]  # fmt: skip
        path = tmp_path / "pack.h5"
        write_pack(path, add_digests(rows, tmp_path), tmp_path, {})
        return path

    return write


def pixels_of(images: ScoredImages, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mask and map of each image, only the pixels that count."""
    found = []
    with Pack(path) as opened:
        for row, patch_map in zip(opened.rows(images.images), images.maps, strict=True):
            pixels = upsample_map(patch_map, images.input_size, (SIDE, SIDE), SPEC.smoothing_sigma)
            found.append((opened.mask(row)[~opened.ignore(row)], pixels[~opened.ignore(row)]))
    return found


@pytest.mark.parametrize("ignored", [None, slice(4, 12)])
def test_masks_are_measured_over_all_pixels_that_count(pack: MakePack, ignored: slice | None) -> None:
    images = make()
    path = pack(images, ignored=ignored)
    metrics = measure_masks(images, PIXELS, path, SPEC)
    masks, maps = (np.concatenate(parts) for parts in zip(*pixels_of(images, path), strict=True))
    expected = {
        "pixel_iou": jaccard_score(masks, maps >= 1.5),
        "pixel_f1": f1_score(masks, maps >= 1.5),
        "pixel_precision": precision_score(masks, maps >= 1.5),
        "pixel_recall": recall_score(masks, maps >= 1.5),
    }
    assert metrics.keys() == PIXEL_DECISION_METRICS.keys()
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value, rel=1e-12)
        assert float(metrics[name]["low"]) <= value <= float(metrics[name]["high"])
        assert 0 < value < 1


def test_intervals_of_masks_are_those_of_whole_images_drawn_again(pack: MakePack) -> None:
    images = make()
    path = pack(images)
    metrics = measure_masks(images, PIXELS, path, SPEC)
    each = pixels_of(images, path)
    random, values = np.random.default_rng(1), []
    for _ in range(300):
        drawn = [each[number] for first in (0, 1) for number in random.choice(np.arange(first, 10, 2), 5)]
        masks, maps = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        called = maps >= 1.5
        values.append((masks & called).sum() / (masks | called).sum())
    low, high = np.quantile(values, [0.025, 0.975])
    assert metrics["pixel_iou"]["low"] == pytest.approx(low, abs=0.02)
    assert metrics["pixel_iou"]["high"] == pytest.approx(high, abs=0.02)


def without_maps(images: ScoredImages) -> ScoredImages:
    return dataclasses.replace(images, maps=images.maps[:, :0, :0])


def all_normal(images: ScoredImages) -> ScoredImages:
    return dataclasses.replace(images, labels=images.labels * 0)


@pytest.mark.parametrize(
    ("change", "masks", "threshold", "reason", "names"),
    [
        (lambda images: images, True, None, "the threshold has no policy for pixels", set(PIXEL_DECISION_METRICS)),
        (
            lambda images: images,
            True,
            dataclasses.replace(PIXELS, threshold=None, undefined="no mask in val"),
            "no mask in val",
            set(PIXEL_DECISION_METRICS),
        ),
        (lambda images: images, False, PIXELS, "the dataset has no masks", set(PIXEL_DECISION_METRICS)),
        (without_maps, True, PIXELS, "the method gave no maps", set(PIXEL_DECISION_METRICS)),
        (
            lambda images: dataclasses.replace(images, maps=images.maps * np.nan),
            True,
            PIXELS,
            "the anomaly map of image 0 has NaN",
            set(PIXEL_DECISION_METRICS),
        ),
        (
            lambda images: images,
            True,
            dataclasses.replace(PIXELS, threshold=99.0),
            "no pixel is called defective",
            {"pixel_precision"},
        ),
        (all_normal, True, PIXELS, "no defect pixel", {"pixel_iou", "pixel_f1", "pixel_recall"}),
    ],
)
def test_metrics_of_masks_that_do_not_exist_have_a_reason(
    pack: MakePack,
    change: Callable[[ScoredImages], ScoredImages],
    masks: bool,
    threshold: PixelThreshold | None,
    reason: str,
    names: set[str],
) -> None:
    images = change(make())
    metrics = measure_masks(images, threshold, pack(images, masks=masks), SPEC)
    undefined = {name for name, estimate in metrics.items() if "undefined" in estimate}
    assert undefined == names
    assert all(reason in str(metrics[name]["undefined"]) for name in names)


def test_without_zones_decisions_are_those_of_the_image_threshold(pack: MakePack, tmp_path: Path) -> None:
    images = make()
    calibration = dataclasses.replace(CALIBRATION, pixels=PIXELS)
    path = pack(images)
    decided = decide_images(images, calibration, None, path, SPEC)
    assert calibration.probabilities is not None
    expected = decide_target(images.labels, images.scores, calibration, SPEC)
    assert decided["metrics"] == {
        **expected["metrics"],
        **measure_masks(images, PIXELS, path, SPEC),
        **probability_metrics(images.labels, images.scores, calibration, SPEC),
    }
    assert decided["metrics"].keys() == {*DECISION_METRICS, *PIXEL_DECISION_METRICS, *PROBABILITY_METRICS}
    assert decided["counts"] == {**expected["counts"], "relabelled": 1}
    assert (decided["threshold"], decided["pixel_threshold"]) == (calibration.threshold, 1.5)
    assert "ranking" not in decided
    platt, isotonic = predict_probabilities(calibration.probabilities, images.scores)
    normalised = normalise(images.scores, calibration)
    for row, image in enumerate(decided["images"]):
        assert image == {
            "image": str(row),
            "label": row % 2,
            "defect": "spot" * (row % 2),
            "relabelled": int(row == 2),
            "score": float(images.scores[row]),
            "normalised_score": normalised[row],
            "probability": platt[row],
            "probability_isotonic": isotonic[row],
            "zone": "",
            "decision": int(images.scores[row] >= calibration.threshold),
        }
    write_json(tmp_path / "decisions.json", decided)


@pytest.mark.parametrize("ignored", [None, slice(0, 12)])
def test_with_zones_decisions_and_their_metrics_follow_the_zones(pack: MakePack, ignored: slice | None) -> None:
    images = make()
    decided = decide_images(
        images, dataclasses.replace(CALIBRATION, zones=ZONES), None, pack(images, ignored=ignored), SPEC
    )
    left, right = images.maps[:, :, :2].max(axis=(1, 2)) >= 2, images.maps[:, :, 2:].max(axis=(1, 2)) >= 3.5
    if ignored:
        left[:] = False
    called = left | right
    assert [image["decision"] for image in decided["images"]] == called.astype(int).tolist()
    assert [image["zone"] for image in decided["images"]] == [
        " ".join(["r1c1"] * bool(first) + ["r1c2"] * bool(second)) for first, second in zip(left, right, strict=True)
    ]
    assert decided["counts"]["tp"] == (called & (images.labels == 1)).sum()
    assert decided["counts"]["fp"] == (called & (images.labels == 0)).sum()
    assert decided["metrics"]["recall"]["value"] == called[images.labels == 1].mean()
    assert decided["threshold"] is None
    assert [image["score"] for image in decided["images"]] == images.scores.tolist()  # as they are


def test_zones_decide_no_image_whose_score_is_no_number(pack: MakePack) -> None:
    images = make()
    scores = images.scores.copy()
    scores[0] = np.nan
    strange = dataclasses.replace(images, scores=scores)
    zoned = dataclasses.replace(CALIBRATION, zones=ZONES)
    decided = decide_images(strange, zoned, None, pack(images), SPEC)
    assert decided["images"][0]["decision"] is None
    assert all(image["decision"] is not None for image in decided["images"][1:])
    assert decided["metrics"]["recall"] == {"undefined": f"the score of 1 of {len(scores)} images is not finite"}


def test_zones_without_any_threshold_decide_nothing_and_say_why(pack: MakePack) -> None:
    images = make()
    nothing = ZoneThresholds(1, 2, (None, None), ("too few", "too few"))
    decided = decide_images(images, dataclasses.replace(CALIBRATION, zones=nothing), None, pack(images), SPEC)
    assert decided["counts"] is None
    assert decided["metrics"]["f1"] == {"undefined": "too few"}
    assert {(image["decision"], image["zone"]) for image in decided["images"]} == {(None, "")}


def test_zones_of_a_calibration_of_another_grid_say_so(pack: MakePack) -> None:
    images = make()
    fine = ZoneThresholds(1, 8, (1.0,) * 8, (None,) * 8)
    decided = decide_images(images, dataclasses.replace(CALIBRATION, zones=fine), None, pack(images), SPEC)
    assert "1 x 8 zones are more than the 4 x 4 patches" in decided["metrics"]["f1"]["undefined"]


def test_scores_that_are_not_finite_are_null(pack: MakePack, tmp_path: Path) -> None:
    images = make()
    images.scores[3], images.maps[3, 0, 0] = np.nan, np.nan
    for zones in (None, ZONES):
        decided = decide_images(images, dataclasses.replace(CALIBRATION, zones=zones), None, pack(images), SPEC)
        row = decided["images"][3]
        assert {row[name] for name in ("score", "normalised_score", "probability", "decision")} == {None}
        assert row["zone"] == ""
        assert "not finite" in decided["metrics"]["f1"]["undefined"]
        write_json(tmp_path / "decisions.json", decided)


def test_a_calibration_without_anything_leaves_all_metrics_undefined(pack: MakePack) -> None:
    images, reason = make(), "no anomalous validation image"
    nothing = Calibration(
        "f1_max", None, reason, 3, 0, None, None, probabilities=Probabilities(None, None, (), (), reason)
    )
    decided = decide_images(images, nothing, None, pack(images), SPEC)
    assert {name for name, estimate in decided["metrics"].items() if estimate == {"undefined": reason}} == {
        *DECISION_METRICS,
        *PROBABILITY_METRICS,
    }
    assert (decided["threshold"], decided["pixel_threshold"], decided["counts"]) == (None, None, None)
