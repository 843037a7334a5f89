from patchshift.report.labels import category_labels, group_labels, split_labels

ROW = {
    "train_dataset": "d", "train_category": "a", "train_domain": "clean",
    "target_dataset": "d", "target_category": "a", "target_domain": "clean",
    "split": "s", "backbone": "net", "weights": "net.safetensors", "detector": "bank", "seed": 0, "policy": "p",
}  # fmt: skip


def test_only_what_varies_is_said():
    assert group_labels([ROW, {**ROW, "detector": "other"}]) == ["bank", "other"]
    assert group_labels([ROW, {**ROW, "seed": 1}]) == ["seed 0", "seed 1"]


def test_domains_that_vary_together_are_said_once():
    dark = {**ROW, "train_domain": "dark", "target_domain": "dark"}
    assert group_labels([ROW, dark]) == ["clean", "dark"]


def test_same_target_from_two_domains_says_where_the_bank_is_from():
    assert group_labels([ROW, {**ROW, "train_domain": "dark"}]) == ["fitted on clean", "fitted on dark"]


def test_nothing_varies_but_something_is_said():
    assert group_labels([ROW]) == ["bank on net"]
    assert group_labels([{**ROW, "train_dataset": "pools", "train_category": "all"}]) == ["bank on net, pool all"]


def test_thresholds_are_told_apart_on_request():
    rows = [ROW, {**ROW, "policy": "q"}]
    assert group_labels(rows, policies=True) == ["p", "q"]
    assert group_labels(rows) == ["bank on net"] * 2


def test_other_categories_and_pools_are_named():
    other = {**ROW, "train_category": "b"}
    pool = {**ROW, "train_dataset": "pools", "train_category": "all"}
    assert group_labels([ROW, other, pool]) == ["own category", "bank of b", "pool all"]


def test_dataset_is_named_where_there_are_several():
    assert category_labels([ROW]) == ["a"]
    assert category_labels([ROW, {**ROW, "target_dataset": "e"}]) == ["d/a", "e/a"]


CAMERA = {**ROW, "target_dataset": "e", "target_category": "a2", "alias": "camera_b", "origin": "d/a"}


def test_what_an_alias_led_to_is_named_as_a_domain_of_its_product():
    adapted = {**CAMERA, "train_dataset": "e", "train_category": "a2"}
    assert category_labels([ROW, CAMERA, adapted]) == ["a", "a", "a"]
    assert group_labels([ROW, CAMERA, adapted]) == [
        "clean, fitted on clean",
        "camera_b, fitted on clean",
        "camera_b, fitted on camera_b",
    ]
    assert group_labels([CAMERA, {**CAMERA, "train_category": "b"}]) == ["own category", "bank of b"]


def test_a_bank_of_another_datasets_category_is_named_in_full():
    assert group_labels([ROW, {**ROW, "train_dataset": "e"}]) == ["own category", "bank of e/a"]


def test_random_weights_are_said_even_where_all_rows_have_them():
    untrained = {**ROW, "weights": "random"}
    assert group_labels([untrained]) == ["bank on net (random weights)"]
    assert group_labels([untrained, {**untrained, "seed": 1}]) == [
        "seed 0, net (random weights)",
        "seed 1, net (random weights)",
    ]
    assert group_labels([ROW, {**untrained, "backbone": "other"}]) == ["net", "other (random weights)"]


def test_what_all_groups_share_is_told_from_what_each_has_alone():
    assert split_labels(["one, net (random weights)", "two, net (random weights)"]) == (
        "net (random weights)",
        ["one", "two"],
    )
    assert split_labels(["bank on net"]) == ("bank on net", [""])
    assert split_labels(["one", "two"]) == ("", ["one", "two"])
