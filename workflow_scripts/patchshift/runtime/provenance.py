"""What an artifact says about itself: stage, version, spec, seed, library versions, digests of its inputs."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from patchshift.runtime.files import digest_file

LIBRARIES = ("numpy", "h5py", "torch", "faiss-cpu", "scikit-learn", "scikit-image", "pillow")


def describe(stage: str, *, spec: str, inputs: Mapping[str, Path], **more: Any) -> dict[str, Any]:
    """Provenance of an artifact, JSON-ready, without times or absolute paths.

    Args:
        stage: the rule's name.
        spec: canonical JSON of the sub-config the stage used.
        inputs: role -> file read; only the digest of its content is kept.
        more: further fields, e.g. `seed=0`.
    """
    return {
        "stage": stage,
        "spec": json.loads(spec),
        "inputs": {role: digest_file(path) for role, path in sorted(inputs.items())},
        "libraries": {name: version(name) for name in LIBRARIES},
        **more,
    }
