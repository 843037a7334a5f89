"""Analyse one experiment: summary, comparisons, ranks, errors and transfer, each a table."""

from collections.abc import Sequence
from pathlib import Path

from patchshift.report.analyses.arguments import analysis_parser, read_study_data
from patchshift.report.analyses.tables import EXPERIMENT_TABLES, EXPERIMENT_TEXTS
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables to write (CSV, Markdown, LaTeX)")
    args = parser.parse_args(argv)

    limit_threads(1)
    data = read_study_data(args)
    for path in args.tables:
        if path.suffix == ".csv":
            write_text(path, EXPERIMENT_TABLES[path.stem](data, args.experiment).to_csv(index=False))
        else:
            write_text(path, EXPERIMENT_TEXTS[path.name](data, args.experiment))


if __name__ == "__main__":
    run_script(main)
