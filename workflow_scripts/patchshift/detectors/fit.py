"""Fit the detector that a spec names.

Tested in tests/detectors/test_bank.py.
"""

from typing import assert_never

from patchshift.detectors.bank import Bank
from patchshift.detectors.dual_fitting import fit_dual
from patchshift.detectors.gaussians import fit_gaussians
from patchshift.detectors.normality import NormalModel
from patchshift.detectors.patchcore import fit_patchcore
from patchshift.detectors.prepared import Prepared, prepare
from patchshift.detectors.sharding import Sharding
from patchshift.detectors.subspace import fit_subspace
from patchshift.detectors.training import TrainingSet
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import FittedSpec, PadimSpec, PatchCoreDualSpec, PatchCoreSpec, SubspaceSpec


def fit_detector(
    spec: FittedSpec,
    training: TrainingSet | FeatureRows,
    *,
    seed: int,
    prepared: Prepared | None = None,
    sharding: Sharding | None = None,
) -> Bank:
    """Fit the representation, and what `spec.method` makes of its embeddings.

    Args:
        spec: the detector.
        training: what it is fitted on; normal images alone as their features.
        seed: the detector seed.
        prepared: what another job has fitted before (`prepare`); None: it is fitted here.
        sharding: what other jobs have chosen; None: all is chosen here, from the shards that the spec says.

    Raises:
        UserError: if the training images do not allow it; the message says why.
    """
    if isinstance(training, FeatureRows):
        training = TrainingSet(training)
    features = training.features
    prepared = prepared or prepare(spec, features, seed=seed)
    model = _fit(spec, prepared, training, seed, sharding)
    return Bank(spec, model, prepared.representation, features.input_size, features.made, training.members)


def _fit(
    spec: FittedSpec, prepared: Prepared, training: TrainingSet, seed: int, sharding: Sharding | None
) -> NormalModel:
    features, representation = training.features, prepared.representation
    if isinstance(spec, PadimSpec):
        return fit_gaussians(spec, representation, features)
    if isinstance(spec, SubspaceSpec):
        return fit_subspace(spec, representation, features)
    if isinstance(spec, PatchCoreSpec):
        return fit_patchcore(spec, prepared, training, seed=seed, sharding=sharding)
    if isinstance(spec, PatchCoreDualSpec):
        return fit_dual(spec, prepared, training, seed=seed, sharding=sharding)
    assert_never(spec)
