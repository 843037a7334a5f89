"""A category whose features tests know: what stands out, where, and in which layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import Pack, write_pack
from patchshift.data.splits import Split
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter, LayerMaps

HEIGHT, WIDTH = 32, 24  # pixels; the fine layer has patches of 4 x 4, the coarse one of 8 x 8
GROUPS = [("train", "", 4), ("val", "", 1), ("test", "", 5), ("test", "dent", 3), ("test", "stain", 2)]


@dataclass(frozen=True)
class Category:
    """An opened store and pack, and a split, of one made-up category."""

    store: FeatureStore
    pack: Pack
    split: Split


MakeCategory = Callable[..., Category]


@pytest.fixture
def make_category(tmp_path: Path) -> Iterator[MakeCategory]:
    """Normal noise in two layers. Dents cover two fine patches and stand out in the fine layer alone; stains are
    thinner than half a patch and stand out in the coarse one. With `ignore`, the image's right half is ignored."""
    with ExitStack() as stack:

        def make(*, masks: bool = True, ignore: bool = False, test_level: float = 0.0) -> Category:
            random = np.random.default_rng(0)
            rows, parts, fine, coarse = [], {}, [], []
            half = np.zeros((HEIGHT, WIDTH), np.uint8)
            half[:, WIDTH // 2 :] = 255
            Image.fromarray(half).save(tmp_path / "ignore.png")
            for part, defect, count in GROUPS:
                for number in range(count):
                    name = f"{part}-{defect or 'good'}-{number}.png"
                    Image.fromarray(random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / name)
                    maps = [random.normal(size=(8, 6, 4)), random.normal(size=(4, 3, 3))]
                    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                    if defect == "dent":
                        mask[8:16, 8:12] = 255
                        maps[0][2:4, 2] += 9
                    elif defect == "stain":
                        mask[21:23, 17:19] = 255  # in fine patch (5, 4), and in coarse patch (2, 2)
                        maps[1][2, 2] += 9
                    if part == "test":
                        maps = [values + test_level for values in maps]
                    if defect and masks:
                        Image.fromarray(mask).save(tmp_path / f"mask-{name}")
                    rows.append(
                        ImageRow(
                            name, f"mask-{name}" if defect and masks else "", "", int(bool(defect)), defect,
                            ignore="ignore.png" if ignore else "",
                        )
                    )  # fmt: skip
                    parts[name] = part
                    fine.append(maps[0])
                    coarse.append(maps[1])
            write_pack(tmp_path / "pack.h5", add_digests(rows, tmp_path), tmp_path, {})
            with FeatureWriter(tmp_path / "features.h5", list(parts), (HEIGHT, WIDTH), {}) as writer:
                writer.write(0, {"fine": np.array(fine, np.float16), "coarse": np.array(coarse, np.float16)})
            return Category(
                stack.enter_context(FeatureStore(tmp_path / "features.h5")),
                stack.enter_context(Pack(tmp_path / "pack.h5")),
                Split(parts, frozenset(row.image for row in rows if row.label)),
            )

        yield make


@pytest.fixture
def read_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images at a time features were asked for, call by call."""
    sizes, chunks = [], FeatureRows.chunks

    def read(rows: FeatureRows, layers: Sequence[str], size: int) -> Iterator[LayerMaps]:
        sizes.append(size)
        return chunks(rows, layers, size)

    monkeypatch.setattr(FeatureRows, "chunks", read)
    return sizes
