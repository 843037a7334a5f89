"""Put a bank, its threshold and all else that new images need into one file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.app.export import ExportSources, export_model
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.plan.domain_specs import DomainSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True, help="fitted bank (HDF5)")
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="stores that it was fitted on (HDF5)")
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="its scores on what calibrated it (HDF5)")
    parser.add_argument("--pack", type=Path, nargs="+", required=True, help="pack of each of these, in order (HDF5)")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="split of each of these, in order (CSV)")
    parser.add_argument("--threshold", type=Path, required=True, help="calibrated threshold (JSON)")
    parser.add_argument("--weights", type=Path, help="the backbone's weight file, if it has one")
    parser.add_argument("--backbone", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument(
        "--domain", type=DomainSpec.model_validate_json, required=True, help="calibration domain (JSON)"
    )
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--model", type=Path, required=True, help="model to write (HDF5)")
    args = parser.parse_args(argv)

    sources = ExportSources(**{name: getattr(args, name) for name in ExportSources.__dataclass_fields__})
    provenance = describe("export_model", version=args.stage, spec=args.spec.canonical(), inputs=sources.inputs)
    export_model(sources, args.backbone, args.spec, args.domain, provenance).save(args.model)


if __name__ == "__main__":
    run_script(main)
