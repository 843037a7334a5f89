"""The config model of a study's deliverables: files in the form that another project's readers and scripts know.

Tested in tests/plan/test_deliverables.py.
"""

from collections.abc import Collection
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from patchshift.plan.base import Name, Spec, names_each_once
from patchshift.plan.specs import Distance

Kind = Literal["columns", "gap", "figure", "thresholds", "splits"]

FORMS: dict[Kind, tuple[str, ...]] = {
    "columns": (".csv", ".json", ".npy"),
    "gap": (".csv", ".json"),
    "figure": (".png", ".svg"),
    "thresholds": (".json",),
    "splits": (".json",),
}
"""What a file may hold -> the endings of its name."""

KEYS = (
    *(f"{role}_{field}" for role in ("train", "target", "calibration") for field in ("dataset", "category", "domain")),
    *("split", "backbone", "weights", "detector", "seed", "policy", "alias", "origin"),
)
"""Columns of `results.csv` that name a row."""

METRICS = (
    *("image_auroc", "image_ap", "image_f1_oracle", "fpr_at_95_tpr"),
    *("pixel_auroc", "pixel_ap", "pixel_f1_oracle", "pro", "pro_strict", "aupimo"),
    *("f1", "f1_floor", "accuracy", "balanced_accuracy", "precision", "recall", "specificity"),
    *("miss_rate", "false_alarm_rate", "pixel_iou", "pixel_f1", "pixel_precision", "pixel_recall"),
    *("brier_platt", "ece_platt", "brier_isotonic", "ece_isotonic"),
)
"""Columns of `results.csv` that have an interval beside them."""

_LESS_IS_BETTER = {"fpr_at_95_tpr", "miss_rate", "false_alarm_rate"}

GAP_METRICS = tuple(
    name for name in METRICS if name not in {"f1_floor", *_LESS_IS_BETTER} and not name.startswith(("brier_", "ece_"))
)
"""Those that a gap can be of."""

MEASURES = (
    *("feature_dim", "patches_per_image", "bank_vectors", "bank_bytes", "covering_radius", "search_recall"),
    *("threshold", "count_normal", "count_anomalous", "count_regions", "count_relabelled"),
    *("count_tp", "count_fp", "count_tn", "count_fn"),
)
"""Columns of `results.csv` that have none."""

COSTS = (
    *("bank_mb", "fit_seconds", "extraction_ms", "embedding_ms", "searching_ms", "scoring_ms", "inference_ms"),
    *("relative_embedding_time", "relative_scoring_time"),
)
"""Columns that `costs.csv` has beside those."""

DISTANCES = tuple(f"distance_{name}" for name in get_args(Distance))
"""Columns made of `distances.csv`, with intervals."""

SPLIT_SETTINGS = ("train_limit", "train_contamination")
"""Settings of a row's split."""

TIMESTAMP = "timestamp"
"""When a row's metrics were computed."""

COLUMNS = (*KEYS, *METRICS, *MEASURES, *COSTS, *DISTANCES, *SPLIT_SETTINGS, TIMESTAMP)
"""All that a column may be made of, beside the ends of intervals."""

TEXT = tuple(name for name in (*KEYS, TIMESTAMP) if name != "seed")
"""Those that hold no numbers."""

ENDS = ("_low", "_high")

EXPERIMENT_FIGURES = (
    *("bars", "backbone_panels", "heatmap", "scatter", "curves", "critical_difference", "transfer"),
    *("severity_ladder", "policies", "reliability", "pareto", "sampling_curve", "reduction_curve"),
    *("confusion", "defect_sizes", "failure_gallery"),
)
"""Figures of an experiment, as far as there is something to show."""

STUDY_FIGURES = ("recovery", "cross_shift", "distance_effects", "feature_drifts")
"""Those of a study."""


class DeliverableSpec(Spec):
    """One file: `columns`, a `gap`, a `figure`, `thresholds` or `splits`."""

    experiments: Annotated[list[Name], Field(min_length=1), AfterValidator(names_each_once)] | None = Field(
        None, description="Whose rows, gap, figure, thresholds or splits; default: those of all, a figure of the study."
    )
    columns: Annotated[dict[Name, Name], Field(min_length=1)] | None = Field(
        None,
        description="Name in the file -> column of `results.csv` or `costs.csv`, `distance_{name}` of `distances.csv`, "
        "`train_limit` or `train_contamination` of the row's split, or `timestamp` (docs/results.md). A metric or "
        "distance brings `{name in the file}_low` and `_high`. A `.csv`, `.json` or `.npy`.",
    )
    gap: Name | None = Field(
        None,
        description="A metric of which more is better: its mean over the categories of each dataset, and how much less "
        "that is than on the first dataset of the experiments, for each setup (docs/results.md). A `.csv` or `.json`.",
    )
    figure: Name | None = Field(
        None, description="A figure of the one experiment, or without `experiments` of the study. A `.png` or `.svg`."
    )
    thresholds: bool = Field(False, description="The thresholds that decide, each once. A `.json`.")
    splits: bool = Field(False, description="Which images train, validate and test, with labels. A `.json`.")

    @model_validator(mode="after")
    def _holds_one_thing(self) -> "DeliverableSpec":
        given = [kind for kind in FORMS if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"needs one of {', '.join(FORMS)}, has {' and '.join(given) or 'none'}")
        if self.figure and len(self.experiments or [""]) > 1:
            raise ValueError("a figure is of one experiment, or of the study: name one experiment, or none")
        names = [name for name, _ in self.sources]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"column '{twice[0]}' would stand in the file twice: it is an end of another's interval")
        return self

    @property
    def kind(self) -> Kind:
        """What the file holds."""
        return next(kind for kind in FORMS if getattr(self, kind))

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Name in the file, and what it is made of, for each column of the file in order, intervals included."""
        return [
            (f"{name}{end}", f"{column}{end}")
            for name, column in (self.columns or {}).items()
            for end in ("", *(ENDS if column in (*METRICS, *DISTANCES) else ()))
        ]

    def asks_for(self, columns: Collection[str]) -> bool:
        """Whether a column is made of one of these, or of an end of its interval."""
        return any(strip_end(column) in columns for column in (self.columns or {}).values())


def strip_end(column: str) -> str:
    """What an end of an interval is of: `pro` of `pro_low`, and of itself."""
    return next((column.removesuffix(end) for end in ENDS if column.endswith(end)), column)
