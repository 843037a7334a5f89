"""The drift of layers and fusions, as a study has measured it: whose it is of a setup, and its mean over targets.

Tested in tests/report/test_feature_drifts.py.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patchshift.plan.cells import Target
from patchshift.plan.fusions import FusionSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.labels import name_backbone
from patchshift.report.results import Value, as_value, read_rows

DRIFTS = "feature_drifts.csv"
"""In the study's folder, beside `distances.csv`."""

Places = tuple[Target, Target]
"""What was trained on, and the target."""


@dataclass(frozen=True)
class Features:
    """What drifts: vectors of one backbone, under one split.

    Attributes:
        split, backbone, weights: as in `feature_drifts.csv`.
        layers: with spaces between them.
        fusion: how they are joined, in words.
    """

    split: str
    backbone: str
    weights: str
    layers: str
    fusion: str


@dataclass(frozen=True)
class Drifts:
    """The drifts of some features.

    Attributes:
        away: of targets that are not the domain trained on.
        home: of those that are.
    """

    away: dict[Places, Value] = field(default_factory=dict)
    home: dict[Places, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class MeanDrift:
    """The drift of features over several pairs away from home.

    Attributes:
        pairs: those that have one.
        away: its mean over them; None without any.
        home: its mean where what they were trained on is at home; None where nothing is measured there.
    """

    pairs: set[Places]
    away: float | None
    home: float | None


def read_drifts(data: StudyData) -> dict[Features, Drifts]:
    """All drifts of a study, in the order of its table; none where it measures no distances."""
    path = data.folder / DRIFTS
    found: dict[Features, Drifts] = {}
    for row in read_rows(path) if path.exists() else []:
        features = Features(*(row[name] for name in ("split", "backbone", "weights", "layers", "fusion")))
        training, target = (
            Target(*(row[f"{role}_{part}"] for part in ("dataset", "category", "domain")))
            for role in ("train", "target")
        )
        drifts = found.setdefault(features, Drifts())
        (drifts.home if row["at_home"] == "1" else drifts.away)[training, target] = as_value(row)
    return found


def find_drifts(
    found: Mapping[Features, Drifts], split: str, backbone: str, settings: Mapping[str, Any] | None
) -> Drifts | None:
    """The drifts of a detector's own layers and fusion.

    Args:
        found: all of the study.
        split: of the setup.
        backbone: of the setup.
        settings: of the detector.
    """
    representation = (settings or {}).get("representation")
    here = [features for features in found if (features.split, features.backbone) == (split, backbone)]
    if not here or representation is None:
        return None
    cached = [features.layers for features in here if features.fusion == "single"]
    own = FusionSpec.of(RepresentationSpec.model_validate(representation), cached)
    name = " ".join(own.layers), own.words
    return next((found[features] for features in here if (features.layers, features.fusion) == name), None)


def mean_drift(drifts: Drifts, pairs: Collection[Places]) -> MeanDrift:
    """The mean over the pairs that have a drift, and over the homes of what these were trained on."""
    away = {pair: value.value for pair, value in drifts.away.items() if pair in pairs}  # in an order that never changes
    known = {pair: value for pair, value in away.items() if value is not None}
    trained = {training for training, _ in known}
    home = [value.value for (training, _), value in drifts.home.items() if training in trained]
    return MeanDrift(set(known), _mean(list(known.values())), _mean([value for value in home if value is not None]))


def name_features(layers: str, fusion: str, cached: Collection[str]) -> str:
    """A layer, or a fusion and its layers, in words.

    Args:
        layers: with spaces between them.
        fusion: in words.
        cached: all layers of the backbone.
    """
    names = layers.split()
    if fusion == "single":
        return layers
    if fusion.startswith("weighted"):  # its weights name the layers
        return fusion
    if len(names) == len(cached):
        return f"{fusion} of all layers"
    return f"{fusion} of {', '.join(names)}"


@dataclass(frozen=True)
class FeatureRow:
    """A layer or fusion in `feature_robustness.csv`.

    Attributes:
        backbone: in words, with its split where there are several.
        name: the layer or fusion in words.
        pairs: targets away from home that have a drift.
        away: its mean over them; None without any.
        home: its mean at home; None where nothing is measured there.
        rank: 1 for the lowest `away`; empty where not compared.
        undefined: why there is no value or no rank.
    """

    backbone: str
    name: str
    pairs: int
    away: float | None
    home: float | None
    rank: str
    undefined: str


def read_features(data: StudyData) -> list[FeatureRow]:
    """The layers and fusions in `feature_robustness.csv`, in its order; none where no distances are measured."""
    rows = [row for row in read_rows(data.folder / "feature_robustness.csv") if row["kind"] == "features"]
    several = len({row["split"] for row in rows}) > 1
    found = []
    for row in rows:
        same = [other for other in rows if (other["split"], other["backbone"]) == (row["split"], row["backbone"])]
        cached = [other["layers"] for other in same if other["fusion"] == "single"]
        backbone = name_backbone(row["backbone"], row["weights"])
        found.append(
            FeatureRow(
                backbone=f"{backbone}, {row['split']}" if several else backbone,
                name=name_features(row["layers"], row["fusion"], cached),
                pairs=int(row["pairs"]),
                away=float(row["feature_drift"]) if row["feature_drift"] else None,
                home=float(row["home_feature_drift"]) if row["home_feature_drift"] else None,
                rank=row["drift_rank"],
                undefined=row["undefined"],
            )
        )
    return found


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
