import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface
from snakemake_logger_plugin_patchshift import LogHandler
from snakemake_logger_plugin_patchshift.command_line import tidy


@pytest.fixture(autouse=True)
def _config_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yml", "c.json"):
        Path(name).write_text(json.dumps({"study": "a"}))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--cores 2 all", "--cores 2 all"),
        ("--cores 2 --configfile a.yaml all", "all --cores 2 --configfile a.yaml"),
        ("--configfile a.yaml b.yml all x.csv", "all x.csv --configfile a.yaml b.yml"),
        ("--configfiles c.json all", "all --configfiles c.json"),
        ("--config data_dir=x weights_dir=y all", "all --config data_dir=x weights_dir=y"),
        ("-C data_dir=x all --cores 2", "all -C data_dir=x --cores 2"),
        ("--configfile a.yaml --config k=v all -n", "all --configfile a.yaml --config k=v -n"),
        ("--configfile=a.yaml --cores 1 all", "--configfile=a.yaml --cores 1 all"),
        ("--configfile a.yaml results/metrics/a.json", "results/metrics/a.json --configfile a.yaml"),
        ("--configfile a.yaml ./results/metrics/a.json", "./results/metrics/a.json --configfile a.yaml"),
        ("all --configfile a.yaml", "all --configfile a.yaml"),
        ("", ""),
    ],
)
def test_targets_come_before_the_options_that_would_swallow_them(given: str, wanted: str) -> None:
    assert tidy(["/bin/snakemake", *given.split()]) == ["/bin/snakemake", *wanted.split()]


@pytest.mark.parametrize("argv", [[], ["-c"], ["/bin/pytest", "--configfile", "none.yaml", "all"]])
def test_other_programs_keep_their_command_line(argv: list[str]) -> None:
    assert tidy(argv) == argv


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "no such config file"), ("a: [\n", "line 2, column 1: not valid YAML"), ("- a\n", "must hold keys")],
)
def test_a_bad_config_file_ends_the_run_with_one_line(content: str | None, fault: str) -> None:
    if content is not None:
        Path("bad.yaml").write_text(content)
    with pytest.raises(SystemExit) as caught:
        tidy(["snakemake", "--configfile", "a.yaml", "bad.yaml", "all"])
    message = str(caught.value)
    assert message.startswith("bad.yaml")
    assert fault in message
    assert "\n" not in message


def test_importing_the_plugin_mends_the_command_line_in_time(repository: Path) -> None:
    program = (
        "import sys; sys.argv = ['snakemake', '--configfile', 'a.yaml', 'all']; "
        "import snakemake_logger_plugin_patchshift; print(sys.argv)"
    )
    path = str(repository / "workflow_scripts")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert run.stdout.strip() == "['snakemake', 'all', '--configfile', 'a.yaml']"


Say = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """What one handler prints for a record."""
    handlers: dict[bool, LogHandler] = {}

    def say(message: str = "", *, level: int = logging.INFO, dryrun: bool = False, **fields: Any) -> str:
        if dryrun not in handlers:
            common: OutputSettingsLoggerInterface = SimpleNamespace(
                dryrun=dryrun, stdout=dryrun, nocolor=False, quiet=None
            )  # type: ignore[assignment]
            handlers[dryrun] = LogHandler(common, None)
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        record.__dict__ |= fields
        handlers[dryrun].emit(record)
        out, err = capsys.readouterr()
        shown, other = (out, err) if dryrun else (err, out)  # a dry run's plan is what was asked for
        assert other == ""
        return shown

    return say


def start(say: Say, job: int, rule: str, output: str) -> str:
    return say(event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, output=[output])


def test_a_finished_job_is_one_line_with_its_number_rule_and_artifact(say: Say) -> None:
    assert say(event=LogEvent.RUN_INFO, stats={"total": 12}) == "12 jobs\n"
    assert start(say, 4, "fit_detector", "results/banks/a.h5") == ""
    assert start(say, 5, "decide", "results/decisions/b.json") == ""
    assert say(event=LogEvent.JOB_FINISHED, job_id=5) == ""
    assert say(event=LogEvent.PROGRESS, done=1, total=12) == "[ 1/12] decide               decisions/b.json\n"
    say(event=LogEvent.JOB_FINISHED, job_id=4)
    assert say(event=LogEvent.PROGRESS, done=2, total=12) == "[ 2/12] fit_detector         banks/a.h5\n"


def test_a_failed_job_shows_the_users_mistake_and_where_its_log_is(say: Say, tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("2026 INFO reading\nerror: 2 files cannot be used:\n  a.png: empty\n  b.png: empty\n")
    start(say, 1, "extract_features", "results/features/a.h5")
    shown = say(event=LogEvent.JOB_ERROR, jobid=1, rule_name="extract_features", log=[str(log), "absent.log"])
    assert shown.strip().splitlines() == [
        "failed: extract_features     features/a.h5",
        "  error: 2 files cannot be used:",
        "    a.png: empty",
        "    b.png: empty",
        f"  (log: {log})",
    ]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_job_that_was_killed_before_it_wrote_a_word_is_said_to_be(say: Say, tmp_path: Path, is_there: bool) -> None:
    log = tmp_path / "job.log"
    if is_there:
        log.touch()
    shown = say(event=LogEvent.JOB_ERROR, jobid=1, rule_name="evaluate", log=[str(log)])
    told = ["failed: evaluate", "  nothing in its log: it was killed, or never started"]
    assert shown.strip().splitlines() == told + [f"  (log: {log})"] * is_there


def test_a_bug_shows_the_end_of_its_log(say: Say, tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("".join(f"line {number}\n" for number in range(50)) + "ValueError: bug\n")
    shown = say(event=LogEvent.JOB_ERROR, jobid=9, rule_name="evaluate", log=[str(log)])
    assert "failed: evaluate" in shown
    assert "  ValueError: bug\n" in shown
    assert "line 40\n" in shown
    assert "line 9\n" not in shown


def test_warnings_are_shown_and_chatter_is_not(say: Say) -> None:
    assert say("Building DAG of jobs...") == ""
    assert say("Disk is nearly full", level=logging.WARNING) == "Disk is nearly full\n"
    assert "Nothing to be done" in say("Nothing to be done (all requested files are present).")
    assert say("CalledProcessError: exit status 1", level=logging.ERROR) == ""


def test_a_dry_run_shows_what_snakemake_says(say: Say) -> None:
    assert "would run" in say("would run", dryrun=True)
