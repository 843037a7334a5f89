"""The user's own images as listed in a CSV file.

Tested in tests/data/test_manifest.py.
"""

import logging
import posixpath
from collections.abc import Sequence

from patchshift.data.adapters.lists import Line, Mistake, raise_mistakes, read_lines
from patchshift.data.adapters.tree import Tree
from patchshift.data.index import ImageRow
from patchshift.errors import UserError

COLUMNS = ("image", "label", "defect", "mask", "split", "ignore")
LABELS = {"0": 0, "good": 0, "normal": 0, "1": 1, "defect": 1, "defective": 1, "anomalous": 1}
UNKNOWN = "anomaly"

log = logging.getLogger(__name__)


def read_manifest(tree: Tree, manifest: str) -> list[ImageRow]:
    """The images that a CSV file in the category's folder lists, in its order.

    Columns: `image`, and `label` (0, good, normal, or 1, defect, defective, anomalous) or `defect` (the type; empty
    for good images); optional `mask`, `split` (train, test, or empty for all) and `ignore`. Paths are relative to the
    category's folder and cannot leave it by `..`; symbolic links in it are followed. Masks of good images are not used.

    Raises:
        UserError: if the file cannot be read, or naming all lines with mistakes.
    """
    path = tree.root / manifest
    lines, columns, mistakes = read_lines(path, ["image"])
    if not {"label", "defect"} & set(columns):
        raise UserError(f"{path} has neither a column label nor a column defect: add one")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        log.warning("%s: columns %s are not used (%s are)", path, ", ".join(unknown), ", ".join(COLUMNS))
    rows = []
    for line in lines:
        row, wrong = _read_line(tree, line)
        rows.append(row)
        mistakes += [(line.number, mistake) for mistake in wrong]
    raise_mistakes(path, [*mistakes, *_find_repeated(lines, rows), *_find_unassigned(lines, rows)])
    return rows


def _read_line(tree: Tree, line: Line) -> tuple[ImageRow, list[str]]:
    """The row of a line, and what is wrong with it."""
    wrong: list[str] = []
    paths = {column: line.values.get(column, "") for column in ("image", "mask", "ignore")}
    if not paths["image"]:
        wrong.append("image is empty")
    for column, given in paths.items():
        if given:
            paths[column], problem = _find_file(tree, given)
            wrong += [f"{column} {problem}"] if problem else []
    split = line.values.get("split", "").lower()
    if split not in ("", "train", "test"):
        wrong.append(f"split '{split}' is neither train nor test nor empty")
    label, defect, problem = _read_label(line.values.get("label", "").lower(), line.values.get("defect", ""))
    wrong += [problem] if problem else []
    return ImageRow(paths["image"], paths["mask"] if label else "", split, label, defect, ignore=paths["ignore"]), wrong


def _find_file(tree: Tree, given: str) -> tuple[str, str]:
    """A listed path in its plainest form, and what is wrong with it."""
    if posixpath.isabs(given) or ".." in given.split("/"):
        return given, f"'{given}' leaves the category's folder: no absolute path, no '..'"
    path = posixpath.normpath(given)
    return path, "" if tree.find(path) else f"'{given}' does not exist under {tree.root}"


def _read_label(label: str, defect: str) -> tuple[int, str, str]:
    """Label, defect type, and what is wrong with them."""
    named_good = LABELS.get(defect.lower()) == 0
    if label and label not in LABELS:
        return 0, "", f"label '{label}' is none of {', '.join(LABELS)}"
    value = LABELS[label] if label else int(bool(defect) and not named_good)
    if not value and defect and not named_good:
        return 0, "", f"label '{label}' is good, but defect is '{defect}'"
    if value and named_good:
        return 0, "", f"label '{label}' is defective, but defect is '{defect}'"
    return value, (defect or UNKNOWN) if value else "", ""


def _find_repeated(lines: Sequence[Line], rows: Sequence[ImageRow]) -> list[Mistake]:
    first: dict[str, int] = {}
    repeated: list[Mistake] = []
    for line, row in zip(lines, rows, strict=True):
        if row.image and first.setdefault(row.image, line.number) != line.number:
            repeated.append((line.number, f"image '{row.image}' stands in line {first[row.image]} already"))
    return repeated


def _find_unassigned(lines: Sequence[Line], rows: Sequence[ImageRow]) -> list[Mistake]:
    if not any(row.official_split for row in rows):
        return []
    return [
        (line.number, "split is empty, but other images have one: fill it in for all, or for none")
        for line, row in zip(lines, rows, strict=True)
        if not row.official_split
    ]
