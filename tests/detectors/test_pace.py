import logging
from typing import Any

import pytest

from patchshift.detectors.fit import fit_detector
from patchshift.detectors.pace import ScoringPace, read_pace
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.score_specs import ScoringSpec

SPEC = PatchCoreSpec.model_validate({"method": "patchcore", "sampler": {"share": 0.2}})


def test_what_is_logged_is_read_back() -> None:
    pace = ScoringPace(12, 1.5, 0.25)
    log = f"2025-01-01 12:00:00,000 INFO {ScoringPace(3, 9.0, 9.0).describe()}\nx\n2025 INFO {pace.describe()}\n"
    assert read_pace(log) == pace


@pytest.mark.parametrize("log", ["", "scored 12 images", "2025-01-01 INFO 12 training images, 3 patches"])
def test_a_log_without_the_line_says_nothing(log: str) -> None:
    assert read_pace(log) is None


def test_scoring_logs_its_pace(make_features: Any, caplog: pytest.LogCaptureFixture) -> None:
    bank = fit_detector(SPEC, make_features(), seed=0)
    with caplog.at_level(logging.INFO):
        bank.score(make_features(4, seed=1), ScoringSpec())
    pace = read_pace(caplog.text)
    assert pace is not None
    assert pace.images == 4
    assert pace.embedding_seconds > 0
    assert pace.searching_seconds > 0
