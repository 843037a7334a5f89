"""CSV files that come with images: read with line numbers, so that mistakes can be found.

Tested in tests/data/test_manifest.py.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from patchshift.errors import UserError

LISTED = 50

Mistake = tuple[int, str]
"""A line number, and what is wrong there."""


@dataclass(frozen=True)
class Line:
    """One row of a CSV file: its line number, and column -> value."""

    number: int
    values: dict[str, str]


def read_lines(path: Path, required: Sequence[str]) -> tuple[list[Line], list[str], list[Mistake]]:
    """Read a CSV file with a header. Names and values are stripped of spaces; empty lines are left out.

    Returns:
        The rows, the names of all columns, and what is wrong with rows that have too few or too many values.

    Raises:
        UserError: if there is no such file, it is not a CSV file in UTF-8, or required columns are missing.
    """
    lines, mistakes = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if len(row) == len(columns):
                    values = dict(zip(columns, map(str.strip, row), strict=True))
                    lines.append(Line(reader.line_num, values))
                else:
                    mistakes.append((reader.line_num, f"{len(row)} values for {len(columns)} columns"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist: bring it there") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, it should be a CSV file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error})") from None
    missing = [name for name in required if name not in columns]
    if missing or len(set(columns)) != len(columns):
        wrong = f"has no column {', '.join(missing)}" if missing else "names a column twice"
        raise UserError(f"{path} {wrong}: its first line names the columns, separated by commas ({', '.join(columns)})")
    return lines, columns, mistakes


def raise_mistakes(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Raise one UserError for all mistakes of a file, by line; do nothing where there are none."""
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = [f"line {number}: {mistake}" for number, mistake in sorted(mistakes, key=itemgetter(0))]
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        raise UserError("\n  ".join([f"{path}: {count}:", *lines[:LISTED], *more]))
