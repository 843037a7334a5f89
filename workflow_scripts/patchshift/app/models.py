"""An exported model: all that new images need for a score and a decision, in one file.

Layout: group `bank` as a bank's file has it (`detectors.bank`); datasets `normal_scores` [n] float32, `patch_range` [2]
float64 and, where regions are ignored, `ignore` [rows, columns]; attributes `format`, `backbone`, `view`, `scoring`,
`calibration`, `combination` and `provenance` (JSON), `weights_digest` (empty: the backbone has no weight file),
`smoothing_sigma`. Behind the HDF5 content stands a seal (`runtime.sealed`), checked before anything else is read; a
file without one is not read at all.
Tested in tests/app/test_models.py.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.detectors.bank import Bank
from patchshift.errors import UserError
from patchshift.evaluation.calibrated import LogOdds
from patchshift.evaluation.calibration import Calibration, as_calibration
from patchshift.plan.backbone_specs import BACKBONE, NO_WEIGHTS, RANDOM, BackboneSpec
from patchshift.plan.base import canonical_json
from patchshift.plan.domain_specs import ViewSpec
from patchshift.plan.score_specs import ScoringSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

FORMAT = "patchshift model 1"

REMEDY = "export it again, or give the file that rule export_model writes"


@dataclass(frozen=True)
class ExportedModel:
    """A fitted detector with its threshold, ready for new images.

    Attributes:
        bank: the fitted detector; `bank.representation.grid` is the grid of its maps.
        backbone: what makes its features.
        weights_digest: SHA-256 of the backbone's weight file; None: it has none.
        scoring: how patch distances become one score per image, and maps of pixels.
        calibration: the threshold, or the reason why there is none.
        normal_scores: [n] float32, sorted image scores of the normal validation images.
        patch_range: median of the patch scores of normal validation images, and the 0.999 quantile of those of all
            validation images: the ends of a heatmap's colours.
        smoothing_sigma: smoothing of maps at input size, in pixels.
        provenance: JSON-ready, from `runtime.provenance.describe`, with the bank's own under `bank`.
        ignore: [rows, columns] patches that image scores do not look at; None: none.
        combination: weights of the two distances of a calibrated dual bank; None: patches are scored as `scoring` says.
        view: how images are cut before the backbone sees them; None: they are not.
    """

    bank: Bank
    backbone: BackboneSpec
    weights_digest: str | None
    scoring: ScoringSpec
    calibration: Calibration
    normal_scores: Float32
    patch_range: tuple[float, float]
    smoothing_sigma: float
    provenance: Mapping[str, Any]
    ignore: Bool | None = None
    combination: LogOdds | None = None
    view: ViewSpec | None = None

    @property
    def calibrated_before_extension(self) -> bool:
        """Whether the threshold is that of an older bank (`app.extend`)."""
        return bool(self.provenance.get("calibrated_before_extension"))

    def save(self, path: Path) -> None:
        """Write the model atomically; equal models give equal bytes."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            self.bank.write(file.create_group("bank"), self.provenance["bank"])
            file.create_dataset("normal_scores", data=self.normal_scores, track_times=False)
            file.create_dataset("patch_range", data=np.array(self.patch_range, np.float64), track_times=False)
            if self.ignore is not None:
                file.create_dataset("ignore", data=self.ignore.astype(np.uint8), track_times=False)
            file.attrs["format"] = FORMAT
            file.attrs["backbone"] = self.backbone.canonical()
            file.attrs["view"] = self.view.canonical() if self.view else ""
            file.attrs["weights_digest"] = self.weights_digest or ""
            file.attrs["scoring"] = self.scoring.canonical()
            file.attrs["calibration"] = canonical_json(dataclasses.asdict(self.calibration))
            file.attrs["combination"] = canonical_json(
                dataclasses.asdict(self.combination) if self.combination else None
            )
            file.attrs["smoothing_sigma"] = float(self.smoothing_sigma)
            file.attrs["provenance"] = json.dumps(self.provenance, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model.

        Raises:
            UserError: if the file is missing, no exported model, not whole, edited, or of another version.
        """
        if not path.is_file():
            raise UserError(f"no exported model {path}: make one with rule export_model (docs/predict.md)")
        with open_hdf5(path, "exported model", check=check_seal, remedy=REMEDY) as file:
            if "format" not in file.attrs:
                raise UserError(f"{path} is no exported model: {_guess(file)} (docs/predict.md)")
            if file.attrs["format"] != FORMAT:
                raise ValueError(f"its format is not '{FORMAT}', but of another version")
            return cls._read(file)

    @classmethod
    def _read(cls, file: h5py.File) -> Self:
        weights = json.loads(file.attrs["combination"])
        low, high = (float(end) for end in file["patch_range"][:])
        model = cls(
            bank=Bank.read(file["bank"]),
            backbone=BACKBONE.validate_json(file.attrs["backbone"]),
            weights_digest=file.attrs["weights_digest"] or None,
            scoring=ScoringSpec.model_validate_json(file.attrs["scoring"]),
            calibration=as_calibration(json.loads(file.attrs["calibration"])),
            normal_scores=file["normal_scores"][:],
            patch_range=(low, high),
            smoothing_sigma=float(file.attrs["smoothing_sigma"]),
            provenance=json.loads(file.attrs["provenance"]),
            ignore=file["ignore"][:].astype(np.bool_) if "ignore" in file else None,
            combination=LogOdds(**weights) if weights else None,
            view=ViewSpec.model_validate_json(file.attrs["view"]) if file.attrs["view"] else None,
        )
        if needs_weights(model.backbone) != (model.weights_digest is not None):
            raise ValueError("its backbone and the digest of its weights do not belong together")
        if model.backbone.input_size != model.bank.input_size:
            raise ValueError("its backbone and its bank have different input sizes")
        if model.ignore is not None and model.ignore.shape != model.bank.representation.grid:
            raise ValueError("its ignored region is of another grid")
        return model


def needs_weights(backbone: BackboneSpec) -> bool:
    """Whether a backbone is filled from a file."""
    return backbone.weights not in (NO_WEIGHTS, RANDOM)


def _guess(file: h5py.File) -> str:
    """What another sealed file is, and what to do."""
    if "model" in file and "representation" in file:
        return "it is a bank, which has no threshold: export it with rule export_model"
    return "give the file that rule export_model writes"
