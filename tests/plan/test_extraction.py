from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan.extraction import count_cores, count_memory


@pytest.mark.parametrize(
    ("settings", "memory_mb"),
    [
        ({"image_size": 224}, 2000 + 2 * 1000),
        ({"image_size": 224, "threads": 4}, 2000 + 4 * 1000),
        ({"image_size": [512, 1024], "batch_size": 16}, 2000 + 2 * 5033),  # 16 x 512 x 1024 pixels of 600 bytes
        ({"image_size": [512, 1024], "batch_size": 1, "threads": 1}, 2000 + 1000),
        (
            {
                "source": "torchvision",
                "model": "resnet18",
                "weights": "random",
                "layers": ["layer2"],
                "image_size": 1024,
                "tiling": {"tile": 512, "overlap": 0},
            },
            2000 + 2 * 2516,
        ),  # of tiles, not of the image
    ],
)
def test_memory_follows_the_pixels_of_a_batch_for_each_thread(
    catalog: dict[str, Any], load: Callable[[], Any], settings: dict[str, Any], memory_mb: int
) -> None:
    catalog["backbones"]["sized"] = {"source": "scattering", **settings}
    assert count_memory(load(), "sized") == memory_mb


def test_processes_that_decode_have_cores_and_memory_of_their_own(
    catalog: dict[str, Any], study: dict[str, Any], load: Callable[[], Any]
) -> None:
    catalog["backbones"]["sized"] = {"source": "scattering", "image_size": 224, "threads": 3}
    study["num_workers"] = 2
    assert count_cores(load(), "sized") == 5
    assert count_memory(load(), "sized") == 2000 + 5 * 1000
