"""The gallery of every test image: what the page's script shows, filters and counts.

Scores and labels of all images are in it, so its counts are those of the tables; pictures are left out where a page
would grow too large (`choose_pictured`).
Tested in tests/report/test_gallery.py, and in a browser in tests/report/test_report_browser.py.
"""

import base64
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.evaluation.calibrated import read_calibration
from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import CellPictures
from patchshift.report.gallery_setups import group_setups, view_key
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called, category_labels
from patchshift.report.pictures import list_colours, outline_png, shrink_jpeg
from patchshift.report.results import StudyResults

UInt8 = npt.NDArray[np.uint8]

LARGEST = 12_000_000
"""Bytes that pictures and maps may take on the page."""
PICTURE_BYTES = 8_000
"""What a picture and its outline take, for `choose_pictured`."""
SIDE = 192
"""Longest side of a picture, pixels."""
IGNORED = 0
"""Level of a patch that is ignored; the others are 1 to 255, from the low to the high end of the scale."""


@dataclass
class TargetImages:
    """The test images of one target, of all splits that score it.

    Attributes:
        pack: path of its pack.
        labels: name -> 1 if anomalous, in the order of the tables.
        defects: name -> defect type, empty for normal images.
        wrong: those that a cell of the study decides wrongly.
        patches: patches of all maps of one image.
    """

    pack: Path
    labels: dict[str, int] = field(default_factory=dict)
    defects: dict[str, str] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    patches: int = 0

    @property
    def cost(self) -> int:
        """Bytes that one of its images takes on the page, nearly: maps are in base 64."""
        return PICTURE_BYTES + self.patches * 4 // 3


@dataclass(frozen=True)
class Gallery:
    """What the page's script reads, and what the page says of it.

    Attributes:
        content: JSON-ready.
        images: test images.
        pictured: those with a picture.
        most: pictures of one category and domain, at most.
    """

    content: dict[str, Any]
    images: int
    pictured: int
    most: int


def build_gallery(data: StudyData, start: Cell | None) -> Gallery:
    """The test images of all cells.

    Args:
        data: the study; scores, packs, splits and thresholds are read from where its cells say.
        start: of the setup that is shown first; None: the study's first.
    """
    results, views = data.results, data.results.all_views()
    rankings = _find_rankings(results, views)
    targets = _gather_images(results, views, list(rankings.values()))
    most = choose_most(list(targets.values()))
    pictured = {path: choose_pictured(target, most) for path, target in targets.items()}
    number = {key: position for position, key in enumerate(rankings)}
    cells = _describe_cells(results, views, list(targets), number)
    setups = group_setups(results, {view_key(cell): position for position, cell in enumerate(views)})
    shown = None if start is None else views.index(start)
    first = next((position for position, setup in enumerate(setups) if shown in setup["cells"]), 0)
    content = {
        "targets": [_describe_target(target, pictured[path]) for path, target in targets.items()],
        "rankings": [
            _describe_ranking(data, cell, targets[cell.target.path], pictured[cell.target.path])
            for cell in rankings.values()
        ],
        "cells": cells,
        "setups": setups,
        "start": first,
        "colours": _encode(list_colours()),
    }
    images = sum(len(target.labels) for target in targets.values())
    return Gallery(content, images, sum(map(len, pictured.values())), most)


def choose_most(targets: Sequence[TargetImages]) -> int:
    """The most pictures of each target, at least one, with which all of them fit on the page."""

    def cost(most: int) -> int:
        return sum(min(most, len(target.labels)) * target.cost for target in targets)

    longest = max((len(target.labels) for target in targets), default=1)
    return max(1, bisect_right(range(1, longest + 1), LARGEST, key=cost))


def choose_pictured(target: TargetImages, most: int) -> list[str]:
    """The images of a target that have a picture, in its order: those decided wrongly, then others evenly spread."""
    names = list(target.labels)
    if len(names) <= most:
        return names
    wrong = [name for name in names if name in target.wrong]
    others = [name for name in names if name not in target.wrong]
    left = max(0, most - len(wrong))
    chosen = {*_spread(wrong, most), *_spread(others, left)}
    return [name for name in names if name in chosen]


