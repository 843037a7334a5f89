"""The defective patches of training images: what a positive bank chooses from.

Tested in tests/detectors/test_positives.py.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from patchshift.data.regions import read_defective_patches
from patchshift.detectors.training import Positives
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation

Float32 = npt.NDArray[np.float32]

log = logging.getLogger(__name__)


def embed_defective_patches(
    representation: Representation, positives: Sequence[Positives], *, chunk_mb: int = CHUNK_MB
) -> Float32:
    """Embeddings of the patches that the masks call defective (`data.regions.defective_patches`): [N, D] float32.

    Whole images are embedded, so a patch has the neighbours that it has in its image. An image whose mask marks nothing
    gives none.

    Args:
        representation: the one of the bank, fitted on normal images.
        positives: the defective images and their masks.
        chunk_mb: memory beside the result for the images embedded at a time, in MB.

    Raises:
        UserError: if an image is not in its pack, or the features are of another backbone.
    """
    found = [np.empty((0, representation.dimension), np.float32)]
    for each in positives:
        features = each.features
        shapes = {layer: features.layer_shapes.get(layer) for layer in representation.layers}
        if shapes != representation.layer_shapes:
            raise UserError(
                f"{features.parts[0][0].path} has other layers than the normal training images: extract the defects "
                "with the same backbone"
            )
        marked = read_defective_patches(each.pack, features.images, representation.grid)
        defective = marked.reshape(len(features), math.prod(representation.grid))
        unmarked = [name for name, patches in zip(features.images, defective, strict=True) if not patches.any()]
        if unmarked:
            log.warning(
                "%d of %d defective images in %s give no defective patch, because their masks mark nothing: %s",
                len(unmarked),
                len(features),
                each.pack,
                ", ".join(unmarked[:5]),
            )
        first = 0
        for patches in representation.embed(features, chunk_mb=chunk_mb):
            found.append(patches[defective[first : first + len(patches)]])
            first += len(patches)
    return np.concatenate(found)
