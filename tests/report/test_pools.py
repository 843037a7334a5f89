import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.pools import COMPOSITION
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.pairing import mean_difference
from patchshift.report.pools import NO_OWN_BANK, compare_pools, pool_table
from patchshift.report.results import StudyResults
from patchshift.report.tables import predictions, tidy_metrics
from patchshift.runtime.files import read_json, write_json, write_text

SPEC = EvaluationSpec(bootstrap_resamples=100)
ROW = ["train_category", "target_dataset", "target_category", "detector"]


def test_pool_is_paired_with_the_banks_of_its_categories(made, results):
    for comparison in compare_pools(results, made.plan, SPEC):
        assert [(own.category, pooled.category) for own, pooled in comparison.pairs] == [("a", "a"), ("b", "b")]
        for own, pooled in comparison.pairs:
            assert own.cell.bank.training.dataset == "d"
            assert pooled.cell.bank.training.dataset == "pools"
            assert own.cell.calibration == pooled.cell.calibration
        assert comparison.left_out == {}
    assert len(compare_pools(results, made.plan, SPEC)) == 2


def test_study_without_a_pool_compares_nothing(make_study):
    study = make_study(clean={"title": "Only", "train": ["d/a"]})
    assert compare_pools(StudyResults(study.plan, study.folder), study.plan, SPEC) == []


def test_a_pools_own_categories_and_others_are_compared_apart(make_study):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        own={"title": "", "train": ["d", "e"]},
        pool={"title": "", "train": ["pools/all"], "targets": ["e", "d/a"]},
    )
    results = StudyResults(study.plan, study.folder)
    found = {each.of_members: each for each in compare_pools(results, study.plan, SPEC)}
    targets = {of: [pooled.cell.target.path for _, pooled in each.pairs] for of, each in found.items()}
    assert targets == {False: ["e/a/clean", "e/b/clean"], True: ["d/a/clean"]}
    for of_members, comparison in found.items():
        losses = [loss.value for loss in comparison.losses.values()]
        assert len(losses) == (1 if of_members else 2)
        assert comparison.difference.value == pytest.approx(-sum(losses) / len(losses))
    page = study.render()
    assert "Pool all on its own categories, clean" in page
    assert "Pool all on categories that it has not, clean" in page


def test_a_pool_meets_an_alias_beside_the_banks_of_its_members(make_study):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        own={"title": "", "train": ["d"], "target_domains": ["camera_b"]},
        adapted={"title": "", "train": ["d"], "train_domains": ["camera_b"]},
        pool={"title": "", "train": ["pools/all"], "targets": ["d"], "target_domains": ["camera_b"]},
    )
    (comparison,) = compare_pools(StudyResults(study.plan, study.folder), study.plan, SPEC)
    assert comparison.domain == "camera_b"
    assert [own.cell.bank.training.path for own, _ in comparison.pairs] == ["d/a/clean", "d/b/clean"]
    assert comparison.of_members  # the same products, seen by another camera
    assert table(study).is_member.tolist() == [1, 1]


def table(study: Any, experiment: str = "pool") -> pd.DataFrame:
    return pool_table(StudyResults(study.plan, study.folder), study.plan, experiment, SPEC).set_index(ROW)


def test_each_bank_of_a_pool_and_target_has_a_row_with_the_loss_against_the_targets_own_bank(made, results):
    found = table(made)
    assert list(found.index) == [
        ("all", "d", category, detector) for detector in ("blunt", "sharp") for category in ("a", "b")
    ]
    for (_, _, category, detector), row in found.iterrows():
        own, pooled = (
            next(c for c in results.cells[name] if (c.target.category, c.bank.detector) == (category, detector))
            for name in ("clean", "pool")
        )
        assert row.image_auroc == results.value(pooled, "image_auroc").value
        assert row.own_image_auroc == results.value(own, "image_auroc").value
        assert row.loss == pytest.approx(row.own_image_auroc - row.image_auroc)
        paired = mean_difference(results, [own], [pooled], SPEC)
        assert (row.loss, row.loss_low, row.loss_high) == (paired.value, paired.low, paired.high)
    assert found.undefined.eq("").all()


def test_the_rows_say_whose_vectors_the_bank_holds_and_whose_are_nearest(made):
    found = table(made).loc[("all", "d", "b", "sharp")]
    assert (found.is_member, found.bank_vectors) == (1, 300)
    assert found[list(COMPOSITION)].tolist() == [0.75, 0.125, 0.5]


def test_thresholds_do_not_repeat_a_row(make_study: Callable[..., Any]):
    study = make_study(
        detectors=("sharp",),
        own={"title": "", "train": ["d"], "thresholds": ["lax"]},
        pool={"title": "", "train": ["pools/all"], "thresholds": ["lax", "strict"]},
    )
    assert len(study.plan.cells()["pool"]) == 4
    found = table(study)
    assert len(found) == 2
    assert found.undefined.eq("").all()


def test_without_a_bank_of_the_category_alone_there_is_no_loss_and_the_reason(make_study: Callable[..., Any]):
    study = make_study(
        detectors=("sharp",),
        own={"title": "", "train": ["d/a"], "detectors": ["sharp"]},
        pool={"title": "", "train": ["pools/all"]},
    )
    found = table(study)
    assert found.undefined.tolist() == ["", NO_OWN_BANK]
    assert found.loss.isna().tolist() == found.own_image_auroc.isna().tolist() == [False, True]
    assert found.image_auroc.notna().all()


