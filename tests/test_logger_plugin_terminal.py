import gc
import io
import os
import pty
import re
import subprocess
import sys
import termios
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from snakemake_logger_plugin_patchshift.frames import GREEN, Line
from snakemake_logger_plugin_patchshift.terminal import Footer, can_redraw

CODE = re.compile(r"\x1b\[(\d*(?:;\d+)*)([A-Za-z])|\r\n|[\r\n]|[^\x1b\r\n]+")


class Screen:
    """What a terminal shows of what is written to it; it knows no more than the plugin uses."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> "Screen":
        for code in CODE.finditer(text):
            self._take(code[0], code[1], code[2])
        return self

    def _take(self, text: str, number: str | None, letter: str | None) -> None:
        if letter == "A":
            assert int(number or 1) <= self.row, "above the top of the screen"
            self.row -= int(number or 1)
        elif letter == "J":
            assert self.column == 0
            self.lines[self.row :] = [""]
        elif letter == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif letter is not None:
            assert letter == "m"
        elif text[-1] in "\r\n":
            self.column = 0
            self.row += "\n" in text
            self.lines += [""] * (self.row + 1 - len(self.lines))
        else:
            line = self.lines[self.row]
            self.lines[self.row] = line[: self.column].ljust(self.column) + text + line[self.column + len(text) :]
            self.column += len(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


Made = tuple[Terminal, Footer, list[Line]]


@pytest.fixture
def made() -> Made:
    """A terminal, and a footer with lines that a test may change."""
    terminal, lines = Terminal(), [Line("one"), Line("two")]
    return terminal, Footer(terminal, lambda size: lines), lines


def test_lines_are_drawn_over_themselves(made: Made) -> None:
    terminal, footer, lines = made
    footer.redraw()
    lines[:] = [Line("1", GREEN)]
    footer.redraw()
    lines[:] = [Line("a"), Line("b"), Line("c")]
    footer.redraw()
    assert Screen().feed(terminal.getvalue()).text == "a\nb\nc"


def test_messages_go_above_and_stay(made: Made) -> None:
    terminal, footer, lines = made
    footer.redraw()
    footer.say([Line("failed: fit_detector"), Line("  error: no such file")])
    lines[:] = [Line("three")]
    footer.redraw()
    footer.say([Line("another")])
    assert Screen().feed(terminal.getvalue()).text == "failed: fit_detector\n  error: no such file\nanother\nthree"


def test_nothing_is_drawn_into_a_line_that_is_not_finished(made: Made) -> None:
    terminal, footer, _ = made
    footer.redraw()
    footer.write_above(terminal, "half")
    footer.redraw()
    assert Screen().feed(terminal.getvalue()).text == "half"
    footer.write_above(terminal, " and half\n")
    assert Screen().feed(terminal.getvalue()).text == "half and half\none\ntwo"
    footer.write_above(terminal, "no end")
    footer.say([Line("message")])
    assert Screen().feed(terminal.getvalue()).text == "half and half\nno end\nmessage\none\ntwo"


def test_what_the_program_prints_goes_above_until_the_footer_is_closed(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, footer, _ = made
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    footer.open()
    footer.redraw()
    print("printed")
    sys.stdout.writelines(["a\n", "b\n"])
    assert sys.stdout.isatty()
    footer.redraw()
    assert Screen().feed(terminal.getvalue()).text == "printed\na\nb\none\ntwo"
    footer.close()
    assert sys.stdout is terminal
    footer.redraw()
    print("last")
    assert Screen().feed(terminal.getvalue()).text == "printed\na\nb\nlast"


def test_what_stood_in_for_a_stream_outlives_the_footer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be printing to it, and `print` does not hold what it prints to."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    footer = Footer(terminal, lambda size: [])
    footer.open()
    lent = weakref.ref(sys.stdout)
    footer.close()
    del footer
    gc.collect()
    assert lent() is not None


@pytest.mark.parametrize(
    ("environment", "is_fit"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_only_a_willing_terminal_is_redrawn(environment: dict[str, str], is_fit: bool) -> None:
    assert can_redraw(Terminal(), environment) == is_fit
    assert not can_redraw(io.StringIO(), environment)


SEEN = "▸ extract_features"

WORKFLOW = """
rule all:
    input: "evaluated", "fitted"
rule extract_features:
    output: "features.h5"
    log: "extract.log"
    shell: "echo 'x INFO f.h5: passed 50 images through the backbone in 2.000 s' > {log}; EXTRACT; touch {output}"
rule evaluate:
    input: "features.h5"
    output: "evaluated"
    shell: "touch {output}"
