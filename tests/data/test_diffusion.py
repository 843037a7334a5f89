"""The real code on a real pipeline, with random weights and a few thousand parameters."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_lowercase
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from patchshift.data.adapters import index_images
from patchshift.data.defects import diffusion
from patchshift.data.defects.diffusion import blend_inside, choose_box, open_painter, place_shape
from patchshift.data.defects.placement import Materials
from patchshift.data.defects.synthesis import synthesize_defects
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.splits import Split
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DiffusionSpec, SynthesisSpec
from patchshift.runtime.torchvision_guard import make_torchvision_importable

MakeTree = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model is faster with one thread, and many tests run side by side."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


TINY = DiffusionSpec(model="tiny", prompt="a crack", steps=2, image_size=64, masks="defects")


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an inpainting pipeline `tiny`, as `save_pretrained` writes it."""
    make_torchvision_importable()
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("weights")
    words = ["<|startoftext|>", "<|endoftext|>", *ascii_lowercase, *(letter + "</w>" for letter in ascii_lowercase)]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text_config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    pipeline = StableDiffusionInpaintPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            sample_size=64,
        ),
        text_encoder=CLIPTextModel(text_config),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16),
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=9,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "tiny", safe_serialization=True)
    return folder


@pytest.fixture
def dataset(make_mvtec_ad: MakeTree) -> tuple[Path, list[ImageRow], Split]:
    """Four defects of which the first two train, with the normal training images."""
    root = make_mvtec_ad({"crack": 4}, train=3, size=(70, 90))
    rows = index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)
    trained = ("train/good", "crack/000", "crack/001")
    parts = {row.key: "train" if any(name in row.key for name in trained) else "test" for row in rows}
    return root, rows, Split(parts, frozenset(row.key for row in rows if row.label))


def synthesis(count: int = 3, seed: int = 0, **settings: Any) -> SynthesisSpec:
    spec = TINY.model_copy(update=settings)
    return SynthesisSpec(split="half", part="train", types=["diffusion"], count=count, diffusion=spec, seed=seed)


@pytest.mark.parametrize("masks", ["defects", "perlin"])
def test_a_model_paints_within_the_mask_and_only_there(
    tmp_path: Path, dataset: tuple[Path, list[ImageRow], Split], weights_dir: Path, masks: str
) -> None:
    root, rows, split = dataset
    for row in rows:
        if split.parts[row.key] == "test":
            (root / row.image).unlink()
    synthesize_defects(rows, split, root, synthesis(masks=masks), tmp_path, weights_dir=weights_dir)
    made = read_index(tmp_path / "index.csv")
    assert [row.key.partition("#")[2] for row in made] == ["diffusion0", "diffusion1", "diffusion2"]
    for row in made:
        before = read_image(root / row.key.partition("#")[0])
        after, mask = read_image(tmp_path / row.image), read_mask(tmp_path / row.mask)
        np.testing.assert_array_equal(after[~mask], before[~mask])
        assert (after[mask] != before[mask]).any(axis=1).mean() > 0.9
        if masks == "defects":
            assert mask.sum() <= 36


def test_the_same_seed_paints_the_same_in_any_order_and_another_seed_something_else(
    tmp_path: Path, dataset: tuple[Path, list[ImageRow], Split], weights_dir: Path
) -> None:
    root, rows, split = dataset
    made = {}
    for name, given_rows, spec in (
        ("first", rows, synthesis()),
        ("again", rows[::-1], synthesis()),
        ("fewer", rows, synthesis(count=1)),
        ("other", rows, synthesis(seed=1)),
    ):
        (tmp_path / name).mkdir()
        synthesize_defects(given_rows, split, root, spec, tmp_path / name, weights_dir=weights_dir)
        made[name] = read_index(tmp_path / name / "index.csv")
    assert made["again"] == made["first"]
    assert set(made["fewer"]) < set(made["first"])
    assert {row.digest for row in made["other"]}.isdisjoint(row.digest for row in made["first"])


def test_every_setting_reaches_the_model(weights_dir: Path) -> None:
    """Each changes what is painted with the same random numbers."""
    image, shape = np.full((70, 90, 3), 120, np.uint8), np.ones((12, 12), bool)

    def paint(**settings: Any) -> bytes:
        painter = open_painter(TINY.model_copy(update=settings), weights_dir)
        materials = Materials(lambda _: image, lambda _: shape)
        changed, _ = painter(image, np.ones((70, 90), bool), materials, np.random.default_rng(0))
        return changed.tobytes()

    settings = [{}, {"prompt": "rust"}, {"negative_prompt": "dust"}, {"steps": 5}, {"guidance": 2}, {"image_size": 128}]
    painted = [paint(**setting) for setting in [*settings, {"strength": 0.5, "steps": 4}]]
    assert len(set(painted)) == len(painted)


