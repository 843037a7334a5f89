"""A study's deliverables: which files there are, what they are made from, and what is wrong with them.

Tested in tests/plan/test_deliverables.py.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from patchshift.plan.base import canonical_json
from patchshift.plan.cells import Cell
from patchshift.plan.deliverable_specs import (
    COLUMNS,
    COSTS,
    DISTANCES,
    EXPERIMENT_FIGURES,
    FORMS,
    GAP_METRICS,
    METRICS,
    SPLIT_SETTINGS,
    STUDY_FIGURES,
    TIMESTAMP,
    DeliverableSpec,
    strip_end,
)
from patchshift.plan.inspections import list_distances
from patchshift.plan.loading import did_you_mean
from patchshift.plan.study import Study

PARTS = ("train", "val", "test")


def list_deliverables(study: Study) -> list[str]:
    """The paths of all of them."""
    return [f"{study.folder}/deliverables/{name}" for name in study.config.deliverables]


def deliverable_constraint(study: Study) -> str:
    """A regular expression that matches exactly their names."""
    return "|".join(map(re.escape, study.config.deliverables)) or "(?!)"


def deliverable_plan(study: Study, name: str) -> str:
    """The plan of the experiments that a deliverable is of, in its order."""
    return study.plan_spec(*_experiments(study, study.config.deliverables[name]))


def deliverable_spec(study: Study, name: str) -> str:
    """What a deliverable holds, as JSON; not canonical, since the order of columns counts."""
    return study.config.deliverables[name].model_dump_json()


def deliverable_splits(study: Study, name: str) -> str:
    """The settings of splits that its columns ask for, as JSON: split id -> setting -> value."""
    used = {cell.bank.split for cell in study.all_cells()}
    asked = [setting for setting in SPLIT_SETTINGS if study.config.deliverables[name].asks_for([setting])]
    settings = {split: study.catalog.splits[split].model_dump(include=set(asked)) for split in sorted(used)}
    return canonical_json(settings if asked else {})


def deliverable_inputs(study: Study, name: str) -> list[str]:
    """The paths of all that a deliverable is made from."""
    spec = study.config.deliverables[name]
    experiments = _experiments(study, spec)
    folders = [f"{study.folder}/experiments/{experiment}" for experiment in experiments]
    cells = [cell for experiment in experiments for cell in study.cells[experiment]]
    if spec.kind == "figure":
        return [f"{folder}/figures" for folder in (folders if spec.experiments else [study.folder])]
    if spec.kind == "thresholds":
        return sorted({cell.threshold_file for cell in cells})
    if spec.kind == "splits":
        return sorted(split_path(*place) for place in find_split_uses(cells))
    return [
        *(f"{folder}/results.csv" for folder in folders),
        *(f"{folder}/costs.csv" for folder in folders if spec.asks_for(COSTS)),
        *([f"{study.folder}/distances.csv"] if spec.asks_for(DISTANCES) else []),
        *(sorted({cell.metrics for cell in cells}) if spec.asks_for([TIMESTAMP]) else []),
    ]


def find_split_uses(cells: Iterable[Cell]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """`dataset/category` and split -> part -> the domains in which cells use the images of that part, each once."""
    uses: dict[tuple[str, str], dict[str, list[str]]] = {}
    for cell in cells:
        for part, targets in zip(PARTS, (cell.bank.fitted_on, cell.calibrated_on, [cell.target]), strict=True):
            for target in targets:
                place = f"{target.dataset}/{target.category}", cell.bank.split
                domains = uses.setdefault(place, {part: [] for part in PARTS})[part]
                if target.domain not in domains:
                    domains.append(target.domain)
    return uses


def split_path(category: str, split: str) -> str:
    """Path of the split of a `dataset/category`."""
    return f"results/splits/{category}/{split}.csv"


def find_deliverable_mistakes(study: Study) -> Iterator[str]:
    """One line per experiment, column or figure that the study has not, and per name that does not fit its content."""
    for name, spec in study.config.deliverables.items():
        place, endings = f"deliverables.{name}", FORMS[spec.kind]
        if PurePosixPath(name).suffix not in endings:
            yield f"{place}: a file of {spec.kind} ends in {' or '.join(endings)}: rename it"
        for experiment in spec.experiments or []:
            if experiment not in study.config.experiments:
                known = did_you_mean(experiment, study.config.experiments)
                yield f"{place}.experiments: '{experiment}' is not in experiments{known}"
        yield from _unknown_columns(study, place, spec)
        yield from _unknown_figures(place, spec)
        if spec.gap and all(experiment in study.cells for experiment in spec.experiments or []):
            yield from _gaps_without_sides(
                place, spec, [cell for each in _experiments(study, spec) for cell in study.cells[each]]
            )


def _unknown_columns(study: Study, place: str, spec: DeliverableSpec) -> Iterator[str]:
    with_interval = (*METRICS, *DISTANCES)
    for name, column in (spec.columns or {}).items():
        if column not in COLUMNS and strip_end(column) not in with_interval:
            yield f"{place}.columns.{name}: '{column}' is no column of results{did_you_mean(column, COLUMNS)}"
    if spec.asks_for(DISTANCES) and not list_distances(study):
        yield (
            f"{place}.columns: the study measures no distances between domains: add `inspection: {{}}` (with "
            "`distances: true`) to its config"
        )


def _unknown_figures(place: str, spec: DeliverableSpec) -> Iterator[str]:
    figure, of_experiment = spec.figure, spec.experiments is not None
    ours, others = (EXPERIMENT_FIGURES, STUDY_FIGURES)[:: 1 if of_experiment else -1]
    if figure in others:
        owner, remedy = ("the study", "leave out") if of_experiment else ("an experiment", "name one in")
        yield f"{place}.figure: '{figure}' is a figure of {owner}: {remedy} `experiments`"
    elif figure is not None and figure not in ours:
        yield f"{place}.figure: '{figure}' is no figure{did_you_mean(figure, [*ours, *others])}"


def _gaps_without_sides(place: str, spec: DeliverableSpec, cells: Sequence[Cell]) -> Iterator[str]:
    if spec.gap not in GAP_METRICS:
        known = did_you_mean(str(spec.gap), GAP_METRICS)
        yield f"{place}.gap: '{spec.gap}' is no metric of which more is better{known}"
    if len({cell.target.dataset for cell in cells}) == 1:
        yield f"{place}.gap: all targets are of dataset '{cells[0].target.dataset}': name an experiment of another"
    scored = Counter((_gap_setup(cell), cell.target.dataset, cell.target.category) for cell in dict.fromkeys(cells))
    twice = next((f"{dataset}/{category}" for (_, dataset, category), count in scored.items() if count > 1), None)
    if twice:
        yield (
            f"{place}.gap: a setup scores {twice} with several banks or in several domains, and its images would count "
            "as often: name experiments in which each category is scored once"
        )


def _gap_setup(cell: Cell) -> tuple[str | int, ...]:
    """What is the same on both sides of a gap: split, backbone, detector, seed and threshold policy."""
    return cell.bank.split, cell.bank.backbone, cell.bank.detector, cell.bank.seed, cell.threshold


def _experiments(study: Study, spec: DeliverableSpec) -> list[str]:
    return spec.experiments or list(study.cells)
