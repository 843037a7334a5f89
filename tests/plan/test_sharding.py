import re
from collections.abc import Callable
from typing import Any

import pytest

from patchshift.plan import Study, missing_inputs, training_inputs
from patchshift.plan.batches import list_batches
from patchshift.plan.sharding import (
    NUMBER,
    find_whole,
    list_bank_representation,
    list_bank_shards,
    list_feature_shards,
    list_shard_versions,
    match_backbone_counts,
    match_detector_counts,
    name_backbones,
    name_detectors,
)

Settings = dict[str, Any]
Load = Callable[[], Study]
TARGET = {"dataset": "parts", "category": "nut", "domain": "clean"}


@pytest.fixture(autouse=True)
def _shards(catalog: Settings) -> None:
    catalog["backbones"]["wide.waves"] = catalog["backbones"]["waves"] | {"shards": 3}
    catalog["detectors"]["many"] = catalog["detectors"]["plain"] | {"shards": 2}


def test_shards_lie_beside_what_they_are_joined_to(load: Load) -> None:
    study = load()
    assert list_feature_shards(study, TARGET | {"backbone": "wide.waves"}) == [
        f"results/features/parts/nut/clean/wide.waves.shards/{number}of3.h5" for number in (1, 2, 3)
    ]
    bank = {
        "dataset": "pools",
        "category": "metal",
        "domain": "clean",
        "split": "plan",
        "backbone": "waves",
        "seed": "4",
    }
    folder = "results/banks/pools/metal/clean/plan/waves/many/seed4.shards"
    assert list_bank_shards(study, bank | {"detector": "many"}) == [f"{folder}/1of2.h5", f"{folder}/2of2.h5"]
    assert list_bank_representation(study, bank | {"detector": "many"}) == [f"{folder}/representation.h5"]
    assert len(list_shard_versions(study, "many")) == 2
    for list_files in (list_bank_shards, list_bank_representation):
        assert list_files(study, bank | {"detector": "plain"}) == []
    assert list_shard_versions(study, "plain") == []


def test_every_backbone_is_extracted_in_one_way_and_no_shard_is_mistaken_for_a_store(load: Load) -> None:
    study = load()
    one, several = (re.compile(name_backbones(study, sharded=sharded)) for sharded in (False, True))
    for name in study.catalog.backbones:
        assert bool(one.fullmatch(name)) + bool(several.fullmatch(name)) == 1
    assert several.fullmatch("wide.waves")
    assert not several.fullmatch("wide_waves")
    assert not several.fullmatch("wide.waves.shards/1of3")
    assert re.fullmatch(name_detectors(study), "many")
    assert not re.fullmatch(name_detectors(study), "plain")


def test_only_shards_that_a_study_has_have_a_path(load: Load) -> None:
    study = load()
    for pattern, known in ((match_backbone_counts(study), "3"), (match_detector_counts(study), "2"), (NUMBER, "12")):
        assert re.fullmatch(pattern, known)
        assert not any(re.fullmatch(pattern, other) for other in ("x", "0", "1.5", "../1", "99of", ""))
    assert not re.fullmatch(match_backbone_counts(study), "99")


def test_without_shards_nothing_matches(catalog: Settings, load: Load) -> None:
    del catalog["backbones"]["wide.waves"], catalog["detectors"]["many"]
    assert not re.fullmatch(name_backbones(load(), sharded=True), "")
    assert not re.fullmatch(name_detectors(load()), "")


def test_features_do_not_depend_on_shards_and_banks_do(load: Load) -> None:
    study = load()
    assert study.backbone_spec("wide.waves") == study.backbone_spec("waves")
    assert study.fit_spec("many") != study.fit_spec("plain")
    assert study.score_spec("many") == study.score_spec("plain")


def test_a_backbone_that_has_shards_is_in_no_batch(study: Settings, load: Load) -> None:
    study["experiments"]["clean"] |= {"train": ["parts", "cloth"], "backbones": ["waves", "wide.waves"]}
    study["batch_categories"] = 2
    assert {batch.backbone for batch in list_batches(load())} == {"waves"}


def test_a_shard_needs_the_folder_and_the_weights_that_a_whole_store_needs(catalog: Settings, load: Load) -> None:
    catalog["backbones"]["resnet"]["shards"] = 2
    lines = missing_inputs(load(), [("extract_shard", TARGET | {"backbone": "resnet", "shard": "1", "shards": "2"})])
    assert len(lines) == 2
    assert "weight file weights/resnet.safetensors does not exist" in lines[0]
    assert "folder data/parts/nut does not exist" in lines[1]


def test_the_job_that_shards_wait_for_asks_for_no_patches(catalog: Settings, load: Load) -> None:
    catalog["detectors"]["many"] |= {"memory_mb": 900, "chunk_mb": 100}
    study = load()
    more = training_inputs.fit_memory(study, "many") - training_inputs.representation_memory(study, "many")
    assert more == 900


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": {"method": "random", "share": 0.1}}, "not 'random': remove shards, or choose that sampler"),
        ({"sampler": {"method": "none"}}, "not 'none'"),
        ({"sampler": {"method": "kmeans", "count": 9}}, "not 'kmeans'"),
        ({"sampler": {"method": "variance_weighted", "share": 0.1}}, "not 'variance_weighted'"),
        ({"sampler": {"share": 0.1, "starts": 10}}, "not 'greedy' with 10 starts"),
        ({"method": "patchcore_dual", "sampler": {"method": "none"}}, "not 'none'"),
        ({"compat": "official"}, "not 'greedy' with 10 starts"),
    ],
)
def test_samplers_that_need_all_patches_have_no_shards(
    catalog: Settings, mistakes: Callable[[], list[str]], settings: Settings, message: str
) -> None:
    catalog["detectors"]["many"] = {"method": "patchcore", "shards": 2} | settings
    (line,) = mistakes()
    assert "many" in line
    assert "shards: only sampler 'greedy' with one start chooses from shards" in line
    assert message in line


@pytest.mark.parametrize("method", ["padim", "pca"])
def test_detectors_without_a_memory_bank_have_no_shards(
    catalog: Settings, mistakes: Callable[[], list[str]], method: str
) -> None:
    catalog["detectors"]["many"] = {"method": method, "shards": 2}
    (line,) = mistakes()
    assert "many" in line
    assert "this method keeps no patches: remove shards" in line


def test_the_positive_bank_of_a_dual_one_may_be_sampled_in_any_way(catalog: Settings, load: Load) -> None:
    catalog["detectors"]["many"] = {"method": "patchcore_dual", "shards": 2, "positive_sampler": {"method": "none"}}
    assert load().catalog.detectors["many"].shards == 2


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("a/b.shards/3of12.h5", ("a/b.h5", 12)),
        ("a/b.c.shards/1of2.log", ("a/b.c.log", 2)),
        ("a/b.h5", None),
        ("a/b.shards/representation.h5", None),
        ("a/1of2.h5", None),
    ],
)
def test_the_whole_of_a_shard_is_told_by_its_path(path: str, whole: tuple[str, int] | None) -> None:
    assert find_whole(path) == whole
