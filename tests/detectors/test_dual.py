import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.detectors.bank import Bank
from patchshift.detectors.combination import combine
from patchshift.detectors.dual import DualBank
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.image_scores import mean_of_top_share
from patchshift.detectors.training import Positives, TrainingSet
from patchshift.errors import UserError
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import DETECTOR, PatchCoreDualSpec
from patchshift.plan.score_specs import ScoringSpec

SAMPLER = {"share": 0.2}
MakeFeatures = Callable[..., FeatureRows]
DEFECTIVE = 3 * 12  # patches of three images, a quarter of each marked


def spec(**options: Any) -> PatchCoreDualSpec:
    return PatchCoreDualSpec.model_validate({"method": "patchcore_dual", "sampler": SAMPLER} | options)


@pytest.fixture
def training(make_features: MakeFeatures, tmp_path: Path) -> TrainingSet:
    """Eight normal images, and three defective ones whose upper left quarter is marked."""
    rows = []
    mask = np.zeros((16, 12), np.uint8)
    mask[:8, :6] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for number in range(3):
        Image.new("RGB", (12, 16), (number, 0, 0)).save(tmp_path / f"image{number}.png")
        rows.append(ImageRow(f"image{number}.png", "mask.png", "", 1, "spot", f"image{number}"))
    write_pack(tmp_path / "pack.h5", add_digests(rows, tmp_path), tmp_path, {})
    return TrainingSet(make_features(8), positives=[Positives(make_features(3, seed=5), tmp_path / "pack.h5")])


def both_models(bank: Bank) -> DualBank:
    assert isinstance(bank.model, DualBank)
    assert bank.model.positive is not None
    return bank.model


def test_the_negative_bank_is_the_one_that_patchcore_fits_on_all_normal_images(training: TrainingSet) -> None:
    """No normal image is left out by a draw of its own: with sampler `none` every patch of each is there."""
    for sampler, distance, kept in ((SAMPLER, "cosine", None), ({"method": "none"}, "euclidean", 8 * 8 * 6)):
        settings = {"sampler": sampler, "neighbours": 2, "distance": distance}
        single = fit_detector(DETECTOR.validate_python({"method": "patchcore"} | settings), training.features, seed=3)
        negative = both_models(fit_detector(spec(**settings), training, seed=3)).negative
        assert negative.arrays().keys() == single.model.arrays().keys()
        for name, array in single.model.arrays().items():
            np.testing.assert_array_equal(negative.arrays()[name], array)
        assert kept is None or negative.size == kept


def test_the_positive_bank_keeps_its_share_of_the_defective_patches(training: TrainingSet) -> None:
    bank = fit_detector(spec(positive_sampler={"method": "none"}), training, seed=0)
    assert both_models(bank).positive.size == DEFECTIVE
    some = fit_detector(spec(positive_sampler={"share": 0.25}), training, seed=0)
    kept = both_models(some).positive.vectors
    assert len(kept) == DEFECTIVE // 4
    known = both_models(bank).positive.vectors
    assert all((known == vector).all(axis=1).any() for vector in kept)


def test_parts_are_the_distances_to_the_nearest_vector_of_each_bank(
    training: TrainingSet, make_features: MakeFeatures
) -> None:
    bank, target = fit_detector(spec(), training, seed=0), make_features(4, seed=9)
    scores = bank.score(target, bank.spec.scoring_spec())
    (maps,) = target.chunks(bank.representation.layers, 4)
    patches = bank.representation.transform(maps)
    assert scores.parts.keys() == {"negative", "positive"}
    for name, part in scores.parts.items():
        vectors = getattr(both_models(bank), name).vectors
        expected = np.linalg.norm(patches[..., None, :] - vectors, axis=-1).min(-1)
        np.testing.assert_allclose(part, expected, rtol=1e-5)


@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_both_banks_measure_the_distance_of_the_spec(
    training: TrainingSet, make_features: MakeFeatures, distance: str
) -> None:
    bank = fit_detector(spec(distance=distance, positive_sampler={"method": "none"}), training, seed=0)
    patches = np.random.default_rng(0).normal(size=(1, 5, bank.representation.dimension)).astype(np.float32)
    for name in ("negative", "positive"):
        vectors, points = getattr(both_models(bank), name).vectors, patches
        if distance == "cosine":
            points = patches / np.linalg.norm(patches, axis=-1, keepdims=True)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        squares = (np.linalg.norm(points[..., None, :] - vectors, axis=-1) ** 2).min(-1)
        expected = squares / 2 if distance == "cosine" else squares
        np.testing.assert_allclose(bank.model.measure(patches).parts[name], expected, rtol=1e-4)


def test_a_pools_negative_bank_still_tells_the_category_of_the_nearest_vector(
    training: TrainingSet, make_features: MakeFeatures
) -> None:
    pooled = replace(training, members=["d/a", "d/b"], member_of=np.array([0] * 5 + [1] * 3, np.int16))
    bank = fit_detector(spec(), pooled, seed=0)
    scores = bank.score(make_features(2, seed=9), bank.spec.scoring_spec())
    assert scores.parts.keys() == {"member", "negative", "positive"}
    assert set(np.unique(scores.parts["member"])) == {0, 1}
    assert scores.members == ["d/a", "d/b"]


