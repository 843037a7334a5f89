"""What an extraction job asks for.

Tested in tests/plan/test_extraction.py.
"""

from patchshift.plan.backbone_specs import NetworkSpec
from patchshift.plan.study import Study

BESIDE_MB = 2000
"""Python and its libraries, and the network."""

LEAST_MB = 1000
"""For each thread or process."""

BYTES_PER_PIXEL = 600
"""A forward pass takes 130 (ResNet18), 220 (WideResNet50) to 600 (EfficientNet-B5), measured."""


def count_cores(study: Study, backbone: str) -> int:
    """Cores of an extraction job: for its threads, and for the processes that decode."""
    return study.catalog.backbones[backbone].threads + (study.config.num_workers or 0)


def count_memory(study: Study, backbone: str) -> int:
    """Memory of an extraction job in MB: a batch for each thread or process, beside the network."""
    spec = study.catalog.backbones[backbone]
    tiling = spec.tiling if isinstance(spec, NetworkSpec) else None
    height, width = tiling.tile_size if tiling else spec.input_size  # tiles of a batch follow one another
    batch_mb = BYTES_PER_PIXEL * spec.batch_size * height * width // 1_000_000
    return BESIDE_MB + max(LEAST_MB, batch_mb) * count_cores(study, backbone)
