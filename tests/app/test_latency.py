from pathlib import Path

import pytest

from patchshift.app.latency import Latency, Stopwatch, describe_latencies, summarise_latencies, write_latencies


def test_quantiles_are_of_steps_and_of_their_sum() -> None:
    latencies = [Latency(decode=float(number), forward=100.0 - number, search=1.0, map=0.5) for number in range(101)]
    summary = summarise_latencies(latencies)
    assert summary["decode"] == {"p50": 50.0, "p95": 95.0}
    assert summary["forward"] == {"p50": 50.0, "p95": 95.0}
    assert summary["total"] == {"p50": 101.5, "p95": 101.5}
    assert summarise_latencies([]) == {}


def test_a_batch_is_shared_among_its_images() -> None:
    watch = Stopwatch()
    with watch.time("forward"):
        pass
    watch.times["search"] = 30.0
    assert watch.share(3).search == 10.0
    assert watch.share(1).forward == watch.times["forward"] > 0


def test_the_line_says_what_was_left_out() -> None:
    line = describe_latencies([Latency(1.0, 2.0, 3.0, 4.0)] * 2, left_out=1)
    assert line.startswith("latency in ms, p50 / p95 of 2 images without the first image (warm-up): decode 1.0 / 1.0")
    assert line.endswith("total 10.0 / 10.0")
    assert "without the first 8 images" in describe_latencies([Latency()], left_out=8)
    assert "not measured" in describe_latencies([], left_out=1)


def test_the_table_has_a_row_for_every_image(tmp_path: Path) -> None:
    write_latencies(tmp_path / "latency.csv", ["a", "b"], [Latency(1.0), Latency(2.0, 0.25)], left_out=1)
    assert (tmp_path / "latency.csv").read_text().splitlines() == [
        "image,decode,forward,search,map,total,warm_up",
        "a,1.000,0.000,0.000,0.000,1.000,1",
        "b,2.000,0.250,0.000,0.000,2.250,0",
    ]


def test_a_step_that_fails_is_no_step() -> None:
    watch = Stopwatch()
    with pytest.raises(ValueError, match="no"), watch.time("map"):
        raise ValueError("no")
    assert watch.times["map"] == 0
