"""What a detector is fitted on beside the good training images of its split.

Tested in tests/plan/test_training_inputs.py.
"""

from collections.abc import Iterator

from patchshift.plan.cells import CLEAN, Bank
from patchshift.plan.detector_specs import ExternalSpec, MemoryBankSpec, PatchCoreDualSpec, PatchCoreSpec
from patchshift.plan.study import Study

BESIDE_MB = 1500
"""Python and its libraries (some 500 MB), the index, and the defective patches of a dual bank."""

OTHER_MB = 4000


def turned_domains(study: Study, detector: str) -> list[str]:
    """Domains of turned training images that a detector is fitted on, too."""
    spec = study.catalog.detectors[detector]
    return list(spec.turned) if isinstance(spec, PatchCoreSpec) else []


def positive_domains(study: Study, detector: str) -> list[str]:
    """Domains of defects that fill the positive bank of a detector."""
    spec = study.catalog.detectors[detector]
    if not isinstance(spec, PatchCoreDualSpec):
        return []
    return [domain for domain in (spec.crops, spec.add_augmented) if domain]


def takes_training_defects(study: Study, detector: str) -> bool:
    """Whether the defective training images of the split fill a positive bank."""
    spec = study.catalog.detectors[detector]
    return isinstance(spec, PatchCoreDualSpec) and spec.training_defects


def fit_memory(study: Study, detector: str) -> int:
    """Memory of the job that fits a detector, in MB.

    A memory bank states what its training patches and the images embedded at a time may take. What the others take
    depends on their images and grid, which are not known here: `OTHER_MB`.
    """
    spec = study.catalog.detectors[detector]
    if isinstance(spec, MemoryBankSpec):
        return spec.memory_mb + spec.chunk_mb + BESIDE_MB
    return OTHER_MB


def representation_memory(study: Study, detector: str) -> int:
    """Memory of the job that fits what the shards of a memory bank share, in MB."""
    spec = study.catalog.detectors[detector]
    assert isinstance(spec, MemoryBankSpec)  # others have no shards
    return spec.chunk_mb + BESIDE_MB


def is_fitted(study: Study, detector: str) -> bool:
    """Whether a detector has a bank; scores of others are read from files."""
    return not isinstance(study.catalog.detectors[detector], ExternalSpec)


def find_training_mistakes(study: Study, bank: Bank) -> Iterator[str]:
    """Domains that cannot fill what a detector has them for, or show other images than the bank may see."""
    spec = study.catalog.detectors[bank.detector]
    wanted = [("turns", "turned", name) for name in turned_domains(study, bank.detector)]
    if isinstance(spec, PatchCoreDualSpec):
        wanted += [("crops", "crops", spec.crops)] if spec.crops else []
        wanted += [("synthesis", "add_augmented", spec.add_augmented)] if spec.add_augmented else []
    for kind, key, name in wanted:
        domain = study.catalog.domains[name]
        place = f"detector '{bank.detector}': {key} '{name}'"
        if domain.kind != kind:
            yield f"{place} is not a domain of kind '{kind}'"
        elif domain.synthesis and domain.synthesis.part != "train":
            yield f"{place} shows validation images: a bank needs `part: train`"
        elif domain.split != bank.split:
            yield f"{place} is made from split '{domain.split}': with '{bank.split}' its images may be tested"
        elif bank.training.domain != CLEAN:
            yield f"{place} shows clean images, and the bank is fitted on domain '{bank.training.domain}'"
