from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.covariance import LedoitWolf

from patchshift.detectors import gaussians
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.gaussians import NormalGaussians, add_to_diagonals, estimate, invert
from patchshift.errors import UserError
from patchshift.plan.detector_specs import PadimSpec

GOLDEN = Path(__file__).parents[1] / "golden"
Float32 = npt.NDArray[np.float32]


def spec(**settings: Any) -> PadimSpec:
    return PadimSpec.model_validate({"method": "padim", "representation": {"neighbourhood": "none"}, **settings})


def in_chunks(vectors: Float32, size: int) -> Iterator[Float32]:
    return (vectors[first : first + size] for first in range(0, len(vectors), size))


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


@pytest.mark.parametrize("ledoit_wolf", [False, True])
@pytest.mark.parametrize("sizes", [[1] * 40, [40], [3, 14, 23], [16, 24], [39, 1]])
def test_not_a_bit_depends_on_how_the_vectors_are_cut(
    ledoit_wolf: bool, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).gamma(1, 3, (40, 20, 8)).astype(np.float32)
    monkeypatch.setattr(gaussians, "BLOCK_BYTES", 16 * vectors[0].nbytes)  # two blocks of 16 and one of 8
    expected = estimate(in_chunks(vectors, 16), ledoit_wolf=ledoit_wolf)
    found = estimate(np.split(vectors, np.cumsum(sizes)[:-1]), ledoit_wolf=ledoit_wolf)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("offset", [0, 1e3, 1e4])
def test_far_from_the_origin_covariances_stay_as_precise(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    mixed = random.normal(size=(300, 3, 1, 20)) @ random.normal(size=(3, 20, 20))
    vectors = (mixed[:, :, 0] + offset).astype(np.float32)
    vectors[:100] += 5  # the first block lies off the mean of all
    monkeypatch.setattr(gaussians, "BLOCK_BYTES", 100 * vectors[0].nbytes)
    mean, covariance = estimate(in_chunks(vectors, 70), ledoit_wolf=False)
    shrunk = estimate(in_chunks(vectors, 70), ledoit_wolf=True)[1]
    for position in range(3):
        exact = vectors[:, position].astype(np.float64)
        expected = np.cov(exact, rowvar=False)
        assert np.abs(covariance[position] - expected).max() <= 2e-6 * expected.max()
        np.testing.assert_allclose(mean[position], exact.mean(axis=0), rtol=1e-6, atol=1e-6)
        expected = LedoitWolf().fit(exact).covariance_
        assert np.abs(shrunk[position] - expected).max() <= 1e-5 * expected.max()


@pytest.mark.parametrize("deviation", [20, 100, 200])
def test_beside_large_variances_the_regularisation_is_not_lost(deviation: float) -> None:
    """With fewer vectors than numbers it alone is the variance in most directions."""
    random = np.random.default_rng(0)
    vectors = (random.normal(0, deviation, (64, 2, 100)) + 500).astype(np.float32)
    training, targets = vectors[:60], vectors[60:]
    mean, covariance = estimate(in_chunks(training, 25), ledoit_wolf=False)
    add_to_diagonals(covariance, 0.01)
    distances = NormalGaussians(mean.astype(np.float32), invert(covariance)).distances(targets)
    for position in range(2):
        exact = training[:, position].astype(np.float64)
        inverse = np.linalg.inv(np.cov(exact, rowvar=False) + 0.01 * np.eye(100))
        centred = targets[:, position] - exact.mean(axis=0)
        expected = np.sqrt(np.einsum("nd,de,ne->n", centred, inverse, centred))
        np.testing.assert_allclose(distances[:, position], expected, rtol=1e-4)


@pytest.mark.parametrize("dimension", [1, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("smallest", [1e-1, 1e-6])
def test_factors_are_inverted_precisely_whatever_their_size(dimension: int, smallest: float) -> None:
    """With a variance of a millionth of the largest in some direction, float32 alone would be off by a tenth."""
    random = np.random.default_rng(dimension)
    basis = np.linalg.qr(random.normal(size=(20, dimension, dimension)))[0]
    covariance = (basis * np.geomspace(1, smallest, dimension)) @ basis.transpose(0, 2, 1)
    whitening = invert(covariance)
    expected = np.linalg.inv(np.linalg.cholesky(covariance))
    assert np.array_equal(whitening, np.tril(whitening))
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert np.abs(whitening - expected).max() <= (1e-4 * scale).min()


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
    with pytest.raises(UserError, match="in some direction they do not vary, or too little for double precision"):
        invert(covariance)
    invert(covariance + 0.01 * np.eye(3))


def test_the_size_of_the_bank_is_told_before_it_is_made(make_features: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        bank = fit_detector(spec(), make_features(8), seed=0)
    size = sum(array.nbytes for array in bank.model.arrays().values())
    assert f"a bank of {size / 1e6:.1f} MB: 48 Gaussians of 9 numbers" in caplog.messages
