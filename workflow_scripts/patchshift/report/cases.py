"""Single test images: the best and the worst found, and the failures, as picture, mask, heatmap and decision.

Tested in tests/report/test_cases.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.evaluation.calibrated import LogOdds
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.cells import Cell
from patchshift.report.cell_maps import CellMaps
from patchshift.report.pictures import Scale, as_jpeg_uri, show_heatmap, show_mask
from patchshift.report.results import Images, StudyResults

MISSED, FALSE_ALARM, FOUND, PASSED = "missed", "false alarm", "found", "passed"

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One test image, ready to show.

    Attributes:
        image: its key.
        defect: defect type; empty for a normal image.
        score: image score.
        threshold: None if undefined.
        verdict: missed, false alarm, found or passed; empty without a threshold.
        picture: the image (data URI).
        mask: its defects (data URI); empty where the dataset has no masks.
        heatmap: its anomaly map (data URI); empty where the detector gives none.
    """

    image: str
    defect: str
    score: float
    threshold: float | None
    verdict: str
    picture: str
    mask: str
    heatmap: str


def select_cases(images: Images, count: int) -> dict[str, list[int]]:
    """Heading -> rows of the images to show under it, most telling first; no image stands under two headings.

    Args:
        images: the decided test images of a cell.
        count: images under a heading, at most.
    """
    finite = np.isfinite(images.scores)
    ascending = np.argsort(images.scores, kind="stable")
    descending = np.argsort(-images.scores, kind="stable")
    anomalous = (images.labels == 1) & finite
    normal = (images.labels == 0) & finite
    called = images.decisions == 1 if images.decisions is not None else np.zeros(len(finite), bool)
    decided = images.decisions is not None

    def take(order: npt.NDArray[np.int64], wanted: npt.NDArray[np.bool_]) -> list[int]:
        return [int(row) for row in order if wanted[row]]

    failures = {
        "Missed defects": take(ascending, anomalous & ~called) if decided else [],
        "False alarms": take(descending, normal & called),
    }
    worst = {
        "Defects that nearly passed" if decided else "Lowest-scored defects": take(
            ascending, anomalous & (called | (not decided))
        ),
        "Good images that were nearly flagged" if decided else "Highest-scored good images": take(
            descending, normal & ~called
        ),
    }
    best = {
        "Defects with the highest scores": _one_per_defect(
            take(descending, anomalous & (called | (not decided))), images.defects
        )
    }
    chosen: dict[str, list[int]] = {}
    shown: set[int] = set()
    for heading, rows in (failures | worst | best).items():
        chosen[heading] = [row for row in rows if row not in shown][:count]
        shown |= set(chosen[heading])
    return {heading: rows for heading, rows in chosen.items() if rows}


def _one_per_defect(rows: Sequence[int], defects: Sequence[str]) -> list[int]:
    """The first of each defect type, then the others."""
    first = list({defects[row]: row for row in reversed(rows)}.values())
    return sorted(first, key=rows.index) + [row for row in rows if row not in first]


@dataclass(frozen=True)
class CellPictures:
    """What pictures of a cell's test images are made from.

    Attributes:
        scored: maps and scores of the test images; of log-odds where there are `weights`.
        weights: of the two distances of a calibrated dual bank; None where its scores are as they are.
        images: the decided test images, in the same order.
        scale: of the heatmaps' colours; None where the detector gives no maps.
        pack: path of the pack.
        sigma: smoothing of maps at input size, in pixels.
        ignored: [n, rows, columns] patches that do not count; None: all do.
    """

    scored: ScoredImages
    weights: LogOdds | None
    images: Images
    scale: Scale | None
    pack: Path
    sigma: float
    ignored: Bool | None

    @property
    def ignores(self) -> bool:
        """Whether images have ignored regions."""
        return self.ignored is not None

    @classmethod
    def read(cls, results: StudyResults, cell: Cell, sigma: float) -> "CellPictures":
        """Read a cell's scores."""
        pack = Path(cell.pack)
        maps = CellMaps.read(
            Path(cell.scores), pack, Path(cell.split), Path(cell.threshold_file), is_fitted=cell.bank.is_fitted
        )
        images = results.images(cell)
        return cls(maps.scored, maps.weights, images, maps.scale, pack, sigma, maps.ignored)

    def show(self, rows: Sequence[int]) -> list[Case]:
        """The images of some rows."""
        with Pack(self.pack) as pack:
            return [self._show(pack, row) for row in rows]

    def _show(self, pack: Pack, row: int) -> Case:
        images = self.images
        packed = pack.rows([images.names[row]])[0]
        thumbnail, mask = pack.thumbnail(packed), pack.mask(packed)
        ignore = pack.ignore(packed) if pack.has_ignore else None
        return Case(
            image=images.names[row],
            defect=images.defects[row],
            score=float(images.scores[row]),
            threshold=images.threshold,
            verdict=_verdict(images, row),
            picture=as_jpeg_uri(thumbnail),
            mask=show_mask(thumbnail, mask, ignore) if pack.has_masks else "",
            heatmap=self._heatmap(thumbnail, mask, ignore, row) if self.scale else "",
        )

    def _heatmap(self, thumbnail: bytes, mask: Bool, ignore: Bool | None, row: int) -> str:
        assert self.scale is not None
        return show_heatmap(
            thumbnail,
            self.scored.maps[row],
            mask,
            scale=self.scale,
            input_size=self.scored.input_size,
            sigma=self.sigma,
            ignore=ignore,
            anomaly_map=self.scored.scoring.anomaly_map,
        )


def _verdict(images: Images, row: int) -> str:
    if images.decisions is None:
        return ""
    if images.labels[row]:
        return FOUND if images.decisions[row] else MISSED
    return FALSE_ALARM if images.decisions[row] else PASSED
