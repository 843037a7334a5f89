"""Show images of a category clean and in each shifted domain, their defects outlined."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.report.examples import choose_examples, show_examples
from patchshift.report.shift_gallery import draw_gallery
from patchshift.report.style import save_figure
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", type=Path, nargs="+", required=True, help="packs of the domains, clean first (HDF5)")
    parser.add_argument("--domains", nargs="+", required=True, help="their names, in the same order")
    parser.add_argument("--gallery", type=Path, required=True, help="figure to write (PNG)")
    args = parser.parse_args(argv)

    rows = show_examples(args.packs, choose_examples(args.packs[0]))
    save_figure(draw_gallery(rows, args.domains), args.gallery)


if __name__ == "__main__":
    run_script(main)
