"""Analyse a study across its experiments: robustness to shift, and what distances between domains foretell."""

from collections.abc import Sequence
from pathlib import Path

from patchshift.report.analyses.arguments import analysis_parser, read_study_data
from patchshift.report.analyses.tables import STUDY_TABLES
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables to write (CSV)")
    args = parser.parse_args(argv)

    limit_threads(1)
    data = read_study_data(args)
    for path in args.tables:
        write_text(path, STUDY_TABLES[path.stem](data).to_csv(index=False))


if __name__ == "__main__":
    run_script(main)
