"""Share work out among numerical threads: the images of a chunk, or the blocks of a matrix.

Each thread has images of its own and multiplies with one thread. The many small products of one image gain nothing from
more, BLAS threads that wait for each other lose much where other processes want the cores, and so the bits depend
neither on the number of threads nor on the images beside.
Tested in tests/features/test_parallel.py.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from patchshift.features.store import FeatureRows, LayerMaps

Result = TypeVar("Result")


def map_in_threads(function: Callable[[int], Result], count: int) -> list[Result]:
    """`function(0)`, ..., `function(count - 1)`, in as many threads as BLAS may use, which meanwhile uses one."""
    with one_blas_thread() as threads:
        if threads == 1 or count <= 1:
            return [function(number) for number in range(count)]
        with ThreadPoolExecutor(min(threads, count)) as pool:
            return list(pool.map(function, range(count)))


def map_rows(
    features: FeatureRows, layers: list[str], size: int, function: Callable[[LayerMaps], Result]
) -> Iterator[Result]:
    """`function` of each image's maps, layer -> [rows, columns, channels], in order, read `size` images at a time."""
    for maps in features.chunks(layers, size):
        yield from map_maps(function, maps)
        del maps  # before the next are read: memory holds one chunk


def map_maps(function: Callable[[LayerMaps], Result], maps: LayerMaps) -> list[Result]:
    """`function` of each image's maps, layer -> [rows, columns, channels], of layer -> [n, rows, columns, channels]."""
    count = len(next(iter(maps.values())))
    return map_in_threads(lambda image: function({layer: values[image] for layer, values in maps.items()}), count)


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Let BLAS use one thread meanwhile; yields how many it may use otherwise, to be used around it."""
    threads = thread_count()
    with _controller().limit(limits=1, user_api="blas"):
        yield threads


def thread_count() -> int:
    """How many threads BLAS may use now."""
    blas = [library for library in _controller().info() if library["user_api"] == "blas"]
    return max((library["num_threads"] for library in blas), default=1)


@cache
def _controller() -> Any:
    # Looking for the libraries takes longer than embedding a small image, and NumPy's, the one in use, is loaded.
    return ThreadpoolController()
