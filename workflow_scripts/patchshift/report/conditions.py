"""What a cell says about domain shift: in domain, shifted without adaptation, recalibrated, adapted.

Tested in tests/report/test_conditions.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from patchshift.plan.experiments import POOLS, Cell

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


def setup_of(cell: Cell) -> Setup:
    """The setup of a cell."""
    bank = cell.bank
    return Setup(bank.split, bank.backbone, bank.detector, bank.seed, cell.threshold)


def is_pool(cell: Cell) -> bool:
    """Whether the bank serves several categories."""
    return cell.bank.training.dataset == POOLS


def is_own_category(cell: Cell) -> bool:
    """Whether the bank was fitted on the category that it is scored on, and on no other."""
    training, target = cell.bank.training, cell.target
    return (training.dataset, training.category) == (target.dataset, target.category)


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
        if is_own_category(cell) and cell.bank.training.domain == cell.target.domain == cell.calibration.domain
    ]
    unshifted = [domain for domain in own if domains.get(domain, {}).get("shift") == "none"]
    return next(iter([*unshifted, *own]), None)


def condition_of(cell: Cell, reference: str) -> str | None:
    """The condition of a cell whose bank was fitted on the target's own category; None where it has no name."""
    if not is_own_category(cell):
        return None
    trained, calibrated, tested = cell.bank.training.domain, cell.calibration.domain, cell.target.domain
    if trained == calibrated == tested:
        return IN_DOMAIN if tested == reference else ADAPTED
    if trained == reference and calibrated in (reference, tested):
        return NO_ADAPTATION if calibrated == reference else RECALIBRATED
    return None
