"""Draw what a look inside the features of a category has measured."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.evaluation.inspection_store import Inspection
from patchshift.evaluation.separability import write_separations
from patchshift.report.examples import read_pictures
from patchshift.report.inspection_figures import draw_patch_map, draw_separability
from patchshift.report.labels import name_backbone
from patchshift.report.overlays import draw_energies
from patchshift.report.style import save_figure
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inspection", type=Path, required=True, help="what was measured (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the images shown (HDF5)")
    parser.add_argument("--category", required=True, help="what is shown, for titles")
    parser.add_argument("--backbone", required=True, help="id of the backbone, for titles")
    parser.add_argument("--weights", required=True, help="its weight file, `random` or `none`")
    parser.add_argument("--patch-map", type=Path, required=True, help="figure to write (PNG)")
    parser.add_argument("--separability", type=Path, required=True, help="figure to write (PNG)")
    parser.add_argument("--energy", type=Path, required=True, help="figure to write (PNG)")
    parser.add_argument("--table", type=Path, required=True, help="the separability's numbers, to write (CSV)")
    args = parser.parse_args(argv)

    inspection = Inspection.read(args.inspection)
    name = f"{args.category}, {name_backbone(args.backbone, args.weights)}"
    save_figure(draw_patch_map(inspection.patches, name), args.patch_map)
    save_figure(draw_separability(inspection.separations, name), args.separability)
    save_figure(draw_energies(read_pictures(args.pack, inspection.shown), inspection.energies, name), args.energy)
    write_separations(inspection.separations, args.table)


if __name__ == "__main__":
    run_script(main)
