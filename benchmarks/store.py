"""How fast feature stores are written and read, beside HDF5 alone with the same float16 chunks.

usage: python benchmarks/store.py [--megabytes 300] [--rounds 7]

Prints a Markdown table. `plain` writes batches of 16 images into an HDF5 file, one chunk per image and layer, and
reads 32 images at a time: float16, neither checked nor widened. `FeatureWriter.write` also checks that all values are
finite; `FeatureStore.read` and `FeatureRows.chunks` also give float32, twice the bytes. Files are in the page cache:
this is the cost of the format, not of the disk. All kinds are timed in turn and the best time of each counts: other
programs on the machine only ever slow things down. A ratio is our pace / the plain one.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.features.store import FeatureStore, FeatureWriter

Maps = dict[str, npt.NDArray[np.float16]]

NETWORKS = {
    "resnet18": {"layer2": (28, 28, 128), "layer3": (14, 14, 256)},
    "wide_resnet50_2": {"layer2": (28, 28, 512), "layer3": (14, 14, 1024)},
}
WRITTEN, READ = 16, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300, help="size of each store")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, NumPy {np.__version__}\n")
    print("| maps of | images | kind | plain, MB/s | ours, MB/s | ratio |")
    print("|---|---|---|---|---|---|")
    for network, shapes in NETWORKS.items():
        image = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
        count = -(-args.megabytes * 1_000_000 // image)
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(draw_maps(count, shapes), Path(folder), args.rounds)
        for kind, plain in (("write", "plain write"), ("read", "plain read"), ("chunks", "plain read")):
            paces = [count * image / seconds[name] / 1e6 for name in (plain, kind)]
            print(f"| {network} | {count} | {kind} | {paces[0]:.0f} | {paces[1]:.0f} | {paces[1] / paces[0]:.2f} |")


def measure(maps: Maps, folder: Path, rounds: int) -> dict[str, float]:
    """Best seconds of each kind."""
    images = [f"{i}" for i in range(len(next(iter(maps.values()))))]
    starts = range(0, len(images), WRITTEN)
    ours, plain = folder / "ours.h5", folder / "plain.h5"

    def write() -> None:
        with FeatureWriter(ours, images, (224, 224), {}) as writer:
            for start in starts:
                writer.write(start, {layer: values[start : start + WRITTEN] for layer, values in maps.items()})

    def plain_write() -> None:
        with h5py.File(plain, "w") as file:
            for layer, values in maps.items():
                file.create_dataset(layer, values.shape, values.dtype, chunks=(1, *values.shape[1:]))
            for start in starts:
                for layer, values in maps.items():
                    file[layer][start : start + WRITTEN] = values[start : start + WRITTEN]

    def plain_read() -> None:
        with h5py.File(plain) as file:
            for start in range(0, len(images), READ):
                for layer in maps:
                    file[layer][start : start + READ]

    def read() -> None:
        with FeatureStore(ours) as store:
            for start in range(0, len(images), READ):
                for layer in maps:
                    store.read(layer, np.arange(start, min(start + READ, len(images))))

    def chunks() -> None:
        with FeatureStore(ours) as store:
            for _ in store.select(images).chunks(list(maps), READ):
                pass

    kinds: dict[str, Callable[[], None]] = {
        "plain write": plain_write,
        "write": write,
        "plain read": plain_read,
        "read": read,
        "chunks": chunks,
    }
    best = dict.fromkeys(kinds, np.inf)
    for _ in range(rounds):
        for kind, run in kinds.items():
            start = time.perf_counter()
            run()
            best[kind] = min(best[kind], time.perf_counter() - start)
    return best


def draw_maps(count: int, shapes: dict[str, tuple[int, int, int]]) -> Maps:
    """What a rectified network gives: half of the values are zero."""
    generator = np.random.default_rng(0)
    return {
        layer: np.maximum(generator.standard_normal((count, *shape), np.float32), 0).astype(np.float16)
        for layer, shape in shapes.items()
    }


if __name__ == "__main__":
    main()
