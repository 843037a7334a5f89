from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.detectors import samplers
from patchshift.detectors.fit import fit_detector
from patchshift.detectors.foreground import fit_foreground
from patchshift.detectors.patches import embed, unit_vectors
from patchshift.detectors.training import TrainingSet
from patchshift.errors import UserError
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import pool
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.plan.score_specs import ImageScoreSpec, ScoringSpec


def spec(settings: dict[str, Any] | None = None, **sampler: Any) -> PatchCoreSpec:
    return PatchCoreSpec.model_validate({"method": "patchcore", "sampler": sampler} | (settings or {}))


def with_little_memory(spec: PatchCoreSpec) -> PatchCoreSpec:
    """Not enough for five images of 48 patches of 9 numbers; no config may ask for so little."""
    return spec.model_copy(update={"memory_mb": 0.02})


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
    scores = bank.score(make_features(2, seed=5), ScoringSpec(image_score=ImageScoreSpec(reweight_neighbours=9)))
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


def test_a_bank_does_not_depend_on_the_memory_for_embedding(make_features: Any) -> None:
    features = make_features(7)
    whole, parts = (
        fit_detector(with_little_memory(spec({"chunk_mb": size}, count=10)), features, seed=1) for size in (16, 256)
    )
    for name, array in whole.model.arrays().items():
        np.testing.assert_array_equal(array, parts.model.arrays()[name])


def test_shards_keep_the_number_of_vectors_and_measure_their_radius(
    make_features: Any, caplog: pytest.LogCaptureFixture
) -> None:
    features = make_features(7)
    with caplog.at_level("INFO"):
        bank = fit_detector(with_little_memory(spec(share=0.05, projection=3)), features, seed=1)
    assert "they are read in 3 shards" in caplog.text
    assert len(bank.model.vectors) == 16  # of 7 * 48
    patches = embed(bank.representation, features)
    assert {vector.tobytes() for vector in bank.model.vectors} <= {patch.tobytes() for patch in patches}
    unprojected = fit_detector(with_little_memory(spec(share=0.05)), features, seed=1)
    farthest = unprojected.score(features, ScoringSpec()).maps.max()
    assert farthest == pytest.approx(unprojected.model.covering_radius, rel=1e-5)


def test_a_random_bank_is_the_same_from_shards(make_features: Any) -> None:
    features = make_features(7)
    expected = fit_detector(spec(method="random", share=0.1), features, seed=1).model
    found = fit_detector(with_little_memory(spec(method="random", share=0.1)), features, seed=1).model
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.covering_radius == expected.covering_radius


@pytest.mark.parametrize("sampler", [{"method": "none"}, {"share": 0.1}, {"share": 0.1, "per_category": True}])
@pytest.mark.parametrize("little_memory", [False, True])
def test_every_vector_of_a_pool_knows_its_category(
    make_features: Any, sampler: dict[str, Any], little_memory: bool
) -> None:
    parts = [make_features(count, seed=count) for count in (3, 2, 1)]
    training = TrainingSet(pool(parts), ["one/a", "two/b"], np.array([0, 0, 0, 1, 1, 0], np.int16))
    asked = spec(**sampler)
    little_memory = little_memory and asked.sampler.method != "none"
    bank = fit_detector(with_little_memory(asked) if little_memory else asked, training, seed=0)
    patches = [{patch.tobytes() for patch in embed(bank.representation, part)} for part in parts]
    assert bank.model.members.dtype == np.int16
    assert {0, 1} == set(bank.model.members)
    for vector, member in zip(bank.model.vectors, bank.model.members, strict=True):
        assert vector.tobytes() in (patches[0] | patches[2] if member == 0 else patches[1])
    if "per_category" in sampler:
        assert np.bincount(bank.model.members).tolist() == [19, 9]  # a tenth of 192 and of 96


