import os
from pathlib import Path

import pytest

from patchshift.app.prediction_tables import FIRST_COLUMNS, GrowingTable, is_table, read_names


def test_a_table_that_grows_holds_whole_rows_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    table = GrowingTable(path, FIRST_COLUMNS)
    assert path.read_text() == "image,score,normalised_score,threshold,decision,undefined\n"
    for number in range(3):
        table.add([f"{number}, of three.png", 0.5, "", "", 0, ""])
        assert path.read_text().splitlines()[-1] == f'"{number}, of three.png",0.5,,,0,'
        assert read_names(path) == [f"{done}, of three.png" for done in range(number + 1)]
    table.close()


@pytest.mark.parametrize("more", ["", ",zone,probability", ",x" * 1000])
def test_a_table_of_predictions_is_known_by_its_first_columns(tmp_path: Path, more: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(f"{','.join(FIRST_COLUMNS)}{more}\na.png,1,2,3,0,\n")
    assert is_table(path)
    assert read_names(path) == ["a.png"]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"dataset,category,image,score\n", b"image,score\n", b"\xff\xfe", b"\0,\n", b"x" * 10**6]
)
def test_another_file_is_no_table_of_predictions(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    assert not is_table(path)
    assert read_names(path) is None


def test_what_is_no_file_is_no_table_of_predictions(tmp_path: Path) -> None:
    assert not is_table(tmp_path)
    assert not is_table(tmp_path / "nothing.csv")
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert not is_table(tmp_path / "pipe")
