"""Print what a bank or an exported model holds.

Tested in tests/app/test_inspect_bank.py.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patchshift.errors import UserError
from patchshift.plan.base import Spec
from patchshift.runtime.hdf5 import open_hdf5
from patchshift.runtime.provenance import demand_provenance
from patchshift.runtime.sealed import check_seal, check_seal_if_any

if TYPE_CHECKING:
    from patchshift.app.models import ExportedModel
    from patchshift.detectors.bank import Bank

Section = dict[str, Any]
"""Name -> number, text, list of these, or a section again; as JSON has it."""

KINDS = {
    "extract_features": "a feature store",
    "score_images": "a scores file",
    "import_scores": "a scores file of another method",
    "pack_images": "a pack of masks and labels",
    "inspect_features": "an inspection of features",
    "trace_attention": "a file of attention maps",
}
"""Rule -> the HDF5 file that it makes and that is neither bank nor model."""

CONTENTS = {"image_scores": "a scores file", "thumbnails": "a pack of masks and labels", "layers": "a feature store"}
"""What tells these where the rule is not known."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"

WANTED = "give a bank (results/banks/) or an exported model (results/exports/)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="a bank (results/banks/...h5) or an exported model")
    parser.add_argument("--json", action="store_true", help="print JSON, with whole digests and exact numbers")


def run(args: argparse.Namespace) -> None:
    """Print it.

    Raises:
        UserError: if the file is missing, damaged, or neither bank nor exported model; it says what it is.
    """
    described = describe_file(args.file)
    if args.json:
        print(json.dumps(described, indent=1))
    else:
        print("\n".join(lay_out(described)))


def describe_file(path: Path) -> dict[str, Section]:
    """What a bank or an exported model holds: title of a section -> its content, JSON-ready.

    Raises:
        UserError: as `run`.
    """
    # faiss need not be there for --help
    from patchshift.app.models import ExportedModel
    from patchshift.detectors.bank import Bank

    kind = _recognise(path)
    file: Section = {"path": str(path), "kind": kind, "file_bytes": path.stat().st_size}
    if kind == "bank":
        bank = Bank.load(path)
        made = demand_provenance(path, check=check_seal)
        return {"file": file, **_describe_bank(bank), "provenance": _describe_provenance(made, bank)}
    model = ExportedModel.load(path)
    return {
        "file": file,
        **_describe_bank(model.bank),
        **_describe_use(model),
        "provenance": _describe_provenance(model.provenance["bank"], model.bank),
        "export": {
            key: value
            for key, value in model.provenance.items()
            if key not in ("bank", "spec", "calibrated_before_extension")
        },
    }


def _recognise(path: Path) -> str:
    """`bank` or `exported model`; a file without a seal is opened to name it only, and refused."""
    if not path.exists():
        raise UserError(f"{path} does not exist: {WANTED}")
    if not path.is_file():
        raise UserError(f"{path} is a folder: {WANTED}")
    with path.open("rb") as content:
        if content.read(len(SIGNATURE)) != SIGNATURE:
            raise UserError(f"{path} is not an HDF5 file: {WANTED}")
    with open_hdf5(path, check=check_seal_if_any, remedy="delete it and make it again") as file:
        if "format" in file.attrs:
            return "exported model"
        if "model" in file and "representation" in file:
            return "bank"
        stage = json.loads(file.attrs.get("provenance", "{}")).get("stage")
        known = KINDS.get(stage) or next((kind for name, kind in CONTENTS.items() if name in file), None)
    raise UserError(f"{path} is {known or 'an HDF5 file of another kind'}: {WANTED}")


def _describe_bank(bank: "Bank") -> dict[str, Section]:
    facts = dict(bank.facts)
    representation = bank.representation
    steps = bank.spec.representation
    sections: dict[str, Section] = {
        "detector": {
            "method": bank.spec.method,
            "categories": list(bank.members),
            "settings_other_than_default": changed_settings(bank.spec),
        },
        "representation": {
            "input_pixels": list(bank.input_size),
            "layers": {name: list(shape) for name, shape in representation.layer_shapes.items()},
            "neighbourhood": steps.neighbourhood,
            "fusion": steps.fusion,
            "normalise": steps.normalise,
            "reduction": steps.reduction.method if steps.reduction else None,
            "grid": list(representation.grid),
            "dimension": representation.dimension,
            "fitted_bytes": sum(array.nbytes for array in representation.state.values()),
        },
    }
    kept: Section = {"vectors": facts.pop("bank_vectors"), "bank_bytes": facts.pop("bank_bytes")}
    facts.pop("feature_dim")
    of_categories = {name.partition("/")[2]: facts.pop(name) for name in [*facts] if name.startswith("bank_vectors/")}
    if "search_recall" in facts:
        kept["search"] = bank.spec.index.method  # type: ignore[union-attr]
    sections["kept"] = kept | {name: _finite(value) for name, value in facts.items()}
    if of_categories:
        total = sum(of_categories.values())
        sections["vectors_of_categories"] = {
            name: {"vectors": count, "share": count / total} for name, count in of_categories.items()
        }
    return sections


