"""A run's progress as lines of text: one per stage, and one for all of it.

Tested in tests/test_logger_plugin_progress.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from snakemake_logger_plugin_patchshift.progress import Progress, TimeLeft

PLAIN, FAINT, GREEN, RED, BOLD = "", "2", "32", "31", "1"
"""How lines are drawn: parameters of ANSI's `Select Graphic Rendition`."""

BAR = 24  # columns


@dataclass(frozen=True)
class Line:
    """A line of text, in one manner of drawing."""

    text: str
    style: str = PLAIN


@dataclass(frozen=True)
class Signs:
    """What stands before the lines of stages, and what the bar is made of."""

    complete: str
    failed: str
    running: str
    full: str
    empty: str


PICTURES, LETTERS = Signs("✓", "✗", "▸", "━", "─"), Signs("+", "!", ">", "#", "-")


def choose_signs(encoding: str | None) -> Signs:
    """Pictures where a stream can write them."""
    try:
        "".join(vars(PICTURES).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return LETTERS
    return PICTURES


def draw_stage(progress: Progress, name: str, signs: Signs, *, is_over: bool = False) -> Line:
    """One stage: done and total, what runs and failed, images per second, the mean time of a job.

    Args:
        progress: the run.
        name: of the stage.
        signs: to draw with.
        is_over: whether the run is, so that jobs that wait will not run.
    """
    stage = progress.stages[name]
    width = max(len(str(each.planned)) for each in progress.stages.values())
    facts = [f"{len(stage.failed)} failed"] * bool(stage.failed)
    facts += [f"{stage.waiting} not run"] * bool(is_over and stage.waiting)
    facts += [f"{len(stage.running)} running"] * bool(stage.running and not is_over)
    if pace := progress.images_per_second(name):
        facts.append(f"{pace:.3g} images/s" if pace < 1000 else f"{pace:.0f} images/s")
    if stage.done:
        facts.append(f"{show_seconds(stage.seconds / stage.done, tenths=True)}{' each' if stage.planned > 1 else ''}")
    sign, style = " ", FAINT
    if stage.failed:
        sign, style = signs.failed, RED
    elif stage.is_complete:
        sign, style = signs.complete, GREEN
    elif not is_over and (stage.running or stage.done):
        sign, style = signs.running, PLAIN
    names = max(map(len, progress.stages))
    counted = f"{stage.done:>{width}}/{stage.planned:<{width}}"
    return Line(f"{sign} {name:<{names}}  {counted}  {', '.join(facts)}".rstrip(), style)


def draw_frame(progress: Progress, now: float, size: tuple[int, int], signs: Signs) -> list[Line]:
    """What stays below a run's messages: the stages that are not complete, and a line for the whole run.

    Args:
        progress: the run.
        now: seconds since the epoch.
        size: (columns, rows) of the terminal; no line is wider, and of three rows and more the lines leave one.
        signs: to draw with.
    """
    columns, rows = size
    names = [name for name, stage in progress.stages.items() if not stage.is_complete]
    room = max(1, rows - 2)  # a row for the cursor, and the last line
    # What has begun first: it may be much that waits.
    begun = [name for name in names if progress.stages[name].running or progress.stages[name].failed]
    ordered = [*begun, *(name for name in names if name not in begun)]
    kept = set(ordered[: room if len(names) <= room else max(1, room - 1)])
    lines = [draw_stage(progress, name, signs) for name in names if name in kept]
    if len(kept) < len(names) and room > 1:
        hidden = len(names) - len(kept)
        lines.append(Line(f"  ... and {hidden} more stage{'s' * (hidden > 1)}", FAINT))
    filled = BAR * progress.done // max(1, progress.total)
    bar = signs.full * filled + signs.empty * (BAR - filled)
    facts = [f"{progress.done}/{progress.total} jobs", f"{show_seconds(now - progress.started)} so far"]
    facts = [*facts, *([f"{progress.failures} failed"] if progress.failures else []), show_left(progress.estimate(now))]
    text = f"{bar} {', '.join(facts)}"
    lines.append(Line(text if len(text) < columns else ", ".join(facts), RED if progress.failures else BOLD))
    return [Line(line.text[: columns - 1], line.style) for line in lines]


def draw_end(progress: Progress, now: float, signs: Signs) -> list[Line]:
    """What stays when a run is over: the stages that are not complete, and how long it took."""
    unfinished = [name for name, stage in progress.stages.items() if not stage.is_complete]
    failed = f", {progress.failures} failed" if progress.failures else ""
    jobs = f"{progress.done} of {progress.total} jobs in {show_seconds(now - progress.started)}{failed}"
    lines = [draw_stage(progress, name, signs, is_over=True) for name in unfinished]
    return [*lines, Line(jobs, RED if progress.failures else BOLD)]


def show_left(left: TimeLeft) -> str:
    """What is left of the time, no surer than it is."""
    if left.seconds is None or (not left.is_whole and (left.is_bound or round(left.seconds) == 0)):
        return "time left unknown"
    kind = "at most" if left.is_bound else "about" if left.is_whole else "at least"
    return f"{kind} {show_seconds(left.seconds)} left"


def show_seconds(seconds: float, *, tenths: bool = False) -> str:
    """A time in its two largest units: 1.4 s (with tenths), 45 s, 3 min 20 s, 2 h 5 min, 1 d 3 h."""
    if tenths and seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = max(0, round(seconds))
    units: Sequence[tuple[int, str]] = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for (length, unit), (smaller, smaller_unit) in pairwise(units):
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"
