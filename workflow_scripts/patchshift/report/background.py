"""What the report says about data and making: images per split and defect type, ids with settings, artifacts.

Tested in tests/report/test_background.py.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.splits import PARTS, identical_across_parts, read_split
from patchshift.detectors.scores import read_scores
from patchshift.plan.experiments import Cell
from patchshift.runtime.files import digest_file


@dataclass(frozen=True)
class SplitSummary:
    """The images of one category under one split.

    Attributes:
        dataset: dataset id.
        category: category.
        split: split id.
        parts: the parts of the split that hold images.
        counts: defect type (`good` for normal images) -> images in each part.
        identical: groups of images with the same content in several parts, each as `part: image`.
    """

    dataset: str
    category: str
    split: str
    parts: list[str]
    counts: dict[str, list[int]]
    identical: list[list[str]]


def summarise_splits(cells: Iterable[Cell]) -> list[SplitSummary]:
    """Every split of every category that the cells are scored on."""
    wanted = {(cell.target.dataset, cell.target.category, cell.bank.split): cell for cell in cells}
    return [_summarise_split(cell) for cell in wanted.values()]


def _summarise_split(cell: Cell) -> SplitSummary:
    rows, split = read_index(Path(cell.index)), read_split(Path(cell.split))
    counted = Counter((row.defect if row.label else "good", split.parts[row.key]) for row in rows)
    parts = [part for part in PARTS if any(belongs == part for _, belongs in counted)]
    defects = sorted({row.defect for row in rows if row.label})
    groups = identical_across_parts(rows, split)
    return SplitSummary(
        cell.target.dataset,
        cell.target.category,
        cell.bank.split,
        parts,
        {defect: [counted[defect, part] for part in parts] for defect in ("good", *defects)},
        [[f"{split.parts[key]}: {key}" for key in group] for group in groups],
    )


@dataclass(frozen=True)
class Artifact:
    """A scores file and what it was made from, by digest (SHA-256, the first 12 of 64 hex digits)."""

    path: str
    digest: str
    made_from: dict[str, str]


@dataclass(frozen=True)
class Making:
    """How the results were made.

    Attributes:
        patchshift: this program's version.
        libraries: distribution -> the versions that scored.
        artifacts: the scores that everything in the report follows from.
    """

    patchshift: str
    libraries: dict[str, str]
    artifacts: list[Artifact]


def describe_making(cells: Sequence[Cell]) -> Making:
    """Read what the scores say about themselves."""
    libraries: dict[str, set[str]] = {}
    artifacts = []
    for path in dict.fromkeys(cell.scores for cell in cells):
        provenance = read_scores(Path(path)).provenance
        for name, number in provenance["libraries"].items():
            libraries.setdefault(name, set()).add(number)
        made_from = {
            role: ", ".join(_short(each) for each in (digests if isinstance(digests, list) else [digests]))
            for role, digests in provenance["inputs"].items()
        }
        artifacts.append(Artifact(path, _short(digest_file(Path(path))), made_from))
    versions = {name: ", ".join(sorted(numbers)) for name, numbers in sorted(libraries.items())}
    return Making(version("patchshift"), versions, artifacts)


def list_settings(provenance: dict[str, object]) -> dict[str, dict[str, str]]:
    """Kind of id -> id -> its settings, one `key: value` per line."""
    return {
        kind: {name: "\n".join(_lines(settings)) for name, settings in ids.items()}
        for kind, ids in provenance.items()
        if isinstance(ids, dict) and all(isinstance(settings, dict) for settings in ids.values())
    }


def _lines(settings: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in settings.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif value != "":
            lines.append(f"{indent}{key}: {value if isinstance(value, str) else json.dumps(value)}")
    return lines


def _short(digest: str) -> str:
    return digest[:12]
