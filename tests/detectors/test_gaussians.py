from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.covariance import LedoitWolf

from patchshift.detectors.fit import fit_detector
from patchshift.detectors.gaussians import NormalGaussians, estimate, invert
from patchshift.errors import UserError
from patchshift.plan.detector_specs import PadimSpec

GOLDEN = Path(__file__).parents[1] / "golden"
Float32 = npt.NDArray[np.float32]


def spec(**settings: Any) -> PadimSpec:
    return PadimSpec.model_validate({"method": "padim", "representation": {"neighbourhood": "none"}, **settings})


def in_chunks(vectors: Float32, size: int) -> Callable[[], Iterator[Float32]]:
    return lambda: (vectors[first : first + size] for first in range(0, len(vectors), size))


def at_positions(maps: Float32) -> Float32:
    """[n, D, rows, columns] -> [n, P, D]."""
    return np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1))


@pytest.mark.parametrize("size", [7, 40])
def test_mean_covariance_and_distances_equal_the_reference(size: int) -> None:
    with np.load(GOLDEN / "anomalib_padim.npz") as golden:
        mean, covariance = estimate(in_chunks(at_positions(golden["train"]), size), ledoit_wolf=False)
        covariance += 0.01 * np.eye(10)
        np.testing.assert_allclose(mean, golden["mean"].T, rtol=1e-3, atol=1e-6)
        whitening = invert(covariance)
        inverse = whitening.transpose(0, 2, 1) @ whitening
        scale = np.abs(golden["inverse_covariance"]).max()
        np.testing.assert_allclose(inverse, golden["inverse_covariance"], rtol=1e-3, atol=1e-3 * scale)
        distances = NormalGaussians(mean.astype(np.float32), whitening).distances(at_positions(golden["test"]))
        np.testing.assert_allclose(distances, golden["distance"].reshape(4, 30), rtol=1e-3)


@pytest.mark.parametrize("count", [12, 300])
def test_shrinkage_is_that_of_scikit_learn(count: int) -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(count, 3, 8)) * np.arange(1, 9) + 50).astype(np.float32)
    mean, covariance = estimate(in_chunks(vectors, 5), ledoit_wolf=True)
    for position in range(3):
        expected = LedoitWolf().fit(vectors[:, position].astype(np.float64))
        np.testing.assert_allclose(mean[position], expected.location_, rtol=1e-6)
        np.testing.assert_allclose(covariance[position], expected.covariance_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", ["each", "all"])
def test_distances_are_those_of_the_training_patches_at_each_position_or_at_all(
    make_features: Any, positions: str
) -> None:
    features = make_features(30)
    bank = fit_detector(spec(positions=positions), features, seed=0)
    (patches,) = bank.representation.embed(features, chunk_mb=256)
    groups = patches.transpose(1, 0, 2) if positions == "each" else patches.reshape(1, -1, patches.shape[-1])
    expected = np.empty(groups.shape[:2])
    for group, distances in zip(groups.astype(np.float64), expected, strict=True):
        centred = group - group.mean(axis=0)
        inverse = np.linalg.inv(np.cov(group, rowvar=False) + 0.01 * np.eye(9))
        distances[:] = np.sqrt(np.einsum("nd,de,ne->n", centred, inverse, centred))
    expected = expected.T if positions == "each" else expected.reshape(patches.shape[:2])
    np.testing.assert_allclose(bank.model.distances(patches), expected, rtol=1e-3)


def test_more_regularisation_makes_patches_nearer(make_features: Any) -> None:
    features = make_features(8)  # fewer than dimensions: singular without it
    (patches,) = fit_detector(spec(), features, seed=0).representation.embed(make_features(2, seed=1), chunk_mb=256)
    near, default, far = (
        fit_detector(spec(regularisation=value), features, seed=0).model.distances(patches) for value in (1, 0.01, 1e-3)
    )
    assert (near < default).all()
    assert (default < far).all()
    np.testing.assert_array_equal(default, fit_detector(spec(), features, seed=0).model.distances(patches))


@pytest.mark.parametrize(("covariance", "needed"), [("regularised", 2), ("ledoit_wolf", 3)])
def test_too_few_training_images_are_refused(make_features: Any, covariance: str, needed: int) -> None:
    with pytest.raises(UserError, match=f"'{covariance}' needs at least {needed} .* there are {needed - 1}: give more"):
        fit_detector(spec(covariance=covariance), make_features(needed - 1), seed=0)
    fit_detector(spec(covariance=covariance), make_features(needed), seed=0)
    fit_detector(spec(covariance=covariance, positions="all"), make_features(1), seed=0)


def test_patches_that_do_not_vary_are_refused_unless_regularised() -> None:
    constant = np.ones((5, 2, 3), np.float32)
    _, covariance = estimate(in_chunks(constant, 5), ledoit_wolf=True)
    with pytest.raises(UserError, match="patches of a position do not vary"):
        invert(covariance)
    invert(covariance + 0.01 * np.eye(3))


def test_the_size_of_the_bank_is_told_before_it_is_made(make_features: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        bank = fit_detector(spec(), make_features(8), seed=0)
    size = sum(array.nbytes for array in bank.model.arrays().values())
    assert f"a bank of {size / 1e6:.1f} MB: 48 Gaussians of 9 numbers" in caplog.messages
