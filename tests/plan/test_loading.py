from pathlib import Path

import pytest

from patchshift.errors import UserError
from patchshift.plan.loading import did_you_mean, read_yaml


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("study: a\n  question: b\n", "line 2, column 11"),
        ("study: [a, b\n", "line 2, column 1"),
        ("study: 'a\n", "line 2, column 1"),
        ("a: b\n\tc: d\n", "line 2, column 1"),
        ("a: *b\n", "line 1, column 4"),
    ],
)
def test_malformed_yaml_is_one_line_with_file_and_place(tmp_path: Path, content: str, place: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    assert complaint(path).startswith(f"{path}, {place}: not valid YAML: ")


@pytest.mark.parametrize(
    ("content", "place", "key"),
    [
        ("study: a\nquestion: b\nstudy: c\n", "line 3, column 1", "'study' is given twice (first in line 1)"),
        ("a:\n  b: {x: 1, x: 1}\n", "line 2, column 13", "'x' is given twice (first in line 2)"),
        ("- {1: a, 1: b}\n", "line 1, column 10", "'1' is given twice (first in line 1)"),
        ('{"a": 1,\n"a": 2}', "line 2, column 1", "'a' is given twice (first in line 1)"),
    ],
)
def test_a_key_given_twice_does_not_silently_replace_the_first(
    tmp_path: Path, content: str, place: str, key: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    assert complaint(path) == f"{path}, {place}: not valid YAML: key {key}"


def test_a_key_that_overrides_a_merged_one_is_not_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1, y: 1}\nb: {c: &b {<<: *a, x: 2}}\nd: {<<: *b, y: 3}\n'1': text\n1: number\n")
    assert read_yaml(path) == {
        "a": {"x": 1, "y": 1},
        "b": {"c": {"x": 2, "y": 1}},
        "d": {"x": 2, "y": 3},
        "1": "text",
        1: "number",
    }


def test_a_missing_file_is_one_line_that_says_where_it_was_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint(Path("none.yaml")) == f"none.yaml: no such config file (looked in {tmp_path})"


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"text", b"3"])
def test_a_file_without_keys_says_what_it_must_hold(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    assert "must hold keys and values" in complaint(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a: b", b"a: \x00"])
def test_a_file_that_is_not_text_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    assert complaint(path).startswith(str(path))


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(f"{tmp_path}: cannot be read")


def test_the_nearest_name_is_offered_else_all_else_none() -> None:
    assert did_you_mean("frito", ["fryum", "candle"]) == " (known: candle, fryum)"
    assert did_you_mean("fryun", ["fryum", "candle"]) == " (did you mean 'fryum'?)"
    assert did_you_mean("fryun", []) == ""
