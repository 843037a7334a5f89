"""What a whole study leaves in its folder: what `all` asks for, and `patchshift check` looks for.

Tested in tests/plan/test_targets.py.
"""

from patchshift.plan import analyses, deliverables, exhibits, inspections
from patchshift.plan.study import Study


def list_targets(study: Study) -> list[str]:
    """The paths of all tables, figures, folders of figures, deliverables, and of both reports."""
    return [
        *(f"{study.folder}/{name}" for name in ("report.html", "report.pdf")),
        *(f"{study.folder}/{name}.csv" for name in ("metrics", "predictions", "timings")),
        *(f"{study.folder}/experiments/{name}/results.csv" for name in study.cells),
        *exhibits.list_pool_tables(study),
        *analyses.list_tables(study),
        *analyses.list_figure_folders(study),
        *deliverables.list_deliverables(study),
        *exhibits.list_figures(study),
    ]


def list_beside(study: Study) -> list[str]:
    """The paths of what the jobs behind these leave beside them."""
    looks = inspections.list_inspection_figures(study)
    return [
        f"{study.folder}/results.txt",
        *(f"{study.folder}/experiments/{name}/costs.csv" for name in study.cells),
        *exhibits.list_distance_tables(study),
        *exhibits.list_drift_tables(study),
        *(f"{path.removesuffix('.png')}.csv" for path in looks if path.endswith("/separability.png")),
    ]
