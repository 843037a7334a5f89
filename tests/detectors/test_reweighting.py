import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.detectors.reweighting import VectorBank, reweighting

Float32 = npt.NDArray[np.float32]


def floats(*values: float) -> Float32:
    return np.array(values, np.float32)


def line(*positions: float) -> NearestNeighbours:
    """A bank of scalars."""
    return make_neighbours(floats(*positions)[:, None], 0.0)


def test_reweighting_is_equation_7_on_hand_computed_neighbours() -> None:
    # Patch at 0, nearest vector at 2, whose own two nearest are itself and 3; the one at -2.5 is not among them.
    factor = reweighting(floats(2), floats(0)[:, None], 2, line(2, -2.5, 3))
    assert factor == pytest.approx(1 - np.exp(2) / (np.exp(2) + np.exp(3)))


def test_reweighting_does_not_overflow_on_large_distances() -> None:
    factor = reweighting(floats(900), floats(0)[:, None], 2, line(900, 901))
    assert factor == pytest.approx(1 - 1 / (1 + np.e))


def test_reweighting_leaves_the_score_where_the_bank_holds_one_vector() -> None:
    assert reweighting(floats(2), floats(0)[:, None], 9, line(2)).tolist() == [1]


def test_nearest_neighbours_have_what_the_reweighting_asks_for() -> None:
    assert isinstance(line(0, 1), VectorBank)


def test_image_scores_and_their_reweighting_do_not_load_the_search_library() -> None:
    code = (
        "import sys, patchshift.detectors.image_scores, patchshift.detectors.combination; print('faiss' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
