import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from patchshift.errors import UserError
from patchshift.plan import Study, checking, load_study, open_study, record_ids
from patchshift.runtime.files import read_json, write_json

Settings = dict[str, Any]
Load = Callable[[], Study]
Mistakes = Callable[[], list[str]]

WRONG_VALUES: list[Any] = [None, True, -1, "x", [None], [[1]], [{}], {1: {2: 3}}]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_all_mistakes_are_reported_together_with_the_nearest_names(
    catalog: Settings, study: Settings, mistakes: Mistakes
) -> None:
    catalog["detectors"]["plain"]["sampler"] = {"method": "greedi", "shere": 0.1}
    catalog["backbones"]["waves"] |= {"octaves": 9, "strid": 8}
    catalog["datset"] = {}
    study["quesion"] = "?"
    study["select"]["splits"] = ["plam"]
    study["select"]["seed"] = [0]
    study["experiments"]["clean"] |= {"train": ["part/bolt", "parts/bold", "pools/metel"], "seeds": ["zero"]}
    study["experiments"]["shifted"] = {"train": ["parts"], "target_domains": ["dimm"]}
    lines = mistakes()
    for place, fault in {
        "configs/catalog.yaml.detectors.plain.sampler.method": "'greedi' is not known (did you mean 'greedy'?)",
        "configs/catalog.yaml.detectors.plain.sampler.shere": "unknown key (did you mean 'share'?)",
        "configs/catalog.yaml.backbones.waves.octaves": "less than or equal to 6 (found 9)",
        "configs/catalog.yaml.backbones.waves.strid": "unknown key (did you mean 'stride'?)",
        "configs/catalog.yaml.datset": "unknown key (did you mean 'datasets'?)",
        "study.yaml: quesion": "unknown key (did you mean 'question'?)",
        "study.yaml: select.splits": "'plam' is not in splits (did you mean 'plan'?)",
        "study.yaml: select.seed": "unknown key (did you mean 'seeds'?)",
        "study.yaml: experiments.clean.train: 'part'": "is not a dataset (did you mean 'parts'?)",
        "study.yaml: experiments.clean.train: 'bold'": "is not a category of parts (did you mean 'bolt'?)",
        "study.yaml: experiments.clean.train: 'metel'": "is not a pool (did you mean 'metal'?)",
        "study.yaml: experiments.clean.seeds.0": "(found 'zero')",
        "study.yaml: experiments.shifted.title": "is required",
        "study.yaml: experiments.shifted.target_domains": "'dimm' is not in domains (did you mean 'dim'?)",
    }.items():
        assert any(line.startswith(place) and fault in line for line in lines), place
    assert len(lines) == 14


def test_an_unknown_name_far_from_all_is_answered_with_all_of_them(study: Settings, mistakes: Mistakes) -> None:
    study["select"]["detectors"] = ["zzz"]
    assert mistakes() == ["study.yaml: select.detectors: 'zzz' is not in detectors (known: logged, plain, top)"]


def test_an_experiment_may_bear_any_name_in_messages(study: Settings, mistakes: Mistakes) -> None:
    study["experiments"]["timm"] = {"title": "", "train": ["parts"], "seed": [0]}
    assert mistakes() == ["study.yaml: experiments.timm.seed: unknown key (did you mean 'seeds'?)"]


def test_messages_name_keys_of_the_config_only(study: Settings, mistakes: Mistakes) -> None:
    study["experiments"]["clean"] |= {"targets": "smae", "target_domains": [5], "include": [{"seed": "x"}]}
    places = [line.removeprefix("study.yaml: experiments.clean.").partition(": ")[0] for line in mistakes()]
    assert set(places) == {"targets", "target_domains.0", "include.0.seed"}


EMPTY = "is an empty list: name at least one"


@pytest.mark.parametrize("key", ["splits", "backbones", "detectors", "thresholds", "seeds"])
def test_an_experiments_empty_list_does_not_stand_for_what_the_study_selects(
    study: Settings, mistakes: Mistakes, key: str
) -> None:
    study["experiments"]["clean"][key] = []
    assert mistakes() == [f"study.yaml: experiments.clean.{key}: {EMPTY}"]


@pytest.mark.parametrize("key", ["train", "train_domains", "targets", "target_domains"])
def test_an_experiment_names_what_it_trains_on_and_scores(study: Settings, mistakes: Mistakes, key: str) -> None:
    study["experiments"]["clean"][key] = []
    assert mistakes() == [f"study.yaml: experiments.clean.{key}: {EMPTY}"]


def test_a_list_where_one_word_is_wanted_is_a_mistake(catalog: Settings, study: Settings, mistakes: Mistakes) -> None:
    catalog["datasets"]["parts"]["adapter"] = ["mtd"]
    study["experiments"]["clean"]["calibrate_on"] = ["target"]
    assert {line.split(": ")[-2].split(".")[-1] for line in mistakes()} == {"adapter", "calibrate_on"}


