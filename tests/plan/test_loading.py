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