@pytest.mark.parametrize("combination", ["ratio", "difference", "log_ratio", "calibrated"])
@pytest.mark.parametrize("image_score", [{"method": "max"}, {"method": "top_share", "share": 0.1}])
def test_maps_combine_both_distances_and_image_scores_follow_the_maps(
    training: TrainingSet, make_features: MakeFeatures, combination: Any, image_score: dict[str, Any]
) -> None:
    bank = fit_detector(spec(), training, seed=0)
    rule = ScoringSpec.model_validate({"combination": combination, "image_score": image_score})
    ignore = np.zeros((4, 8, 6), bool)
    ignore[:, :, :3] = True
    for ignored in (None, ignore):
        scores = bank.score(make_features(4, seed=9), rule, ignored)
        expected = combine(combination, scores.parts["negative"], scores.parts["positive"])
        np.testing.assert_array_equal(scores.maps, expected)
        looked_at = scores.maps if ignored is None else scores.maps[:, :, 3:]
        flat = looked_at.reshape(4, -1)
        pooled = flat.max(axis=1) if rule.image_score.share is None else mean_of_top_share(flat, 0.1)
        np.testing.assert_array_equal(scores.image_scores, pooled)
    assert combination == "ratio" or (scores.maps < 0).any()


@pytest.mark.parametrize("combination", ["ratio", "difference", "log_ratio", "calibrated"])
def test_without_defects_it_is_exactly_the_single_bank(
    make_features: MakeFeatures, caplog: pytest.LogCaptureFixture, combination: str
) -> None:
    normal, target = make_features(), make_features(4, seed=9)
    dual = fit_detector(spec(combination=combination), TrainingSet(normal), seed=0)
    single = fit_detector(DETECTOR.validate_python({"method": "patchcore", "sampler": SAMPLER}), normal, seed=0)
    assert "there is no defective patch to fill a positive bank with" in caplog.text
    scores, expected = (bank.score(target, bank.spec.scoring_spec()) for bank in (dual, single))
    np.testing.assert_array_equal(scores.maps, expected.maps)
    np.testing.assert_array_equal(scores.image_scores, expected.image_scores)
    assert scores.parts == {}
    assert scores.facts == {**expected.facts, "positive_vectors": 0}


@pytest.mark.parametrize("index", [{"method": "flat"}, {"method": "hnsw"}, {"method": "ivf_pq", "code_bytes": 3}])
def test_a_bank_scores_the_same_after_a_round_trip_and_refitting_gives_equal_bytes(
    training: TrainingSet, make_features: MakeFeatures, tmp_path: Path, index: dict[str, Any]
) -> None:
    whole = spec(index=index, sampler={"method": "none"}, positive_sampler={"method": "none"}, neighbours=2)
    if index["method"] == "ivf_pq":  # codes need 256 vectors
        pack = training.positives[0].pack
        training = replace(training, positives=[Positives(make_features(3, seed=seed), pack) for seed in range(5, 13)])
    banks = [fit_detector(whole, training, seed=1) for _ in range(2)]
    for number, bank in enumerate(banks):
        bank.save(tmp_path / f"{number}.h5", {})
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "1.h5").read_bytes()
    with h5py.File(tmp_path / "0.h5") as file:
        assert file["model"].keys() == {"negative", "positive"}
    loaded = Bank.load(tmp_path / "0.h5")
    assert both_models(loaded).size == banks[0].model.size
    target = make_features(4, seed=9)
    scores, again = (bank.score(target, whole.scoring_spec()) for bank in (banks[0], loaded))
    np.testing.assert_array_equal(scores.maps, again.maps)
    assert scores.facts == again.facts
    assert scores.facts["positive_vectors"] == both_models(loaded).positive.size


@pytest.mark.parametrize("damage", ["negative", "positive/vectors", "negative/count"])
def test_a_bank_that_was_changed_is_refused(
    training: TrainingSet, tmp_path: Path, edit_sealed: Any, damage: str
) -> None:
    fit_detector(spec(), training, seed=0).save(tmp_path / "bank.h5", {})
    with edit_sealed(tmp_path / "bank.h5") as file:
        del file[f"model/{damage}"]
    with pytest.raises(UserError, match=r"bank\.h5 is not a whole bank"):
        Bank.load(tmp_path / "bank.h5")


def test_a_bank_whose_positive_vectors_lost_their_index_is_refused(
    training: TrainingSet, tmp_path: Path, edit_sealed: Any
) -> None:
    fit_detector(spec(index={"method": "hnsw"}), training, seed=0).save(tmp_path / "bank.h5", {})
    with edit_sealed(tmp_path / "bank.h5") as file:
        del file["model/positive/index"]
    with pytest.raises(UserError, match="it is searched otherwise than its spec says"):
        Bank.load(tmp_path / "bank.h5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"positive_sampler": {"count": 500}},
            rf"positive_sampler.count: 500 .* have {DEFECTIVE} defective ones: lower it, or give a share",
        ),
        ({"positive_sampler": {"share": 0.1, "starts": 50}}, r"positive_sampler.starts: 50 .* lower it$"),
        (
            {"index": {"method": "ivf_pq", "code_bytes": 3}, "sampler": {"method": "none"}},
            r"needs at least 256 vectors, but the positive bank \(positive_sampler\) has 3: keep more",
        ),
        (
            {"index": {"method": "ivf_flat", "lists": 4}},
            r"index.lists: 4 .* but the positive bank \(positive_sampler\) has 3 vectors: lower it",
        ),
        ({"neighbours": 5}, r"neighbours: 5 .* positive bank has 3 vectors of 36 defective patches: lower it"),
    ],
)
def test_what_the_defective_patches_do_not_allow_is_named(
    training: TrainingSet, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("patchshift.detectors.dual_fitting.fit_patchcore")  # so before the negative bank is fitted
    with pytest.raises(UserError, match=message):
        fit_detector(spec(**options), training, seed=0)


def test_scoring_loads_no_library_of_images() -> None:
    code = "import sys, patchshift.detectors.bank; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
