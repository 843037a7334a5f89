"""Anomaly detectors: fitted on normal images, scoring images and patches."""

from patchshift.detectors.bank import Bank
from patchshift.detectors.patchcore import fit_patchcore
from patchshift.detectors.scores import Scores, read_scores, write_scores
from patchshift.features.store import FeatureRows
from patchshift.plan.specs import DetectorSpec

METHODS = {"patchcore": fit_patchcore}


def fit_detector(spec: DetectorSpec, features: FeatureRows, *, seed: int) -> Bank:
    """Fit the detector that `spec.method` names.

    Args:
        spec: the detector.
        features: the normal training images.
        seed: the detector seed.

    Raises:
        UserError: if the training images do not allow it; the message says why.
    """
    return METHODS[spec.method](spec, features, seed=seed)


__all__ = ["Bank", "Scores", "fit_detector", "read_scores", "write_scores"]