def _spread(names: Sequence[str], count: int) -> list[str]:
    count = min(count, len(names))
    return [names[position * len(names) // count] for position in range(count)]


def _ranking_key(results: StudyResults, cell: Cell) -> tuple[str, bytes]:
    """Cells that differ in their threshold alone share scores and maps."""
    return cell.scores, results.images(cell).scores.tobytes()


def _find_rankings(results: StudyResults, cells: Sequence[Cell]) -> dict[tuple[str, bytes], Cell]:
    rankings: dict[tuple[str, bytes], Cell] = {}
    for cell in cells:
        rankings.setdefault(_ranking_key(results, cell), cell)
    return rankings


def _gather_images(results: StudyResults, cells: Sequence[Cell], ranked: Sequence[Cell]) -> dict[str, TargetImages]:
    targets: dict[str, TargetImages] = {}
    for cell in cells:
        images = results.images(cell)
        target = targets.setdefault(cell.target.path, TargetImages(Path(cell.pack)))
        target.labels |= dict(zip(images.names, map(int, images.labels), strict=True))
        target.defects |= dict(zip(images.names, images.defects, strict=True))
        if images.decisions is not None:
            target.wrong |= {images.names[row] for row in np.flatnonzero(images.decisions != images.labels)}
    for cell in ranked:
        targets[cell.target.path].patches += int(results.value(cell, "patches_per_image").value or 0)
    return targets


def _describe_target(target: TargetImages, pictured: Sequence[str]) -> dict[str, Any]:
    types = sorted(set(target.defects.values()))
    number = {name: position for position, name in enumerate(target.labels)}
    pictures, outlines, sizes = [], [], []
    with Pack(target.pack) as pack:
        for name, row in zip(pictured, pack.rows(pictured), strict=True):
            jpeg, size = shrink_jpeg(pack.thumbnail(row), SIDE)
            mask = pack.mask(row) if target.labels[name] and pack.has_masks else None
            pictures.append(_encode(jpeg))
            outlines.append(_encode(outline_png(mask, size)) if mask is not None and mask.any() else "")
            sizes.append(size[::-1])
    return {
        "names": list(target.labels),
        "labels": list(target.labels.values()),
        "types": types,
        "defects": [types.index(defect) for defect in target.defects.values()],
        "pictured": [number[name] for name in pictured],
        "pictures": pictures,
        "outlines": outlines,
        "sizes": sizes,
    }


def _describe_ranking(data: StudyData, cell: Cell, target: TargetImages, pictured: Sequence[str]) -> dict[str, Any]:
    """The scores of a target's images, and the maps of those that have a picture."""
    images = data.results.images(cell)
    number = {name: position for position, name in enumerate(target.labels)}
    shown = set(pictured)
    rows = [row for row, name in enumerate(images.names) if name in shown]
    return {
        "images": None if images.names == list(target.labels) else [number[name] for name in images.names],
        "scores": [float(score) if math.isfinite(score) else None for score in images.scores],
        "maps": _describe_maps(CellPictures.read(data.results, cell, data.spec.smoothing_sigma), rows),
    }


def _describe_maps(pictures: CellPictures, rows: Sequence[int]) -> dict[str, Any] | None:
    """Maps at patch resolution, one byte a patch, image by image; None where the detector gives none."""
    if pictures.scale is None:
        return None
    levels = find_levels(pictures, rows)
    return {
        "rows": levels.shape[1],
        "columns": levels.shape[2],
        "low": pictures.scale.low,
        "high": pictures.scale.high,
        "unit": "log-odds of a defect" if pictures.weights else "patch distance",
        "levels": _encode(levels.tobytes()),
    }


def find_levels(pictures: CellPictures, rows: Sequence[int]) -> UInt8:
    """[n, rows, columns] of some images: 1 to 255 along the scale of the cell's heatmaps, `IGNORED` where ignored."""
    assert pictures.scale is not None
    levels = (1 + np.rint(254 * pictures.scale.apply(pictures.scored.maps[list(rows)]))).astype(np.uint8)
    if pictures.ignored is not None:
        levels[pictures.ignored[list(rows)]] = IGNORED
    return levels


def _describe_cells(
    results: StudyResults, cells: Sequence[Cell], targets: Sequence[str], number: Mapping[tuple[str, bytes], int]
) -> list[dict[str, Any]]:
    rows = [row_keys(cell) for cell in cells]
    described = []
    for cell, row, category in zip(cells, rows, category_labels(rows), strict=True):
        calibration, _ = read_calibration(Path(cell.threshold_file))
        images = results.images(cell)
        reason = "" if images.threshold is not None else results.value(cell, "recall").undefined
        described.append(
            {
                "target": targets.index(cell.target.path),
                "ranking": number[_ranking_key(results, cell)],
                "category": category,
                "domain": str(as_called(row)["target_domain"]),
                # scores are of single precision, and so is what they are compared with
                "threshold": None if images.threshold is None else float(np.float32(images.threshold)),
                "deviation": calibration.scale,
                "reason": reason,
                "called": None if images.zone_decisions is None else images.zone_decisions.tolist(),
            }
        )
    return described


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()
