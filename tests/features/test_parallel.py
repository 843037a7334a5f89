import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from patchshift.features.parallel import map_in_threads, map_rows, one_blas_thread, thread_count


def threads_of_numpy() -> int:
    return next(library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_are_shared_among_as_many_threads_as_blas_may_use(threads: int) -> None:
    together = threading.Barrier(threads, timeout=20)

    def work(image: int) -> tuple[int, int]:
        together.wait()  # passes when so many calls run at the same time
        return image, threads_of_numpy()

    with threadpool_limits(threads, "blas"):
        assert map_in_threads(work, 2 * threads) == [(image, 1) for image in range(2 * threads)]
        assert threads_of_numpy() == threads


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_to_share_out_is_nothing(threads: int) -> None:
    with threadpool_limits(threads, "blas"):
        assert map_in_threads(lambda image: image, 0) == []


def test_one_blas_thread_is_left_as_it_was_after_an_error() -> None:
    before = thread_count()
    with pytest.raises(RuntimeError), one_blas_thread():
        raise RuntimeError
    assert thread_count() == before


@pytest.mark.parametrize("size", [1, 2, 7])
def test_every_image_comes_once_and_in_order(
    keep: Callable[..., Any], draw_maps: Callable[..., Any], size: int
) -> None:
    maps = draw_maps(7)
    found = list(map_rows(keep(maps), ["coarse"], size, lambda image: image))
    assert [list(image) for image in found] == [["coarse"]] * 7
    np.testing.assert_array_equal(np.stack([image["coarse"] for image in found]), maps["coarse"])
