"""CSV artifacts.

Tested in tests/data/test_index.py.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from patchshift.errors import UserError
from patchshift.runtime.files import write_text


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path, header: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV that has exactly these columns.

    Raises:
        UserError: if there is no such file, or it has other columns, rows of another length, or is not text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found, *rows = csv.reader(file, strict=True)
        if found == list(header):
            return [dict(zip(header, row, strict=True)) for row in rows]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that makes it") from None
    except (ValueError, csv.Error):  # empty, not text, or rows of another length
        pass
    raise UserError(f"{path} is damaged (columns should be {', '.join(header)}): delete it and run again")
