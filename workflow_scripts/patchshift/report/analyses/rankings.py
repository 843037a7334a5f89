"""What banks are worth at home and away: which target is what to a bank, and how far it lies.

Tested in tests/report/test_rankings.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchshift.plan.cells import Bank, Cell, Target
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.inspections import own_domain
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import cell_keys, row_keys
from patchshift.report.results import StudyResults, Value, as_value, read_rows

IN_DOMAIN = "in domain"
SHIFTED = "shifted"
CROSS_CATEGORY = "cross category"
CROSS_DATASET = "cross dataset"
RELATIONS = (IN_DOMAIN, SHIFTED, CROSS_CATEGORY, CROSS_DATASET)
"""What a target is to a bank: its own domain; its category in another one; another category; another dataset."""

GRADES = {"excellent": 0.9, "good": 0.8, "fair": 0.7, "poor": 0.0}
"""Grade -> image AUROC that it begins at."""

KEY_COLUMNS = (
    *(f"{role}_{part}" for role in ("train", "target", "calibration") for part in ("dataset", "category", "domain")),
    *("split", "backbone", "weights", "detector", "seed", "policy", "alias", "origin"),
)
"""The columns of `tables.row_keys`."""

Setup = tuple[str, str, str, int]
Distances = dict[str, Value]


@dataclass(frozen=True)
class Ranking:
    """What one bank makes of one target's test images, whatever threshold decides them.

    Attributes:
        cell: one of its cells.
        relation: one of `RELATIONS`.
        keys: columns that name it; calibration and policy are empty where it does not depend on them.
    """

    cell: Cell
    relation: str
    keys: Mapping[str, str | int]

    @property
    def setup(self) -> Setup:
        """Split, backbone, detector and seed."""
        return setup_of_bank(self.cell.bank)

    @property
    def pair(self) -> tuple[Target, Target]:
        """What was trained on, and what is scored."""
        return self.cell.bank.training, self.cell.target


def setup_of_bank(bank: Bank) -> Setup:
    """How a bank is made, whatever it is trained on."""
    return bank.split, bank.backbone, bank.detector, bank.seed


def list_rankings(results: StudyResults, plan: StudyPlan, cells: Sequence[Cell]) -> list[Ranking]:
    """The rankings of cells, each once, in their order."""
    rankings: dict[tuple[object, ...], Ranking] = {}
    for cell in cells:
        keys = {**row_keys(cell), **cell_keys(cell, ranking=results.is_ranked_once(cell))}
        name = tuple(cell_keys(cell, ranking=results.is_ranked_once(cell)).values())
        rankings.setdefault(name, Ranking(cell, relate(cell, plan), keys))
    return list(rankings.values())


def lowest_seeds(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Of several seeds and calibrations the lowest seed and the first calibration, which stand for all."""
    seeds: dict[tuple[object, ...], int] = {}
    for ranking in rankings:
        *setup, seed = ranking.setup
        seeds[tuple(setup)] = min(seed, seeds.get(tuple(setup), seed))
    kept: dict[tuple[object, ...], Ranking] = {}
    for ranking in rankings:
        *setup, seed = ranking.setup
        if seed == seeds[tuple(setup)]:
            kept.setdefault((*setup, *ranking.pair), ranking)
    return list(kept.values())


def relate(cell: Cell, plan: StudyPlan) -> str:
    """What a cell's target is to its bank; an alias leads to the same category, seen another way."""
    training = cell.bank.training
    if cell.target in own_domain(plan, training):
        return IN_DOMAIN
    members = plan.categories(f"{training.dataset}/{training.category}")
    if any((place.dataset, place.category) in members for place in (cell.target, cell.origin)):
        return SHIFTED
    datasets = {dataset for dataset, _ in members}
    return CROSS_CATEGORY if {cell.target.dataset, cell.origin.dataset} & datasets else CROSS_DATASET


def find_homes(ranking: Ranking, at_home: Sequence[Ranking]) -> list[Ranking]:
    """What a ranking is measured against: its bank's in its own domain.

    Of a pool's bank that is the target's category, where that is one of the pool's, otherwise all of them that were
    scored.

    Args:
        ranking: of a target away from home.
        at_home: rankings of targets at home, of any banks.
    """
    homes = [
        home
        for home in at_home
        if home.cell.bank == ranking.cell.bank and home.keys["policy"] == ranking.keys["policy"]
    ]
    own = [home for home in homes if _category(home.cell) == _category(ranking.cell)]
    return own or homes


def _category(cell: Cell) -> tuple[str, str]:
    return cell.origin.dataset, cell.origin.category


def describe_domain(data: StudyData, domain: str, *, natural: bool = False) -> dict[str, Any]:
    """A domain's shift, its severity as a number, and its transform, where it is a single one.

    Args:
        data: the study.
        domain: a domain's id.
        natural: whether an alias led there.
    """
    if natural:
        return {"shift": "natural", "severity": None, "transform": ""}
    spec = DomainSpec.model_validate(data.domains[domain])
    if spec.kind != "shift":
        return {"shift": "none" if spec.kind == "clean" else spec.kind, "severity": None, "transform": ""}
    name = spec.shift if isinstance(spec.shift, str) else ", ".join(spec.shift)
    single = spec.transforms[0] if len(spec.transforms) == 1 else ""
    return {"shift": name, "severity": spec.strength, "transform": single}


def read_distances(data: StudyData) -> dict[tuple[Target, str, str, Target], Distances]:
    """(training, split, backbone, target) -> distance -> its value; empty where the study measures none."""
    path = data.folder / "distances.csv"
    found: dict[tuple[Target, str, str, Target], Distances] = {}
    for row in read_rows(path) if path.exists() else []:
        training, target = (
            Target(*(row[f"{role}_{part}"] for part in ("dataset", "category", "domain")))
            for role in ("train", "target")
        )
        found.setdefault((training, row["split"], row["backbone"], target), {})[row["distance"]] = as_value(row)
    return found


def distances_of(ranking: Ranking, distances: Mapping[tuple[Target, str, str, Target], Distances]) -> Distances:
    """The distances between what a ranking's bank was fitted on and its target; none where they are not measured."""
    bank = ranking.cell.bank
    return distances.get((bank.training, bank.split, bank.backbone, ranking.cell.target), {})


def grade_auroc(value: float | None) -> str:
    """An image AUROC in a word; empty where it is undefined."""
    if value is None:
        return ""
    return next(grade for grade, start in GRADES.items() if value >= start)
