from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.detectors.foreground import Foreground, fit_foreground, otsu_threshold
from patchshift.errors import UserError
from patchshift.features.representations import fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter
from patchshift.plan.representation_specs import RepresentationSpec

Bool = npt.NDArray[np.bool_]
MakeScene = Callable[..., FeatureRows]

PLAIN = RepresentationSpec(neighbourhood="none", fusion="single")


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[MakeScene]:
    """Features of six images whose patches inside a mask differ from the others by more than the noise."""
    with ExitStack() as stack:

        def make(inside: Bool, *, contrast: float = 6.0, name: str = "scene") -> FeatureRows:
            random = np.random.default_rng(0)
            values = random.normal(size=(6, *inside.shape, 5))
            values[..., 2] += contrast * inside
            values += 20
            path, images = tmp_path / f"{name}.h5", [f"image{index}" for index in range(6)]
            with FeatureWriter(path, images, (64, 64), {}) as writer:
                writer.write(0, {"layer": values.astype(np.float16)})
            return stack.enter_context(FeatureStore(path)).select(images)

        yield make


def central(rows: int = 8, columns: int = 8, margin: int = 2) -> Bool:
    inside = np.zeros((rows, columns), np.bool_)
    inside[margin : rows - margin, margin : columns - margin] = True
    return inside


def fit(features: FeatureRows, chunk_mb: int = 256) -> tuple[Foreground, npt.NDArray[np.float32]]:
    representation = fit_representation(PLAIN, features)
    foreground, present = fit_foreground(representation, features, chunk_mb)
    (patches,) = representation.embed(features, chunk_mb=256)
    np.testing.assert_array_equal(present, ~foreground.background(patches))
    return foreground, patches


@pytest.mark.parametrize("contrast", [6.0, -6.0])
@pytest.mark.parametrize("margin", [1, 2, 3])
def test_the_object_in_the_centre_is_the_foreground(make_scene: MakeScene, contrast: float, margin: int) -> None:
    """Also where it is smaller than the central half, or much larger."""
    inside = central(margin=margin)
    foreground, patches = fit(make_scene(inside, contrast=contrast))
    background = foreground.background(patches)
    assert background.shape == patches.shape[:2]
    assert (background.reshape(6, 8, 8) == ~inside).mean() > 0.98
    assert foreground.share == pytest.approx(1 - background.mean())


def test_a_frame_is_no_foreground(make_scene: MakeScene) -> None:
    foreground, patches = fit(make_scene(~central(margin=2)))
    assert (foreground.background(patches).reshape(6, 8, 8) == ~central(margin=2)).mean() > 0.98


def test_the_rule_does_not_depend_on_the_chunks_and_survives_the_file(make_scene: MakeScene) -> None:
    features = make_scene(central())
    foreground, patches = fit(features)
    chunked, _ = fit(features, chunk_mb=0)
    np.testing.assert_array_equal(chunked.direction, foreground.direction)
    assert chunked.threshold == pytest.approx(foreground.threshold, rel=1e-6)
    again = Foreground.from_arrays(foreground.arrays())
    assert (again.threshold, again.above, again.share) == (foreground.threshold, foreground.above, foreground.share)
    np.testing.assert_array_equal(again.background(patches), foreground.background(patches))


def test_an_image_without_the_object_has_no_foreground(make_scene: MakeScene) -> None:
    foreground, _ = fit(make_scene(central()))
    _, empty = fit(make_scene(np.zeros((8, 8), np.bool_), name="empty"))
    assert foreground.background(empty).mean() > 0.98


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"inside": np.zeros((3, 3), np.bool_)}, "a grid of 3 x 3 patches has no centre"),
        ({"constant": True}, "foreground: the training patches are all equal"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    make_scene: MakeScene, tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    if "constant" in change:
        with FeatureWriter(tmp_path / "constant.h5", ["a", "b"], (64, 64), {}) as writer:
            writer.write(0, {"layer": np.full((2, 8, 8, 5), 3, np.float16)})
        with FeatureStore(tmp_path / "constant.h5") as store, pytest.raises(UserError, match=fault):
            fit(store.select(["a", "b"]))
    else:
        with pytest.raises(UserError, match=fault):
            fit(make_scene(**change))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_the_threshold_divides_with_the_largest_variance_between_the_groups(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    threshold = otsu_threshold(numbers)
    assert np.float32(threshold) == threshold

    def between(cut: float) -> float:
        above = numbers.astype(np.float64)[numbers > np.float32(cut)]
        below = numbers.astype(np.float64)[numbers <= np.float32(cut)]
        if not len(above) or not len(below):
            return -1.0
        return float(len(above) * len(below) / len(numbers) ** 2 * (above.mean() - below.mean()) ** 2)

    best = max(between(float(cut)) for cut in numbers)
    assert between(threshold) == pytest.approx(best, rel=1e-9, abs=1e-9)
    if best < 0:
        assert threshold == numbers[0]
