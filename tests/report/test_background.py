from patchshift.report.background import describe_making, list_settings


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


def test_settings_that_are_empty_are_left_out():
    settings = {"d": {"licence": "", "manifest": None, "mirrors": [], "seed": 0}}
    assert list_settings({"datasets": settings}) == {"datasets": {"d": "seed: 0"}}
