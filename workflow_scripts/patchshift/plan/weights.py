"""Weight files of a study's backbones: where they are, and where they come from.

Several backbones may share a file; it is enough that one of them says where it can be had.

Tested in tests/plan/test_weights.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import RANDOM, FileSpec, NetworkSpec, PretrainedSpec, WeightsSpec
from patchshift.plan.study import Study


def weight_file(study: Study, backbone: str) -> Path | None:
    """Where a backbone's weight file should be; None for a backbone that has none."""
    name = weight_name(study, backbone)
    return None if name is None else Path(study.config.weights_dir, name)


def weight_name(study: Study, backbone: str) -> str | None:
    """The name of a backbone's weight file under the folder of weight files; None for a backbone that has none."""
    spec = study.catalog.backbones[backbone]
    return _name(spec) if isinstance(spec, PretrainedSpec | FileSpec) and spec.weights != RANDOM else None


def weight_inputs(study: Study, backbone: str) -> list[str]:
    """What extraction waits for: the receipt of a file that was or will be downloaded, else the file, if it is there.

    `plan.inputs` says if it is not.
    """
    name = weight_name(study, backbone)
    if name is None:
        return []
    file, receipt = Path(study.config.weights_dir, name), weight_receipt(study, name)
    if receipt.is_file() or (name in _downloads(study) and not file.is_file()):
        return [str(receipt)]
    return [str(file)] if file.is_file() else []


def weight_receipt(study: Study, weights: str) -> Path:
    """What `fetch_weights` leaves behind beside a weight file."""
    return Path(study.config.weights_dir, f"{weights}.receipt.json")


def fetchable_weights(study: Study) -> str:
    """A regular expression that matches exactly the weight files that can be downloaded."""
    return "|".join(sorted(map(re.escape, _downloads(study)))) or "(?!)"


def weights_spec(study: Study, weights: str) -> WeightsSpec:
    """What the download of a weight file depends on.

    Raises:
        UserError: if no backbone says where the file can be had.
    """
    spec = _downloads(study).get(weights)
    if spec is None:
        raise UserError(f"no backbone says where weight file '{weights}' can be had: bring it by hand")
    return WeightsSpec(weights=weights, licence=spec.licence, places=spec.places)


def find_weight_mistakes(study: Study) -> Iterator[str]:
    """One line per backbone whose weights cannot be downloaded as it says."""
    first: dict[str, tuple[str, NetworkSpec]] = {}
    for backbone, spec in _networks(study):
        if not spec.places:
            continue
        other, same = first.setdefault(_name(spec), (backbone, spec))
        if (spec.places, spec.licence) != (same.places, same.licence):
            yield (
                f"backbones '{other}' and '{backbone}' name one weight file, '{_name(spec)}', with different "
                "addresses, checksums or licences: say the same of it, or name another file"
            )


def _downloads(study: Study) -> dict[str, NetworkSpec]:
    """Name of a weight file -> a backbone that says where it can be had."""
    return {_name(spec): spec for _, spec in _networks(study) if spec.places}


def _networks(study: Study) -> Iterator[tuple[str, NetworkSpec]]:
    for name, spec in study.catalog.backbones.items():
        if isinstance(spec, PretrainedSpec | FileSpec):
            yield name, spec


def _name(spec: NetworkSpec) -> str:
    """One name for one file: `./a.pth` is `a.pth`."""
    return str(PurePosixPath(spec.weights))
