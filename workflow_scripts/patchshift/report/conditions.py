"""What a cell says about domain shift: in domain, shifted without adaptation, recalibrated, adapted.

Tested in tests/report/test_conditions.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from patchshift.plan.backbone_specs import RANDOM
from patchshift.plan.cells import POOLS, Cell
from patchshift.report.labels import name_backbone

IN_DOMAIN = "in domain"
NO_ADAPTATION = "no adaptation"
RECALIBRATED = "recalibrated"
ADAPTED = "adapted"
CONDITIONS = {
    IN_DOMAIN: "bank, threshold and test images from the same domain",
    NO_ADAPTATION: "bank and threshold from the reference domain, test images shifted",
    RECALIBRATED: "bank from the reference domain, threshold and test images shifted",
    ADAPTED: "bank, threshold and test images shifted",
}


@dataclass(frozen=True)
class Setup:
    """How a bank is made and how it decides, whatever it is trained on."""

    split: str
    backbone: str
    detector: str
    seed: int
    threshold: str
    weights: str = field(default="", compare=False)
    is_fitted: bool = field(default=True, compare=False)

    @property
    def is_untrained(self) -> bool:
        """Whether the backbone has weights that were never trained; one that needs none has not."""
        return self.weights == RANDOM

    @property
    def backbone_name(self) -> str:
        """The backbone, and that its weights are random where they are."""
        return name_backbone(self.backbone, self.weights)


def setup_of(cell: Cell) -> Setup:
    """The setup of a cell."""
    bank = cell.bank
    return Setup(bank.split, bank.backbone, bank.detector, bank.seed, cell.threshold, bank.weights, bank.is_fitted)


def is_pool(cell: Cell) -> bool:
    """Whether the bank serves several categories."""
    return cell.bank.training.dataset == POOLS


def is_own_category(cell: Cell) -> bool:
    """Whether the bank was fitted on the category that it is scored on, and on no other.

    Where an alias led to the target, the category that the alias started from is the same one seen another way.
    """
    training = (cell.bank.training.dataset, cell.bank.training.category)
    return training in {(place.dataset, place.category) for place in (cell.target, cell.origin)}


def reference_domain(cells: Iterable[Cell], domains: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The domain that shifts are measured against.

    Args:
        cells: the study's cells.
        domains: domain id -> its settings.

    Returns:
        The unshifted domain if a category's bank is scored in it, else the first domain in which one is; None if no
        bank is scored in its own domain.
    """
    own = [
        cell.target.domain
        for cell in cells
        if is_own_category(cell) and cell.bank.training == cell.target == cell.calibration == cell.origin
    ]
    unshifted = [
        domain
        for domain in own
        if (settings := domains.get(domain, {})).get("shift") == "none" and not settings.get("view")
    ]
    return next(iter([*unshifted, *own]), None)


def condition_of(cell: Cell, reference: str) -> str | None:
    """The condition of a cell whose bank was fitted on the target's own category; None where it has no name.

    One whose threshold comes from neither the reference domain nor the target's has none: what `calibrate_on` may name
    beside them is another shift, which is no condition of this one.
    """
    if not is_own_category(cell):
        return None
    trained, calibrated, tested = cell.bank.training, cell.calibration, cell.target
    start = replace(cell.origin, domain=reference)  # the same category in the reference domain
    if trained == calibrated == tested:
        return IN_DOMAIN if tested == start else ADAPTED
    if trained == start and calibrated in (start, tested):
        return NO_ADAPTATION if calibrated == start else RECALIBRATED
    return None