def test_a_single_category_has_no_members(make_features: Any) -> None:
    training = TrainingSet(make_features(2), ["one/a"], np.zeros(2, np.int16))
    assert fit_detector(spec(share=0.1, per_category=True), training, seed=0).model.members is None


def test_cosine_keeps_unit_vectors_chosen_among_unit_vectors(make_features: Any) -> None:
    features = make_features(4)
    bank = fit_detector(spec({"distance": "cosine"}, count=20), features, seed=0)
    units = unit_vectors(embed(bank.representation, features))
    expected, radius = samplers.choose(spec(count=20).sampler, units, images=4, seed=0)
    np.testing.assert_allclose(bank.model.vectors, expected, atol=1e-6)
    assert bank.model.covering_radius == radius


def test_the_radius_of_centroids_is_that_of_those_that_the_bank_keeps(make_features: Any) -> None:
    features = make_features(4)
    bank = fit_detector(spec({"distance": "cosine"}, method="kmeans", count=20), features, seed=0)
    np.testing.assert_allclose(np.linalg.norm(bank.model.vectors, axis=1), 1, rtol=1e-6)
    units = unit_vectors(embed(bank.representation, features))
    farthest = np.linalg.norm(units[:, None] - bank.model.vectors, axis=2).min(axis=1).max()
    assert bank.model.covering_radius == pytest.approx(farthest, rel=1e-5)


def test_the_background_is_left_out_of_the_bank(make_features: Any) -> None:
    features = make_features(4)
    bank = fit_detector(spec({"foreground": True}, method="none"), features, seed=0)
    foreground, present = fit_foreground(bank.representation, features, 256)
    patches = embed(bank.representation, features)
    np.testing.assert_array_equal(present.ravel(), ~foreground.background(patches))
    np.testing.assert_array_equal(bank.model.vectors, patches[~foreground.background(patches)])
    kept = fit_detector(spec({"foreground": True}, share=0.5), features, seed=0).model
    assert len(kept.vectors) == len(bank.model.vectors) // 2
    assert not foreground.background(kept.vectors).any()


def test_finding_the_background_embeds_no_image_once_more(make_features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features, embedded, embed_images = make_features(4), [], Representation.embed

    def count(*args: Any, **options: Any) -> Iterator[npt.NDArray[np.float32]]:
        for chunk in embed_images(*args, **options):
            embedded.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Representation, "embed", count)
    fit_detector(spec({"foreground": True}, share=0.5), features, seed=0)
    assert sum(embedded) == 3 * 4  # for the component, along it, and to choose from


def test_recall_is_that_of_the_training_patches_even_from_shards(make_features: Any) -> None:
    settings = {"index": {"method": "hnsw"}, "neighbours": 2}
    bank = fit_detector(with_little_memory(spec(settings, count=30)), make_features(7), seed=0)
    assert bank.model.recall > 0.9


@pytest.mark.parametrize(
    "sampler", [*SAMPLERS[:2], *SAMPLERS[3:], {"method": "kmeans", "share": 0.1}, {"method": "none"}]
)
def test_every_sampler_takes_a_single_image(make_features: Any, sampler: dict[str, Any]) -> None:
    bank = fit_detector(spec(**sampler), make_features(1), seed=0)
    assert np.isfinite(bank.score(make_features(2, seed=5), ScoringSpec()).maps).all()


def test_constant_features_give_a_bank_of_equal_vectors(make_constant: Any) -> None:
    flat = spec({"representation": {"neighbourhood": "none"}}, count=3)
    bank = fit_detector(flat, make_constant(), seed=0)
    assert len(np.unique(bank.model.vectors, axis=0)) == 1
    assert bank.model.covering_radius == 0
    assert (bank.score(make_constant(), ScoringSpec()).maps == 0).all()


def test_more_neighbours_than_vectors_are_refused(make_features: Any) -> None:
    with pytest.raises(UserError, match="neighbours: 5 are asked for, but the bank has 4 vectors: lower it, or let"):
        fit_detector(spec({"neighbours": 5}, count=4), make_features(), seed=0)
