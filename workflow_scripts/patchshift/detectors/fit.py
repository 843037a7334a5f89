"""Fit the detector that a spec names.

Tested in tests/detectors/test_bank.py.
"""

from typing import assert_never

from patchshift.detectors.bank import Bank
from patchshift.detectors.dual_fitting import fit_dual
from patchshift.detectors.gaussians import fit_gaussians
from patchshift.detectors.normality import NormalModel
from patchshift.detectors.patchcore import fit_patchcore
from patchshift.detectors.subspace import fit_subspace
from patchshift.detectors.training import TrainingSet
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import FittedSpec, PadimSpec, PatchCoreDualSpec, PatchCoreSpec, SubspaceSpec


def fit_detector(spec: FittedSpec, training: TrainingSet | FeatureRows, *, seed: int) -> Bank:
    """Fit the representation, and what `spec.method` makes of its embeddings.

    Args:
        spec: the detector.
        training: what it is fitted on; normal images alone as their features.
        seed: the detector seed.

    Raises:
        UserError: if the training images do not allow it; the message says why.
    """
    if isinstance(training, FeatureRows):
        training = TrainingSet(training)
    features = training.features
    representation = fit_representation(spec.representation, features, seed=seed, chunk_mb=spec.chunk_mb)
    model = _fit(spec, representation, training, seed)
    return Bank(spec, model, representation, features.input_size, features.made, training.members)


def _fit(spec: FittedSpec, representation: Representation, training: TrainingSet, seed: int) -> NormalModel:
    features = training.features
    if isinstance(spec, PadimSpec):
        return fit_gaussians(spec, representation, features)
    if isinstance(spec, SubspaceSpec):
        return fit_subspace(spec, representation, features)
    if isinstance(spec, PatchCoreSpec):
        return fit_patchcore(spec, representation, training, seed=seed)
    if isinstance(spec, PatchCoreDualSpec):
        return fit_dual(spec, representation, training, seed=seed)
    assert_never(spec)
