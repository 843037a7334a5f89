from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch

from patchshift.errors import UserError
from patchshift.features.decoding import Batch
from patchshift.features.devices import CPU
from patchshift.features.forward import ForwardPass, map_batches


class Brightness(torch.nn.Module):
    """Per image its mean, as a map; has memory for some images only."""

    def __init__(self, fits: int = 100) -> None:
        super().__init__()
        self.fits = fits
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.sizes.append(len(images))
        if len(images) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return {"mean": images.mean((2, 3), keepdim=True)}


def make_batches(batch_size: int, counts: Iterable[int]) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for count in counts:
        pixels = torch.randint(1, 256, (batch_size, 8, 6, 3), dtype=torch.uint8, generator=generator)
        pixels[count:] = 0
        batches.append(Batch(pixels, count, []))
    return batches


def run(forward: ForwardPass, batches: Iterable[Batch]) -> tuple[list[int], np.ndarray]:
    passes = list(forward.on_device(batches))
    assert all(len(maps["mean"]) == count for count, maps in passes)
    return [count for count, _ in passes], np.concatenate([maps["mean"] for _, maps in passes])


@pytest.mark.parametrize(
    ("batch_size", "fits", "sizes", "counts"),
    [
        (8, 8, [8, 8], [8, 3]),
        (8, 4, [8, 4, 4, 4], [4, 4, 3]),  # padding alone is not passed
        (8, 1, [8, 4, 2, *[1] * 11], [1] * 11),
        (7, 3, [7, 3, 3, 3, 3], [3, 3, 1, 3]),  # the third of a batch is padded
    ],
)
def test_a_batch_is_cut_to_what_fits_and_the_maps_stay_the_same(
    batch_size: int, fits: int, sizes: list[int], counts: list[int]
) -> None:
    batches = make_batches(batch_size, (batch_size, 3))
    brightness = Brightness(fits)
    forward = ForwardPass(brightness, CPU, "float32", batch_size)
    found, maps = run(forward, batches)
    assert (brightness.sizes, found) == (sizes, counts)
    assert forward.batch_size == sizes[-1]
    _, whole = run(ForwardPass(Brightness(), CPU, "float32", batch_size), batches)
    np.testing.assert_array_equal(maps, whole)
    expected = np.concatenate([batch.pixels[: batch.count].numpy() for batch in batches]).mean((1, 2)) / 255
    np.testing.assert_allclose(maps[:, 0, 0], expected, atol=1e-3)


def test_the_halved_size_is_kept() -> None:
    brightness = Brightness(fits=4)
    forward = ForwardPass(brightness, CPU, "float32", 8)
    run(forward, make_batches(8, [8]))
    run(forward, make_batches(8, [8]))
    assert brightness.sizes == [8, 4, 4, 4, 4]


def test_memory_too_short_for_one_image_is_the_users_to_mend() -> None:
    forward = ForwardPass(Brightness(fits=0), CPU, "float32", 4)
    with pytest.raises(UserError, match=r"a single image is too much .* smaller image_size, tiling"):
        run(forward, make_batches(4, [4]))


def test_other_errors_of_a_device_are_not_taken_for_short_memory() -> None:
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            raise RuntimeError("illegal memory access")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(ForwardPass(Broken(), CPU, "float32", 4), make_batches(4, [4]))


def test_a_batch_is_handed_out_only_when_the_next_has_been_started() -> None:
    brightness = Brightness()
    started = []
    for _ in ForwardPass(brightness, CPU, "float32", 2).on_device(make_batches(2, [2, 2, 2])):
        started.append(len(brightness.sizes))
    assert started == [2, 3, 3]


def test_a_cpu_computes_in_float32_whatever_the_spec_says() -> None:
    (batch,) = make_batches(4, [3])
    expected = ForwardPass(Brightness(), CPU, "float32", 4).on_cpu(batch)
    half = ForwardPass(Brightness(), CPU, "float16", 4)
    assert half.precision == "float32"
    np.testing.assert_array_equal(half.on_cpu(batch)["mean"], expected["mean"])
    assert expected["mean"].shape == (3, 1, 1, 3)
    assert expected["mean"].dtype == np.float16


def test_results_come_in_order_and_items_are_taken_only_a_little_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    with map_batches(lambda item: item * item, items(), 2) as results:
        assert next(results) == 0
        assert len(taken) <= 5
        assert list(results) == [item * item for item in range(1, 20)]


def test_what_fails_in_a_thread_fails_outside_and_the_rest_is_not_done() -> None:
    done = []

    def fail(item: int) -> None:
        done.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"), map_batches(fail, range(1000), 2) as results:
        list(results)
    assert len(done) < 10
