"""Draw an experiment's image AUROC per category, with intervals."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.report.experiments import bars_of_rows
from patchshift.report.figures import draw_bars
from patchshift.report.results import read_rows
from patchshift.report.style import save_png
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="the experiment's results (CSV)")
    parser.add_argument("--title", required=True, help="what the experiment shows")
    parser.add_argument("--bars", type=Path, required=True, help="figure to write (PNG)")
    args = parser.parse_args(argv)

    save_png(draw_bars(bars_of_rows(read_rows(args.results)), args.title), args.bars)


if __name__ == "__main__":
    run_script(main)
