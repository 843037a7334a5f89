"""Fit the detector that a spec names.

Tested in tests/detectors/test_patchcore.py.
"""

from patchshift.detectors.bank import Bank
from patchshift.detectors.patchcore import fit_patchcore
from patchshift.features.store import FeatureRows
from patchshift.plan.specs import FitSpec

METHODS = {"patchcore": fit_patchcore}


def fit_detector(spec: FitSpec, features: FeatureRows, *, seed: int) -> Bank:
    """Fit the detector that `spec.method` names.

    Args:
        spec: the detector.
        features: the normal training images.
        seed: the detector seed.

    Raises:
        UserError: if the training images do not allow it; the message says why.
    """
    return METHODS[spec.method](spec, features, seed=seed)
