import subprocess
import sys
from pathlib import Path

import pytest

from patchshift.app.main import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_arguments(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (COMMANDS[command].__doc__ or "").split("\n")[0] in printed


def test_an_unknown_command_is_a_mistake_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["innit"])
    assert ended.value.code == 2
    assert "init" in capsys.readouterr().err


def test_what_the_user_has_to_mend_is_one_line_and_the_exit_status(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("patchshift")
    run = subprocess.run([program, "init", "nowhere"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
