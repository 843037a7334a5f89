"""The scored images of one part of a split: the only door through which thresholds and metrics see scores.

Tested in tests/evaluation/test_scored.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from patchshift.data.index import find_rows
from patchshift.data.packs import Pack
from patchshift.data.splits import origin_of, read_split
from patchshift.detectors.normality import Arrays
from patchshift.detectors.scores import read_scores
from patchshift.errors import UserError
from patchshift.plan.score_specs import ScoringSpec


@dataclass(frozen=True)
class ScoredImages:
    """Scores, labels and maps of the images of one part.

    Attributes:
        images: the n image keys.
        labels: [n] int64, 1 for anomalous images (as in the target's own domain).
        relabelled: [n] bool, True for images that are anomalous in the split and normal in the target's own domain,
            because nothing of their defect is to be seen there: it left the frame, or lies in an ignored region.
        defects: defect type per image, empty for normal ones.
        scores: [n] float32 image scores, higher is more anomalous.
        maps: [n, rows, columns] float32 patch distances.
        input_size: (height, width) of the network input in pixels.
        parts: name -> [n, rows, columns]: what the maps were made from (`detectors.scores`).
        facts: name -> number: what tables say of the detector.
        members: the categories that `parts["member"]` counts, of a pool.
        scoring: how image scores came from maps, and how maps are brought to pixels.
    """

    images: list[str]
    labels: npt.NDArray[np.int64]
    relabelled: npt.NDArray[np.bool_]
    defects: list[str]
    scores: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    input_size: tuple[int, int]
    parts: Arrays
    facts: Mapping[str, float]
    members: Sequence[str]
    scoring: ScoringSpec

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a map."""
        return self.maps.shape[1], self.maps.shape[2]

    @property
    def patches_per_image(self) -> int:
        """Rows times columns of a map."""
        rows, columns = self.grid
        return rows * columns

    @classmethod
    def read(cls, scores: Path, pack: Path, split: Path, *, part: Literal["val", "test"]) -> Self:
        """Join scores, pack and split; images of other parts are left out.

        Raises:
            UserError: if an image of the part has no score, or is not in the pack.
        """
        assigned = read_split(split)
        return cls._read(scores, pack, assigned.of(part), assigned.anomalous)

    @classmethod
    def read_defects(cls, scores: Path, pack: Path, split: Path) -> Self:
        """The anomalous images of a domain of synthetic defects, which may join validation images.

        Raises:
            UserError: if one was made from an image of another part than val, or is not in the pack.
        """
        parts = read_split(split).parts
        with Pack(pack) as packed:
            names = [name for name, label in zip(packed.images, packed.labels, strict=True) if label]
        origins = {name: parts.get(origin_of(name), "val") for name in names}  # a user's own have none
        others = [f"{name} ({part})" for name, part in origins.items() if part != "val"]
        if others:
            raise UserError(
                f"{pack} holds defects on images that are not of part val in {split}: {', '.join(others[:5])} "
                f"({len(others)} in all). A threshold must not see them: make the defects with `part: val`"
            )
        return cls._read(scores, pack, names, frozenset())

    @classmethod
    def _read(cls, scores: Path, pack: Path, wanted: list[str], anomalous: frozenset[str]) -> Self:
        scored = read_scores(scores)
        rows = find_rows(wanted, scored.images, path=scores, lacks="has no score of")
        with Pack(pack) as masks:
            packed = masks.rows(wanted)
            labels, defects = masks.labels[packed], [masks.defects[row] for row in packed]
        return cls(
            images=wanted,
            labels=labels,
            relabelled=np.array([name in anomalous for name in wanted], np.bool_) & (labels == 0),
            defects=defects,
            scores=scored.scores.image_scores[rows],
            maps=scored.scores.maps[rows],
            input_size=scored.input_size,
            parts={name: part[rows] for name, part in scored.scores.parts.items()},
            facts=scored.scores.facts,
            members=scored.scores.members,
            scoring=scored.scores.scoring,
        )

    def join(self, other: Self) -> Self:
        """These images and then the others, scored by the same bank.

        Maps that differ in size, as another method may give them, are left out: [n, 0, 0], and so are their parts.
        """
        alike, count = self.grid == other.grid, len(self.images) + len(other.images)
        maps = np.concatenate([self.maps, other.maps]) if alike else np.empty((count, 0, 0), np.float32)
        return replace(
            self,
            images=[*self.images, *other.images],
            labels=np.concatenate([self.labels, other.labels]),
            relabelled=np.concatenate([self.relabelled, other.relabelled]),
            defects=[*self.defects, *other.defects],
            scores=np.concatenate([self.scores, other.scores]),
            maps=maps,
            parts={name: np.concatenate([part, other.parts[name]]) for name, part in self.parts.items() if alike},
        )
