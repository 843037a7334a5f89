"""Fixtures that several folders of tests share: the repository, and made datasets in real folder layouts."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

MakeTree = Callable[..., Path]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture
def make_mvtec_ad(tmp_path: Path) -> MakeTree:
    """Write a category in MVTec AD's layout: noisy images, each with its own content, and square defects."""

    def make(
        defects: Mapping[str, int] | None = None, *, train: int = 5, good: int = 3, size: tuple[int, int] = (30, 40)
    ) -> Path:
        root = tmp_path / "dataset" / "category"
        random = np.random.default_rng(0)
        counts = {("train", "good"): train, ("test", "good"): good}
        counts |= {("test", defect): count for defect, count in (defects or {"crack": 3, "scratch": 2}).items()}
        for (split, kind), count in counts.items():
            for number in range(count):
                pixels = random.integers(60, 120, (*size, 3), np.uint8)
                if kind != "good":
                    mask = np.zeros(size, np.uint8)
                    mask[10:16, 12:18] = 255
                    pixels[mask > 0] = 250
                    _save(mask, root / "ground_truth" / kind / f"{number:03d}_mask.png")
                _save(pixels, root / split / kind / f"{number:03d}.png")
        return root

    return make


@pytest.fixture
def make_mtd(tmp_path: Path) -> MakeTree:
    """Write Magnetic Tile Defects' layout: JPEG images of different sizes, masks beside them as PNG."""

    def make(*, free: int = 6, per_defect: int = 2) -> Path:
        root = tmp_path / "mtd"
        random = np.random.default_rng(0)
        for defect in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven"):
            for number in range(free if defect == "Free" else per_defect):
                size = (20 + number, 31)
                path = root / f"MT_{defect}" / "Imgs" / f"exp1_num_{number}.jpg"
                _save(random.integers(60, 120, size, np.uint8), path)
                mask = np.zeros(size, np.uint8)
                mask[3:6, 4:9] = 255 * (defect != "Free")
                _save(mask, path.with_suffix(".png"))
        return root

    return make


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
