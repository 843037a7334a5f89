"""Crops of the training defects of a split: the positive set of a dual bank.

The dual bank of ExDD (arXiv 2507.15335) holds features of defects cut from the training images of KSDD2 by their masks.
Tested in tests/data/test_crops.py.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from patchshift.data.defects.augmentation import vary_crop
from patchshift.data.defects.boxes import Box, find_boxes
from patchshift.data.defects.own import find_crops, read_own
from patchshift.data.defects.sources import (
    Picture,
    digests_of_test,
    read_picture,
    require_part,
    save_picture,
    select_rows,
)
from patchshift.data.images import map_files
from patchshift.data.index import ImageRow, write_index
from patchshift.data.splits import Split
from patchshift.data.streams import draw_stream
from patchshift.errors import UserError
from patchshift.plan.domain_specs import CropSpec
from patchshift.runtime.files import digest_file

log = logging.getLogger(__name__)

PART = "train"


def crop_defects(
    rows: Sequence[ImageRow], split: Split, root: Path, spec: CropSpec, folder: Path, data_dir: Path | None = None
) -> None:
    """Write crops of the split's training defects, or the user's own crops, with their index, into `folder`.

    Args:
        rows: the category's image index.
        split: who is train; positives of `train` are cropped.
        root: folder that the index is relative to.
        spec: how to crop, or where the user's crops are.
        folder: the domain's folder.
        data_dir: folder that `spec.crops_path` is relative to.

    Raises:
        UserError: if there is nothing to crop, or files cannot be used; then one message lists them all.
    """
    if spec.crops_path is not None:
        write_index(folder / "index.csv", _take_own(digests_of_test(rows, split), spec, folder, _required(data_dir)))
        return
    sources = select_rows(rows, split, PART, positive=True)
    if not sources:
        raise UserError(
            f"split '{spec.split}' has no training defects to crop: use protocol 'official' or 'published' with a "
            "dataset whose own training set has defects (KSDD2, or a manifest that lists some), give the split "
            "train_anomalous_share, set crops_path to "
            "crops of your own, or make synthetic defects"
        )
    unmasked = [row.key for row in sources if not row.mask]
    if unmasked:
        raise UserError(
            f"defects are cropped by their masks, and {', '.join(unmasked[:10])} ({len(unmasked)} in all) have none"
        )
    made = list(chain.from_iterable(map_files(lambda row: crop_image(row, split, root, spec, folder), sources)))
    if not made:
        raise UserError(f"the masks of all {len(sources)} training defects mark nothing: there is nothing to crop")
    write_index(folder / "index.csv", made)


def crop_image(row: ImageRow, split: Split, root: Path, spec: CropSpec, folder: Path) -> list[ImageRow]:
    """Write the crops of one training defect.

    Returns:
        Their rows; none, with a warning, if the mask marks nothing outside the ignored region.

    Raises:
        UserError: if it is not a training image of the split, or cannot be read.
    """
    require_part(row, split, PART)
    picture = read_picture(row, root)
    marked = picture.mask if picture.ignore is None else picture.mask & ~picture.ignore
    shape, minimum = (marked.shape[0], marked.shape[1]), (spec.minimum_size, spec.minimum_size)
    boxes = [box.framed(shape, minimum) for box in find_boxes(marked, spec.margin)]
    if not boxes:
        log.warning("%s: its mask marks nothing, so it gives no crop", row.key)
    return [
        save_picture(crop, folder, origin=row.key, tag=tag, official_split=PART, defect=row.defect)
        for number, box in enumerate(boxes)
        for tag, crop in _vary(picture, box, f"crop{number}", row.digest, spec)
    ]


def _take_own(tested: frozenset[str], spec: CropSpec, folder: Path, data_dir: Path) -> list[ImageRow]:
    own = data_dir / str(spec.crops_path)

    def take(item: tuple[Path, Path | None]) -> list[ImageRow]:
        path, mask = item
        picture = read_own(path, mask, tested)
        whole, origin = Box(0, 0, *picture.mask.shape), path.relative_to(own).as_posix()
        return [
            save_picture(crop, folder, origin=origin, tag=tag, official_split=PART, defect="own")
            for tag, crop in _vary(picture, whole, "own", digest_file(path), spec)
        ]

    return list(chain.from_iterable(map_files(take, find_crops(own).items())))


def _vary(picture: Picture, box: Box, tag: str, digest: str, spec: CropSpec) -> Iterator[tuple[str, Picture]]:
    """The crop itself, then its varied copies, each with what it is called."""
    ignore = None if picture.ignore is None else picture.ignore[box.slices]
    yield tag, Picture(np.ascontiguousarray(picture.image[box.slices]), picture.mask[box.slices], ignore)
    if spec.augmentation is not None:
        for copy in range(spec.augmentation.copies):
            stream = draw_stream(digest, tag, f"copy{copy}", spec.seed)
            yield f"{tag}copy{copy}", vary_crop(picture, box, spec.augmentation, stream)


def _required(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise UserError("crops_path needs the folder that it is relative to: give --data-dir")
    return data_dir
