"""What a run says on the terminal: one line per finished job, and the message of a failed one.

Snakemake's own account, with every detail, still goes to its log file. Chosen in profiles/default; the default output
is back with `--workflow-profile none`. Tested in tests/test_logger_plugin.py.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_patchshift.command_line import tidy

LOG_LINES = 20

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

    def emit(self, record: logging.LogRecord) -> None:
        """Print what a record means to the user, if anything."""
        text = self.format(record) if self.common_settings.dryrun else self._describe(record)
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
        lines = [f"\nfailed: {self._names.get(record.jobid, record.rule_name)}"]
        for path in map(Path, record.log):
            if path.is_file():
                content = path.read_text(encoding="utf-8", errors="replace").splitlines()
                # A user's mistake is one message at the end of the log; anything else is worth its traceback.
                start = max((i for i, line in enumerate(content) if line.startswith("error: ")), default=-LOG_LINES)
                lines += [f"  {line}" for line in content[start:]] + [f"  (log: {path})"]
        return "\n".join([*lines, ""])
