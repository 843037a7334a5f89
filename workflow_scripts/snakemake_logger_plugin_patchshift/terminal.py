"""Lines that stay at the foot of a terminal and are drawn again and again, below whatever else is written there.

Nothing else is ever overdrawn: only as many rows are cleared as were drawn, and what the program itself writes to the
terminal meanwhile goes above. The cursor rests below the lines at the left, and stays visible, so a killed run leaves
the terminal in order.
Tested in tests/test_logger_plugin_terminal.py.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from snakemake_logger_plugin_patchshift.frames import Line

UNKNOWN_SIZE = (80, 24)
SECONDS_BETWEEN_FRAMES = 0.5

UP, CLEAR_BELOW, CLEAR_REST, STYLE, NO_STYLE = "\x1b[{}A", "\x1b[J", "\x1b[K", "\x1b[{}m", "\x1b[0m"


def can_redraw(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is a terminal whose user has nothing against lines that change."""
    if environment.get("NO_COLOR") or environment.get("TERM", "") in ("", "dumb"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


_LENT: list["_Above"] = []
"""What has stood in for `sys.stdout` or `sys.stderr`. `print` borrows these without holding them, so one that is freed
while another thread prints to it would crash the program: they outlive every print."""


class Footer:
    """The lines at the foot of one terminal.

    Args:
        stream: the terminal.
        draw: the lines to be drawn, from (columns, rows); none while another program draws there.

    Attributes:
        lock: held while lines are drawn; to be held by whoever changes what they are made from.
    """

    def __init__(self, stream: TextIO, draw: Callable[[tuple[int, int]], Sequence[Line]]) -> None:
        self._stream, self._draw = stream, draw
        self.lock = threading.RLock()
        self._drawn = 0  # lines
        self._at_left = True  # whether the cursor is
        self._over = threading.Event()
        self._guarded: dict[str, TextIO] = {}
        self._thread = threading.Thread(target=self._keep_drawing, daemon=True)

    def open(self) -> None:
        """Begin to draw, and see to it that what the program prints goes above the lines."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if can_redraw(stream):
                self._guarded[name] = stream
                above = _Above(stream, self)
                _LENT.append(above)
                setattr(sys, name, above)
        self._thread.start()

    def close(self) -> None:
        """Clear the lines, and leave the terminal as it was."""
        with self.lock:
            self._over.set()
            self._write(self._clear())
            for name, stream in self._guarded.items():
                setattr(sys, name, stream)
            self._guarded.clear()

    def say(self, lines: Sequence[Line]) -> None:
        """Write lines that stay, above the others."""
        with self.lock:
            start = "" if self._at_left else "\n"
            self.write_above(self._stream, start + "".join(f"{_dress(line)}\n" for line in lines))

    def write_above(self, stream: TextIO, text: str) -> None:
        """Write to a stream that leads to the same terminal."""
        with self.lock:
            self._write(self._clear())
            stream.write(text)
            stream.flush()
            self._at_left = text.endswith("\n") if text else self._at_left
            self.redraw()

    def redraw(self) -> None:
        """Draw the lines anew, over those that are there."""
        with self.lock:
            if not self._at_left:  # somebody else's line is not finished
                return
            lines = [] if self._over.is_set() else self._draw(self._find_size())
            up = UP.format(self._drawn) if self._drawn else ""
            self._write(up + "".join(f"{_dress(line)}{CLEAR_REST}\n" for line in lines) + CLEAR_BELOW * bool(up))
            self._drawn = len(lines)

    def _clear(self) -> str:
        text = f"{UP.format(self._drawn)}\r{CLEAR_BELOW}" if self._drawn else ""
        self._drawn = 0
        return text

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()

    def _find_size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return UNKNOWN_SIZE
        return (size.columns or UNKNOWN_SIZE[0], size.lines or UNKNOWN_SIZE[1])

    def _keep_drawing(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_FRAMES):
            try:
                self.redraw()
            except OSError:  # the terminal is gone: the run goes on
                return


class _Above:
    """A stream to the same terminal, whose text goes above the lines."""

    def __init__(self, stream: TextIO, footer: Footer) -> None:
        self._stream, self._footer = stream, footer

    def write(self, text: str) -> int:
        self._footer.write_above(self._stream, text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _dress(line: Line) -> str:
    return f"{STYLE.format(line.style)}{line.text}{NO_STYLE}" if line.style else line.text
