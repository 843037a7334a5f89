"""Weight files of a study's backbones: where they are, and where they come from.

Tested in tests/plan/test_weights.py.
"""

import re
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import RANDOM, FileSpec, NetworkSpec, PretrainedSpec, WeightsSpec
from patchshift.plan.study import Study


def weight_file(study: Study, backbone: str) -> Path | None:
    """Where a backbone's weight file should be; None for a backbone that has none."""
    spec = _network(study, backbone)
    return None if spec is None or spec.weights == RANDOM else Path(study.config.weights_dir, spec.weights)


def weight_inputs(study: Study, backbone: str) -> list[str]:
    """What extraction waits for: the receipt of a file that was or will be downloaded, else the file, if it is there.

    `plan.inputs` says if it is not.
    """
    file, spec = weight_file(study, backbone), _network(study, backbone)
    if file is None or spec is None:
        return []
    receipt = weight_receipt(study, spec.weights)
    if receipt.is_file() or (spec.places and not file.is_file()):
        return [str(receipt)]
    return [str(file)] if file.is_file() else []


def weight_receipt(study: Study, weights: str) -> Path:
    """What `fetch_weights` leaves behind beside a weight file."""
    return Path(study.config.weights_dir, f"{weights}.receipt.json")


def fetchable_weights(study: Study) -> str:
    """A regular expression that matches exactly the weight files that can be downloaded."""
    return "|".join(sorted(map(re.escape, _downloads(study)))) or "(?!)"


def weights_spec(study: Study, weights: str) -> str:
    """What the download of a weight file depends on.

    Raises:
        UserError: if no backbone says where the file can be had.
    """
    spec = _downloads(study).get(weights)
    if spec is None:
        raise UserError(f"no backbone says where weight file '{weights}' can be had: bring it by hand")
    return WeightsSpec(weights=weights, licence=spec.licence, places=spec.places).canonical()


def _downloads(study: Study) -> dict[str, NetworkSpec]:
    networks = (_network(study, name) for name in study.catalog.backbones)
    return {spec.weights: spec for spec in networks if spec is not None and spec.places}


def _network(study: Study, backbone: str) -> NetworkSpec | None:
    spec = study.catalog.backbones[backbone]
    return spec if isinstance(spec, PretrainedSpec | FileSpec) else None