def test_another_seed_detector_or_domain_is_not_the_own_bank(make_study: Callable[..., Any]):
    study = make_study(
        own={"title": "", "train": ["d"], "seeds": [1], "detectors": ["sharp"]},
        other={"title": "", "train": ["d"], "detectors": ["blunt"]},
        dark={"title": "", "train": ["d"], "train_domains": ["dark"], "target_domains": ["clean"]},
        pool={"title": "", "train": ["pools/all"], "detectors": ["sharp"]},
    )
    assert set(table(study).undefined) == {NO_OWN_BANK}


def test_a_target_outside_the_pool_is_set_against_its_own_bank_too(make_study: Callable[..., Any]):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        own={"title": "", "train": ["d", "e"]},
        pool={"title": "", "train": ["pools/all"], "targets": ["e", "d/a"]},
    )
    found = table(study)
    assert found.is_member.tolist() == [0, 0, 1]
    assert found.undefined.eq("").all()


def test_a_detector_that_does_not_tell_whose_vectors_it_keeps_has_empty_shares(make_study: Callable[..., Any]):
    study = make_study(detectors=("sharp",), pool={"title": "", "train": ["pools/all"]})
    for cell in study.cells():
        path = Path(cell.metrics)
        write_json(path, read_json(path) | {"facts": {"patches_per_image": 16}})
    write_text(study.folder / "metrics.csv", tidy_metrics(study.cells()).to_csv(index=False))
    found = table(study)
    assert found[["bank_vectors", *COMPOSITION]].isna().all(axis=None)
    assert found.image_auroc.notna().all()


def test_the_page_shows_losses_also_where_shares_are_unknown(make_study: Callable[..., Any]):
    own, pool = {"title": "", "train": ["d"]}, {"title": "", "train": ["pools/all"]}
    study = make_study(detectors=("sharp",), own=own, pool=pool)
    for cell in study.cells():
        path = Path(cell.metrics)
        write_json(path, read_json(path) | {"facts": {"patches_per_image": 16}})
    write_text(study.folder / "metrics.csv", tidy_metrics(study.cells()).to_csv(index=False))
    page = study.render()
    section = page.partition("What the shared bank costs")[2].partition("</table>")[0]
    assert "<th>image AUROC lost</th>" in section
    assert re.findall(r'<th scope="row">([ab])</th>\s*<td>(?:<b>)?[+\N{MINUS SIGN}]?0\.\d{3}', section) == ["a", "b"]
    assert "its share of the vectors" not in page


def rank_each_calibration(study: Any) -> None:
    """Decisions and tables as a calibrated combination leaves them; policy `strict` ranks the wrong way round."""
    for cell in study.cells():
        content = read_json(Path(cell.decisions))
        sign = -1 if cell.threshold == "strict" else 1
        images = [{**image, "score": sign * image["score"]} for image in content["images"]]
        ranked = image_auroc(np.array([row["label"] for row in images]), np.array([row["score"] for row in images]))
        ranking = {"image_auroc": {"value": ranked, "low": ranked, "high": ranked}}
        write_json(Path(cell.decisions), content | {"images": images, "ranking": ranking})
    for name, make in (("metrics", tidy_metrics), ("predictions", predictions)):
        write_text(study.folder / f"{name}.csv", make(study.cells()).to_csv(index=False))


def test_rankings_that_depend_on_the_calibration_have_a_row_for_each(make_study: Callable[..., Any]):
    thresholds = {"thresholds": ["strict", "lax"]}
    study = make_study(
        detectors=("blunt",),
        own={"title": "", "train": ["d"]} | thresholds,
        pool={"title": "", "train": ["pools/all"]} | thresholds,
    )
    assert table(study)[["policy", "calibration_domain"]].eq("").all(axis=None)
    rank_each_calibration(study)
    results, found = StudyResults(study.plan, study.folder), table(study).set_index("policy", append=True)
    assert list(found.index) == [("all", "d", name, "blunt", policy) for policy in ("strict", "lax") for name in "ab"]
    assert found.calibration_category.tolist() == ["a", "b", "a", "b"]
    for (_, _, category, _, policy), row in found.iterrows():
        own, pooled = (
            next(c for c in results.cells[name] if (c.target.category, c.threshold) == (category, policy))
            for name in ("own", "pool")
        )
        assert row.own_image_auroc == results.value(own, "image_auroc").value
        assert row.image_auroc == results.value(pooled, "image_auroc").value
        assert row.loss == mean_difference(results, [own], [pooled], SPEC).value
    assert found.own_image_auroc.nunique() > 2


def test_the_own_bank_of_another_calibration_is_no_counterpart(make_study: Callable[..., Any]):
    study = make_study(
        detectors=("blunt",),
        own={"title": "", "train": ["d"], "thresholds": ["lax"]},
        pool={"title": "", "train": ["pools/all"], "thresholds": ["strict", "lax"]},
    )
    rank_each_calibration(study)
    assert table(study).undefined.tolist() == [f"{NO_OWN_BANK}, calibrated alike"] * 2 + [""] * 2
