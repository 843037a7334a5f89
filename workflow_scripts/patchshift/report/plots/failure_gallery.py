"""The worst failures and the clearest successes as pictures: image with its mask, anomaly map, decision.

A score above the threshold does not say that the defect was seen: under another light the whole image may be strange.
So defects that are found are told by whether the map is hottest at the defect or elsewhere.

Tested in tests/report/test_failure_plots.py.
"""

import base64
import functools
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from patchshift.data.packs import Pack
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.report.analyses.co_failures import IMAGE
from patchshift.report.analyses.failures import (
    BEST,
    DEFECTIVE,
    FAILURE,
    GOOD,
    WORST,
    read_table,
    row_names,
)  # fmt: skip
from patchshift.report.analyses.shown import name_condition, select_shown
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.cases import FALSE_ALARM, FOUND, MISSED, PASSED, Case, CellPictures
from patchshift.report.figures import WIDTH, wrap_title
from patchshift.report.labels import category_labels, group_labels
from patchshift.report.pictures import MASK_COLOUR, shrink_ignored, shrink_mask
from patchshift.report.plots.drawn import Drawn
from patchshift.report.style import INK, MUTED, figure_style
from patchshift.report.tables import row_keys

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

CAPTION = (
    "The worst failures of the setup shown, and the defects with the highest scores: each image with its defect "
    "outlined, and its anomaly map. It says of these whether the map is hottest at the defect: a score may be high for "
    "what is elsewhere. Failures that other detectors share name them. Categories take turns; colours "
    "are those of each category's scores."
)

SHARED, ALSO = "shared", "also_wrong_for"
AT_DEFECT, ELSEWHERE = "found at the defect", "found for what is elsewhere"

BANDS = {
    (MISSED, FAILURE): "Missed defects, the lowest scores first",
    (FALSE_ALARM, FAILURE): "False alarms, the highest scores first",
    (SHARED, FAILURE): "Failures that other detectors share, those of most first",
    (AT_DEFECT, BEST): "Found most clearly: the highest scores, and the map is hottest at the defect",
    (ELSEWHERE, BEST): "Found, but the map is as hot or hotter elsewhere: the highest scores",
    (FOUND, BEST): "Found with the highest scores (no map and mask to tell whether at the defect)",
    (PASSED, BEST): "Good images passed most clearly",
    (DEFECTIVE, WORST): "Defective images with the lowest scores (no threshold)",
    (GOOD, WORST): "Good images with the highest scores (no threshold)",
    (DEFECTIVE, BEST): "Defective images with the highest scores",
    (GOOD, BEST): "Good images with the lowest scores",
}
"""(kind, choice) of `failures.csv`, failures that `co_failures.csv` names, and where a map is hottest -> heading."""

_ACROSS = 4  # cases side by side
_MARGIN, _GAP, _TITLE, _HEADING, _WORDS = 0.08, 0.04, 0.3, 0.3, 0.56  # inches
_CASE = (WIDTH - 2 * _MARGIN) / _ACROSS
_PICTURE = (_CASE - 0.14 - _GAP) / 2
_LETTERS = 32  # that fit below a case
_TALLEST = 1.5  # of a picture's height, in widths
_ALIKE = 0.02  # of the colours' scale: a difference that nobody sees
_NEARLY_ALL = 0.9  # of the hottest pixels


@dataclass(frozen=True)
class _Shown:
    """One case of the gallery: what its table says, its pictures, and its mask at their size; None without one."""

    row: dict[str, str]
    category: str
    case: Case
    mask: Bool | None


def draw_failure_gallery(data: StudyData, experiment: str) -> Drawn | None:
    """As many images of each kind as the config asks for, of the setup that is shown of the experiment.

    Categories take turns: the worst of each, then the next. None where no image has a finite score.
    """
    cells = select_shown(data, experiment)
    keys = [row_keys(cell) for cell in cells]
    table, shared = (read_table(data, experiment, name) for name in ("failures.csv", "co_failures.csv"))
    chosen: dict[tuple[str, str], list[tuple[int, int, dict[str, str]]]] = {band: [] for band in BANDS}

    @functools.cache
    def read(number: int) -> CellPictures:
        return CellPictures.read(data.results, cells[number], data.spec.smoothing_sigma)

    for number, cell in enumerate(cells):
        others: dict[str, list[str]] = {}
        for row in shared[row_names(cell)]:
            if row["record"] == IMAGE:
                others.setdefault(row["image"], []).append(row["other_detector"])
        for row in table[row_names(cell)]:
            band = (row["kind"], row["choice"])
            if band == (FOUND, BEST):
                band = (find_reason(read(number), row["image"]), BEST)
            if band in chosen:
                rank = sum(of == number for _, of, _ in chosen[band])  # rows come in order
                chosen[band].append((rank, number, {**row, ALSO: ""}))
            if row["choice"] == FAILURE and row["image"] in others:
                also = others[row["image"]]
                chosen[SHARED, FAILURE].append((-len(also), number, {**row, ALSO: ", ".join(also)}))
    taken = {
        band: sorted(rows, key=lambda row: row[:2])[: data.analysis.cases] for band, rows in chosen.items() if rows
    }
    if not taken:
        return None
    bands: dict[str, list[_Shown]] = {}
    for band, rows in taken.items():
        for _, number, row in rows:
            bands.setdefault(BANDS[band], []).append(_show(read(number), row, category_labels(keys)[number]))
    listed = [{"band": heading, **shown.row} for heading, cases in bands.items() for shown in cases]
    title = f"{group_labels(keys)[0]}: {name_condition(cells[0])}"
    return Drawn(_draw(bands, title), pd.DataFrame(listed))


