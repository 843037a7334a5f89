"""The columns by which tables name cells. Columns: docs/results.md.

Tested in tests/report/test_tables.py.
"""

from patchshift.plan.cells import Cell

DECISION_KEYS = ("calibration_dataset", "calibration_category", "calibration_domain", "policy")
"""The columns that name a cell's decisions, on which no bank and no ranking depends."""
METRICS_COLUMNS = ["metric", "value", "low", "high", "undefined"]


def cell_keys(cell: Cell, *, ranking: bool = False) -> dict[str, str | int]:
    """The columns that name a cell; `ranking`: without threshold, on which ranking metrics do not depend."""
    keys: dict[str, str | int] = {}
    for role, target in (("train", cell.bank.training), ("target", cell.target), ("calibration", cell.calibration)):
        for field in ("dataset", "category", "domain"):
            keys[f"{role}_{field}"] = "" if ranking and role == "calibration" else getattr(target, field)
    bank = cell.bank
    keys |= {"split": bank.split, "backbone": bank.backbone, "weights": bank.weights}
    keys |= {"detector": bank.detector, "seed": bank.seed}
    return keys | {"policy": "" if ranking else cell.threshold}


def row_keys(cell: Cell) -> dict[str, str | int]:
    """The columns that name a row of an experiment: those of its cell, and which alias led there from where, if any."""
    origin = f"{cell.origin.dataset}/{cell.origin.category}" if cell.natural else ""
    return {**cell_keys(cell), "alias": cell.natural.alias if cell.natural else "", "origin": origin}
