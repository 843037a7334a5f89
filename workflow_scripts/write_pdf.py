"""Write a study's printed report: one PDF of a few pages."""

import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.report.analyses.arguments import analysis_parser, read_study_data
from patchshift.report.pdf import typeset, write_document
from patchshift.runtime.files import atomic_path
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = analysis_parser(__doc__)
    parser.add_argument("--provenance", type=json.loads, required=True, help="question and settings of all ids (JSON)")
    parser.add_argument("--pdf", type=Path, required=True, help="document to write (PDF)")
    args = parser.parse_args(argv)

    limit_threads(1)
    data = read_study_data(args)
    document = typeset(write_document(data, args.provenance), data.folder)
    with atomic_path(args.pdf) as partial:
        partial.write_bytes(document)


if __name__ == "__main__":
    run_script(main)
