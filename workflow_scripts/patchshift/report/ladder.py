"""How a metric falls as one shift grows stronger: what the severity ladder is drawn from.

Tested in tests/report/test_ladder.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from patchshift.plan.domain_specs import DomainSpec
from patchshift.report.experiments import rank_rows
from patchshift.report.labels import category_labels, group_labels
from patchshift.report.results import Value, as_value

Steps = list[tuple[float, Value]]


def find_ladders(
    rows: Sequence[Mapping[str, str]], domains: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Steps]]:
    """Image AUROC by severity of every shift that an experiment scores at two strengths or more.

    Args:
        rows: the experiment's `results.csv`, of banks fitted on clean images.
        domains: domain id -> its settings.

    Returns:
        Shift (and setup, where there are several) -> category -> (severity, value) in rising order, from the clean
        domain at 0 on where it was scored.
    """
    specs = {name: DomainSpec.model_validate(settings) for name, settings in domains.items()}
    fitted_clean = [row for row in rank_rows(rows) if specs[row["train_domain"]].kind == "clean"]
    setups = group_labels([{**row, "target_domain": "", "train_domain": ""} for row in fitted_clean])
    starts: dict[tuple[str, str], Steps] = defaultdict(list)
    climbs: dict[tuple[str, str], dict[str, Steps]] = defaultdict(lambda: defaultdict(list))
    for row, category, setup in zip(fitted_clean, category_labels(fitted_clean), setups, strict=True):
        spec, value = specs[row["target_domain"]], as_value(dict(row), *_COLUMNS)
        if spec.kind == "clean":
            starts[setup, category].append((0.0, value))
        else:
            climbs[_name(spec), setup][category].append((spec.strength, value))
    return {
        shift if len(set(setups)) == 1 else f"{shift}: {setup}": {
            category: sorted([*starts[setup, category], *steps], key=lambda step: step[0])
            for category, steps in lines.items()
        }
        for (shift, setup), lines in climbs.items()
        if any(len(steps) > 1 for steps in lines.values())
    }


_COLUMNS = ("image_auroc", "image_auroc_low", "image_auroc_high")


def _name(spec: DomainSpec) -> str:
    return spec.shift if isinstance(spec.shift, str) else ", ".join(spec.shift)
