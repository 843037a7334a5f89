from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter

MakeFeatures = Callable[..., FeatureRows]

FLAT = [((8, 6, 4), 1), ((4, 3, 5), 2)]


@pytest.fixture
def make_features(tmp_path: Path) -> Iterator[MakeFeatures]:
    """Features of a few images: a fine and a coarse layer of normal noise; the same seed gives the same values."""
    numbers = count()
    with ExitStack() as stack:

        def make(
            images: int = 6,
            *,
            seed: int = 0,
            channels: int = 5,
            input_size: tuple[int, int] = (64, 48),
            device: str = "cpu",
        ) -> FeatureRows:
            random = np.random.default_rng(seed)
            path = tmp_path / f"features{next(numbers)}.h5"
            names = [f"image{index}" for index in range(images)]
            with FeatureWriter(path, names, input_size, {"device": device, "precision": "float32"}) as writer:
                fine = random.normal(size=(images, 8, 6, 4)).astype(np.float16)
                coarse = random.normal(size=(images, 4, 3, channels)).astype(np.float16)
                writer.write(0, {"fine": fine, "coarse": coarse})
            return stack.enter_context(FeatureStore(path)).select(names)

        yield make


@pytest.fixture
def make_constant(tmp_path: Path) -> Iterator[Callable[[], FeatureRows]]:
    """Features of five images that are the same everywhere."""
    with ExitStack() as stack:

        def make() -> FeatureRows:
            names = [f"image{index}" for index in range(5)]
            with FeatureWriter(tmp_path / "constant.h5", names, (64, 48), {}) as writer:
                fine, coarse = (np.full((5, *shape), value, np.float16) for shape, value in FLAT)
                writer.write(0, {"fine": fine, "coarse": coarse})
            return stack.enter_context(FeatureStore(tmp_path / "constant.h5")).select(names)

        yield make
