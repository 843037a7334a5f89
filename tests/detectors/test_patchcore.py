from typing import Any

import numpy as np
import pytest

from patchshift.detectors.fit import fit_detector
from patchshift.detectors.patchcore import embed
from patchshift.errors import UserError
from patchshift.features.representations import fit_representation
from patchshift.features.store import pool
from patchshift.plan.detector_specs import ImageScoreSpec, PatchCoreSpec
from patchshift.plan.representation_specs import RepresentationSpec


def spec(**sampler: Any) -> PatchCoreSpec:
    return PatchCoreSpec.model_validate({"method": "patchcore", "sampler": sampler})


SAMPLERS = [
    {"method": "greedy", "share": 0.1},
    {"method": "greedy", "count": 28, "projection": 3},
    {"method": "greedy", "share": 0.1, "starts": 10},
    {"method": "variance_weighted", "share": 0.1, "projection": 3},
    {"method": "random", "share": 0.1},
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_bank_holds_the_asked_number_of_training_patches(make_features: Any, sampler: dict[str, Any]) -> None:
    features = make_features()
    bank = fit_detector(spec(**sampler), features, seed=3)
    patches = embed(bank.representation, features)
    assert len(bank.model.vectors) == 28  # a tenth of 6 * 8 * 6
    kept = {vector.tobytes() for vector in bank.model.vectors}
    assert len(kept) == 28
    assert kept <= {patch.tobytes() for patch in patches}
    assert bank.model.covering_radius > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_alone_decides_the_choice(make_features: Any, sampler: dict[str, Any]) -> None:
    first, same, other = (fit_detector(spec(**sampler), make_features(), seed=seed).model.vectors for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_patches_are_embedded_in_the_order_of_the_images(make_features: Any) -> None:
    features = make_features(40)  # more than one chunk
    representation = fit_representation(RepresentationSpec(), features)
    patches = embed(representation, features)
    (maps,) = features.parts[0][0].select(["image37"]).chunks(representation.layers, 1)
    expected = representation.transform(maps).reshape(48, -1)
    np.testing.assert_allclose(patches.reshape(40, 48, -1)[37], expected, rtol=1e-6)


def test_keeping_all_patches_covers_them_exactly(make_features: Any) -> None:
    bank = fit_detector(spec(method="none"), make_features(), seed=0)
    assert (len(bank.model.vectors), bank.model.covering_radius) == (288, 0)
    assert fit_detector(spec(count=288), make_features(), seed=0).model.covering_radius == 0


def test_one_training_image_is_enough(make_features: Any) -> None:
    bank = fit_detector(spec(share=0.001), make_features(1), seed=0)
    assert len(bank.model.vectors) == 1
    scores = bank.score(make_features(2, seed=5), ImageScoreSpec(reweight_neighbours=9))
    assert np.isfinite(scores.image_scores).all()


def test_a_pool_of_stores_is_fitted_as_one(make_features: Any) -> None:
    features = pool([make_features(3, seed=0), make_features(2, seed=1)])
    assert len(fit_detector(spec(method="none"), features, seed=0).model.vectors) == 5 * 48


def test_asking_for_more_patches_than_there_are_is_refused(make_features: Any) -> None:
    with pytest.raises(UserError, match=r"sampler\.count: 289 patches are asked for, but the training images have 288"):
        fit_detector(spec(count=289), make_features(), seed=0)


def test_fitting_without_training_images_is_refused(make_features: Any) -> None:
    nothing = make_features().parts[0][0].select([])
    with pytest.raises(UserError, match="no training images"):
        fit_detector(spec(share=0.1), nothing, seed=0)
