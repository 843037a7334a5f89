from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchshift.errors import UserError
from patchshift.plan import load_study, training_inputs

DUAL = {"method": "patchcore_dual", "crops": "crops_plan", "add_augmented": "painted_plan"}
DOMAINS: dict[str, Any] = {
    "crops_plan": {"crops": {"split": "plan"}},
    "painted_plan": {"synthesis": {"split": "plan", "part": "train"}},
    "val_plan": {"synthesis": {"split": "plan", "part": "val"}},
    "turned_plan": {"turns": {"split": "plan"}},
    "crops_published": {"crops": {"split": "published"}},
    "turned_published": {"turns": {"split": "published"}},
}
Load = Callable[[], Any]


@pytest.fixture(autouse=True)
def _domains(catalog: dict[str, Any]) -> None:
    catalog["domains"] |= DOMAINS


@pytest.fixture
def use(catalog: dict[str, Any], study: dict[str, Any], load: Load) -> Callable[..., Any]:
    """The study with one detector, fitted in some domain."""

    def use(detector: dict[str, Any], domain: str = "clean") -> Any:
        catalog["detectors"]["mine"] = detector
        study["select"]["detectors"] = ["mine"]
        study["experiments"]["clean"] |= {"train_domains": [domain], "target_domains": [domain]}
        return load()

    return use


def test_a_dual_bank_takes_its_domains_of_defects_and_the_training_defects(use: Callable[..., Any]) -> None:
    study = use(DUAL)
    assert training_inputs.positive_domains(study, "mine") == ["crops_plan", "painted_plan"]
    assert training_inputs.takes_training_defects(study, "mine")
    assert training_inputs.turned_domains(study, "mine") == []
    study = use({**DUAL, "training_defects": False, "add_augmented": None})
    assert training_inputs.positive_domains(study, "mine") == ["crops_plan"]
    assert not training_inputs.takes_training_defects(study, "mine")


def test_a_single_bank_takes_turned_images_and_no_defects(use: Callable[..., Any]) -> None:
    study = use({"method": "patchcore", "turned": ["turned_plan"]})
    assert training_inputs.turned_domains(study, "mine") == ["turned_plan"]
    assert training_inputs.positive_domains(study, "mine") == []
    assert not training_inputs.takes_training_defects(study, "mine")


def test_turned_images_are_not_taken_twice(use: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="turned: 'turned_plan' is named twice"):
        use({"method": "patchcore", "turned": ["turned_plan", "turned_plan"]})


@pytest.mark.parametrize("settings", [{"method": "padim"}, {"method": "external", "folder": "scores"}])
def test_other_detectors_take_good_images_alone(use: Callable[..., Any], settings: dict[str, Any]) -> None:
    study = use(settings)
    assert training_inputs.turned_domains(study, "mine") == training_inputs.positive_domains(study, "mine") == []
    assert not training_inputs.takes_training_defects(study, "mine")
    assert training_inputs.is_fitted(study, "mine") == (settings["method"] != "external")


def test_the_detectors_of_the_catalog_find_their_images(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    detectors = ["patchcore_dual", "patchcore_dual_crops", "padim", "pca"]
    chosen = {"splits": ["official"], "backbones": ["resnet18"], "detectors": detectors, "thresholds": ["f1_max"]}
    experiments = {"defects": {"title": "", "train": ["ksdd2"]}}
    study = load_study({"study": "all", "question": "", "select": chosen, "experiments": experiments}, "study.yaml")
    assert [training_inputs.positive_domains(study, name) for name in detectors] == [
        [], ["crops_augmented_official", "synthetic_train_official"], [], [],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ({**DUAL, "crops": "painted_plan"}, "crops 'painted_plan' is not a domain of kind 'crops'"),
        ({**DUAL, "add_augmented": "crops_plan"}, "add_augmented 'crops_plan' is not a domain of kind 'synthesis'"),
        ({**DUAL, "add_augmented": "val_plan"}, "'val_plan' shows validation images: a bank needs `part: train`"),
        (
            {**DUAL, "crops": "crops_published"},
            "crops 'crops_published' is made from split 'published': with 'plan' its images may be tested",
        ),
        ({"method": "patchcore", "turned": ["dim"]}, "turned 'dim' is not a domain of kind 'turns'"),
        ({"method": "patchcore", "turned": ["turned_published"]}, "is made from split 'published': with 'plan'"),
    ],
)
def test_domains_that_cannot_fill_a_bank_are_mistakes(
    use: Callable[..., Any], detector: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        use(detector)
    assert "detector 'mine': " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("detector", [DUAL, {"method": "patchcore", "turned": ["turned_plan"]}])
def test_made_images_are_clean_so_they_cannot_fill_a_bank_of_another_domain(
    use: Callable[..., Any], detector: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"shows clean images, and the bank is fitted on domain 'dim'"):
        use(detector, "dim")
    use({"method": "patchcore_dual"}, "dim")  # training defects are shifted as all images are


@pytest.mark.parametrize("method", ["patchcore", "patchcore_dual"])
def test_a_job_that_fits_a_memory_bank_asks_for_all_that_its_spec_allows(use: Callable[..., Any], method: str) -> None:
    settings = {**(DUAL if method == "patchcore_dual" else {}), "method": method}
    default = training_inputs.fit_memory(use(settings), "mine")
    assert default > 4000 + 256
    more = training_inputs.fit_memory(use({**settings, "memory_mb": 9000, "chunk_mb": 500}), "mine")
    assert more - default == 5000 + 244


@pytest.mark.parametrize("method", ["padim", "pca"])
def test_what_other_detectors_take_is_not_known_when_planning(use: Callable[..., Any], method: str) -> None:
    assert training_inputs.fit_memory(use({"method": method, "chunk_mb": 500}), "mine") == 4000
