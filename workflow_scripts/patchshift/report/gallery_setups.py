"""What the gallery's selectors offer: the setups of each experiment, and what each is called.

Tested in tests/report/test_gallery.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from patchshift.plan.cells import Cell
from patchshift.report.conditions import setup_of
from patchshift.report.keys import row_keys
from patchshift.report.labels import as_called
from patchshift.report.results import StudyResults
from patchshift.report.wording import name_setup


def view_key(cell: Cell) -> tuple[Any, ...]:
    """What tells a cell of `StudyResults.all_views` from the others."""
    return (cell, cell.natural)


def group_setups(results: StudyResults, number: Mapping[tuple[Any, ...], int]) -> list[dict[str, Any]]:
    """Each experiment's setups: its cells that differ in what is scored alone.

    Args:
        results: the study's tables.
        number: `view_key` -> number of the cell in the gallery.

    Returns:
        JSON-ready: `experiment`, its title; `name`; `cells`, numbers.
    """
    setups = []
    for experiment, cells in results.cells.items():
        aspects = list(zip(*_tell_aspects(cells), strict=True))
        varied = [len(set(values)) > 1 for values in zip(*aspects, strict=True)]
        groups: dict[tuple[str, ...], list[int]] = {}
        for cell, values in zip(cells, aspects, strict=True):
            groups.setdefault(values, []).append(number[view_key(cell)])
        for values, members in groups.items():
            told = [value for value, varies in zip(values[1:], varied[1:], strict=True) if varies and value]
            name = ", ".join([values[0], *told])
            setups.append({"experiment": results.titles[experiment], "name": name, "cells": members})
    return setups


def _tell_aspects(cells: Sequence[Cell]) -> list[list[str]]:
    """What tells the setups of an experiment apart, in words: a list for each aspect; the first is always said."""
    setups = [setup_of(cell) for cell in cells]
    return [
        [name_setup(setup) for setup in setups],
        _tell_training(cells),
        _tell_domains(cells),
        _tell_calibration(cells),
        [setup.split for setup in setups],
        [f"seed {setup.seed}" for setup in setups],
        [setup.threshold for setup in setups],
    ]


def _tell_training(cells: Sequence[Cell]) -> list[str]:
    """Nothing where each bank is of the category scored."""
    called = [as_called(row_keys(cell)) for cell in cells]
    trained = [(row["train_dataset"], row["train_category"]) for row in called]
    if trained == [(row["target_dataset"], row["target_category"]) for row in called]:
        return [""] * len(cells)
    return [
        f"pool {category}" if cell.bank.members else f"bank of {dataset}/{category}"
        for cell, (dataset, category) in zip(cells, trained, strict=True)
    ]


def _tell_domains(cells: Sequence[Cell]) -> list[str]:
    """Nothing where each bank is of the domain scored."""
    called = [as_called(row_keys(cell)) for cell in cells]
    if all(row["train_domain"] == row["target_domain"] for row in called):
        return [""] * len(cells)
    return [f"fitted on {row['train_domain']}" for row in called]


def _tell_calibration(cells: Sequence[Cell]) -> list[str]:
    """Nothing where each threshold is of the domain and category that the bank is of; of a pool, of the one scored."""
    if all(cell.calibration.domain == cell.bank.training.domain and _is_near(cell) for cell in cells):
        return [""] * len(cells)
    if all(cell.calibration == cell.target for cell in cells):
        return ["threshold from the images' own domain"] * len(cells)
    return [f"threshold from {cell.calibration.domain if _is_near(cell) else cell.calibration.path}" for cell in cells]


def _is_near(cell: Cell) -> bool:
    calibration, training = cell.calibration, cell.bank.training
    if cell.bank.members:
        return calibration in (training, cell.target)
    return (calibration.dataset, calibration.category) == (training.dataset, training.category)
