import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from snakemake_logger_plugin_patchshift.frames import (
    LETTERS,
    PICTURES,
    choose_signs,
    draw_end,
    draw_frame,
    draw_stage,
    show_left,
    show_seconds,
)
from snakemake_logger_plugin_patchshift.measures import NEWEST, read_earlier_seconds, read_seconds_left, read_work
from snakemake_logger_plugin_patchshift.progress import Progress, TimeLeft, find_stage

from patchshift.plan.stages import SOURCES, VERSIONS

PLAN = {"extract_features": 2, "fit_detector": 1, "evaluate": 4, "all": 1}
WIDE = (100, 30)


def make(earlier: Mapping[str, float] | None = None, plan: Mapping[str, int] | None = None) -> Progress:
    plan = plan or PLAN
    return Progress(plan, sum(plan.values()), 0.0, (earlier or {}).get)


def run(progress: Progress, number: int, rule: str, start: float, end: float, *, cores: int = 1) -> str | None:
    progress.start(number, rule, start, cores, [])
    progress.done += 1
    return progress.finish(number, end)


def texts(progress: Progress, now: float, size: tuple[int, int] = WIDE) -> list[str]:
    return [line.text for line in draw_frame(progress, now, size, LETTERS)]


def test_each_stage_is_a_line_and_the_whole_run_the_last_one() -> None:
    progress = make()
    assert run(progress, 1, "extract_features", 0, 10) is None
    progress.start(2, "extract_features", 10, 1, [])
    assert texts(progress, 14) == [
        "> extract_features  1/2  1 running, 10 s each",
        "  fit_detector      0/1",
        "  evaluate          0/4",
        "###--------------------- 1/8 jobs, 14 s so far, at least 6 s left",
    ]


def test_a_complete_stage_is_told_once_and_leaves_the_frame() -> None:
    progress = make()
    assert run(progress, 1, "fit_detector", 0, 2.5) == "fit_detector"
    assert draw_stage(progress, "fit_detector", LETTERS).text == "+ fit_detector      1/1  2.5 s"
    assert not any("fit_detector" in text for text in texts(progress, 3))


def test_batches_count_under_the_extraction_and_targets_under_nothing() -> None:
    assert find_stage("extract_features_resnet18_0") == "extract_features"
    assert find_stage("all") is find_stage("clean") is None
    progress = make(plan={"extract_features_resnet18_0": 1, "extract_features": 3, "clean": 1})
    assert {name: stage.planned for name, stage in progress.stages.items()} == {"extract_features": 4}
    assert run(progress, 9, "clean", 0, 1) is None