rule fit_detector:
    output: "fitted"
    log: "fit.log"
    shell: "FIT"
onsuccess: print("report: here")
onerror: print("report: nowhere")
"""


@pytest.fixture
def run_workflow(tmp_path: Path, repository: Path) -> Callable[..., tuple[int, str]]:
    """Run a small workflow on a terminal; exit status and all that was written to it."""

    def run(
        fit: str, extract: str = "sleep 0.5", *, size: tuple[int, int] = (24, 80), **environment: str
    ) -> tuple[int, str]:
        (tmp_path / "Snakefile").write_text(WORKFLOW.replace("FIT", fit).replace("EXTRACT", extract))
        seen, written = pty.openpty()
        termios.tcsetwinsize(written, size)
        program = [str(Path(sys.executable).with_name("snakemake")), "--cores", "2", "--keep-going"]
        own = {"PYTHONPATH": str(repository / "workflow_scripts"), "TERM": "xterm", "NO_COLOR": "", **environment}
        process = subprocess.Popen(
            [*program, "--logger", "patchshift"], cwd=tmp_path, env=os.environ | own, stdout=written, stderr=written
        )
        os.close(written)
        content = b""
        while True:
            try:
                part = os.read(seen, 65536)
            except OSError:  # nobody holds the other end any more
                break
            if not part:
                break
            content += part
            if SEEN.encode() in content:
                (tmp_path / "seen").touch()
        os.close(seen)
        return process.wait(), content.decode()

    return run


def test_a_run_on_a_terminal_leaves_one_line_per_stage(run_workflow: Callable[..., tuple[int, str]]) -> None:
    until_seen = "for turn in $(seq 1200); do test -e seen && break; sleep 0.05; done"
    code, written = run_workflow("touch {output}", until_seen)
    assert code == 0
    shown = Screen().feed(written).text
    stages = re.findall(r"^✓ (\w+) +1/1  (.*)$", shown, re.MULTILINE)
    names = [name for name, _ in stages]
    assert sorted(names) == ["evaluate", "extract_features", "fit_detector"]
    assert names.index("extract_features") < names.index("evaluate")
    assert "25 images/s" in dict(stages)["extract_features"]
    assert re.search(r"^4 of 4 jobs in ", shown, re.MULTILINE)
    assert re.search(r"^report: here$", shown, re.MULTILINE)
    assert "━" not in shown
    assert SEEN in written  # while it ran
    assert "/4 jobs, " in written


def test_a_failure_stands_whole_among_the_frames(run_workflow: Callable[..., tuple[int, str]]) -> None:
    code, written = run_workflow("printf 'error: 2 files are bad:\\\\n  a.png\\\\n  b.png\\\\n' > {log}; exit 1")
    assert code == 1
    shown = Screen().feed(written).text
    assert re.search(
        r"^failed: fit_detector .*\n  error: 2 files are bad:\n    a\.png\n    b\.png\n  \(log: fit\.log\)$",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^✗ fit_detector +0/1  1 failed$", shown, re.MULTILINE)
    assert re.search(r"^✓ evaluate +1/1", shown, re.MULTILINE)
    assert re.search(r"^2 of 4 jobs in .*, 1 failed$", shown, re.MULTILINE)
    # before or after: the handler does not wait for the thread that draws
    assert re.search(r"^report: nowhere$", shown, re.MULTILINE)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_an_unwilling_terminal_gets_a_line_per_job(
    run_workflow: Callable[..., tuple[int, str]], environment: dict[str, str]
) -> None:
    code, written = run_workflow("touch {output}", **environment)
    assert code == 0
    assert "\x1b[1A" not in written
    assert re.search(r"^\[4/4\] all", written, re.MULTILINE)


def test_no_line_is_wider_than_a_narrow_terminal(run_workflow: Callable[..., tuple[int, str]]) -> None:
    code, written = run_workflow("touch {output}", size=(5, 30))
    assert code == 0
    frames = [re.findall(r"(.*)\x1b\[K\r\n", part) for part in re.split(r"\x1b\[\d+A", written)]
    assert max(map(len, frames)) == 4  # one row is left for the cursor
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for frame in frames for line in frame]
    assert max(map(len, lines)) == 29


def test_an_interrupted_run_leaves_the_terminal_in_order(run_workflow: Callable[..., tuple[int, str]]) -> None:
    code, written = run_workflow("kill -INT $PPID; sleep 1")
    assert code != 0
    shown = Screen().feed(written).text
    assert "━" not in shown
    assert re.search(r"^\d of 4 jobs in ", shown, re.MULTILINE)
