"""What a run says on the terminal: how far each stage is, and the message of a failed job.

On a terminal the stages that are not complete stay at its foot, drawn again and again; elsewhere there is one line per
finished job. Snakemake's own account, with every detail, still goes to its log file. Chosen in profiles/default; the
default output is back with `--workflow-profile none`. Tested in tests/test_logger_plugin.py.
"""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from patchshift.runtime.jobs import SILENT
from snakemake_logger_plugin_patchshift.command_line import tidy
from snakemake_logger_plugin_patchshift.frames import GREEN, Line, choose_signs, draw_end, draw_frame, draw_stage
from snakemake_logger_plugin_patchshift.progress import Progress
from snakemake_logger_plugin_patchshift.terminal import Footer, can_redraw

LOG_LINES = 20
LAST_ERROR = "Exiting because a job execution failed"
"""What Snakemake says when no job runs any more, before the workflow's handlers."""

# Snakemake imports its plugins before it reads the command line, which is the only moment to see to it.
sys.argv[:] = tidy(sys.argv)


class LogHandler(LogHandlerBase):
    """Writes where Snakemake would: to standard error, or to standard output for a dry run."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._names: dict[int, str] = {}
        self._finished: list[str] = []
        self._stages: _Stages | None = None  # where the terminal shows them

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record means to the user, if anything."""
        if self.common_settings.dryrun:
            return self._say(self.format(record))
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO and self._can_redraw():
            self._stages = _Stages(record, sys.stdout if self.common_settings.stdout else sys.stderr)
        text = self._describe(record)
        if self._stages:
            self._stages.follow(record, text)
            if not self._stages.is_open:
                self._stages = None
        else:
            self._say(text)
        return None

    def close(self) -> None:
        """Leave the terminal in order, also where a run was interrupted."""
        if self._stages:
            self._stages.end(time.time())
            self._stages = None
        super().close()

    def _can_redraw(self) -> bool:
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        return not settings.nocolor and not settings.quiet and can_redraw(stream)

    def _say(self, text: str) -> None:
        if text and text != "None":
            print(text, file=sys.stdout if self.common_settings.stdout else sys.stderr, flush=True)

    def _describe(self, record: Any) -> str:  # Snakemake adds an event's fields to the record
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            return f"{record.stats['total']} jobs"
        if event == LogEvent.JOB_INFO:
            output = str(record.output[0]) if record.output else record.rule_name
            self._names[record.jobid] = f"{record.rule_name:<20} {output.removeprefix('results/')}"
        elif event == LogEvent.JOB_FINISHED:
            if self._stages is None:
                self._finished.append(self._names.get(record.job_id, ""))
        elif event == LogEvent.PROGRESS:
            width = len(str(record.total))
            lines = [f"[{record.done:>{width}}/{record.total}] {name}" for name in self._finished]
            self._finished.clear()
            return "\n".join(lines)
        elif event == LogEvent.JOB_ERROR:
            return self._describe_failure(record)
        elif record.levelno >= logging.WARNING or record.getMessage().startswith("Nothing to be done"):
            message: str = self.format(record)
            return "" if "CalledProcessError" in message else message  # the job's failure has been told
        return ""

    def _describe_failure(self, record: Any) -> str:
        lines = []
        for path in map(Path, record.log):
            if path.is_file():
                content = path.read_text(encoding="utf-8", errors="replace").splitlines()
                # A user's mistake is one message at the end of the log; anything else is worth its traceback.
                start = max((i for i, line in enumerate(content) if line.startswith("error: ")), default=-LOG_LINES)
                lines += [f"  {line}" for line in content[start:] or [SILENT]] + [f"  (log: {path})"]
        name = self._names.get(record.jobid, record.rule_name)
        return "\n".join([f"\nfailed: {name}", *(lines or [f"  {SILENT}"]), ""])


class _Stages:
    """The stages of a run, on a terminal: those that are complete are said, the others stay below."""

    def __init__(self, record: Any, stream: Any) -> None:
        planned: Mapping[str, int] = {rule: count for rule, count in record.stats.items() if rule != "total"}
        self._progress = Progress(planned, record.stats["total"], record.created)
        self._signs = choose_signs(stream.encoding)
        self._footer = Footer(stream, self._draw)
        self._footer.open()
        self.is_open = True

    def follow(self, record: Any, text: str) -> None:
        """Take note of a record, and say what it means."""
        with self._footer.lock:
            lines = [Line(line) for line in text.split("\n")] if text and text != "None" else []
            lines += self._take(record)
            if lines:
                self._footer.say(lines)
            elif self._progress.is_downloading:  # it draws a bar of its own
                self._footer.redraw()
            if self._progress.done >= self._progress.total or text.startswith(LAST_ERROR):
                self.end(record.created)

    def end(self, now: float) -> None:
        """Say what is left to be said, and draw no more."""
        with self._footer.lock:
            self._footer.close()
            self._footer.say(draw_end(self._progress, now, self._signs))
            self.is_open = False

    def _take(self, record: Any) -> Sequence[Line]:
        event, progress = getattr(record, "event", None), self._progress
        if event == LogEvent.JOB_INFO:
            progress.start(record.jobid, record.rule_name, record.created, record.threads, list(record.log))
        elif event == LogEvent.JOB_ERROR:
            progress.fail(record.jobid)
        elif event == LogEvent.PROGRESS:
            progress.done, progress.total = record.done, record.total
        elif event == LogEvent.JOB_FINISHED and (name := progress.finish(record.job_id, record.created)):
            return [Line(draw_stage(progress, name, self._signs).text, GREEN)]
        return []

    def _draw(self, size: tuple[int, int]) -> Sequence[Line]:
        if self._progress.is_downloading:
            return []
        return draw_frame(self._progress, time.time(), size, self._signs)
