from typing import Any

import numpy as np
import pytest

from patchshift.detectors.fit import fit_detector
from patchshift.detectors.subspace import NormalSubspace
from patchshift.errors import UserError
from patchshift.plan.detector_specs import SubspaceSpec


def spec(**settings: Any) -> SubspaceSpec:
    return SubspaceSpec.model_validate({"method": "pca", **settings})


def test_the_score_is_the_distance_from_the_subspace_and_moving_inside_it_changes_nothing() -> None:
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(7, 7)))
    model = NormalSubspace(random.normal(size=7).astype(np.float32), basis[:, :3].astype(np.float32))
    outside = random.normal(size=(2, 5, 4))
    patches = model.mean + outside @ basis[:, 3:].T + random.normal(size=(2, 5, 3)) @ basis[:, :3].T
    distances = model.distances(patches.astype(np.float32))
    np.testing.assert_allclose(distances, np.linalg.norm(outside, axis=-1), rtol=1e-5)


def test_the_components_are_those_of_the_training_patches(make_features: Any) -> None:
    features = make_features(30)
    bank = fit_detector(spec(dimension=4), features, seed=0)
    (patches,) = bank.representation.embed(features, chunk_mb=256)
    flat = patches.reshape(-1, bank.representation.dimension).astype(np.float64)
    _, _, directions = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    rest = flat - flat.mean(axis=0)
    expected = np.linalg.norm(rest - rest @ directions[:4].T @ directions[:4], axis=1)
    np.testing.assert_allclose(bank.model.distances(patches).ravel(), expected, rtol=1e-3)


def test_without_a_size_the_components_hold_0_95_of_the_variance(make_features: Any) -> None:
    features = make_features(30, channels=40)
    default, stated = (fit_detector(each, features, seed=0).model for each in (spec(), spec(explained_variance=0.95)))
    np.testing.assert_array_equal(default.components, stated.components)
    assert 1 < default.components.shape[1] < len(default.mean)


def test_images_without_any_variance_are_refused(make_constant: Any) -> None:
    with pytest.raises(UserError, match="the training patches are all equal"):
        fit_detector(spec(representation={"neighbourhood": "none"}), make_constant(), seed=0)


@pytest.mark.parametrize("settings", [{"dimension": 9}, {"explained_variance": 1.0}])
def test_a_subspace_that_holds_everything_is_refused(make_features: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="leave nothing that a patch could differ in: lower dimension"):
        fit_detector(spec(**settings), make_features(30), seed=0)
