"""Forward passes: batches of pixels in, layer maps as they are stored out.

On a CPU each thread takes a batch on its own. The alternative, all threads inside one forward pass, makes them wait for
each other at every operation, and much so when decoders or other processes want the same cores. On CUDA one batch
follows the other, while the one before is copied back and stored.

Tested in tests/features/test_forward.py; measured in benchmarks/extraction.py.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.features import devices
from patchshift.features.decoding import Batch
from patchshift.features.devices import Maps
from patchshift.runtime.pools import map_in_order

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


def compute_maps(backbone: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    """Maps of images as they are stored.

    Args:
        backbone: from `build_backbone`.
        pixels: uint8 [n, H, W, 3], on the backbone's device.

    Returns:
        Layer name -> float16 [n, rows, columns, channels], on that device.
    """
    with torch.inference_mode():
        # Pixels lie in memory channels last, and stay so.
        maps = backbone(pixels.permute(0, 3, 1, 2).float().div_(255))
        return {layer: values.permute(0, 2, 3, 1).half().contiguous() for layer, values in maps.items()}


class ForwardPass:
    """A backbone on its device; several stores are made with one.

    Args:
        backbone: from `build_backbone`.
        device: from `devices.choose_device`.
        precision: of the forward pass, as the spec says; on a CPU always float32.
        batch_size: images per pass; halved, for good, when the device's memory is short.
    """

    def __init__(self, backbone: nn.Module, device: torch.device, precision: str, batch_size: int) -> None:
        self.backbone = devices.place(backbone, device)
        self.device = device
        self.precision = devices.precision_on(device, precision)
        self.batch_size = batch_size

    def on_cpu(self, batch: Batch) -> Maps:
        """Maps of a batch's images, without padding; may run in several threads at once."""
        maps = compute_maps(self.backbone, batch.pixels)
        return {layer: values[: batch.count].numpy() for layer, values in maps.items()}

    def on_device(self, batches: Iterable[Batch]) -> Iterator[tuple[int, Maps]]:
        """Number and maps of the images of each pass, in order; batches are cut where memory is short.

        Raises:
            UserError: if memory is short for a single image.
        """
        stream = devices.open_copy_stream(self.device)
        before: tuple[int, Callable[[], Maps]] | None = None
        for batch in batches:
            start = 0
            while start < batch.count:
                size = self.batch_size
                maps = self._attempt(batch.pixels[start : start + size], size)
                if maps is None:
                    self._halve()
                    continue
                count = min(size, batch.count - start)
                wait = devices.copy_back({layer: values[:count] for layer, values in maps.items()}, stream)
                start += count
                if before:
                    yield before[0], before[1]()
                before = count, wait
        if before:
            yield before[0], before[1]()

    def _attempt(self, pixels: Tensor, size: int) -> dict[str, Tensor] | None:
        """Maps on the device of a pass of `size` images, the last ones black; None if memory was too short."""
        try:
            moved = devices.send(pixels, self.device)
            if len(moved) < size:
                moved = torch.cat([moved, moved.new_zeros(size - len(moved), *moved.shape[1:])])
            with devices.autocast(self.device, self.precision):
                return compute_maps(self.backbone, moved)
        except RuntimeError as error:
            if not devices.is_out_of_memory(error):
                raise
            return None  # and not within this block, where the error keeps alive what fills the memory

    def _halve(self) -> None:
        name = devices.describe_device(self.device)
        if self.batch_size == 1:
            raise UserError(
                f"a single image is too much for the free memory of {name}: set a smaller image_size, tiling, or "
                "`device: cpu`"
            )
        self.batch_size //= 2
        log.info("the memory of %s is short: going on with %d images per pass", name, self.batch_size)
        devices.release_memory(self.device)


@contextmanager
def map_batches(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Iterator[Result]]:
    """Results in order, each computed by one thread with single-threaded torch operations."""
    outside = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield map_in_order(pool, function, items, ahead=2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(outside)
