"""Which setup the report shows errors of: the one that the study recommends, where an experiment has it.

Tested in tests/report/test_shown.py.
"""

from dataclasses import replace

from patchshift.plan.cells import Cell
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.conditions import Setup, is_own_category, setup_of

_CHOSEN, _SETUP, _DETECTOR, _OTHER = range(4)


def select_condition(data: StudyData, experiment: str) -> list[Cell]:
    """What is shown of an experiment: all its detectors, each once per target, in one condition.

    The setup that the study recommends comes first where the experiment has it, at best in the domain where it was
    chosen; else its detector with another threshold; else the experiment's baseline. The condition (domains, split,
    threshold policy, whether banks are of the target's own category) is that of the first row in this order that
    decides, or of the first where none does. Of several seeds the first is taken.
    """
    ordered = sorted(data.cells(experiment), key=lambda cell: _rank(data, experiment, cell))  # stable
    decided = (cell for cell in ordered if data.results.images(cell).decisions is not None)
    first = next(decided, ordered[0])
    chosen: dict[tuple[object, ...], Cell] = {}
    for cell in sorted(ordered, key=lambda cell: _features(cell) != _features(first)):
        if _condition(cell) == _condition(first):
            chosen.setdefault((*_features(cell), cell.target), cell)
    return list(chosen.values())


def select_shown(data: StudyData, experiment: str) -> list[Cell]:
    """Of `select_condition`, the cells of the setup that comes first."""
    cells = select_condition(data, experiment)
    return [cell for cell in cells if _features(cell) == _features(cells[0])]


def is_recommended(data: StudyData, cell: Cell) -> bool:
    """Whether a cell is of the setup that the study recommends, if it recommends any."""
    return _closeness(data, cell) <= _SETUP


def explain_shown(data: StudyData, experiment: str, cell: Cell) -> str:
    """Which setup the cells of `select_shown` are of, and why that one: words that follow its name.

    Args:
        data: the study.
        experiment: its name.
        cell: one of them.
    """
    recommended = _recommended(data)
    if recommended is not None and is_recommended(data, cell):
        return "the setup that the study recommends"
    if recommended is not None and _closeness(data, cell) == _DETECTOR:
        return f"the detector that the study recommends, for want of decisions with threshold {recommended.threshold}"
    baseline = cell.bank.detector == data.baseline(experiment)
    role = "the experiment's baseline" if baseline else "the first detector of the experiment that decides"
    if recommended is None:
        return f"{role}, since the study recommends none"
    name = f"{recommended.detector} on {recommended.backbone_name}" if recommended.is_fitted else recommended.detector
    there = any(_closeness(data, other) < _OTHER for other in data.cells(experiment))
    return f"{role}, since {name}, which the study recommends, {'decides nothing' if there else 'is not'} in it"


def name_condition(cell: Cell) -> str:
    """The condition of `select_condition` in words."""
    calibrated = "" if cell.calibration.domain == cell.bank.training.domain else f" from {cell.calibration.domain}"
    trained = cell.bank.training.domain
    return f"fitted on {trained}, scored on {cell.domain}, threshold {cell.threshold}{calibrated}"


def _closeness(data: StudyData, cell: Cell) -> int:
    """How near a cell is to those that the recommendation rests on."""
    setup, recommended = setup_of(cell), _recommended(data)
    if recommended is None or data.recommendation is None:
        return _OTHER
    if setup == recommended:
        return _CHOSEN if cell in data.recommendation.cells else _SETUP
    return _DETECTOR if replace(setup, threshold=recommended.threshold) == recommended else _OTHER


def _recommended(data: StudyData) -> Setup | None:
    """The setup to use, if there is one."""
    found = data.recommendation
    return None if found is None or found.reaches_chance else found.setup


def _rank(data: StudyData, experiment: str, cell: Cell) -> tuple[int, bool]:
    return (_closeness(data, cell), cell.bank.detector != data.baseline(experiment))


def _features(cell: Cell) -> tuple[str, str]:
    return (cell.bank.backbone, cell.bank.detector)


def _condition(cell: Cell) -> tuple[object, ...]:
    own = is_own_category(cell)
    training = cell.bank.training
    fitted_on = ("own", training.domain) if own else (training.dataset, training.category, training.domain)
    calibrated_on = "target" if cell.calibration == cell.target else cell.calibration.domain
    return (fitted_on, cell.domain, calibrated_on, cell.bank.split, cell.threshold)
