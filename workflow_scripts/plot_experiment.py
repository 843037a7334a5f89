"""Draw the figures of an experiment, each with its data."""

from collections.abc import Sequence
from pathlib import Path

from patchshift.report.analyses.arguments import analysis_parser, read_study_data
from patchshift.report.plots.registry import EXPERIMENT_PLOTS, save_plots
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--figures", type=Path, required=True, help="folder to write (PNG, SVG and CSV of each figure)")
    args = parser.parse_args(argv)

    limit_threads(1)
    data = read_study_data(args)
    save_plots({name: plot.draw(data, args.experiment) for name, plot in EXPERIMENT_PLOTS.items()}, args.figures)


if __name__ == "__main__":
    run_script(main)
