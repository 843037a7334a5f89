"""What is fitted before the vectors of a bank are chosen, from all training images: the same for all shards.

Tested in tests/detectors/test_sharding.py.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.detectors.foreground import Foreground, fit_foreground
from patchshift.detectors.patches import PatchSource, open_patches
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows
from patchshift.plan.detector_specs import FittedSpec, PatchCoreDualSpec, PatchCoreSpec

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prepared:
    """A representation, and where the object is.

    Attributes:
        representation: the fitted one.
        foreground: the plane between object and background, where the detector has `foreground`.
        present: [n, P] which patches of each training image show the object; None: all count.
    """

    representation: Representation
    foreground: Foreground | None = None
    present: Bool | None = None

    def open_patches(self, spec: PatchCoreSpec | PatchCoreDualSpec, features: FeatureRows) -> PatchSource:
        """The training patches that a memory bank is chosen from."""
        unit = spec.distance == "cosine"
        return open_patches(self.representation, features, chunk_mb=spec.chunk_mb, present=self.present, unit=unit)


def prepare(spec: FittedSpec, features: FeatureRows, *, seed: int) -> Prepared:
    """Fit what comes before the choice, in passes over the training features.

    Args:
        spec: the detector.
        features: the normal training images.
        seed: the detector seed, of random reductions.

    Raises:
        UserError: if the training images do not allow it; the message says why.
    """
    representation = fit_representation(spec.representation, features, seed=seed, chunk_mb=spec.chunk_mb)
    if isinstance(spec, PatchCoreSpec) and spec.foreground:
        return Prepared(representation, *fit_foreground(representation, features, spec.chunk_mb))
    return Prepared(representation)