@pytest.mark.parametrize("kind", ["include", "exclude"])
def test_names_in_filters_are_checked_with_all_others(study: Settings, mistakes: Mistakes, kind: str) -> None:
    study["quesion"] = "?"
    study["experiments"]["clean"][kind] = [
        {"backbone": "wave", "detector": ["plain", "tpo"], "threshold": "f1max"},
        {"train": "parts/bold", "target": "part/nut", "target_domain": "dimm", "train_domain": "clen", "split": "plam"},
        {"train": "pools/metel", "target": "pools/metal"},
    ]
    first, *lines = mistakes()
    assert "quesion" in first
    assert sorted(line.removeprefix(f"study.yaml: experiments.clean.{kind}") for line in lines) == [
        "[0].backbone: 'wave' is not in backbones (did you mean 'waves'?)",
        "[0].detector: 'tpo' is not in detectors (did you mean 'top'?)",
        "[0].threshold: 'f1max' is not in thresholds (did you mean 'f1_max'?)",
        "[1].split: 'plam' is not in splits (did you mean 'plan'?)",
        "[1].target: 'part' is not a dataset (did you mean 'parts'?)",
        "[1].target_domain: 'dimm' is not in domains (did you mean 'dim'?)",
        "[1].train: 'bold' is not a category of parts (did you mean 'bolt'?)",
        "[1].train_domain: 'clen' is not in domains (did you mean 'clean'?)",
        "[2].target: 'pools' is not a dataset (known: cloth, parts)",
        "[2].train: 'metel' is not a pool (did you mean 'metal'?)",
    ]


def test_no_wrong_value_anywhere_ends_in_a_traceback(
    catalog: Settings, study: Settings, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    study["add"] = {"detectors": {"random": {"method": "patchcore", "sampler": {"method": "random", "count": 9}}}}
    study["experiments"]["clean"]["include"] = [{"split": "plan", "train": ["parts/bolt"]}]
    load()
    current = {"catalog": catalog}
    monkeypatch.setattr(checking, "read_yaml", lambda path: current["catalog"])
    for path in places(study):
        for value in WRONG_VALUES:
            try_to_load(replaced(study, path, value))
    for path in places(catalog):
        for value in WRONG_VALUES:
            current["catalog"] = replaced(catalog, path, value)
            try_to_load(study)


def try_to_load(study: Settings) -> None:
    with contextlib.suppress(UserError):
        load_study(study, "study.yaml")


def test_a_study_cannot_redefine_an_id_of_the_catalog(catalog: Settings, study: Settings, mistakes: Mistakes) -> None:
    study["add"] = {"splits": {"plan": catalog["splits"]["plan"]}}
    assert mistakes() == ["study.yaml: add.splits.plan: the catalog already defines 'plan': choose another id"]


def test_a_study_can_add_ids_of_its_own(study: Settings, load: Load) -> None:
    study["add"] = {"detectors": {"random": {"method": "patchcore", "sampler": {"method": "random", "count": 9}}}}
    study["select"]["detectors"] = ["random"]
    assert {cell.bank.detector for cell in load().all_cells()} == {"random"}


def test_two_studies_of_one_results_folder_cannot_give_an_id_two_meanings(
    study: Settings, load: Load, mistakes: Mistakes
) -> None:
    study["add"] = {"splits": {"mine": {"protocol": "published", "seed": 1}}}
    record_ids(load(), write_json)
    study["study"] = "other"
    load()  # the same meaning is fine
    study["add"]["splits"]["mine"]["seed"] = 2
    (line,) = mistakes()
    assert line.startswith("study.yaml: add.splits.mine: study 'trial' already made results")
    assert "choose another id, or delete results" in line


def test_a_study_may_edit_its_own_ids(study: Settings, load: Load) -> None:
    study["add"] = {"splits": {"mine": {"protocol": "published", "seed": 1}}}
    record_ids(load(), write_json)
    study["add"]["splits"]["mine"]["seed"] = 2
    record_ids(load(), write_json)
    owner, definition = read_json(checking.IDS)["splits/mine"]
    assert (owner, '"seed":2' in definition) == ("trial", True)


def test_recording_keeps_what_other_studies_added(study: Settings, load: Load) -> None:
    study["add"] = {"splits": {"mine": {"protocol": "published"}}}
    record_ids(load(), write_json)
    study |= {"study": "other", "add": {"splits": {"yours": {"protocol": "published"}}}}
    record_ids(load(), write_json)
    assert set(read_json(checking.IDS)) == {"splits/mine", "splits/yours"}


def test_a_study_without_own_ids_leaves_no_record(load: Load) -> None:
    record_ids(load(), write_json)
    assert not checking.IDS.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"splits/mine": 3}', "\x00"])
def test_a_damaged_record_of_ids_is_named(load: Load, content: str) -> None:
    checked = load()
    checking.IDS.parent.mkdir()
    checking.IDS.write_text(content)
    with pytest.raises(UserError, match=r"results/ids\.json is damaged: delete it"):
        record_ids(checked, write_json)


def test_config_values_of_the_command_line_replace_those_of_the_default_file(
    study: Settings, load: Load, tmp_path: Path
) -> None:
    load()
    Path("config.yaml").write_text(Path("configs/catalog.yaml").read_text())
    with pytest.raises(UserError, match=r"config\.yaml: study: is required"):
        open_study({}, [])
    write_json(Path("config.yaml"), study)  # JSON is YAML
    assert open_study({"data_dir": "elsewhere"}, []).config.data_dir == "elsewhere"
    assert open_study({}, []).config.data_dir == "data"


def test_a_key_given_twice_is_a_mistake_though_snakemake_has_merged_it(
    study: Settings, load: Load, tmp_path: Path
) -> None:
    load()
    path = tmp_path / "twice.yaml"
    path.write_text("study: a\nstudy: b\n")
    with pytest.raises(UserError, match=r"twice\.yaml, line 2, .*'study' is given twice"):
        open_study(study, [path])


def test_every_config_file_of_the_repository_loads(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    files = [Path("config.yaml"), *sorted(Path("configs").rglob("*.yaml"))]
    studies = [path for path in files if path != Path("configs/catalog.yaml")]
    assert len(studies) > 2
    names = [load_study(checking.read_yaml(path), str(path), ids=Path("no/ids.json")).name for path in studies]
    assert len(set(names)) == len(names)
