"""Measure a dataset and write its card: counts, splits, sizes, defects and examples."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.card import CategoryFiles, DataCard, write_card
from patchshift.data.card_measures import measure_category
from patchshift.plan.base import canonical_json
from patchshift.report.data_card import render_card
from patchshift.runtime.files import write_text
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the dataset's id")
    parser.add_argument("--categories", nargs="+", required=True, help="its categories; their indexes and packs exist")
    parser.add_argument("--splits", nargs="+", required=True, help="split ids; a file exists for each category")
    parser.add_argument("--settings", type=json.loads, required=True, help="the dataset's settings (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--json", type=Path, required=True, help="card to write (JSON)")
    parser.add_argument("--html", type=Path, required=True, help="page to write (HTML)")
    args = parser.parse_args(argv)

    limit_threads(1)
    files = [CategoryFiles.of(args.dataset, category, args.splits) for category in args.categories]
    inputs = {
        "indexes": [each.index for each in files],
        "packs": [each.pack for each in files],
        "splits": [path for each in files for path in each.splits.values()],
    }
    provenance = describe("write_data_card", version=args.stage, spec=canonical_json(args.settings), inputs=inputs)
    categories = [measure_category(each) for each in files]
    card = DataCard(args.dataset, args.settings, categories, provenance)
    write_text(args.html, render_card(card))
    write_card(args.json, card)


if __name__ == "__main__":
    run_script(main)
