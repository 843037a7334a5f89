"""Synthetic defects on normal images of one part of a split, for a positive bank or for calibration.

Each defect draws from its own random stream, seeded by the normal image's content, the type and a number, so no other
image and no order changes it. Tested in tests/data/test_synthesis.py and tests/data/test_diffusion.py.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.defects.cutpaste import paste_patch, paste_scar
from patchshift.data.defects.own import find_augmented, read_own
from patchshift.data.defects.perlin import paint_noise
from patchshift.data.defects.placement import Maker, Materials, find_places, is_visible
from patchshift.data.defects.sources import (
    Picture,
    digests_of_test,
    read_picture,
    require_part,
    save_picture,
    select_rows,
)
from patchshift.data.images import map_files
from patchshift.data.index import ImageRow, shuffle, write_index
from patchshift.data.splits import Split
from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.plan.domain_specs import SynthesisSpec

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)

MAKERS: dict[str, Maker] = {"cutpaste": paste_patch, "scar": paste_scar, "perlin": paint_noise}
"""Types that need nothing but the images; `diffusion` needs a model (`defects.diffusion`)."""

DRAWS = 20  # until a defect can be seen
PAINTINGS = 3  # the same, of a diffusion model: each costs seconds


PROGRESS = 10  # paintings from one line in the log to the next


def synthesize_defects(
    rows: Sequence[ImageRow],
    split: Split,
    root: Path,
    spec: SynthesisSpec,
    folder: Path,
    *,
    data_dir: Path | None = None,
    weights_dir: Path | None = None,
) -> None:
    """Write synthetic defects, or the user's own, with masks and their index, into `folder`.

    Args:
        rows: the category's image index.
        split: who is in which part; only images of `spec.part` are used.
        root: folder that the index is relative to.
        spec: which defects, how many, on which part; or where the user's own are.
        folder: the domain's folder.
        data_dir: folder that `spec.augmented_path` is relative to.
        weights_dir: folder of models, for type `diffusion`.

    Raises:
        UserError: if the part has no normal image, no defect of a type can be seen, the diffusion model is missing or
            fails, or files cannot be used; then one message lists them all.
    """
    if spec.augmented_path is not None:
        if data_dir is None:
            raise UserError("augmented_path needs the folder that it is relative to: give --data-dir")
        own = data_dir / spec.augmented_path
        write_index(folder / "index.csv", _take_own(digests_of_test(rows, split), own, folder))
        return
    part = open_part(rows, split, root, spec)
    made: list[ImageRow] = []
    for kind in dict.fromkeys(spec.types):
        order = shuffle(part.normal, f"{spec.seed} {kind}")
        jobs = [(part.normal[order[number % len(order)]], number) for number in range(spec.count)]
        if kind == "diffusion":
            found = _paint_all(part, jobs, spec, folder, weights_dir)
        else:
            make = partial(_make_defect, part, kind, MAKERS[kind], DRAWS, spec.seed, folder)
            found = map_files(lambda job, make=make: make(*job), jobs)  # type: ignore[misc]
        made += _require_visible(kind, found)
    write_index(folder / "index.csv", made)


@dataclass(frozen=True)
class Part:
    """The images of one part of a split that defects are made of.

    Attributes:
        name: train | val.
        split: who is in which part.
        root: folder that the index is relative to.
        normal: key -> normal image.
        defective: images with known defects and masks.
    """

    name: str
    split: Split
    root: Path
    normal: dict[str, ImageRow]
    defective: list[ImageRow]

    def read(self, row: ImageRow) -> Picture:
        """Read one of its images.

        Raises:
            UserError: if it is of another part, or cannot be read.
        """
        require_part(row, self.split, self.name)
        return read_picture(row, self.root)

    def materials(self, row: ImageRow, image: UInt8) -> Materials:
        """What a defect on the image of `row` can be made of."""

        def texture(stream: np.random.Generator) -> UInt8:
            others = self.normal.keys() - {row.key}
            return self.read(self.normal[_choose(others, stream)]).image if others else image

        def shape(stream: np.random.Generator) -> Bool:
            defective = {other.key: other for other in self.defective}
            return self.read(defective[_choose(defective, stream)]).mask

        return Materials(texture, shape)


def open_part(rows: Sequence[ImageRow], split: Split, root: Path, spec: SynthesisSpec) -> Part:
    """What a split's part offers.

    Raises:
        UserError: if it has no normal image, or lacks the defects whose masks are to be painted.
    """
    normal = select_rows(rows, split, spec.part, positive=False)
    if not normal:
        raise UserError(
            f"split '{spec.split}' has no normal image in '{spec.part}' to make defects on: use another split or part"
        )
    defective = [row for row in select_rows(rows, split, spec.part, positive=True) if row.mask]
    if spec.diffusion is not None and spec.diffusion.masks == "defects" and not defective:
        raise UserError(
            f"split '{spec.split}' has no defects with masks in '{spec.part}' to paint: set `masks: perlin`, or use a "
            "split that has some there"
        )
    return Part(spec.part, split, root, {row.key: row for row in normal}, defective)


def _make_defect(
    part: Part, kind: str, maker: Maker, draws: int, seed: int, folder: Path, row: ImageRow, number: int
) -> ImageRow | None:
    """Write a defect on one normal image; None, with a warning, if no draw can be seen."""
    picture = part.read(row)
    places, materials = find_places(picture), part.materials(row, picture.image)
    stream = draw_stream(row.digest, kind, number, seed)
    for _ in range(draws if places.any() else 0):
        changed, mask = maker(picture.image, places, materials, stream)
        if is_visible(picture.image, changed, mask):
            defect = Picture(changed, mask, picture.ignore)
            return save_picture(defect, folder, origin=row.key, tag=f"{kind}{number}", official_split="", defect=kind)
    log.warning("%s is left out: none of %d draws of '%s' can be seen on it", row.key, draws, kind)
    return None


def _paint_all(
    part: Part, jobs: Sequence[tuple[ImageRow, int]], spec: SynthesisSpec, folder: Path, weights_dir: Path | None
) -> list[ImageRow | None]:
    """Defects by a diffusion model, one after the other: it is one model, and large."""
    from patchshift.data.defects.diffusion import open_painter  # needs torch, which other types do not

    assert spec.diffusion is not None
    maker = open_painter(spec.diffusion, weights_dir)
    made: list[ImageRow | None] = []
    for row, number in jobs:
        made.append(_make_defect(part, "diffusion", maker, PAINTINGS, spec.seed, folder, row, number))
        if len(made) % PROGRESS == 0:
            log.info("painted %d of %d defects", len(made), len(jobs))
    return made


def _require_visible(kind: str, made: Sequence[ImageRow | None]) -> list[ImageRow]:
    visible = [row for row in made if row is not None]
    if not visible:
        raise UserError(f"no defect of type '{kind}' can be seen on any of the normal images: use another type")
    return visible


def _choose(keys: Collection[str], stream: np.random.Generator) -> str:
    """A random key, that a new key hardly ever changes."""
    return shuffle(keys, str(stream.integers(2**63)))[0]


def _take_own(tested: frozenset[str], own: Path, folder: Path) -> list[ImageRow]:
    def take(item: tuple[Path, Path | None]) -> ImageRow:
        path, mask = item
        picture = read_own(path, mask, tested)
        origin = path.relative_to(own / "images").as_posix()
        return save_picture(picture, folder, origin=origin, tag="own", official_split="", defect="own")

    return map_files(take, find_augmented(own).items())
