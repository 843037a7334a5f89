from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from patchshift.data.adapters import index_images
from patchshift.data.inspected import choose_inspected
from patchshift.data.packs import Pack, write_pack
from patchshift.data.splits import Split
from patchshift.errors import UserError

MakeTree = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path, make_mvtec_ad: MakeTree) -> tuple[Path, Split]:
    root = make_mvtec_ad({"crack": 4, "scratch": 1}, good=5)
    rows = index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)
    write_pack(tmp_path / "pack.h5", rows, root, {})
    parts = {row.key: row.official_split for row in rows}
    return tmp_path / "pack.h5", Split(parts, frozenset(row.key for row in rows if row.label))


def test_a_few_test_images_of_each_type_are_shown_good_ones_first(made: tuple[Path, Split]) -> None:
    path, split = made
    with Pack(path) as pack:
        chosen = choose_inspected(pack, split, count=2, seed=0)
        assert set(chosen) <= set(split.of("test"))
        kinds = [pack.defects[row] for row in pack.rows(chosen)]
        assert kinds == ["", "", "crack", "crack", "scratch"]
        assert choose_inspected(pack, split, count=2, seed=0) == chosen
        others = {tuple(choose_inspected(pack, split, count=2, seed=seed)) for seed in range(8)}
        assert len(others) > 1


def test_more_images_join_those_that_were_shown(made: tuple[Path, Split]) -> None:
    path, split = made
    with Pack(path) as pack:
        few, more = (choose_inspected(pack, split, count=count, seed=0) for count in (1, 3))
        assert set(few) < set(more)
        assert Counter(pack.defects[row] for row in pack.rows(more)) == {"": 3, "crack": 3, "scratch": 1}


def test_an_image_that_is_not_packed_is_named(made: tuple[Path, Split]) -> None:
    path, split = made
    with Pack(path) as pack, pytest.raises(UserError, match=r"lacks gone\.png"):
        choose_inspected(pack, Split({**split.parts, "gone.png": "test"}, split.anomalous), count=1, seed=0)
