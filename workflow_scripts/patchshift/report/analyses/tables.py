"""All tables that analyses make. A new one is one function, one entry here and its name in `plan.analyses`.

Tested in tests/report/test_analyses.py.
"""

from collections.abc import Callable

import pandas as pd

from patchshift.report.analyses.co_failures import co_failures_table
from patchshift.report.analyses.comparisons import comparisons_table
from patchshift.report.analyses.cross_shift import cross_shift_table
from patchshift.report.analyses.defects import defects_table
from patchshift.report.analyses.distance_effects import distance_effects_table
from patchshift.report.analyses.failures import failure_factors_table, failures_table
from patchshift.report.analyses.feature_robustness import feature_robustness_table
from patchshift.report.analyses.ranks import ranks_table
from patchshift.report.analyses.robustness import robustness_table
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.analyses.summary import summary_table
from patchshift.report.analyses.summary_texts import summary_latex, summary_markdown
from patchshift.report.analyses.transfer import transfer_table

EXPERIMENT_TABLES: dict[str, Callable[[StudyData, str], pd.DataFrame]] = {
    "summary": summary_table,
    "comparisons": comparisons_table,
    "ranks": ranks_table,
    "failures": failures_table,
    "defects": defects_table,
    "failure_factors": failure_factors_table,
    "co_failures": co_failures_table,
    "transfer": transfer_table,
}
"""Name -> table of one experiment."""

EXPERIMENT_TEXTS: dict[str, Callable[[StudyData, str], str]] = {
    "summary.md": summary_markdown,
    "summary.tex": summary_latex,
}
"""File name -> text of one experiment, made after the tables."""

STUDY_TABLES: dict[str, Callable[[StudyData], pd.DataFrame]] = {
    "robustness": robustness_table,
    "cross_shift": cross_shift_table,
    "distance_effects": distance_effects_table,
    "feature_robustness": feature_robustness_table,
}
"""Name -> table of a study."""
