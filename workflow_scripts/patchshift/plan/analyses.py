"""What analyses of a study make, and what they are told.

Tested in tests/plan/test_analyses.py.
"""

from patchshift.plan.base import canonical_json
from patchshift.plan.provenance import detector_settings, domain_settings
from patchshift.plan.study import Study

EXPERIMENT_TABLES = (
    *("summary.csv", "summary.md", "summary.tex", "comparisons.csv", "ranks.csv"),
    *("failures.csv", "defects.csv", "failure_factors.csv", "co_failures.csv", "transfer.csv"),
)
"""Files in an experiment's folder; those that do not apply have a header and no row."""

STUDY_TABLES = ("robustness.csv", "cross_shift.csv", "distance_effects.csv", "feature_robustness.csv")
"""Files in a study's folder; those that do not apply have a header and no row."""


def list_tables(study: Study) -> list[str]:
    """The paths of all of them."""
    return [
        *(f"{study.folder}/experiments/{name}/{table}" for name in study.cells for table in EXPERIMENT_TABLES),
        *(f"{study.folder}/{table}" for table in STUDY_TABLES),
    ]


def list_figure_folders(study: Study) -> list[str]:
    """The folders of all figures that are drawn with their data: of each experiment, and of the study."""
    return [*(f"{study.folder}/experiments/{name}/figures" for name in study.cells), f"{study.folder}/figures"]


def list_pictured(study: Study, experiment: str) -> list[str]:
    """The paths of all that pictures of an experiment's images are made from."""
    cells = study.cells[experiment]
    return sorted({path for cell in cells for path in (cell.pack, cell.scores, cell.split, cell.threshold_file)})


def options(study: Study) -> list[str]:
    """The command-line options that tell an analysis what it is of."""
    named = {name: study.config.experiments[name].baseline for name in study.cells}
    baselines = canonical_json({name: baseline for name, baseline in named.items() if baseline})
    return [
        *("--plan", study.plan_spec(), "--spec", study.evaluation_spec(), "--analysis", study.analysis_spec()),
        *("--domains", domain_settings(study), "--detectors", detector_settings(study), "--baselines", baselines),
        *("--folder", study.folder),
    ]
