"""The command that makes anew what a check found; what Snakemake plans of it is in tests/workflow/test_stale.py."""

import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.persistence.file import FilePersistence

from patchshift.app import rebuild
from patchshift.errors import UserError

CONFIG = Path("configs/my second.yaml")
STALE = ["results/banks/a.h5", "results/metrics/b.json"]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A study of two artifacts, one of a name longer than files may have; the working folder."""
    artifacts = [STALE[0], f"results/metrics/{'a-long-name/' * 30}b.json", "results/that/was/never/made.csv"]
    monkeypatch.setattr(rebuild, "list_artifacts", lambda study: artifacts)
    with chdir(tmp_path):
        for path in map(Path, artifacts[:2]):
            path.parent.mkdir(parents=True)
            path.touch()
        yield SimpleNamespace(folder="results/studies/first", artifacts=artifacts)


def record(path: str) -> None:
    """Leave what Snakemake leaves of a file that it made."""
    rebuild.RECORDS.mkdir(parents=True, exist_ok=True)
    place = Path(FilePersistence._record_path(SimpleNamespace(_fetch_max_len=lambda _: 255), rebuild.RECORDS, path))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def say(command: str) -> list[list[str]]:
    """The words of each call of Snakemake, as bash has them."""
    shell = f"""snakemake() {{ printf '%s\\n' "$@" END; }}; {command}"""
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    return [call.splitlines() for call in told.split("END\n")[:-1]]


def test_where_snakemake_made_all_that_is_there_nothing_is_touched(study: Any) -> None:
    for path in study.artifacts[:2]:
        record(path)
    told = rebuild.tell_rebuild(study, CONFIG, STALE)
    assert say(told) == [["--cores", "2", "all", "--configfile", str(CONFIG), "--forcerun", *STALE]]


@pytest.mark.parametrize("recorded", [[], ["results/banks/of/another/study.h5"], STALE[:1]])
def test_results_that_snakemake_has_no_records_of_are_taken_as_they_are_first(study: Any, recorded: list[str]) -> None:
    for path in recorded:
        record(path)
    touch, make = say(rebuild.tell_rebuild(study, CONFIG, STALE))
    assert touch == ["--cores", "2", "all", "--configfile", str(CONFIG), "--touch"]
    assert make[-3:] == ["--forcerun", *STALE]


def test_many_paths_are_read_from_a_file_and_make_a_short_command(study: Any) -> None:
    many = [f"results/scores/{number}.h5" for number in range(500)]
    told = rebuild.tell_rebuild(study, rebuild.DEFAULT, many)
    assert len(told) < 200
    assert say(told)[-1] == ["--cores", "2", "all", "--forcerun", *many]


def test_where_nothing_can_be_written_many_paths_stand_in_the_command(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UserError("cannot write")

    monkeypatch.setattr(rebuild, "write_text", refuse)
    many = [f"results/scores/{number}.h5" for number in range(50)]
    assert say(rebuild.tell_rebuild(study, rebuild.DEFAULT, many))[-1][-50:] == many
