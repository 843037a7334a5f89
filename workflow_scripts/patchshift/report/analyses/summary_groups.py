"""What a summary compares: setups, each with its cells by category and seed, under one circumstance at a time.

Tested in tests/report/test_summary.py.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from patchshift.plan.cells import Cell, Target
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import condition_of, is_own_category, is_pool, reference_domain
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called, name_backbone

Pair = tuple[Target, Target]
"""What a bank was fitted on, and what it was scored on."""


@dataclass(frozen=True)
class Circumstance:
    """Under what setups are compared: all but backbone, detector and policy. Domains as the config calls them."""

    split: str
    trained_on: str
    condition: str
    train_domain: str
    target_domain: str
    calibration_domain: str


@dataclass(frozen=True)
class SummarySetup:
    """What is compared."""

    backbone: str
    weights: str
    detector: str
    policy: str

    @property
    def name(self) -> str:
        """Detector and backbone, in words."""
        return f"{self.detector} on {name_backbone(self.backbone, self.weights)}"

    @property
    def ranker(self) -> tuple[str, str]:
        """What a ranking depends on."""
        return self.backbone, self.detector


@dataclass
class Group:
    """A setup under one circumstance: its cells by pair and seed."""

    setup: SummarySetup
    cells: dict[Pair, dict[int, Cell]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def common_seeds(self) -> list[int]:
        """The seeds that all pairs have: those a mean over categories is of."""
        return sorted(set.intersection(*(set(by_seed) for by_seed in self.cells.values())))


def group_cells(data: StudyData, cells: Sequence[Cell]) -> dict[Circumstance, list[Group]]:
    """Circumstance -> the setups measured under it, both in the order of the cells; seeds are merged."""
    reference = reference_domain(data.results.all_views(), data.domains)
    groups: dict[Circumstance, dict[SummarySetup, Group]] = defaultdict(dict)
    for cell in cells:
        called = as_called(row_keys(cell))
        condition = condition_of(cell, reference) if reference else None
        circumstance = Circumstance(
            cell.bank.split,
            _trained_on(cell),
            condition or "",
            str(called["train_domain"]),
            str(called["target_domain"]),
            cell.calibration.domain,
        )
        setup = SummarySetup(cell.bank.backbone, cell.bank.weights, cell.bank.detector, cell.threshold)
        group = groups[circumstance].setdefault(setup, Group(setup))
        group.cells[cell.bank.training, cell.target][cell.bank.seed] = cell
    return {circumstance: list(by_setup.values()) for circumstance, by_setup in groups.items()}


def _trained_on(cell: Cell) -> str:
    if is_pool(cell):
        return f"pool {cell.bank.training.category}"
    if is_own_category(cell):
        return "own category"
    return "another category" if cell.bank.training.dataset == cell.target.dataset else "another dataset"
