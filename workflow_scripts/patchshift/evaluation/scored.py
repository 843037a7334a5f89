"""The scored images of one part of a split: the only door through which thresholds and metrics see scores.

Tested in tests/evaluation/test_scored.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from patchshift.data.index import find_rows
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.detectors.scores import read_scores


@dataclass(frozen=True)
class ScoredImages:
    """Scores, labels and maps of the images of one part.

    Attributes:
        images: the n image keys.
        labels: [n] int64, 1 for anomalous images (as in the target's own domain).
        defects: defect type per image, empty for normal ones.
        scores: [n] float32 image scores, higher is more anomalous.
        maps: [n, rows, columns] float32 patch distances.
        input_size: (height, width) of the network input in pixels.
    """

    images: list[str]
    labels: npt.NDArray[np.int64]
    defects: list[str]
    scores: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    input_size: tuple[int, int]

    @classmethod
    def read(cls, scores: Path, pack: Path, split: Path, *, part: Literal["val", "test"]) -> Self:
        """Join scores, pack and split; images of other parts are left out.

        Raises:
            UserError: if an image of the part has no score, or is not in the pack.
        """
        wanted = read_split(split).of(part)
        scored = read_scores(scores)
        rows = find_rows(wanted, scored.images, path=scores, lacks="has no score of")
        with Pack(pack) as masks:
            packed = masks.rows(wanted)
            labels, defects = masks.labels[packed], [masks.defects[row] for row in packed]
        return cls(
            wanted, labels, defects, scored.scores.image_scores[rows], scored.scores.maps[rows], scored.input_size
        )