def _describe_use(model: "ExportedModel") -> dict[str, Section]:
    from patchshift.app.calibrations import describe_calibration

    scores, calibration = model.normal_scores, model.calibration
    threshold = describe_calibration(calibration)
    if model.calibrated_before_extension:
        threshold["calibrated_before_extension"] = True
    normal: Section = {"images": len(scores)}
    if len(scores):
        normal |= {
            "lowest": float(scores.min()),
            "median": float(np.median(scores)),
            "highest": float(scores.max()),
        }
    backbone = model.backbone
    return {
        "backbone": {
            "source": backbone.source,
            "weights": backbone.weights,
            "weights_digest": model.weights_digest,
            "settings_other_than_default": changed_settings(backbone),
        },
        "threshold": threshold,
        "scores_of_normal_validation_images": normal,
        "scoring": {
            "image_score": model.scoring.image_score.method,
            "settings_other_than_default": changed_settings(model.scoring),
            "smoothing_sigma": model.smoothing_sigma,
            "view": model.view.model_dump(mode="json") if model.view else None,
            "ignored_patches": int(model.ignore.sum()) if model.ignore is not None else 0,
        },
    }


def _describe_provenance(provenance: Mapping[str, Any], bank: "Bank") -> Section:
    """Who made the bank; its spec is told as settings."""
    shown = {key: value for key, value in provenance.items() if key != "spec"}
    return shown | ({"features_made_on": dict(bank.made)} if bank.made else {})


def changed_settings(spec: Spec) -> Section:
    """The settings of a spec that differ from its defaults: dotted name -> value."""
    fields = type(spec).model_fields
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    by_default = _flatten({name: _dump(value) for name, value in defaults.items() if not fields[name].is_required()})
    given = _flatten(spec.model_dump(mode="json"))
    skipped = {"method", "source", "weights", "image_score.method"}  # told elsewhere
    return {
        name: value
        for name, value in given.items()
        if name not in skipped and (name not in by_default or by_default[name] != value)
    }


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Spec) else value


def _flatten(content: Mapping[str, Any], before: str = "") -> Section:
    flat: Section = {}
    for key, value in content.items():
        name = f"{before}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def _finite(value: float) -> float | None:
    """A number as JSON has it: what is not finite is null."""
    return value if np.isfinite(value) else None


def lay_out(described: Mapping[str, Section]) -> list[str]:
    """Lines for a terminal: sections, names in one column."""
    lines: list[str] = []
    for title, section in described.items():
        heading = title.replace("_", " ").capitalize()
        lines += ["", heading] if lines else [heading]
        rows = list(_rows(section, "  "))
        width = max(len(name) for name, _ in rows)
        lines += [f"{name.ljust(width)}  {text}".rstrip() for name, text in rows]
    return lines


def _rows(section: Mapping[str, Any], indent: str) -> list[tuple[str, str]]:
    """(name, text) of each entry; what is nested stands below its name, further in."""
    rows = []
    for name, value in section.items():
        label = indent + (name if re.search(r"[./]", name) else name.replace("_", " "))
        if isinstance(value, Mapping) and set(value) == {"vectors", "share"}:
            rows.append((label, f"{value['vectors']:>9,}  {value['share']:6.1%}"))
        elif name == "libraries" and value:
            rows.append((label, ", ".join(f"{library} {version}" for library, version in value.items())))
        elif isinstance(value, Mapping) and value:
            rows += [(label, ""), *_rows(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            rows += [(label, ""), *_rows({f"{number}.": each for number, each in enumerate(value, 1)}, indent + "  ")]
        elif name.endswith("bytes"):
            rows.append((label, _size(value)))
        else:
            rows.append((label, _show(value)))
    return rows


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return " x ".join(map(str, value))
    if isinstance(value, list | dict):
        return ", ".join(map(_show, value)) or "none"
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return f"{value[:12]}..."
    return str(value)


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count:,} ({count / size:.1f} {unit})"
    return f"{count:,}"
