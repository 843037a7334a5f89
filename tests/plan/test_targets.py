from collections.abc import Callable
from typing import Any

from patchshift.plan import Study
from patchshift.plan.targets import list_targets


def test_a_study_leaves_reports_tables_figures_and_deliverables_each_once(
    study: dict[str, Any], load: Callable[[], Study]
) -> None:
    study["deliverables"] = {"numbers.csv": {"columns": {"auroc": "image_auroc"}}}
    loaded = load()
    paths = list_targets(loaded)
    assert len(paths) == len(set(paths))
    assert {f"{loaded.folder}/{name}" for name in ("report.html", "report.pdf", "metrics.csv", "figures")} < set(paths)
    assert f"{loaded.folder}/deliverables/numbers.csv" in paths
    for name in loaded.cells:
        assert f"{loaded.folder}/experiments/{name}/results.csv" in paths
        assert f"{loaded.folder}/experiments/{name}/figures" in paths
