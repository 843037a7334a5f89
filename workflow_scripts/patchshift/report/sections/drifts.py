"""What the report says of layers and fusions: which drift least away from home.

Tested in tests/report/test_feature_drifts.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from patchshift.report.analyses.digits import show_value
from patchshift.report.analyses.feature_drifts import FeatureRow, read_features
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.wording import join_words

SHOWN = 12
"""Layers and fusions on a page; the table has all."""


@dataclass(frozen=True)
class DriftRanking:
    """Layers and fusions by their drift.

    Attributes:
        rows: those that drift least first, at most `SHOWN`; last those that are not ranked.
        hidden: number of those that are not among them.
        least: what may be said of the first; empty where none is ranked.
    """

    rows: list[FeatureRow]
    hidden: int
    least: str


def rank_drifts(data: StudyData) -> DriftRanking | None:
    """The study's layers and fusions; None where no distances are measured away from home."""
    rows = sorted(read_features(data), key=lambda row: int(row.rank) if row.rank else math.inf)  # stable
    return DriftRanking(rows[:SHOWN], max(0, len(rows) - SHOWN), _word_least(rows)) if rows else None


def _word_least(rows: Sequence[FeatureRow]) -> str:
    """What drifts least in each backbone, whose features have a scale of their own.

    Args:
        rows: those that drift least first.
    """
    groups: dict[str, list[FeatureRow]] = {}
    for row in rows:
        if row.rank:
            groups.setdefault(row.backbone, []).append(row)
    if not groups:
        return ""
    said = []
    for backbone, ranked in groups.items():
        least = [row for row in ranked if row.rank == ranked[0].rank]
        home = least[0].home
        ends = f"{show_value(least[0].away or 0.0)} of the mean's length"
        if len(least) == 1 and home is not None:
            ends += f", at home {show_value(home)}"
        of = f" of {backbone}" if len(groups) > 1 else ""
        said.append(f"{join_words([row.name for row in least])}{of} ({ends})")
    return (
        f"Least drift away from home: {'; '.join(said)}. Features that move less need not detect better: they may see "
        "less."
    )
