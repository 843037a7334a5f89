"""Draw the anomaly maps of all test images of a target, alone and over the images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.cell_maps import CellMaps
from patchshift.report.heatmaps import render_cell
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="scores on the target (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the target (HDF5)")
    parser.add_argument("--split", type=Path, required=True, help="split of the target category (CSV)")
    parser.add_argument("--threshold", type=Path, required=True, help="calibrated threshold (JSON)")
    parser.add_argument("--external", action="store_true", help="scores are another method's, of no unit of its maps")
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--heatmaps", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    limit_threads(1)  # small matrices: more threads only wait for each other
    maps = CellMaps.read(args.scores, args.pack, args.split, args.threshold, is_fitted=not args.external)
    with atomic_directory(args.heatmaps) as partial:
        render_cell(partial, maps, args.pack, args.spec.smoothing_sigma)


if __name__ == "__main__":
    run_script(main)