def test_a_part_without_defects_offers_noise_instead_of_their_masks(
    tmp_path: Path, dataset: tuple[Path, list[ImageRow], Split], weights_dir: Path
) -> None:
    root, rows, split = dataset
    spec = synthesis().model_copy(update={"part": "val"})
    parts = split.parts | {"train/good/000.png": "val"}
    with pytest.raises(UserError, match=r"no defects with masks in 'val' to paint: set `masks: perlin`"):
        synthesize_defects(rows, Split(parts, split.anomalous), root, spec, tmp_path, weights_dir=weights_dir)


def test_a_missing_model_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    spec = TINY.model_copy(update={"model": "someone/inpainting"})
    with pytest.raises(UserError, match=r"is neither at .*/someone/inpainting nor to be had from the hub"):
        open_painter(spec, tmp_path / "weights")
    with pytest.raises(UserError, match="is neither at the folder 'someone/inpainting' under weights_dir"):
        open_painter(spec, None)


def test_a_folder_that_holds_no_whole_pipeline_is_named(tmp_path: Path, weights_dir: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(UserError, match="tiny is no diffusers pipeline that can inpaint"):
        open_painter(TINY, tmp_path)


def test_weights_that_could_run_code_are_never_loaded(tmp_path: Path, weights_dir: Path) -> None:
    for path in (weights_dir / "tiny").rglob("*"):
        target = tmp_path / "tiny" / path.relative_to(weights_dir / "tiny")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "tiny/unet/diffusion_pytorch_model.safetensors").rename(
        tmp_path / "tiny/unet/diffusion_pytorch_model.bin"
    )
    with pytest.raises(UserError, match="bring a whole one, with safetensors files"):
        open_painter(TINY, tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"model": "../elsewhere"}, "must stay inside"), ({"steps": 2, "strength": 0.4}, "less than one step")],
)
def test_a_model_outside_its_folder_and_no_step_at_all_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DiffusionSpec.model_validate({"model": "tiny", **settings})


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_what_a_failing_model_paints_is_not_taken_for_a_defect(value: float) -> None:
    def pipeline(**options: Any) -> SimpleNamespace:
        return SimpleNamespace(images=[np.full((64, 64, 3), value, np.float32)])

    image, mask = np.full((50, 50, 3), 90, np.uint8), np.ones((50, 50), bool)
    with pytest.raises(UserError, match="paints undefined values or pure black"):
        diffusion._paint(pipeline, {}, image, mask, TINY, seed=0)


def test_a_setting_that_a_model_does_not_take_is_refused() -> None:
    class Filling:
        def __call__(self, prompt: str, num_inference_steps: int, guidance_scale: float) -> None: ...

    fitting = TINY.model_copy(update={"negative_prompt": "", "strength": 0.99})
    assert diffusion._fit_options(Filling(), fitting).keys() == {"prompt", "num_inference_steps", "guidance_scale"}
    with pytest.raises(UserError, match=r"'tiny' \(Filling\) does not use strength: remove it"):
        diffusion._fit_options(Filling(), TINY.model_copy(update={"strength": 0.5}))


def test_without_the_libraries_the_message_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install '\.\[diffusion\]'.*envs/diffusion\.yaml"):
        open_painter(TINY, None)


def test_other_types_need_no_torch(repository: Path) -> None:
    code = "import sys; import synthesize_defects; sys.exit(bool({'torch', 'diffusers'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], cwd=repository / "workflow_scripts", check=True)


shapes = st.tuples(st.integers(4, 50), st.integers(4, 50))


@given(st.integers(0, 2**32), shapes, shapes)
def test_a_real_mask_is_placed_whole_or_cut_but_never_where_no_defect_may_be(
    seed: int, shape: tuple[int, int], other: tuple[int, int]
) -> None:
    stream = np.random.default_rng(seed)
    places = stream.random(shape) < 0.9
    places[0, 0] = True
    region = np.zeros(other, bool)
    region[1:3, 1:4] = True
    placed = place_shape(region, places, stream)
    assert placed.shape == shape
    assert not (placed & ~places).any()
    assert placed.sum() <= 6
    assert place_shape(region, np.ones(shape, bool), stream).sum() == 6 - 2 * (other[1] < 4)
    assert not place_shape(np.zeros(other, bool), places, stream).any()


@given(shapes, st.integers(0, 2**32))
def test_the_model_sees_all_of_the_mask_with_what_is_around_it(shape: tuple[int, int], seed: int) -> None:
    stream = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    mask[stream.integers(shape[0]), stream.integers(shape[1])] = True
    mask[stream.integers(shape[0]), stream.integers(shape[1])] = True
    box = choose_box(mask, 64)
    assert mask[box.slices].sum() == mask.sum()
    assert box.bottom - box.top >= min(16, shape[0])


def test_a_painting_fades_in_from_the_edge_of_the_mask() -> None:
    mask = np.zeros((20, 20), bool)
    mask[4:16, 4:16] = True
    blended = blend_inside(np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 240, np.float32), mask)
    assert blended[10, 3:8, 0].tolist() == [0, 80, 160, 240, 240]
    assert not blended[~mask].any()
