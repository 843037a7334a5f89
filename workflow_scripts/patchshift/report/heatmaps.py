"""Heatmaps and overlays of all test images of a cell, as PNG: what people leaf through.

    images.csv          one row per image: its name, label, defect type and image score
    scale.json          what the ends of the colours mean, the same for all images, and what is marked
    heatmap/NAME.png    the colours of the anomaly map
    overlay/NAME.png    the image in grey under them; what is at or above the threshold outlined, and the defect

NAME is the image's key with its own suffix, so no two images share one. Pictures are of the pack's thumbnails' size.
Tested in tests/report/test_heatmaps.py.
"""

import csv
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.packs import Pack
from patchshift.errors import UserError
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.plan.base import leaves_folder
from patchshift.report.cell_maps import CellMaps
from patchshift.report.masks import MASKS, choose_masks, find_mask
from patchshift.report.pictures import (
    COLOURS,
    MASK_COLOUR,
    Scale,
    blend,
    colour,
    outline,
    read_grey,
    shrink_ignored,
    shrink_mask,
)
from patchshift.runtime.files import write_json

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

TABLE, SCALE = "images.csv", "scale.json"
CONTOUR_COLOUR = (255, 255, 255)  # in none of the heatmap's colours, and told from the defects' blue in grey, too

log = logging.getLogger(__name__)


def render_cell(folder: Path, maps: CellMaps, pack: Path, sigma: float) -> None:
    """Draw all test images of a cell.

    Args:
        folder: to write to, which is there.
        maps: of the images.
        pack: of the target.
        sigma: smoothing of maps at input size, in pixels.

    Raises:
        UserError: if an image's name leads out of the folder.
    """
    for name in maps.scored.images:
        if leaves_folder(name):
            raise UserError(f"image '{name}' of {pack}: its name leads out of the folder of pictures: rename it")
    _write_table(folder / TABLE, maps)
    kind = choose_masks(maps.calibration, maps.scored.scoring.image_score)
    if maps.scale is None:
        log.warning("%s: its method gives no anomaly maps, so there is nothing to draw", pack)
    else:
        with Pack(pack) as packed:
            for number, name in enumerate(maps.scored.images):
                heatmap, overlay = draw_image(maps, maps.scale, packed, number, sigma, kind)
                _save(heatmap, folder / "heatmap" / f"{name}.png")
                _save(overlay, folder / "overlay" / f"{name}.png")
    write_json(folder / SCALE, _describe_scale(maps, kind))


def draw_image(
    maps: CellMaps, scale: Scale, pack: Pack, number: int, sigma: float, kind: str | None
) -> tuple[Float64, Float64]:
    """The heatmap and the overlay of one image.

    Args:
        maps: of the images.
        scale: of their colours.
        pack: of the target, open.
        number: which of `maps`.
        sigma: smoothing of maps at input size, in pixels.
        kind: which of `masks.MASKS` is outlined; None: nothing.

    Returns:
        Two pictures, [height, width, 3] of 0 to 255.
    """
    scored = maps.scored
    (row,) = pack.rows([scored.images[number]])
    patch_map, settings = scored.maps[number], scored.scoring.anomaly_map
    grey, mask = read_grey(pack.thumbnail(row)), pack.mask(row)
    level = scale.apply(upsample_map(patch_map, scored.input_size, grey.shape, sigma, settings))
    ignored = shrink_ignored(pack.ignore(row), grey.shape) if pack.has_ignore else None
    heatmap, overlay = colour(grey, level, ignored), blend(grey, level, ignored)
    if kind:
        full = upsample_map(patch_map, scored.input_size, mask.shape, sigma, settings)
        looked_past = None if maps.ignored is None else maps.ignored[number]
        marked = find_mask(kind, maps.calibration, patch_map, full, looked_past)
        overlay[outline(shrink_mask(marked, grey.shape))] = CONTOUR_COLOUR
    overlay[outline(shrink_mask(mask, grey.shape))] = MASK_COLOUR
    return heatmap, overlay


def _describe_scale(maps: CellMaps, kind: str | None) -> dict[str, object]:
    pixels, scale = maps.calibration.pixels, maps.scale
    return {
        "colours": COLOURS,
        "low": scale.low if scale else None,
        "high": scale.high if scale else None,
        "threshold": maps.calibration.threshold,
        "pixel_threshold": pixels.threshold if pixels else None,
        "outlined": MASKS[kind] if kind else None,
    }


def _write_table(path: Path, maps: CellMaps) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "label", "defect", "score"))
        scored = maps.scored
        scores = (repr(float(score)) for score in scored.scores)
        writer.writerows(zip(scored.images, scored.labels.tolist(), scored.defects, scores, strict=True))


def _save(picture: Float64, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(picture).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, format="PNG", compress_level=1)
