"""Images under shift: how one looks, is scored and decided in the reference domain and in every shifted one.

Tested in tests/report/test_shift_exhibits.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from patchshift.evaluation.calibrated import LogOdds
from patchshift.plan.cells import Bank, Target
from patchshift.report.cases import Case, CellPictures
from patchshift.report.pictures import Scale
from patchshift.report.results import Images, StudyResults
from patchshift.report.shift import Outcome, ShiftComparison

CATEGORIES = 4  # whose images are shown
ROW = 7  # views that a wide page has room for side by side
FEWEST = 5  # columns, so that pictures are no larger than there is something to see
VIEWS = 2 * ROW  # of one image


@dataclass(frozen=True)
class View:
    """An image in one domain, under one condition.

    Attributes:
        domain: as the config calls it.
        condition: one of `conditions.CONDITIONS`.
        case: how it looks and is decided.
        is_other: whether it is another image than the first view's, since the domain shows others.
    """

    domain: str
    condition: str
    case: Case
    is_other: bool


@dataclass(frozen=True)
class Exhibit:
    """A typical image of a category in the reference domain and in shifted ones.

    Attributes:
        heading: what it is.
        views: the reference domain first.
        ignores: whether images have ignored regions.
    """

    heading: str
    views: list[View]
    ignores: bool

    @property
    def columns(self) -> int:
        """How many views stand side by side where there is room: as many in each row."""
        rows = -(-len(self.views) // ROW)
        return max(FEWEST, -(-len(self.views) // rows))


def choose_exhibits(results: StudyResults, shift: ShiftComparison, sigma: float) -> list[Exhibit]:
    """A typical good and a typical defective image of each category, under every condition.

    A domain that shows other images than the first, as a natural shift does, is shown by a typical image of its own.

    Args:
        results: the study's results.
        shift: what is shown.
        sigma: smoothing of maps at input size, in pixels.
    """
    exhibits = []
    for category, outcomes in list(shift.outcomes.items())[:CATEGORIES]:
        # a bank keeps the colours of the first domain it is shown in, as long as its maps are of one unit
        scales: dict[tuple[Bank, LogOdds | None], Scale] = {}
        views = []
        for outcome in choose_outcomes(outcomes):
            pictures = CellPictures.read(results, outcome.cell, sigma)
            if pictures.scale:
                scale = scales.setdefault((outcome.cell.bank, pictures.weights), pictures.scale)
                pictures = replace(pictures, scale=scale)
            views.append((outcome, pictures))
        ignores = any(pictures.ignores for _, pictures in views)
        for label, noun in ((1, "defective"), (0, "good")):
            shown = _show_typical(views, label)
            if shown:
                exhibits.append(Exhibit(f"{category}: a {noun} image", shown, ignores))
    return exhibits


def choose_outcomes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that are shown; of too many, the first condition of each domain, and of too many domains the first."""
    if len(outcomes) > VIEWS:
        outcomes = list({outcome.domain: outcome for outcome in reversed(outcomes)}.values())[::-1]
    return list(outcomes[:VIEWS])


def _show_typical(views: Sequence[tuple[Outcome, CellPictures]], label: int) -> list[View]:
    """The views of an image with one label; none where the first domain has no such image."""
    rows: dict[Target | None, int | None] = {}
    shown: list[View] = []
    for outcome, pictures in views:
        # one image stands for all conditions of a natural shift, and one for all domains that are made
        place = outcome.cell.target if outcome.cell.natural else None
        if place not in rows:
            rows[place] = find_typical(pictures.images, label)
        row = rows[place]
        if row is not None:
            case = pictures.show([row])[0]
            is_other = place is not None and bool(shown)
            shown.append(View(outcome.domain, outcome.condition, case, is_other))
    return shown


def find_typical(images: Images, label: int) -> int | None:
    """The row of the image with the middle score among those of one label."""
    rows = np.flatnonzero((images.labels == label) & np.isfinite(images.scores))
    if not rows.size:
        return None
    return int(rows[np.argsort(images.scores[rows], kind="stable")[rows.size // 2]])
