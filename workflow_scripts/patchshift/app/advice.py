"""Choose a study's settings from what a folder of images holds, and say why.

Tested in tests/app/test_advice.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from patchshift.data.adapters.tree import name_some
from patchshift.data.images import map_files, read_mask, read_size
from patchshift.data.index import ImageRow, shuffle

LOOKED_AT = 60  # images of which sizes and masks are read
FEW_DEFECTS = 10
INPUT, LARGE_INPUT, STRIDE = 224, 448, 8  # pixels: the catalog's scattering, and a larger one


@dataclass(frozen=True)
class Findings:
    """What a category's images are like.

    Attributes:
        good: number of good images.
        defects: defect type -> number of images.
        with_mask: number of defective images with a mask.
        official: whether the dataset says which images are for training and which for testing.
        sizes: (height, width) in pixels of a sample of images.
        defect_sides: side of a square of the area of each defect in a sample of masks, as a share of the image's side.
    """

    good: int
    defects: dict[str, int]
    with_mask: int
    official: bool
    sizes: list[tuple[int, int]]
    defect_sides: list[float]

    @property
    def defective(self) -> int:
        """Number of defective images."""
        return sum(self.defects.values())


@dataclass(frozen=True)
class Advice:
    """Settings and their reasons.

    Attributes:
        masks: the dataset's `masks`.
        splits: split ids of the catalog.
        thresholds: threshold ids of the catalog.
        image_size: input size of the scattering backbone in pixels.
        reasons: setting -> why.
        warnings: what limits the results.
    """

    masks: str
    splits: list[str]
    thresholds: list[str]
    image_size: int
    reasons: dict[str, str]
    warnings: list[str]


def examine(rows: Sequence[ImageRow], root: Path) -> Findings:
    """Count a category's images, and look at some of them.

    Args:
        rows: the category's images.
        root: the folder that they are relative to.

    Raises:
        UserError: naming the images and masks of the sample that cannot be read.
    """
    looked_at = set(shuffle((row.image for row in rows), "init")[:LOOKED_AT])
    masked = set(shuffle((row.image for row in rows if row.mask), "init")[:LOOKED_AT])
    masks = map_files(lambda row: read_mask(root / row.mask), [row for row in rows if row.image in masked])
    return Findings(
        good=sum(not row.label for row in rows),
        defects=dict(sorted(Counter(row.defect for row in rows if row.label).items())),
        with_mask=sum(bool(row.label and row.mask) for row in rows),
        official=any(row.official_split for row in rows),
        sizes=map_files(lambda row: read_size(root / row.image), [row for row in rows if row.image in looked_at]),
        defect_sides=[float(np.sqrt(mask.mean())) for mask in masks if mask.any()],
    )


def advise(categories: Mapping[str, Findings]) -> Advice:
    """Choose settings that suit all categories of a dataset: category -> what its images are like."""
    findings = list(categories.values())
    fewest = min(each.defective for each in findings)
    reasons: dict[str, str] = {}
    warnings: list[str] = []

    without = [category for category, each in categories.items() if each.with_mask < each.defective]
    if not any(each.with_mask for each in findings):
        masks = "optional"
        reasons["masks"] = "no masks: images are measured, pixels are not"
    elif without:
        masks = "optional"
        reasons["masks"] = f"no masks in {name_some(without)}: pixels are measured in the other categories only"
    else:
        masks = "required"
        reasons["masks"] = "every defective image has a mask: pixels are measured, too"

    if fewest >= FEW_DEFECTS:
        splits, thresholds = ["source_plan"], ["f1_max", "normal_p95"]
        reasons["splits"] = "30 % of the defective images choose the threshold, the others test it"
        reasons["thresholds"] = "the best F1 on validation images, and one that needs good images only"
    else:
        splits, thresholds = ["normals_only"], ["normal_p95", "f1_max_synthetic"]
        reasons["splits"] = f"{_count(fewest)}: too few to choose a threshold with, so all of them test"
        reasons["thresholds"] = "the first needs good images only, the second makes defects of its own to choose with"
    if fewest == 0:
        warnings.append(
            "there is a category without defective images: false alarms can be measured, misses cannot, and there is "
            "no AUROC. Even a few help: put them into defect/TYPE/"
        )
    elif fewest < FEW_DEFECTS:
        warnings.append(f"{_count(fewest)}: the intervals will be wide, read them before the numbers")
    least_good = min(each.good for each in findings)
    if least_good < 30:
        warnings.append(f"{_count(least_good, 'good')}: 50 or more make banks and thresholds steadier")

    image_size, reasons["backbones"] = _choose_input(findings)
    return Advice(masks, splits, thresholds, image_size, reasons, warnings)


def _count(number: int, kind: str = "defective") -> str:
    return f"{number} {kind} image{'' if number == 1 else 's'}"


def _choose_input(findings: Sequence[Findings]) -> tuple[int, str]:
    sides = sorted(side for each in findings for side in each.defect_sides)
    height, width = (round(median(size[axis] for each in findings for size in each.sizes)) for axis in (0, 1))
    shown = f"images are about {height} x {width} pixels"
    if not sides:
        return INPUT, f"{shown}; without masks the size of defects is unknown, so the usual input of {INPUT}"
    small = sides[len(sides) // 10] * INPUT
    if small < STRIDE and min(height, width) >= 1.5 * INPUT:  # else a larger input shows no more of them
        return LARGE_INPUT, (
            f"{shown}, and a tenth of the defects is smaller than one patch at an input of {INPUT} ({small:.1f} of "
            f"{STRIDE} pixels): {LARGE_INPUT} shows them, at four times the cost"
        )
    return INPUT, f"{shown}; at an input of {INPUT} nine of ten defects are larger than {small:.0f} pixels"