def find_reason(pictures: CellPictures, image: str) -> str:
    """Why a defect is found: AT_DEFECT, ELSEWHERE, or FOUND where there is no map or no mask to tell it by.

    The map is hottest at the defect if the pixels that are drawn brightest lie within a patch and twice the standard
    deviation of the smoothing of its mask: the map does not say more nearly where something is. Ignored regions are
    left out.
    """
    scored = pictures.scored
    row = pictures.images.names.index(image)
    with Pack(pictures.pack) as pack:
        packed = pack.rows([image])[0]
        mask = pack.mask(packed)
        ignore = pack.ignore(packed) if pack.has_ignore else None
    if pictures.scale is None or not mask.any():
        return FOUND
    size = scored.input_size
    anomaly_map = upsample_map(scored.maps[row], size, size, pictures.sigma, scored.scoring.anomaly_map)
    level = pictures.scale.apply(anomaly_map)
    if ignore is not None:
        level[shrink_ignored(ignore, size)] = 0
    patch = max(side / patches for side, patches in zip(size, scored.grid, strict=True))
    return AT_DEFECT if is_hottest_at(level, shrink_mask(mask, size), patch + 2 * pictures.sigma) else ELSEWHERE


def is_hottest_at(level: Float64, mask: Bool, reach: float) -> bool:
    """Whether nearly all pixels that look as bright as the brightest lie near a mask.

    Args:
        level: [height, width] of 0 to 1 along the heatmap's colours.
        mask: [height, width], True where defective; not empty.
        reach: pixels from the mask that are near it.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import, and whoever asks for titles needs none of it

    hottest = level >= level.max() - _ALIKE
    near = distance_transform_edt(~mask) <= reach
    return bool(near[hottest].mean() >= _NEARLY_ALL)


def _show(pictures: CellPictures, row: dict[str, str], category: str) -> _Shown:
    (case,) = pictures.show([pictures.images.names.index(row["image"])])
    with Pack(pictures.pack) as pack:
        mask = pack.mask(pack.rows([row["image"]])[0])
    size = _decode(case.picture).shape[:2]
    return _Shown(row, category, case, shrink_mask(mask, (size[0], size[1])) if mask.any() else None)


def _draw(bands: dict[str, list[_Shown]], title: str) -> Figure:
    heights = {heading: _PICTURE * min(_TALLEST, max(map(_aspect, cases))) for heading, cases in bands.items()}
    lines = {heading: -(-len(cases) // _ACROSS) for heading, cases in bands.items()}
    total = _TITLE + sum(_HEADING + lines[heading] * (heights[heading] + _WORDS) for heading in bands)
    with figure_style():
        figure = Figure(figsize=(WIDTH, total))
        figure.set_layout_engine("none")  # also when it is saved: everything has its place
        top = total - _TITLE
        figure.text(_MARGIN / WIDTH, 1 - 0.06 / total, wrap_title(title, 110)[0], va="top", fontsize=9)
        for heading, cases in bands.items():
            figure.text(_MARGIN / WIDTH, (top - 0.18) / total, heading, fontsize=9.5, fontweight="bold")
            top -= _HEADING
            for number, shown in enumerate(cases):
                line, column = divmod(number, _ACROSS)
                corner = (_MARGIN + column * _CASE, top - line * (heights[heading] + _WORDS))
                _draw_case(figure, shown, corner, heights[heading])
            top -= lines[heading] * (heights[heading] + _WORDS)
    return figure


def _draw_case(figure: Figure, shown: _Shown, corner: tuple[float, float], height: float) -> None:
    """Draw a case whose upper left corner lies so many inches from the left and from the bottom."""
    left, top = corner
    total = figure.get_figheight()
    for place, uri in enumerate((shown.case.picture, shown.case.heatmap)):
        if uri:
            box = ((left + place * (_PICTURE + _GAP)) / WIDTH, (top - height) / total, _PICTURE / WIDTH, height / total)
            axes = figure.add_axes(box, anchor="NW")
            axes.imshow(_decode(uri))
            axes.set_axis_off()
            if not place and shown.mask is not None:
                padded = np.pad(shown.mask.astype(np.float64), 1)
                rows, columns = (np.arange(length) - 1 for length in padded.shape)
                axes.contour(columns, rows, padded, [0.5], colors=[np.array(MASK_COLOUR) / 255], linewidths=0.9)
    case, below = shown.case, top - min(height, _PICTURE * _aspect(shown))
    threshold = f", threshold {case.threshold:.3g}" if case.threshold is not None else ""
    words = (
        (_fit(f"{shown.category}, {case.defect or GOOD}", from_end=False), INK),
        (f"{case.verdict or 'score'}: {case.score:.3g}{threshold}", INK),
        (_fit(f"also {shown.row[ALSO]}" if shown.row[ALSO] else case.image, from_end=True), MUTED),
    )
    for line, (text, ink) in enumerate(words):
        y = (below - 0.14 - 0.14 * line) / total
        figure.text(left / WIDTH, y, text, fontsize=7.5, color=ink)


def _aspect(shown: _Shown) -> float:
    height, width = _decode(shown.case.picture).shape[:2]
    return float(height / width)


def _fit(text: str, *, from_end: bool) -> str:
    if len(text) <= _LETTERS:
        return text
    dots = "\N{HORIZONTAL ELLIPSIS}"
    return dots + text[1 - _LETTERS :] if from_end else text[: _LETTERS - 1] + dots


def _decode(uri: str) -> npt.NDArray[np.uint8]:
    """[height, width, 3] of a data URI."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))
