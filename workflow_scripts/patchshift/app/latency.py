"""How long an image takes, step by step.

Tested in tests/app/test_latency.py.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchshift.data.tables import write_table

STEPS = ("decode", "forward", "search", "map")
QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True)
class Latency:
    """Milliseconds that one image took; of a batch, its share.

    Attributes:
        decode: reading the file, decoding and resizing.
        forward: through the backbone.
        search: embedding, and the distances of its patches.
        map: from patch scores to a map of the image's pixels.
    """

    decode: float = 0.0
    forward: float = 0.0
    search: float = 0.0
    map: float = 0.0

    @property
    def total(self) -> float:
        """All steps; not what is written afterwards."""
        return self.decode + self.forward + self.search + self.map


class Stopwatch:
    """Times steps, in milliseconds."""

    def __init__(self) -> None:
        self.times = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Add what the block takes to a step."""
        start = time.perf_counter()
        yield
        self.times[step] += 1000 * (time.perf_counter() - start)

    def share(self, count: int) -> Latency:
        """What each of `count` images took."""
        return Latency(**{step: took / count for step, took in self.times.items()})


def summarise_latencies(latencies: Sequence[Latency]) -> dict[str, dict[str, float]]:
    """Step (and `total`) -> p50 and p95 in milliseconds; empty where nothing was measured."""
    if not latencies:
        return {}
    values = {step: [getattr(latency, step) for latency in latencies] for step in (*STEPS, "total")}
    return {
        step: {name: round(float(np.quantile(times, share)), 3) for name, share in QUANTILES.items()}
        for step, times in values.items()
    }


def describe_latencies(latencies: Sequence[Latency], *, left_out: int) -> str:
    """One line for the terminal.

    Args:
        latencies: of the images that count.
        left_out: how many images came first and do not count.
    """
    if not latencies:
        return "latency: not measured, the first batch is warm-up and does not count"
    summary = summarise_latencies(latencies)
    steps = ", ".join(f"{step} {summary[step]['p50']:.1f} / {summary[step]['p95']:.1f}" for step in (*STEPS, "total"))
    first = "first image" if left_out == 1 else f"first {left_out} images"
    return f"latency in ms, p50 / p95 of {len(latencies)} images without the {first} (warm-up): {steps}"


def write_latencies(path: Path, images: Sequence[str], latencies: Sequence[Latency], *, left_out: int) -> None:
    """A CSV with one row per image, in milliseconds; `warm_up` 1: it does not count in p50 and p95."""
    rows = [
        (image, *(f"{each:.3f}" for each in (*dataclasses.astuple(latency), latency.total)), int(number < left_out))
        for number, (image, latency) in enumerate(zip(images, latencies, strict=True))
    ]
    write_table(path, ("image", *STEPS, "total", "warm_up"), rows)
