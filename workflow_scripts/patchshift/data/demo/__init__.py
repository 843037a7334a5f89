"""The built-in dataset `demo`: photographs of three products, drawn instead of taken, in the layout of MVTec AD.

Each image has its own random streams, keyed by seed, category, folder and number, so asking for more images
changes no other, and the same request gives the same bytes. Tested in tests/data/test_demo.py.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_closing, binary_fill_holes, label

from patchshift.data.demo import casting, connector, weave
from patchshift.data.demo.canvas import Canvas, FloatArray
from patchshift.data.demo.photograph import Lens, develop, expose, focus, shade
from patchshift.data.demo.scene import Category
from patchshift.errors import UserError
from patchshift.plan.data_specs import GeneratorSpec
from patchshift.plan.loading import did_you_mean

_SCENES: Mapping[str, Category[Any]] = {
    "weave": weave.CATEGORY,
    "casting": casting.CATEGORY,
    "connector": connector.CATEGORY,
}
CATEGORIES: tuple[str, ...] = tuple(_SCENES)

VISIBLE = 3.0  # display levels (of 255): a change of less is lost in the sensor noise
SMALLEST_MASK = 6  # pixels


@dataclass(frozen=True)
class Photograph:
    """One image, what the same piece looks like without its defect, and where they differ.

    image: uint8 [H, W, 3].
    sound: uint8 [H, W, 3], drawn with the same light, pose, texture and sensor noise; equal to `image` if good.
    mask: bool [H, W], where noise-free images differ by `VISIBLE` levels or more, specks removed and gaps closed.
    """

    image: NDArray[np.uint8]
    sound: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def defect_types(category: str) -> tuple[str, ...]:
    """The defects a category can have, sorted.

    Raises:
        UserError: for an unknown category.
    """
    return tuple(sorted(_find(category).defects))


def generate_category(category: str, folder: Path, spec: GeneratorSpec) -> None:
    """Write one category in MVTec AD layout straight into `folder`.

    `train/good/000.png`, `test/good/000.png`, `test/{defect}/000.png` (RGB) and
    `ground_truth/{defect}/000_mask.png` (0 and 255), all `spec.image_size` squared, 8 bits.

    Raises:
        UserError: for an unknown category.
    """
    counts = {"train/good": spec.train_good, "test/good": spec.test_good}
    counts |= {f"test/{defect}": spec.test_per_defect for defect in defect_types(category)}
    for kind, count in counts.items():
        defect = kind.removeprefix("test/")
        for number in range(count):
            photograph = take_photograph(category, kind, number, seed=spec.seed, image_size=spec.image_size)
            _save(photograph.image, folder / kind / f"{number:03d}.png")
            if defect in _find(category).defects:
                _save(
                    photograph.mask.astype(np.uint8) * 255, folder / "ground_truth" / defect / f"{number:03d}_mask.png"
                )


def take_photograph(category: str, kind: str, number: int, *, seed: int, image_size: int) -> Photograph:
    """Draw one image.

    Args:
        kind: its folder: `train/good`, `test/good` or `test/{defect}`.

    Raises:
        UserError: for an unknown category.
    """
    scene, canvas = _find(category), Canvas(image_size)
    scene_stream, lens_stream, defect_stream = _streams(f"{seed}/{category}/{kind}/{number}", 3)
    layout = scene.draw(canvas, scene_stream)
    lens = Lens.draw(lens_stream)
    surface = scene.render(layout)
    sound = focus(canvas, shade(canvas, surface, layout.light), lens)
    defective, mask = sound, np.zeros((image_size, image_size), dtype=np.bool_)
    if defect := scene.defects.get(kind.removeprefix("test/")):
        # A defect may fall where it cannot be seen (off the piece, in a shadow): then it falls elsewhere.
        while mask.sum() < SMALLEST_MASK:
            changed = defect(layout, surface, defect_stream)
            defective = focus(canvas, shade(canvas, changed, layout.light), lens)
            mask = visible_difference(defective, sound)
    noise_seed = int(lens_stream.integers(2**63))
    image, sound_image = (expose(linear, np.random.default_rng(noise_seed)) for linear in (defective, sound))
    return Photograph(image, sound_image, mask)


def visible_difference(first: FloatArray, second: FloatArray) -> NDArray[np.bool_]:
    """Where two noise-free exposures, float32 [3, H, W], differ visibly: bool [H, W]."""
    difference = np.abs(develop(first) - develop(second)).max(axis=0)
    mask = binary_fill_holes(binary_closing(np.pad(difference >= VISIBLE, 2), np.ones((3, 3))))[2:-2, 2:-2]
    regions, _ = label(mask, np.ones((3, 3)))
    keep = np.bincount(regions.ravel()) >= SMALLEST_MASK
    keep[0] = False
    return np.asarray(keep[regions], dtype=np.bool_)


def _find(category: str) -> Category[Any]:
    if category not in _SCENES:
        raise UserError(f"categories: '{category}' is not in the built-in dataset{did_you_mean(category, CATEGORIES)}")
    return _SCENES[category]


def _streams(key: str, count: int) -> list[np.random.Generator]:
    entropy = int.from_bytes(hashlib.sha256(key.encode()).digest())
    return [np.random.default_rng(child) for child in np.random.SeedSequence(entropy).spawn(count)]


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=3)
