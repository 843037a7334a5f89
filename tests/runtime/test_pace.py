import logging

import pytest

from patchshift.runtime import pace
from patchshift.runtime.pace import Advance, Pace, count_images, read_advance, read_passes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only element."""
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_pace_and_remaining_time_are_told_now_and_then_and_at_the_end(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Pace("store.h5", 100) as watched:
        for clock[0], done in ((4.0, 10), (20.0, 50), (22.0, 60), (40.0, 100)):
            watched.report(done)
    assert caplog.messages == [
        "store.h5: 50 of 100 images, 2.5 images/s, 20 s left",
        "store.h5: 100 of 100 images, 2.5 images/s, 0 s left",
        "store.h5: passed 100 images through the backbone in 40.000 s",
    ]


def test_a_log_tells_how_many_images_passed_through_a_backbone(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with caplog.at_level(logging.INFO):
        for name, total in (("results/features/a: passed 7 images/b.h5", 12), ("c.h5", 30)):
            with Pace(name, total) as watched:
                clock[0] += 1.5
                watched.report(total)
    text = caplog.handler.stream.getvalue()
    assert text.count("\n") == 4
    assert count_images(text) == 42
    assert read_passes(text) == {"results/features/a: passed 7 images/b.h5": (12, 1.5), "c.h5": (30, 1.5)}
    assert count_images("c.h5: 30 of 30 images, 2.5 images/s, 0 s left\n") == 0
    assert count_images("") == 0


def test_a_job_that_fails_tells_how_many_images_it_had_passed_through(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    def fail_after(done: int) -> None:
        with Pace("store.h5", 100) as watched:
            watched.report(done)
            raise OSError("full")

    with caplog.at_level(logging.INFO), pytest.raises(OSError, match="full"):
        fail_after(16)
    assert caplog.messages == ["store.h5: passed 16 images through the backbone in 0.000 s"]
    assert count_images(caplog.messages[0]) == 16


def test_a_log_tells_how_far_the_last_of_its_stores_is(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with caplog.at_level(logging.INFO), Pace("a.h5", 10) as first:
        clock[0] = 4.0
        first.report(10)
    with caplog.at_level(logging.INFO), Pace("b.h5", 100) as second:
        clock[0] = 24.0
        second.report(50)
        text = caplog.handler.stream.getvalue()
    assert read_advance(text) == Advance(50, 2.5, 20.0)
    assert read_advance("") is None
