from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study, missing_inputs
from patchshift.plan.batches import ExtractionJob, expand_jobs, list_batches, list_targets
from patchshift.plan.cells import Target

Settings = dict[str, Any]
Load = Callable[[], Study]


def targets(*paths: str) -> list[Target]:
    return [Target(*path.split("/")) for path in paths]


def test_targets_are_all_that_banks_scores_and_thresholds_need_each_once(
    catalog: Settings, study: Settings, load: Load
) -> None:
    catalog["domains"]["spots_plan"] = {"synthesis": {"split": "plan", "part": "val", "count": 2}}
    catalog["thresholds"]["spotted"] = {"policy": "f1_max", "defects_from": "spots_plan"}
    study["experiments"] = {
        "shifted": {"title": "", "train": ["parts/nut"], "target_domains": ["dim"]},
        "pooled": {"title": "", "train": ["pools/mixed"], "targets": ["parts/nut"], "train_domains": ["turned"]},
        "synthetic": {"title": "", "train": ["parts/nut"], "thresholds": ["spotted"]},
        "other": {"title": "", "train": ["cloth"], "backbones": ["resnet"]},
    }
    assert list_targets(load()) == {
        "waves": targets(
            "parts/nut/clean",  # trained on, calibrated on
            "parts/nut/dim",
            "parts/bolt/turned",  # members of the pool
            "cloth/weave/turned",
            "parts/nut/turned",
            "parts/nut/spots_plan",
        ),
        "resnet": targets("cloth/weave/clean"),
    }


def test_targets_are_cut_into_batches_in_their_order_and_none_stays_alone_in_one(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts", "cloth"], "target_domains": ["clean", "dim"]}
    study["batch_categories"] = 2
    needed = list_targets(load())["waves"]
    assert [batch.targets for batch in list_batches(load())] == [tuple(needed[i : i + 2]) for i in (0, 2, 4)]
    study["batch_categories"] = 5
    (batch,) = list_batches(load())
    assert batch.targets == tuple(needed[:5])
    study["batch_categories"] = 1
    assert list_batches(load()) == []


def test_batches_of_each_backbone_are_numbered_and_named(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts", "cloth"], "backbones": ["waves", "resnet"]}
    study["batch_categories"] = 2
    batches = list_batches(load())
    assert [(batch.rule, batch.name) for batch in batches] == [
        ("extract_features_waves_0", "batches/waves/0"),
        ("extract_features_resnet_0", "batches/resnet/0"),
    ]
    assert batches[1].features == [
        "results/features/parts/bolt/clean/resnet.h5",
        "results/features/parts/nut/clean/resnet.h5",
    ]


def test_more_cells_at_the_end_leave_full_batches_as_they_are(study: Settings, load: Load) -> None:
    study["batch_categories"] = 2
    before = list_batches(load())
    study["experiments"]["more"] = {"title": "", "train": ["cloth"], "target_domains": ["clean", "dim"]}
    assert before == list_batches(load())[: len(before)]
    assert len(list_batches(load())) == 2


@pytest.mark.parametrize("size", [1, 2])
def test_what_a_batch_lacks_is_what_its_targets_lack(study: Settings, load: Load, size: int) -> None:
    study["experiments"]["clean"] |= {"backbones": ["resnet"]}
    singles = [
        ("extract_features", {"dataset": "parts", "category": name, "domain": "clean", "backbone": "resnet"})
        for name in ("bolt", "nut")
    ]
    study["batch_categories"] = size
    jobs = [("index_images", {"dataset": "parts", "category": "bolt"}), ("all", {})]
    batched = [("extract_features_resnet_0", {})] if size == 2 else singles
    expanded = expand_jobs(load(), [*jobs, *batched])
    assert expanded == [*jobs, *singles]
    lines = missing_inputs(load(), expanded)
    assert any("resnet.safetensors does not exist" in line for line in lines)
    assert sum("folder data/parts" in line for line in lines) == 2
    assert missing_inputs(load(), batched) == (lines if size == 1 else [])


def test_a_batch_tells_its_stores_in_the_order_of_its_targets() -> None:
    batch = ExtractionJob("waves", 3, tuple(targets("a/b/clean", "a/c/clean")))
    assert batch.features == ["results/features/a/b/clean/waves.h5", "results/features/a/c/clean/waves.h5"]
