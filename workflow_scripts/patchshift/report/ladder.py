"""How image AUROC falls as one shift grows stronger: what severity ladders are drawn and told from.

Tested in tests/report/test_ladder.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patchshift.plan.backbone_specs import RANDOM
from patchshift.plan.cells import Cell
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.experiments import number_rankings
from patchshift.report.keys import row_keys
from patchshift.report.labels import Keys, category_labels, group_labels
from patchshift.report.pairing import mean_auroc, mean_difference
from patchshift.report.results import StudyResults, Value, as_value

Steps = list[tuple[float, Value]]


@dataclass(frozen=True)
class Ladder:
    """The rows of one setup whose targets one shift has made, each stronger.

    Attributes:
        name: the shift, with its seed and the setup where there are several, the setup also where it is untrained.
        rungs: category -> severity -> number of the row, in rising order; 0 is the clean domain, if it was scored.
    """

    name: str
    rungs: dict[str, dict[float, int]]


@dataclass(frozen=True)
class MeanStep:
    """The mean over a ladder's categories at one severity.

    Attributes:
        severity: 0 for the clean domain.
        categories: how many there are.
        mean: mean image AUROC.
        change: the mean minus that in the clean domain, on the same images; None for the clean domain itself, and
            where that was not scored.
    """

    severity: float
    categories: int
    mean: Value
    change: Value | None


def arrange_ladders(rows: Sequence[Keys], domains: Mapping[str, Mapping[str, Any]]) -> list[Ladder]:
    """The ladders of an experiment: of every shift with one seed that it scores at two strengths or more.

    Where an alias leads is another camera, not the clean domain: it stands on no ladder.

    Args:
        rows: key columns.
        domains: domain id -> its settings.
    """
    specs = {name: DomainSpec.model_validate(settings) for name, settings in domains.items()}
    numbers = [
        number
        for number in number_rankings(rows)
        if specs[str(rows[number]["train_domain"])].kind == "clean" and not rows[number].get("alias")
    ]
    kept = [rows[number] for number in numbers]
    untrained = any(row.get("weights") == RANDOM for row in kept)
    setups = group_labels([{**row, "target_domain": "", "train_domain": ""} for row in kept])
    starts: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    climbs: dict[_Shift, dict[str, dict[str, dict[float, int]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for number, row, category, setup in zip(numbers, kept, category_labels(kept), setups, strict=True):
        spec = specs[str(row["target_domain"])]
        if spec.kind == "clean":
            starts[setup, category][0.0] = number
        elif spec.kind == "shift":
            climbs[_shift_of(spec)][setup][category].setdefault(spec.strength, number)
    long = {shift: lines for shift, lines in climbs.items() if _count_strengths(lines) > 1}
    names = [name for name, _ in long]
    return [
        Ladder(
            (name if names.count(name) == 1 else f"{name}, seed {seed}")
            + (f": {setup}" if untrained or len(set(setups)) > 1 else ""),
            {
                category: dict(sorted({**starts[setup, category], **steps}.items()))
                for category, steps in categories.items()
            },
        )
        for (name, seed), lines in long.items()
        for setup, categories in lines.items()
    ]


_Shift = tuple[str, int]


def _shift_of(spec: DomainSpec) -> _Shift:
    """A shift's name and its seed."""
    return spec.shift if isinstance(spec.shift, str) else ", ".join(spec.shift), spec.seed or 0


def _count_strengths(lines: Mapping[str, Mapping[str, Mapping[float, int]]]) -> int:
    """In how many strengths any category was scored by any setup."""
    return len({strength for categories in lines.values() for steps in categories.values() for strength in steps})


def find_ladders(
    rows: Sequence[Mapping[str, str]], domains: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Steps]]:
    """The ladders of an experiment's `results.csv`: name -> category -> (severity, image AUROC) in rising order."""
    return {
        ladder.name: {
            category: [(severity, as_value(dict(rows[number]), *_COLUMNS)) for severity, number in steps.items()]
            for category, steps in ladder.rungs.items()
        }
        for ladder in arrange_ladders(rows, domains)
    }


_COLUMNS = ("image_auroc", "image_auroc_low", "image_auroc_high")


def average_ladders(
    results: StudyResults,
    cells: Sequence[Cell],
    domains: Mapping[str, Mapping[str, Any]],
    spec: EvaluationSpec,
) -> dict[str, list[MeanStep]]:
    """The ladders of an experiment's cells: name -> means over the categories with a value at every severity."""
    averaged = {}
    for ladder in arrange_ladders([row_keys(cell) for cell in cells], domains):
        severities = sorted({severity for steps in ladder.rungs.values() for severity in steps})
        whole = [
            steps
            for steps in ladder.rungs.values()
            if len(steps) == len(severities)
            and all(results.value(cells[number], "image_auroc").value is not None for number in steps.values())
        ]
        if not whole:
            continue
        at = {severity: [cells[steps[severity]] for steps in whole] for severity in severities}
        averaged[ladder.name] = [
            MeanStep(
                severity,
                len(whole),
                mean_auroc(results, there, spec),
                mean_difference(results, there, at[0.0], spec) if severity and 0.0 in at else None,
            )
            for severity, there in at.items()
        ]
    return averaged