def test_time_left_is_the_work_to_come_at_the_cores_that_were_busy() -> None:
    progress = make(plan={"evaluate": 10})
    for number in range(4):  # two at a time
        run(progress, number, "evaluate", 10 * (number // 2), 10 * (number // 2) + 10)
    left = progress.estimate(20)
    assert left.seconds == pytest.approx(30)  # six jobs of 10 s, two at a time
    assert left.is_whole


def test_jobs_weigh_by_their_cores() -> None:
    progress = make({"evaluate": 10.0}, {"extract_features": 2, "evaluate": 4})
    run(progress, 1, "extract_features", 0, 20, cores=2)
    # one more of 20 s on both cores, and four of 10 s, two at a time
    assert progress.estimate(20).seconds == pytest.approx(20 + 20)


def test_no_run_is_over_before_its_longest_running_job() -> None:
    progress = make({"fit_detector": 100.0, "evaluate": 1.0}, {"fit_detector": 1, "evaluate": 3})
    progress.start(1, "fit_detector", 0, 1, [])
    for number in (2, 3, 4):
        run(progress, number, "evaluate", 0, 1)
    assert progress.estimate(1).seconds == pytest.approx(99)


def test_a_time_that_nothing_is_known_of_is_not_told() -> None:
    progress = make()
    assert show_left(progress.estimate(0)) == "time left unknown"
    progress.start(1, "fit_detector", 0, 1, [])
    assert show_left(progress.estimate(50)) == "time left unknown"
    progress = make({"fit_detector": 40.0})
    progress.start(1, "fit_detector", 0, 1, [])
    assert show_left(progress.estimate(10)) == "at least 30 s left"
    assert show_left(progress.estimate(41)) == "time left unknown"  # it is late


def test_after_a_failure_the_time_left_is_a_bound() -> None:
    progress = make({"evaluate": 10.0}, {"evaluate": 4})
    progress.start(1, "evaluate", 0, 1, [])
    progress.fail(1)
    assert show_left(progress.estimate(0)) == "at most 30 s left"
    assert show_left(TimeLeft(30.0, False, True)) == "time left unknown"


def test_a_job_that_is_tried_again_has_not_failed() -> None:
    progress = make()
    progress.start(1, "evaluate", 0, 1, [])
    progress.fail(1)
    assert progress.failures == 1
    assert "! evaluate          0/4  1 failed" in texts(progress, 1)
    run(progress, 1, "evaluate", 2, 3)
    assert progress.failures == 0


def test_the_end_tells_what_did_not_run() -> None:
    progress = make(plan={"fit_detector": 2, "evaluate": 2})
    run(progress, 1, "fit_detector", 0, 5)
    progress.start(2, "fit_detector", 0, 1, [])
    progress.fail(2)
    assert [line.text for line in draw_end(progress, 70, LETTERS)] == [
        "! fit_detector  1/2  1 failed, 5.0 s each",
        "  evaluate      0/2  2 not run",
        "1 of 4 jobs in 1 min 10 s, 1 failed",
    ]


@pytest.mark.parametrize("size", [(100, 30), (60, 8), (20, 4), (5, 3)])
def test_a_frame_fits_its_terminal(size: tuple[int, int]) -> None:
    progress = make(plan=dict.fromkeys([*VERSIONS, *SOURCES], 300))
    progress.start(1, "write_report", 0, 1, [])
    lines = texts(progress, 5, size)
    assert len(lines) < size[1]
    assert max(map(len, lines)) < size[0]
    assert any(line.startswith("> write"[: size[0] - 1]) for line in lines)  # what runs is not what is left out
    if size == (60, 8):
        assert lines[-2] == f"  ... and {len(progress.stages) - 5} more stages"


def test_the_bar_makes_room_for_the_time_left() -> None:
    for columns, is_shown in ((65, True), (64, False)):
        (*_, last) = texts(make(), 5, (columns, 30))
        assert last.endswith("0/8 jobs, 5 s so far, time left unknown")
        assert last.startswith("-") == is_shown


def test_signs_are_letters_where_a_terminal_has_no_others() -> None:
    assert choose_signs("utf-8") == PICTURES
    assert choose_signs("latin-1") == choose_signs(None) == choose_signs("unheard-of") == LETTERS


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (97200, "1 d 3 h"), (-3, "0 s")],
)
def test_times_are_told_in_two_units(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_images_per_second_are_those_of_the_logs(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_text("2026-01-01 00:00:00,000 INFO a.h5: passed 100 images through the backbone in 20.000 s\n")
    second.write_text("2026-01-01 00:00:00,000 INFO b.h5: 30 of 90 images, 10.0 images/s, 6 s left\n")
    progress = make()
    progress.start(1, "extract_features", 0, 1, [str(first)])
    progress.finish(1, 30)
    assert progress.images_per_second("extract_features") == 5
    progress.start(2, "extract_features", 30, 1, [str(second)])
    assert progress.images_per_second("extract_features") == pytest.approx(130 / 23)
    assert ", 5.65 images/s, 30 s each" in texts(progress, 31)[0]
    assert progress.images_per_second("evaluate") is None


def test_a_running_extraction_is_believed_what_its_log_says(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("2026-01-01 00:00:00,000 INFO b.h5: 30 of 90 images, 10.0 images/s, 6 s left\n")
    said = log.stat().st_mtime
    assert read_seconds_left([str(log)], said + 2) == pytest.approx(4)
    assert read_seconds_left([str(log)], said + 60) == 0
    assert read_seconds_left([str(tmp_path / "none.log")], said) is None
    progress = make({"extract_features": 1000.0}, {"extract_features": 1})
    progress.start(1, "extract_features", said - 6, 1, [str(log)])
    assert progress.estimate(said).seconds == pytest.approx(6)


def test_a_log_that_says_nothing_has_no_pace(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("2026-01-01 00:00:00,000 INFO reading\n")
    for stage in ("extract_features", "score_images", "evaluate"):
        assert read_work(stage, [str(log)]) is None
        assert read_work(stage, [str(tmp_path)]) is None
    log.write_text("x scored 70 images: 0.0500 s reading and embedding, 0.2000 s searching and scoring\n")
    assert read_work("score_images", [str(log)]) == (70, 0.25)


def test_earlier_runs_give_a_first_guess(tmp_path: Path) -> None:
    folder = tmp_path / "evaluate" / "a"
    folder.mkdir(parents=True)
    for name, seconds in (("one", "2.0"), ("two", "4.0"), ("broken", "")):
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:02\n")
    (folder / "empty.tsv").write_text("")
    assert read_earlier_seconds("evaluate", tmp_path) == 3
    assert read_earlier_seconds("decide", tmp_path) is None


def test_only_the_newest_benchmarks_tell_how_long_a_job_takes(tmp_path: Path) -> None:
    folder = tmp_path / "evaluate"
    folder.mkdir()
    for number in range(NEWEST + 50):
        path = folder / f"{number:03}.tsv"
        path.write_text(f"s\th:m:s\n{1 if number < 50 else 9}\t0:00:01\n")
        os.utime(path, (number, number))
    assert read_earlier_seconds("evaluate", tmp_path) == 9
