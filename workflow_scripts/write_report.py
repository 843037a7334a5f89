"""Write a study's report: one HTML page that needs nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.report.analyses.arguments import analysis_parser, read_study_data
from patchshift.report.page import render_report
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--provenance", type=json.loads, required=True, help="question and settings of all ids (JSON)")
    parser.add_argument("--looks", type=Path, nargs="*", default=[], help="figures of looks inside features (PNG)")
    parser.add_argument("--distances", type=Path, nargs="*", default=[], help="the study's distances (CSV)")
    parser.add_argument("--report", type=Path, required=True, help="page to write (HTML)")
    args = parser.parse_args(argv)

    limit_threads(1)
    page = render_report(read_study_data(args), args.provenance, args.looks, args.distances)
    write_text(args.report, page)


if __name__ == "__main__":
    run_script(main)
