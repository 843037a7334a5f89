from dataclasses import astuple
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.data.shifts.severities import LEVELS
from patchshift.plan.domain_specs import COMPOSITIONS, Geometric, Photometric

TRANSFORMS = [*GEOMETRIC, *PHOTOMETRIC]


def test_every_transform_that_a_config_can_name_is_made_and_has_its_levels() -> None:
    assert list(GEOMETRIC) == list(get_args(Geometric))
    assert list(PHOTOMETRIC) == list(get_args(Photometric))
    assert list(LEVELS) == TRANSFORMS
    assert {name for names in COMPOSITIONS.values() for name in names} <= set(TRANSFORMS)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_severity_reaches_further_than_the_one_before(name: str) -> None:
    levels = LEVELS[name]
    (identity, other), *ranges = astuple(levels)
    assert identity == other
    reaches = [max(abs(end - identity) for end in ends) for ends in ranges]
    assert 0 < reaches[0] < reaches[1] < reaches[2]


def test_moderate_is_the_source_plan() -> None:
    plan = {
        "rotation": (-10, 10),
        "crop": (0.9, 1.0),
        "brightness": (0.7, 1.3),
        "contrast": (0.7, 1.3),
        "saturation": (0.7, 1.3),
        "gaussian_blur": (0.8, 1.1),
        "gaussian_noise": (0.01, 0.05),
    }
    for name, ends in plan.items():
        assert LEVELS[name].moderate == pytest.approx(ends)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_named_severities_are_whole_strengths_and_others_lie_between(name: str) -> None:
    levels = LEVELS[name]
    assert [levels.between(strength) for strength in range(4)] == [pytest.approx(ends) for ends in astuple(levels)]
    for strength, (before, after) in enumerate(pairwise(astuple(levels))):
        assert levels.between(strength + 0.25) == pytest.approx(0.75 * np.array(before) + 0.25 * np.array(after))


@given(st.sampled_from(TRANSFORMS), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_what_is_drawn_moves_away_from_the_identity_as_severity_grows(name: str, strength: float, seed: int) -> None:
    """The same stream at a greater strength: an amount on the same side, never nearer."""
    identity = LEVELS[name].identity[0]
    near, far = (
        np.random.default_rng(seed).uniform(*LEVELS[name].between(value)) - identity
        for value in (strength * 0.7, strength)
    )
    assert near * far >= 0
    assert abs(near) <= abs(far) + 1e-9


def test_the_documented_table_is_the_one_in_use(repository: Path) -> None:
    documented = {}
    for line in (repository / "docs" / "data.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].strip("`") in LEVELS:
            documented[cells[0].strip("`")] = cells[2:]
    shown = {name: [show(ends, name) for ends in astuple(levels)[1:]] for name, levels in LEVELS.items()}
    assert documented == shown


def show(ends: tuple[float, float], name: str) -> str:
    shares = ("crop", "translation", "perspective", "illumination", "vignetting", "motion_blur", "defocus")
    percent = name in (*shares, "salt_and_pepper")
    low, high = (f"{100 * end:.3g}" if percent else f"{end:.3g}" for end in ends)
    text = f"±{high}" if low == f"-{high}" else f"{low} to {high}"
    return f"{text} %" if percent else text
