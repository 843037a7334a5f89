"""Run a backbone over images and store its maps.

Each thread takes a batch from file to maps on its own. The alternative, all threads inside one forward pass, makes
them wait for each other at every operation, and much so when decoders or other processes want the same cores.
Every pass takes exactly `batch_size` images, the last one padded with black ones: an image's features do not depend
on the images around it, on their number, or on the number of threads.

Tested in tests/features/test_extraction.py; measured in benchmarks/extraction.py.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from patchshift.data.images import raise_all, read_resized
from patchshift.errors import UserError
from patchshift.features.backbones import build_backbone
from patchshift.features.store import FeatureWriter
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.files import atomic_path

Float16 = npt.NDArray[np.float16]
UInt8 = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

REPORT_SECONDS = 10.0

log = logging.getLogger(__name__)


def extract_features(
    spec: ScatteringSpec | PretrainedSpec,
    images: Mapping[str, Path],
    destination: Path,
    *,
    digests: Mapping[str, str] | None = None,
    weights_dir: Path | None = None,
    provenance: Mapping[str, Any],
) -> None:
    """Write the feature store of some images, in their order, with `spec.threads` threads.

    Args:
        spec: the backbone.
        images: image key -> file.
        destination: feature store to create (`features.store`).
        digests: image key -> SHA-256 that its file must have; None: not checked.
        weights_dir: folder of weight files.
        provenance: JSON-ready description of spec and inputs, stored as an attribute.

    Raises:
        UserError: if there are no images, the backbone cannot be built, features are not finite, or images cannot be
            used; then one message lists them all. No store is left behind.
    """
    if not images:
        raise UserError(f"{destination}: there are no images to extract features from")
    backbone = build_backbone(spec, weights_dir=weights_dir)
    files = [(path, digests[key] if digests else None) for key, path in images.items()]
    batches = [files[start : start + spec.batch_size] for start in range(0, len(files), spec.batch_size)]
    mistakes: list[str] = []

    def extract(batch: Sequence[tuple[Path, str | None]]) -> tuple[int, dict[str, Float16]]:
        pixels = np.zeros((spec.batch_size, *spec.input_size, 3), np.uint8)
        for row, (path, digest) in enumerate(batch):
            try:
                pixels[row] = read_resized(path, spec.input_size, digest=digest)
            except UserError as error:
                mistakes.append(str(error))
        # Once an image is bad there will be no store: the other files are read only to name all the bad ones.
        maps = {} if mistakes else compute_maps(backbone, pixels)
        return len(batch), {layer: values[: len(batch)] for layer, values in maps.items()}

    done, pace = 0, _Pace(str(destination), len(files))
    with (
        atomic_path(destination) as partial,
        FeatureWriter(partial, list(images), spec.input_size, provenance) as writer,
        _map_in_threads(extract, batches, spec.threads) as results,
    ):
        for count, maps in results:
            if not mistakes:
                writer.write(done, maps)
            done += count
            pace.report(done)
        raise_all(sorted(mistakes))


def compute_maps(backbone: nn.Module, pixels: UInt8) -> dict[str, Float16]:
    """Maps of images as they are stored.

    Args:
        backbone: from `build_backbone`.
        pixels: [n, H, W, 3].

    Returns:
        Layer name -> [n, rows, columns, channels].
    """
    with torch.inference_mode():
        maps = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255))
        return {layer: values.permute(0, 2, 3, 1).half().contiguous().numpy() for layer, values in maps.items()}


@contextmanager
def _map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Iterator[Result]]:
    """Results in order, each computed by one thread with single-threaded torch operations."""
    outside = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield _in_order(pool, function, items, ahead=2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(outside)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """At most `ahead` calls run or wait to be taken, which bounds the memory."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        if len(pending) == ahead:
            yield pending.popleft().result()
        pending.append(pool.submit(function, item))
    while pending:
        yield pending.popleft().result()


class _Pace:
    """Logs the pace of a long job now and then."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.start = self.last = time.monotonic()

    def report(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < REPORT_SECONDS and done < self.total:
            return
        self.last = now
        pace = done / (now - self.start)
        left = (self.total - done) / pace
        log.info("%s: %d of %d images, %.1f images/s, %.0f s left", self.name, done, self.total, pace, left)
