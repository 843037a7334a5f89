"""Presets against what the reference implementations gave, or against their published steps written out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from patchshift.detectors.bank import Bank
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.image_scores import score_images
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import PatchCoreSpec

GOLDEN = Path(__file__).parents[1] / "golden"
Float32 = npt.NDArray[np.float32]
Maps = dict[str, Float32]


def preset(name: str, **settings: Any) -> PatchCoreSpec:
    return PatchCoreSpec.model_validate({"method": "patchcore", "compat": name, **settings})


def embed(spec: PatchCoreSpec, maps: Maps) -> Float32:
    """[n, P, D], by a representation that has nothing to fit."""
    chosen = {layer: maps[layer] for layer in spec.representation.layers or maps}
    shapes = {layer: values.shape[1:] for layer, values in chosen.items()}
    embeddings = Representation(spec.representation, shapes, {}).transform(chosen)
    return embeddings.reshape(len(embeddings), -1, embeddings.shape[-1])


def build(spec: PatchCoreSpec, vectors: Float32) -> NearestNeighbours:
    return make_neighbours(vectors, 0.0, count=spec.neighbours, index=spec.index, distance=spec.distance)


def layer_maps(golden: Any) -> Maps:
    return {layer: golden[layer].transpose(0, 2, 3, 1) for layer in ("layer2", "layer3")}


def test_anomalib_gives_what_anomalib_gave() -> None:
    spec = preset("anomalib")
    with np.load(GOLDEN / "anomalib_patchcore.npz", allow_pickle=False) as golden:
        patches = embed(spec, layer_maps(golden))
        np.testing.assert_allclose(patches.reshape(720, 48), golden["embedding"], rtol=1e-4, atol=1e-6)
        model = build(spec, golden["memory_bank"])
        distances = model.measure(patches).distances
        np.testing.assert_allclose(distances, golden["patch_scores"], rtol=1e-4)
        np.testing.assert_array_equal(model.rows(patches.reshape(720, 48), 1).reshape(5, 144), golden["nearest"])
        scores = score_images(spec.image_score, distances, patches, model)
        np.testing.assert_allclose(scores, golden["image_scores"], rtol=1e-4)
        for distance, expected in zip(distances.reshape(5, 12, 12), golden["anomaly_maps"], strict=True):
            pixels = upsample_map(distance, (96, 96), (96, 96), 4.0, spec.anomaly_map)
            np.testing.assert_allclose(pixels, expected, rtol=1e-4)
            ours = upsample_map(distance, (96, 96), (96, 96), 4.0)
            assert np.abs(ours / expected - 1).max() > 1e-3  # so the preset's map is another than the protocol's


def test_official_embeds_as_the_published_code() -> None:
    spec = preset("official").representation
    assert (spec.pooled_width, spec.reduction and spec.reduction.dimension) == (1024, 1024)
    assert spec.reduction is not None
    narrow = {"pooled_width": 24, "reduction": spec.reduction.model_copy(update={"dimension": 20})}  # as in the data
    with np.load(GOLDEN / "official_patch_embedding.npz", allow_pickle=False) as golden:
        maps = layer_maps(golden)
        representation = Representation(
            spec.model_copy(update=narrow), {layer: values.shape[1:] for layer, values in maps.items()}, {}
        )
        embeddings = representation.transform(maps)
        np.testing.assert_allclose(embeddings.reshape(288, 20), golden["embedding"], rtol=1e-4, atol=1e-6)


def test_official_scores_are_squared_distances_and_their_largest() -> None:
    """As its faiss search and `anomaly_map_generator` have it: no root, no Eq. 7, bilinear, Gaussian."""
    spec = preset("official")
    random = np.random.default_rng(0)
    maps = {"fine": random.normal(size=(3, 8, 6, 4)).astype(np.float32)}
    patches = embed(spec, maps)
    assert patches.shape == (3, 48, 1024)
    vectors = patches[0] + np.float32(0.1)
    model = build(spec, vectors)
    distances = model.measure(patches).distances
    squares = ((patches.astype(np.float64)[:, :, None] - vectors) ** 2).sum(-1).min(-1)
    np.testing.assert_allclose(distances, squares, rtol=1e-4)
    np.testing.assert_allclose(score_images(spec.image_score, distances, patches, model), squares.max(1), rtol=1e-4)
    one = distances[1].reshape(8, 6)
    smooth = gaussian_filter(upsample_map(one, (64, 48), (64, 48), 0.0), sigma=4)
    np.testing.assert_allclose(upsample_map(one, (64, 48), (64, 48), 4.0, spec.anomaly_map), smooth, rtol=1e-5)


def test_anomalydino_scores_are_the_top_hundredth_of_cosine_distances() -> None:
    spec = preset("anomalydino", representation={"layers": ["block11"]})
    random = np.random.default_rng(0)
    maps = {"block11": random.normal(size=(4, 20, 20, 6)).astype(np.float32), "block5": np.ones((4, 20, 20, 6))}
    patches = embed(spec, maps)
    np.testing.assert_array_equal(patches, maps["block11"].reshape(4, 400, 6))
    model = build(spec, patches[:2].reshape(-1, 6))
    distances = model.measure(patches).distances
    doubles = patches.astype(np.float64)
    units = doubles / np.linalg.norm(doubles, axis=-1, keepdims=True)
    cosine = 1 - np.einsum("npd,md->npm", units, units[:2].reshape(-1, 6)).max(-1)
    np.testing.assert_allclose(distances, cosine, rtol=1e-4, atol=1e-7)
    scores = score_images(spec.image_score, distances, patches, model)
    np.testing.assert_allclose(scores, np.sort(cosine)[:, -4:].mean(1), rtol=1e-4, atol=1e-7)


PRESETS: list[tuple[str, dict[str, Any], int]] = [
    ("official", {}, 28),
    ("official", {"sampler": {"count": 7}}, 7),
    ("anomalib", {}, 28),
    ("anomalydino", {"representation": {"layers": ["fine"]}}, 288),
    ("anomalydino", {"representation": {"layers": ["fine"]}, "foreground": True}, 0),
]


@pytest.mark.parametrize(("name", "settings", "vectors"), PRESETS)
def test_a_preset_is_fitted_kept_and_scored(
    name: str, settings: dict[str, Any], vectors: int, make_features: Callable[..., FeatureRows], tmp_path: Path
) -> None:
    spec = preset(name, **settings)
    bank = fit_detector(spec, make_features(), seed=0)
    others = make_features(seed=1)
    scores = bank.score(others, spec.scoring_spec())
    bank.save(tmp_path / "bank.h5", {})
    again = Bank.load(tmp_path / "bank.h5")
    assert again.spec == spec
    np.testing.assert_array_equal(again.score(others, spec.scoring_spec()).image_scores, scores.image_scores)
    if spec.foreground:
        assert bank.facts["bank_vectors"] == round(288 * bank.facts["foreground_share"])
        assert 0.1 < (scores.maps == 0).mean() < 0.9
    else:
        assert bank.facts["bank_vectors"] == vectors
        assert (scores.maps > 0).all()
    largest = scores.maps.reshape(6, -1).max(axis=1)
    if name == "official":
        np.testing.assert_array_equal(scores.image_scores, largest)
    elif name == "anomalib":
        assert (scores.image_scores < largest).all()
    else:  # the mean of the top hundredth of 48 patches is that of one
        np.testing.assert_allclose(scores.image_scores, largest, rtol=1e-6)
    assert scores.scoring.anomaly_map == spec.anomaly_map
