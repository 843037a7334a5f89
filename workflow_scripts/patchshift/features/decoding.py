"""Read images in batches, in this process or in others.

A batch is always of full size, the last one padded with black images, so that a forward pass never sees how many images
there are. Worker processes hand batches over in shared memory.
Tested in tests/features/test_decoding.py.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from patchshift.data.images import read_resized
from patchshift.errors import UserError

PREFETCH = 2
"""Batches that each worker process may be ahead."""

MOST_WORKERS = 8
"""Worker processes for CUDA where the config names no number: more would take cores from other jobs."""


@dataclass(frozen=True)
class Batch:
    """Decoded images.

    Attributes:
        pixels: uint8 [batch_size, H, W, 3]; black behind the first `count`, and where a file was bad.
        count: how many images it holds.
        mistakes: one message per file that cannot be used.
    """

    pixels: Tensor
    count: int
    mistakes: list[str]

    def pin_memory(self) -> "Batch":
        """The same, where CUDA copies from while it computes; torch's loader calls this, too."""
        return replace(self, pixels=self.pixels.pin_memory())


class ImageBatches(Dataset[Batch]):
    """Image files, decoded by the batch.

    Args:
        files: path and SHA-256 (None: not checked) of each image.
        batch_size: images per batch.
        size: (height, width) that images are resized to, in pixels.
    """

    def __init__(self, files: Sequence[tuple[Path, str | None]], batch_size: int, size: tuple[int, int]) -> None:
        self.files, self.batch_size, self.size = files, batch_size, size

    def __len__(self) -> int:
        return -(-len(self.files) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        pixels = torch.zeros((self.batch_size, *self.size, 3), dtype=torch.uint8)
        if get_worker_info() is not None:
            # Here, where a failure reaches the other process: torch would do it while sending, where none would.
            pixels.share_memory_()
        rows, mistakes = pixels.numpy(), []
        files = self.files[index * self.batch_size : (index + 1) * self.batch_size]
        for row, (path, digest) in enumerate(files):
            try:
                rows[row] = read_resized(path, self.size, digest=digest)
            except UserError as error:
                mistakes.append(str(error))
        return Batch(pixels, len(files), mistakes)


def count_workers(num_workers: int | None, device: torch.device) -> int:
    """How many processes decode: as the config says, else none for a CPU, and for CUDA one per core, at most 8.

    On a CPU every core is busy with forward passes: decoding between them costs no more than beside them.
    """
    if num_workers is not None:
        return num_workers
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS) if device.type == "cuda" else 0


@contextmanager
def decode_in_processes(batches: ImageBatches, workers: int, *, pin_memory: bool = False) -> Iterator[Iterator[Batch]]:
    """The batches in order, decoded by worker processes, a bounded number ahead.

    Args:
        batches: the images.
        workers: how many processes, at least 1.
        pin_memory: call `Batch.pin_memory` on each.

    Raises:
        UserError: if a worker ends before its work is done, or shared memory is too small.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        num_workers=min(workers, len(batches)),
        prefetch_factor=PREFETCH,
        pin_memory=pin_memory,
        collate_fn=_keep,
        multiprocessing_context="fork",  # others would import torch once per worker
        generator=torch.Generator(),  # its seeds for workers shall not move the global one
    )
    try:
        # A signal tells of a worker's end at any time: while others start or stop, too.
        processes: Any = iter(loader)
        try:
            yield processes
        finally:
            processes._shutdown_workers()
    except (RuntimeError, MemoryError) as error:
        if explained := _explain(error, workers):
            raise explained from error
        raise


def _keep(batch: Any) -> Any:
    return batch


def _explain(error: Exception, workers: int) -> UserError | None:
    """The user's version of what went wrong with workers, or None where something else did."""
    text = str(error)
    if "DataLoader worker" not in text:
        return None
    if "shared memory" in text:  # also in what torch says of a bus error
        return UserError(
            f"{workers} processes that decode images need more shared memory than /dev/shm has: set `num_workers: 0` "
            "(or fewer, or a smaller batch_size), or enlarge /dev/shm"
        )
    if isinstance(error, MemoryError) or "DataLoader worker (pid" in text:
        return UserError(
            f"a process that decodes images ended before its work was done ({text.splitlines()[0].strip()}): most "
            f"likely memory was short, so set `num_workers` to fewer than {workers}, or to 0"
        )
    return None
