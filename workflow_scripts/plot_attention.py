"""Draw where the class token of a vision transformer looks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.features.attention_store import AttentionMaps
from patchshift.report.examples import read_pictures
from patchshift.report.labels import name_backbone
from patchshift.report.overlays import draw_attention
from patchshift.report.style import save_figure
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attention", type=Path, required=True, help="attention of the class token (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the images shown (HDF5)")
    parser.add_argument("--category", required=True, help="what is shown, for the title")
    parser.add_argument("--backbone", required=True, help="id of the backbone, for the title")
    parser.add_argument("--weights", required=True, help="its weight file, `random` or `none`")
    parser.add_argument("--figure", type=Path, required=True, help="figure to write (PNG)")
    args = parser.parse_args(argv)

    attention = AttentionMaps.read(args.attention)
    name = f"{args.category}, {name_backbone(args.backbone, args.weights)}"
    save_figure(draw_attention(read_pictures(args.pack, attention.images), attention, name), args.figure)


if __name__ == "__main__":
    run_script(main)
