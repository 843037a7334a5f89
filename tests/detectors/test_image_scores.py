import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchshift.detectors.image_scores import mean_of_top_share, pool_patches, score_images
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.plan.score_specs import ImageScoreSpec

Float32 = npt.NDArray[np.float32]


def floats(*values: float) -> Float32:
    return np.array(values, np.float32)


def line(*positions: float) -> NearestNeighbours:
    """A bank of scalars."""
    return make_neighbours(floats(*positions)[:, None], 0.0)


def test_max_is_the_largest_patch_distance() -> None:
    distances = np.array([[1, 5, 2], [4, 0, 3]], np.float32)
    scores = score_images(ImageScoreSpec(), distances, np.zeros((2, 3, 1), np.float32), line(0))
    assert scores.tolist() == [5, 4]


@pytest.mark.parametrize(("share", "expected"), [(0.001, 9.0), (0.2, 8.5), (0.24, 8.5), (0.26, 8.0), (1.0, 4.5)])
def test_top_share_is_rounded_to_whole_patches_at_least_one(share: float, expected: float) -> None:
    distances = np.random.default_rng(0).permutation(10).astype(np.float32)[None]
    assert mean_of_top_share(distances, share).tolist() == [expected]


RULES = [
    ImageScoreSpec(),
    ImageScoreSpec(reweight_neighbours=2),
    ImageScoreSpec(method="top_share", share=0.3),
    ImageScoreSpec(method="top_share", share=0.001),
]


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_are_those_of_the_patches_that_are_not_ignored(rule: ImageScoreSpec, seed: int) -> None:
    generator = np.random.default_rng(seed)
    bank = line(-2, 0, 1.5, 4)
    patches = generator.normal(0, 5, (4, 9, 1)).astype(np.float32)
    distances = np.abs(patches - bank.vectors.T)
    distances = distances.min(axis=2)
    ignore = generator.random((4, 9)) < 0.6
    ignore[:, 3] = False
    scores = score_images(rule, distances, patches, bank, ignore)
    for image, kept in enumerate(~ignore):
        alone = score_images(rule, distances[image, kept][None], patches[image, kept][None], bank)
        assert scores[image] == alone[0]


@pytest.mark.parametrize("rule", RULES)
def test_ignoring_no_patch_changes_no_score(rule: ImageScoreSpec) -> None:
    distances = np.random.default_rng(3).random((5, 20)).astype(np.float32)
    rest = (distances[..., None], line(0, 1, 2))
    ignoring = score_images(rule, distances, *rest, ignore=np.zeros((5, 20), bool))
    np.testing.assert_array_equal(ignoring, score_images(rule, distances, *rest))


def test_a_patch_that_is_not_finite_can_be_ignored() -> None:
    distances = floats(np.nan, 2, 1)[None]
    rest = (distances[..., None], line(0))
    assert score_images(RULES[0], distances, *rest, ignore=np.array([[True, False, False]])).tolist() == [2]


def test_no_images_have_no_scores() -> None:
    none = np.zeros((0, 3), np.float32)
    assert mean_of_top_share(none, 0.5, none != 0).shape == (0,)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.none() | st.floats(0.01, 1))
def test_scores_below_zero_are_pooled_like_others(seed: int, share: float | None) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.normal(-50, 5, (4, 9)).astype(np.float32)
    ignore = generator.random((4, 9)) < 0.6
    ignore[:, 3] = False
    rule = ImageScoreSpec() if share is None else ImageScoreSpec(method="top_share", share=share)
    lifted = pool_patches(rule, scores + np.float32(100), ignore) - 100
    np.testing.assert_allclose(pool_patches(rule, scores, ignore), lifted, atol=1e-4)
    assert (pool_patches(rule, scores, ignore) < 0).all()
