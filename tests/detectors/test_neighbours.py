from pathlib import Path

import numpy as np
import pytest

from patchshift.detectors.image_scores import score_images
from patchshift.detectors.neighbours import make_neighbours
from patchshift.plan.detector_specs import ImageScoreSpec

GOLDEN = Path(__file__).parents[1] / "golden"


def test_patch_and_image_scores_equal_the_reference() -> None:
    with np.load(GOLDEN / "anomalib_patchcore.npz") as golden:
        model = make_neighbours(golden["memory_bank"], 0.0)
        patches = golden["embedding"].reshape(5, 144, 48)
        distances = model.distances(patches)
        np.testing.assert_allclose(distances, golden["patch_scores"], rtol=1e-4)
        np.testing.assert_array_equal(model.rows(golden["embedding"], 1).reshape(5, 144), golden["nearest"])
        scores = score_images(ImageScoreSpec(reweight_neighbours=9), distances, patches, model)
        np.testing.assert_allclose(scores, golden["image_scores"], rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_the_nearest_vectors_are_found_far_from_the_origin(offset: float, count: int) -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(300, 16)) + offset).astype(np.float32)
    patches = (random.normal(size=(5, 100, 16)) + offset).astype(np.float32)
    model = make_neighbours(vectors, 0.0, count=count)
    expected = np.linalg.norm(patches[..., None, :].astype(np.float64) - vectors, axis=-1)
    np.testing.assert_array_equal(model.rows(patches.reshape(-1, 16), 1)[:, 0], expected.argmin(-1).ravel())
    np.testing.assert_allclose(model.distances(patches), np.sort(expected)[..., :count].mean(-1), rtol=1e-5)
