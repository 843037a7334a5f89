"""Put a bank, its threshold and all else that new images need into one model.

Tested in tests/app/test_export.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.app.models import ExportedModel, needs_weights
from patchshift.data.regions import read_ignored_patches
from patchshift.detectors.bank import Bank
from patchshift.errors import UserError
from patchshift.evaluation.calibrated import combine_images, is_calibrated, read_calibration
from patchshift.evaluation.scored import ScoredImages
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import NO_FEATURES, BackboneSpec
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.provenance import demand_provenance
from patchshift.runtime.sealed import check_seal, check_seal_if_any, digest_sealed

Bool = npt.NDArray[np.bool_]

HIGH = 0.999
"""Quantile of patch scores at which a heatmap's colours end, as in the report (`report.pictures.Scale`)."""


@dataclass(frozen=True)
class ExportSources:
    """The files that a model is made from.

    Attributes:
        bank: the fitted detector.
        features: the feature stores of the normal images that it was fitted on.
        scores: its scores on the calibration domain; of a pool, on each member's.
        pack: of that domain, in the same order.
        split: of the calibration category, in the same order.
        threshold: what was calibrated.
        weights: the backbone's weight file, if it has one.
    """

    bank: Path
    features: list[Path]
    scores: list[Path]
    pack: list[Path]
    split: list[Path]
    threshold: Path
    weights: Path | None

    @property
    def inputs(self) -> dict[str, Path | list[Path]]:
        """Role -> file or files; features apart, which are large, and which the bank's provenance names."""
        return {name: files for name, files in vars(self).items() if files and name != "features"}


def export_model(
    sources: ExportSources,
    backbone: BackboneSpec,
    evaluation: EvaluationSpec,
    domain: DomainSpec,
    provenance: Mapping[str, Any],
) -> ExportedModel:
    """The model.

    Args:
        sources: the files.
        backbone: the backbone, with the addresses of its weights.
        evaluation: the protocol, for its smoothing.
        domain: the calibration domain: what new images are taken to look like.
        provenance: from `runtime.provenance.describe`, of `sources.inputs`.

    Raises:
        UserError: if the files do not belong together, if the weight file is another one than that of the features, or
            if new images cannot be treated as those of the domain.
    """
    bank, bank_provenance = Bank.load(sources.bank), demand_provenance(sources.bank, check=check_seal)
    for features in sources.features:
        _check_features(features, sources, backbone, bank_provenance)
    _check_threshold(sources)
    files = zip(sources.scores, sources.pack, sources.split, strict=True)
    parts = [ScoredImages.read(scores, pack, split, part="val") for scores, pack, split in files]
    if not any(part.images for part in parts):
        splits = ", ".join(map(str, sources.split))
        raise UserError(f"{splits}: no validation image: export with a split protocol that has some")
    ignore = _common_ignore(sources, parts, bank.representation.grid)
    calibration, combination = read_calibration(sources.threshold)
    if is_calibrated(parts[0]):
        if combination is None:
            raise UserError(f"{sources.threshold} has no weights for the two distances: {calibration.undefined}")
        parts = [combine_images(part, combination, pack) for part, pack in zip(parts, sources.pack, strict=True)]
    validation = reduce(ScoredImages.join, parts)
    normal = validation.labels == 0
    maps = validation.maps
    median = float(np.median(maps[normal] if normal.any() else maps))
    return ExportedModel(
        bank=bank,
        backbone=backbone,
        weights_digest=provenance["inputs"].get("weights"),
        scoring=validation.scoring,
        calibration=calibration,
        normal_scores=np.sort(validation.scores[normal]),
        patch_range=(median, float(np.quantile(maps, HIGH))),
        smoothing_sigma=evaluation.smoothing_sigma,
        provenance={**provenance, "bank": bank_provenance},
        ignore=ignore,
        combination=combination,
        view=domain.view,
    )


def _check_features(features: Path, sources: ExportSources, backbone: BackboneSpec, bank: Mapping[str, Any]) -> None:
    """That the bank was fitted on these features, and these were made with the weight file."""
    with FeatureStore(features) as store:
        made = store.provenance
    fitted_on = bank["inputs"]["features"]
    if digest_sealed(features) not in ([fitted_on] if isinstance(fitted_on, str) else fitted_on):
        raise UserError(f"{sources.bank} was not fitted on {features}: run rule fit_detector again")
    if made["spec"] != backbone.model_dump(mode="json", exclude=NO_FEATURES):
        raise UserError(f"{features} is of another backbone than the catalog's: run rule extract_features again")
    if not needs_weights(backbone):
        return
    if sources.weights is None:
        raise UserError(f"the backbone has a weight file, '{backbone.weights}': give it by --weights")
    found, wanted = digest_file(sources.weights), made["inputs"].get("weights")
    if found != wanted:
        raise UserError(
            f"{sources.weights} has SHA-256 {found}, but {features} was made with {wanted}: bring that file back, or "
            "run again with --forcerun extract_features"
        )


def _check_threshold(sources: ExportSources) -> None:
    """That the threshold was calibrated on these scores, and these came from this bank."""
    calibrated = _read_inputs(sources.threshold).get("scores")
    if calibrated != [digest_file(path) for path in sources.scores]:
        scores = ", ".join(map(str, sources.scores))
        raise UserError(f"{sources.threshold} was not made from {scores}: delete it and run again")
    bank = digest_file(sources.bank)
    for path in sources.scores:
        if _read_inputs(path).get("bank") != bank:
            raise UserError(f"{path} was not made from {sources.bank}: delete it and run again")


def _read_inputs(path: Path) -> dict[str, Any]:
    """Role -> digest or digests of what a file was made from."""
    return dict(demand_provenance(path, check=check_seal_if_any)["inputs"])


def _common_ignore(sources: ExportSources, parts: Sequence[ScoredImages], grid: tuple[int, int]) -> Bool | None:
    """[rows, columns] the patches that scores of all images look past; None where there are none.

    Raises:
        UserError: if images ignore different ones: what a new image would ignore, nobody knows.
    """
    found = []
    for scores, pack, part in zip(sources.scores, sources.pack, parts, strict=True):
        is_masked = "pack" in _read_inputs(scores)
        masks = read_ignored_patches(pack, part.images, grid) if is_masked else None
        found.append(np.zeros((len(part.images), *grid), np.bool_) if masks is None else masks)
    ignored: Bool = np.concatenate(found)
    if not ignored.any():
        return None
    if (ignored != ignored[0]).any():
        packs = ", ".join(map(str, sources.pack))
        raise UserError(
            f"{packs}: images ignore different regions, so nobody knows what a new image ignores: export a bank of a "
            "dataset with one ignore mask for all images"
        )
    return np.asarray(ignored[0])
