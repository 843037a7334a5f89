from patchshift.report.background import describe_making, list_settings, summarise_splits


def test_every_image_is_counted_in_its_part(results):
    first, second = summarise_splits(results.all_cells())
    assert (first.category, second.category) == ("a", "b")
    assert first.parts == ["train", "val", "test"]
    assert first.counts["good"] == [3, 3, 6]
    assert [sum(column) for column in zip(*first.counts.values(), strict=True)] == [3, 6, 12]


def test_identical_images_in_two_parts_are_found(results):
    first, _ = summarise_splits(results.all_cells())
    assert first.identical == [["test: a-test-0-0.png", "val: a-val-0-0.png"]]


def test_making_names_libraries_and_digests(results):
    making = describe_making(results.all_cells())
    assert making.libraries == {"numpy": "9.9"}
    assert len(making.artifacts) == len({cell.scores for cell in results.all_cells()})
    artifact = making.artifacts[0]
    assert artifact.made_from == {"bank": "f" * 12, "split": "e" * 12}
    assert len(artifact.digest) == 12


def test_settings_read_like_the_config():
    provenance = {"question": "?", "evaluation": {"confidence": 0.95}, "detectors": {"d": {"sampler": {"share": 0.02}}}}
    assert list_settings(provenance) == {"detectors": {"d": "sampler:\n  share: 0.02"}}
