"""Tables of predictions on disk: how one grows, how one is known, and which folders of pictures lie beside it.

Tested in tests/app/test_prediction_tables.py.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

TABLE = "predictions.csv"
FIRST_COLUMNS = ("image", "score", "normalised_score", "threshold", "decision", "undefined")
"""By which a table of predictions is known, of whatever version."""
PICTURES = ("heatmaps", "masks")
"""The folders of pictures beside a table."""


class GrowingTable:
    """A CSV that is written row by row, not at once: whoever looks finds all that is done, in whole rows.

    Args:
        path: file to write; one that is there is replaced.
        header: its first row.
    """

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self.add(header)

    def add(self, row: Sequence[object]) -> None:
        """Write one more row."""
        self._writer.writerow(row)

    def close(self) -> None:
        """End the table."""
        self._file.close()


def read_names(path: Path) -> list[str] | None:
    """Names of the images in a table of predictions; None where it is no such table, or not there."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            return [row[0] for row in rows if row] if _begins(next(rows, [])) else None
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError, csv.Error):
        return None


def is_table(path: Path) -> bool:
    """Whether a file is a table of predictions; its header alone is read, and what cannot be read is none."""
    longest = 10 * len(",".join(FIRST_COLUMNS))  # in characters; the file may be anybody's
    try:
        if not path.is_file():  # a pipe, say, that nobody writes to
            return False
        with path.open(encoding="utf-8", newline="") as file:
            return _begins(next(csv.reader([file.readline(longest)]), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _begins(header: Sequence[str]) -> bool:
    return tuple(header[: len(FIRST_COLUMNS)]) == FIRST_COLUMNS
