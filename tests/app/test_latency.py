import tracemalloc

import pytest

from patchshift.app.latency import COLUMNS, Latencies, Latency, Stopwatch, as_row, describe_latencies


def test_quantiles_are_of_steps_and_of_their_sum() -> None:
    steps = ((float(number), 100.0 - number) for number in range(101))
    latencies = Latencies(Latency(decode=one, forward=other, search=1.0, map=0.5) for one, other in steps)
    summary = latencies.summarise()
    assert len(latencies) == 101
    assert summary["decode"] == {"p50": 50.0, "p95": 95.0}
    assert summary["forward"] == {"p50": 50.0, "p95": 95.0}
    assert summary["total"] == {"p50": 101.5, "p95": 101.5}
    assert Latencies().summarise() == {}


def test_latencies_of_a_day_fit_into_two_megabytes() -> None:
    latencies, second = Latencies(), Latency(1.0, 2.0, 3.0, 4.0)
    tracemalloc.start()
    for _ in range(24 * 60 * 60):
        latencies.add(second)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2e6


def test_a_batch_is_shared_among_its_images() -> None:
    watch = Stopwatch()
    with watch.time("forward"):
        pass
    watch.times["search"] = 30.0
    assert watch.share(3).search == 10.0
    assert watch.share(1).forward == watch.times["forward"] > 0


def test_the_line_says_what_was_left_out() -> None:
    line = describe_latencies(Latencies([Latency(1.0, 2.0, 3.0, 4.0)] * 2), left_out=1)
    assert line.startswith("latency in ms, p50 / p95 of 2 images without the first image (warm-up): decode 1.0 / 1.0")
    assert line.endswith("total 10.0 / 10.0")
    assert "without the first 8 images" in describe_latencies(Latencies([Latency()]), left_out=8)
    assert "not measured" in describe_latencies(Latencies(), left_out=1)


def test_a_row_has_the_steps_of_an_image_and_whether_it_counts() -> None:
    assert COLUMNS == ("image", "decode", "forward", "search", "map", "total", "warm_up")
    assert as_row("a", Latency(1.0), warm_up=True) == ("a", "1.000", "0.000", "0.000", "0.000", "1.000", 1)
    assert as_row("b", Latency(2.0, 0.25), warm_up=False) == ("b", "2.000", "0.250", "0.000", "0.000", "2.250", 0)


def test_a_step_that_fails_is_no_step() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.time("map"):
        raise ValueError("no")
    assert watch.times["map"] == 0
