"""How long an image takes, step by step.

Tested in tests/app/test_latency.py.
"""

import dataclasses
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STEPS = ("decode", "forward", "search", "map")
COLUMNS = ("image", *STEPS, "total", "warm_up")
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


class Latencies:
    """Latencies of as many images as a line sees in weeks: 16 bytes for each, and exact quantiles.

    Args:
        latencies: the first ones.
    """

    def __init__(self, latencies: Iterable[Latency] = ()) -> None:
        self._times = {step: array("f") for step in STEPS}
        for latency in latencies:
            self.add(latency)

    def __len__(self) -> int:
        return len(self._times[STEPS[0]])

    def add(self, latency: Latency) -> None:
        """Keep what one more image took."""
        for step, times in self._times.items():
            times.append(getattr(latency, step))

    def summarise(self) -> dict[str, dict[str, float]]:
        """Step (and `total`) -> p50 and p95 in milliseconds; empty where nothing was measured."""
        if not len(self):
            return {}
        steps = {step: np.array(times, np.float64) for step, times in self._times.items()}
        steps["total"] = np.sum(list(steps.values()), axis=0)
        return {
            step: {name: round(float(np.quantile(times, share)), 3) for name, share in QUANTILES.items()}
            for step, times in steps.items()
        }


def describe_latencies(latencies: Latencies, *, left_out: int) -> str:
    """One line for the terminal.

    Args:
        latencies: of the images that count.
        left_out: how many images came first and do not count.
    """
    if not latencies:
        return "latency: not measured, the first batch is warm-up and does not count"
    summary = latencies.summarise()
    steps = ", ".join(f"{step} {summary[step]['p50']:.1f} / {summary[step]['p95']:.1f}" for step in (*STEPS, "total"))
    first = "first image" if left_out == 1 else f"first {left_out} images"
    return f"latency in ms, p50 / p95 of {len(latencies)} images without the {first} (warm-up): {steps}"


def as_row(image: str, latency: Latency, *, warm_up: bool) -> tuple[object, ...]:
    """A row of `COLUMNS`, in milliseconds; `warm_up` 1: it does not count in p50 and p95."""
    return (image, *(f"{each:.3f}" for each in (*dataclasses.astuple(latency), latency.total)), int(warm_up))
