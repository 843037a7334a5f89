"""Whose validation images set a threshold, as rules and checks ask for it.

Tested in tests/plan/test_calibrations.py.
"""

from collections.abc import Iterator

from patchshift.plan.base import canonical_json
from patchshift.plan.cells import CLEAN, Cell
from patchshift.plan.loading import did_you_mean
from patchshift.plan.study import Study

WORDS = ("training", "target")
"""What `calibrate_on` may be beside a domain."""


def name_members(study: Study, dataset: str, category: str) -> list[str]:
    """Whose images they are, as `dataset/category`: of a category, or of each member of a pool."""
    return ["/".join(member) for member in study.members(dataset, category)]


def smoothing(study: Study) -> str:
    """All of the protocol that a threshold depends on: the smoothing of maps, in pixels."""
    return canonical_json(study.catalog.evaluation.smoothing_sigma)


def find_unknown_domains(study: Study) -> Iterator[str]:
    """Experiments that calibrate on what is no domain."""
    domains, aliases = study.catalog.domains, study.catalog.aliases
    for name, experiment in study.config.experiments.items():
        wanted, place = experiment.calibrate_on, f"experiments.{name}.calibrate_on"
        if wanted in aliases:
            yield f"{place}: '{wanted}' is an alias: calibrate on a domain, or on `target` where an alias leads there"
        elif wanted not in (*WORDS, *domains):
            yield f"{place}: '{wanted}' is not in domains{did_you_mean(wanted, [*WORDS, *domains])}"


def find_misplaced_defects(study: Study, cell: Cell) -> Iterator[str]:
    """What keeps a threshold's synthetic defects from joining a cell's validation images."""
    for domain in study.defects_of(cell.threshold):
        name = f"threshold '{cell.threshold}': defects_from '{domain}'"
        spec = study.catalog.domains[domain].synthesis
        if spec is None or spec.part != "val":
            yield f"{name} is not a domain of synthetic defects with `part: val`"
        elif spec.split != cell.bank.split:
            yield f"{name} is made from split '{spec.split}': with '{cell.bank.split}' its images may be tested"
        elif cell.calibration.domain != CLEAN:
            yield f"{name} shows clean images, it cannot calibrate on domain '{cell.calibration.domain}'"
