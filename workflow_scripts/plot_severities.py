"""Draw an experiment's image AUROC against the severity of each shift."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.report.ladder import find_ladders
from patchshift.report.results import read_rows
from patchshift.report.shift_gallery import draw_severity_ladder
from patchshift.report.style import save_png
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="the experiment's results (CSV)")
    parser.add_argument("--domains", type=json.loads, required=True, help="settings of the domains (JSON)")
    parser.add_argument("--ladder", type=Path, required=True, help="figure to write (PNG)")
    args = parser.parse_args(argv)

    save_png(draw_severity_ladder(find_ladders(read_rows(args.results), args.domains)), args.ladder)


if __name__ == "__main__":
    run_script(main)
