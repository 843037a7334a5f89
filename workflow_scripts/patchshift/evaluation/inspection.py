"""Look inside the features of one category: which patches lie together, what separates defects, where layers respond.

Tested in tests/evaluation/test_inspection.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.data.inspected import choose_inspected
from patchshift.data.packs import Pack
from patchshift.data.splits import Split
from patchshift.data.streams import draw_stream
from patchshift.evaluation.inspection_store import FEWEST, Inspection, PatchMap
from patchshift.evaluation.patch_samples import ImageContents, choose_patches, gather_patches, list_patches
from patchshift.evaluation.planar_maps import map_to_plane, reduce_patches
from patchshift.evaluation.separability import measure_separability
from patchshift.features.activation import mean_energies, relative_energies
from patchshift.features.representations import fit_representation
from patchshift.features.store import FeatureRows, FeatureStore
from patchshift.plan.inspections import LookSpec
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]

MAPPED = RepresentationSpec(normalise="standardise")  # all layers, concatenated


def inspect_features(store: FeatureStore, pack: Pack, split: Split, spec: LookSpec) -> Inspection:
    """Look inside the features of one category.

    Args:
        store: features of its images.
        pack: of the same images; it says what they show.
        split: training images are what others are compared with, test images are what is shown and measured.
        spec: what to map, how much to show.

    Raises:
        UserError: if there is no training image, images are missing, or a map needs what is not installed.
    """
    training, test = store.select(split.taken_for_good), store.select(split.of("test"))
    content = ImageContents.of(pack, test.images)
    shown = choose_inspected(pack, split, count=spec.images, seed=spec.seed)
    separations = measure_separability(
        training, test, content, resamples=spec.resamples, confidence=spec.confidence, seed=spec.seed
    )
    energies = relative_energies(store.select(shown), mean_energies(training))
    return Inspection(map_patches(training, test, content, spec), separations, shown, energies)


def map_patches(training: FeatureRows, test: FeatureRows, content: ImageContents, spec: LookSpec) -> PatchMap:
    """Map a sample of test patches: half of good images, half defective, as far as there are enough.

    Each defect type gives as many as the others, as far as it has them.
    """
    representation = fit_representation(MAPPED, training)
    candidates = list_patches(content, representation.grid)
    random = draw_stream("patches", spec.seed)
    half = spec.patches // 2
    chosen = choose_patches({"": candidates.pop("")}, spec.patches - half, random)
    chosen |= choose_patches(candidates, half, random)
    numbers = np.concatenate(list(chosen.values()))
    coordinates: dict[str, Float32] = {}
    variance = 0.0
    if len(numbers) >= FEWEST:
        points, variance = reduce_patches(gather_patches(representation, test, numbers))
        coordinates = {method: map_to_plane(points, method, seed=spec.seed) for method in spec.maps}
    per_image = representation.grid[0] * representation.grid[1]
    return PatchMap(
        images=[content.images[number // per_image] for number in numbers],
        defects=[defect for defect, patches in chosen.items() for _ in patches],
        coordinates=coordinates,
        located=content.located,
        variance=variance,
    )
