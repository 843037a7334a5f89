import numpy as np
import numpy.typing as npt
import pytest

from patchshift.detectors.image_scores import mean_of_top_share, reweighting, score_images
from patchshift.plan.specs import ImageScoreSpec

Float32 = npt.NDArray[np.float32]


def floats(*values: float) -> Float32:
    return np.array(values, np.float32)


class Line:
    """A bank of scalars."""

    def __init__(self, *positions: float) -> None:
        self.vectors = floats(*positions)[:, None]

    def neighbours(self, vectors: Float32, count: int) -> npt.NDArray[np.int64]:
        return np.asarray(np.abs(vectors - self.vectors.T).argsort(1, kind="stable")[:, :count])


def test_max_is_the_largest_patch_distance() -> None:
    distances = np.array([[1, 5, 2], [4, 0, 3]], np.float32)
    scores = score_images(
        ImageScoreSpec(), distances, np.zeros((2, 3), np.int64), np.zeros((2, 3, 1), np.float32), Line(0)
    )
    assert scores.tolist() == [5, 4]


@pytest.mark.parametrize(("share", "expected"), [(0.001, 9.0), (0.2, 8.5), (0.24, 8.5), (0.26, 8.0), (1.0, 4.5)])
def test_top_share_is_rounded_to_whole_patches_at_least_one(share: float, expected: float) -> None:
    distances = np.random.default_rng(0).permutation(10).astype(np.float32)[None]
    assert mean_of_top_share(distances, share).tolist() == [expected]


def test_reweighting_is_equation_7_on_hand_computed_neighbours() -> None:
    # Patch at 0, nearest vector at 2, whose own two nearest are itself and 3; the one at -2.5 is not among them.
    factor = reweighting(floats(2), floats(0)[:, None], np.array([0]), 2, Line(2, -2.5, 3))
    assert factor == pytest.approx(1 - np.exp(2) / (np.exp(2) + np.exp(3)))


def test_reweighting_does_not_overflow_on_large_distances() -> None:
    factor = reweighting(floats(900), floats(0)[:, None], np.array([0]), 2, Line(900, 901))
    assert factor == pytest.approx(1 - 1 / (1 + np.e))


def test_reweighting_leaves_the_score_where_the_bank_holds_one_vector() -> None:
    assert reweighting(floats(2), floats(0)[:, None], np.array([0]), 9, Line(2)).tolist() == [1]
