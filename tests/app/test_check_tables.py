"""What `patchshift check` says of single tables; whole studies in tests/workflow/test_closing.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patchshift.app.check_tables import check_ranges
from patchshift.app.checklist import CHECKS, check_study
from patchshift.errors import UserError

PREDICTIONS = "label,score,threshold,decision,probability,probability_isotonic\n1,2.0,1.0,1,,\n"


@pytest.fixture
def study(tmp_path: Path) -> Any:
    (tmp_path / "predictions.csv").write_text(PREDICTIONS)
    return SimpleNamespace(folder=str(tmp_path))


def write_metrics(study: Any, *rows: str) -> None:
    Path(study.folder, "metrics.csv").write_text("\n".join(["metric,value,low,high,undefined", *rows]) + "\n")


def test_a_count_that_images_without_masks_do_not_have_is_no_mistake(study: Any) -> None:
    write_metrics(study, "count_regions,,,,", "count_normal,20,,,", "image_auroc,0.9,0.8,1.0,")
    assert check_ranges(study)[1] == []


@pytest.mark.parametrize("value", ["2.5", "-1"])
def test_what_is_no_whole_number_is_no_count(study: Any, value: str) -> None:
    write_metrics(study, f"count_normal,{value},,,")
    assert check_ranges(study)[1] == [f"metrics.csv, line 2: count_normal {value} is no count"]


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"status": "finished", "execution_timestamp": 1, "experiments": null}']
)
def test_a_summary_of_another_shape_is_a_finding_and_no_traceback(
    study: Any, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(study.folder, "summary.json").write_text(content)
    check = {name: each for name, each in CHECKS.items() if each.__name__ == "check_run"}
    monkeypatch.setattr("patchshift.app.checklist.CHECKS", check)
    (finding,) = check_study(study)
    assert finding.problems[0].startswith("cannot be checked: a file that it reads is damaged")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2,3,4\n1,2\n1,2,3,4,5\n", "is no table any more"),
        (b"\xff\xfe,", "is no table any more"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(study: Any, content: bytes, said: str) -> None:
    path = Path(study.folder, "metrics.csv")
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        check_ranges(study)
    assert str(refused.value) == f"{path} {said}: delete it and run the study again"
