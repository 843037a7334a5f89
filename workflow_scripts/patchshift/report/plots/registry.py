"""All kinds of figures. A new one is one function and one entry here.

Tested in tests/report/test_plots.py.
"""

from collections.abc import Mapping
from pathlib import Path

from patchshift.report.plots import (
    backbone_panels,
    bars,
    confusion,
    critical_difference,
    curves,
    defect_sizes,
    distance_effects,
    failure_gallery,
    feature_drifts,
    heatmap,
    matrices,
    pareto,
    policies,
    recovery,
    reliability,
    sampling_curves,
    scatter,
    severities,
)
from patchshift.report.plots.drawn import Drawn, ExperimentPlot, StudyPlot
from patchshift.runtime.files import atomic_directory

EXPERIMENT_PLOTS: dict[str, ExperimentPlot] = {
    "bars": ExperimentPlot("Image AUROC", bars.CAPTION, bars.draw_auroc_bars),
    "backbone_panels": ExperimentPlot(
        "Setups at home and away", backbone_panels.CAPTION, backbone_panels.draw_backbone_panels
    ),
    "heatmap": ExperimentPlot("Every setup on every category", heatmap.CAPTION, heatmap.draw_auroc_heatmap),
    "scatter": ExperimentPlot("Image AUROC against pixel AUROC", scatter.CAPTION, scatter.draw_auroc_scatter),
    "curves": ExperimentPlot("ROC and precision-recall curves", curves.CAPTION, curves.draw_ranking_curves),
    "critical_difference": ExperimentPlot(
        "Average ranks and their critical difference",
        critical_difference.CAPTION,
        critical_difference.draw_critical_difference,
    ),
    "transfer": ExperimentPlot("Trained here, tested there", matrices.TRANSFER_CAPTION, matrices.draw_transfer_matrix),
    "severity_ladder": ExperimentPlot("As a shift grows stronger", severities.CAPTION, severities.draw_severities),
    "policies": ExperimentPlot("Threshold policies", policies.CAPTION, policies.draw_policies),
    "reliability": ExperimentPlot("Reliability of probabilities", reliability.CAPTION, reliability.draw_reliability),
    "pareto": ExperimentPlot("What accuracy costs", pareto.CAPTION, pareto.draw_pareto, on_page=False),
    "sampling_curve": ExperimentPlot(
        "Size of the coreset", sampling_curves.SAMPLING_CAPTION, sampling_curves.draw_sampling_curve
    ),
    "reduction_curve": ExperimentPlot(
        "Reduction of embeddings", sampling_curves.REDUCTION_CAPTION, sampling_curves.draw_reduction_curve
    ),
    "confusion": ExperimentPlot("Decisions by type of defect", confusion.CAPTION, confusion.draw_confusion),
    "defect_sizes": ExperimentPlot("Size and place of defects", defect_sizes.CAPTION, defect_sizes.draw_defect_sizes),
    "failure_gallery": ExperimentPlot(
        "Gallery of failures", failure_gallery.CAPTION, failure_gallery.draw_failure_gallery, on_page=False
    ),
}
"""Name of the files -> figure of one experiment, in the order of the report."""

STUDY_PLOTS: dict[str, StudyPlot] = {
    "recovery": StudyPlot("What shifts cost, and what comes back", recovery.CAPTION, recovery.draw_recovery),
    "cross_shift": StudyPlot("From one shift to another", matrices.CROSS_SHIFT_CAPTION, matrices.draw_cross_shift),
    "distance_effects": StudyPlot(
        "Distance between domains, and what is lost", distance_effects.CAPTION, distance_effects.draw_distance_effects
    ),
    "feature_drifts": StudyPlot(
        "Drift of layers and fusions", feature_drifts.CAPTION, feature_drifts.draw_feature_drifts
    ),
}
"""Name of the files -> figure of a study, in the order of the report."""


def save_plots(drawn: Mapping[str, Drawn | None], folder: Path) -> None:
    """Write a whole folder of figures; those that there is nothing to show of are left out."""
    with atomic_directory(folder) as partial:
        for name, figure in drawn.items():
            if figure is not None:
                figure.save(partial, name)
