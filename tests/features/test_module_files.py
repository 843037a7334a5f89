import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from patchshift.errors import UserError
from patchshift.features.decoding import Batch
from patchshift.features.devices import CPU
from patchshift.features.forward import ForwardPass
from patchshift.features.module_files import FileModule, build_from_file
from patchshift.plan.backbone_specs import FileSpec
from patchshift.runtime.files import digest_file, write_json

BATCH, SIZE = 2, 32
LAYERS = ["fine", "coarse"]


class Maps(nn.Module):
    """Two maps, as a dict in another order than the layers' and with one more key."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean, -0.5, 0.5)
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.norm(self.first(images))
        return {"coarse": self.second(fine.relu()), "fine": fine, "mean": images.mean((2, 3))}


class Tuple(Maps):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        fine = self.norm(self.first(images))
        return fine, self.second(fine.relu())


class Single(Maps):
    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return self.norm(self.first(images))  # type: ignore[no-any-return]


class Viewed(Maps):
    """A view that only torch's usual order of memory allows."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return images.view(images.shape[0], 3, -1).view(images.shape)


def script(module: nn.Module, path: Path, **_: Any) -> None:
    torch.jit.save(torch.jit.script(module), path)


def export(module: nn.Module, path: Path, *, dynamic: bool = False) -> None:
    shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},) if dynamic else None
    torch.export.save(torch.export.export(module, (torch.rand(BATCH, 3, SIZE, SIZE),), dynamic_shapes=shapes), path)


WRITERS: dict[str, Callable[..., None]] = {"module.pt": script, "module.pts": script, "module.pt2": export}


def spec_of(name: str, **changes: Any) -> FileSpec:
    values = {"source": "file", "weights": name, "layers": LAYERS, "image_size": SIZE, "batch_size": BATCH}
    return FileSpec.model_validate(values | changes)


def build(folder: Path, name: str, module: nn.Module, **changes: Any) -> nn.Module:
    WRITERS[name](module.eval(), folder / name)
    return build_from_file(spec_of(name, **changes), folder)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", [Maps, Tuple])
def test_maps_are_those_of_the_module_on_normalised_images(tmp_path: Path, name: str, kind: type[nn.Module]) -> None:
    backbone = build(tmp_path, name, kind()).eval().requires_grad_(False)
    images = torch.rand(BATCH, 3, SIZE, SIZE)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.inference_mode():
        expected = Maps().eval()((images - mean) / std)
        maps = backbone(images.contiguous(memory_format=torch.channels_last))
    assert list(maps) == LAYERS
    for layer, values in maps.items():
        torch.testing.assert_close(values, expected[layer], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["module.pt", "module.pt2"])
def test_one_map_is_the_one_layer(tmp_path: Path, name: str) -> None:
    backbone = build(tmp_path, name, Single(), layers=["only"])
    assert {layer: values.shape for layer, values in backbone(torch.rand(BATCH, 3, SIZE, SIZE)).items()} == {
        "only": (BATCH, 4, SIZE // 2, SIZE // 2)
    }


@pytest.mark.parametrize("name", ["module.pt", "module.pt2"])
def test_modules_get_images_in_the_usual_order_of_memory(tmp_path: Path, name: str) -> None:
    backbone = build(tmp_path, name, Viewed(), layers=["only"])
    images = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    assert backbone(images)["only"].shape == images.shape


def test_exported_programs_take_other_sizes_only_where_they_were_declared(tmp_path: Path) -> None:
    export(Maps().eval(), tmp_path / "module.pt2")
    for changes in ({"batch_size": 3}, {"image_size": 48}):
        with pytest.raises(UserError, match=r"does not take [23] images of .*set batch_size and image_size"):
            build_from_file(spec_of("module.pt2", **changes), tmp_path)
    export(Maps().eval(), tmp_path / "module.pt2", dynamic=True)
    backbone = build_from_file(spec_of("module.pt2", batch_size=3, image_size=[48, 64]), tmp_path)
    assert backbone(torch.rand(3, 3, 48, 64))["fine"].shape == (3, 4, 24, 32)


class ShortOfMemory(nn.Module):
    """A backbone on a device that has memory for some images only."""

    def __init__(self, backbone: nn.Module, fits: int) -> None:
        super().__init__()
        self.backbone, self.fits = backbone, fits

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(images) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.backbone(images)  # type: ignore[no-any-return]


def test_programs_of_one_batch_size_say_so_when_the_batch_is_halved(tmp_path: Path) -> None:
    batch = Batch(torch.ones(BATCH, SIZE, SIZE, 3, dtype=torch.uint8), BATCH, [])
    counts = {}
    for dynamic in (False, True):
        export(Maps().eval(), tmp_path / "module.pt2", dynamic=dynamic)
        backbone = ShortOfMemory(build_from_file(spec_of("module.pt2"), tmp_path), fits=BATCH // 2)
        forward = ForwardPass(backbone, CPU, "float32", BATCH)
        message = rf"module\.pt2 takes batches of {BATCH} images only, .*export it with a dynamic batch"
        with nullcontext() if dynamic else pytest.raises(UserError, match=message):
            counts[dynamic] = [count for count, _ in forward.on_device([batch])]
    assert counts == {True: [1, 1]}


class Ramp(nn.Module):
    """Adds a tensor that it makes itself, on the CPU."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.ones(images.shape, device="cpu")


@pytest.mark.parametrize("name", WRITERS)
def test_modules_that_make_tensors_on_the_cpu_are_named_where_they_run_elsewhere(tmp_path: Path, name: str) -> None:
    backbone = build(tmp_path, name, Ramp(), layers=["only"]).to("meta")  # a device that needs no hardware
    for count in (BATCH, BATCH // 2)[: 1 if name == "module.pt2" else 2]:  # which takes one batch size alone
        with pytest.raises(UserError, match=rf"{name} runs on the CPU but not on meta .*set `device: cpu`, or export"):
            backbone(torch.rand(count, 3, SIZE, SIZE, device="meta"))


def test_failures_that_a_module_has_everywhere_and_short_memory_are_raised_as_they_are() -> None:
    class Failing(nn.Module):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise self.error

    short = torch.cuda.OutOfMemoryError("CUDA out of memory")
    for error, count, device in ((RuntimeError("odd"), BATCH, "cpu"), (short, BATCH, "meta"), (short, 1, "meta")):
        with pytest.raises(type(error), match=str(error)):
            FileModule(Failing(error), spec_of("module.pt")).to(device)(torch.rand(count, 3, 4, 4, device=device))


@pytest.mark.parametrize(
    ("kind", "layers", "message"),
    [
        (Maps, ["fine", "fin"], r"module\.pt returns no map 'fin': set layers to some of coarse, fine, mean"),
        (Tuple, ["one", "two", "three"], r"returns 2 maps, but layers names 3 \(one, two, three\)"),
        (Single, ["one", "two"], r"returns 1 maps, but layers names 2"),
        (Maps, ["mean"], r"layer 'mean' of module\.pt gives \(2, 3\) for 2 images, not maps"),
    ],
)
def test_outputs_that_are_not_the_layers_are_refused(
    tmp_path: Path, kind: type[nn.Module], layers: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(tmp_path, "module.pt", kind(), layers=layers)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("empty", r"\(2, 0, 32, 32\)"),
        ("whole numbers", r"\(2, 3, 32, 32\) of int64"),
        ("NaN", r"\(2, 3, 32, 32\) with NaN or infinite values"),
        ("infinite", r"\(2, 3, 32, 32\) with NaN or infinite values"),
    ],
)
def test_maps_of_no_finite_numbers_are_refused(tmp_path: Path, kind: str, found: str) -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if kind == "empty":
                return images[:, :0]
            if kind == "whole numbers":
                return images.round().long()
            return images * float("nan" if kind == "NaN" else "inf")

    path = tmp_path / "module.pt"
    torch.jit.save(torch.jit.trace(Odd(), torch.rand(BATCH, 3, SIZE, SIZE)), path)
    with pytest.raises(UserError, match=rf"layer 'only' of module\.pt gives {found} for 2 images, not maps"):
        build_from_file(spec_of("module.pt", layers=["only"]), tmp_path)


def test_modules_that_return_something_else_are_refused(tmp_path: Path) -> None:
    class Text(nn.Module):
        def forward(self, images: torch.Tensor) -> str:
            return str(images.shape[0])

    with pytest.raises(UserError, match="returns str: it must return one map, a tuple or list of maps, or a dict"):
        build(tmp_path, "module.pt", Text())


def test_programs_exported_in_training_mode_are_refused(tmp_path: Path) -> None:
    export(Maps().train(), tmp_path / "module.pt2")
    with pytest.raises(UserError, match=r"maps change with the images beside it, or by chance; .* in evaluation mode"):
        build_from_file(spec_of("module.pt2"), tmp_path)


def test_scripted_modules_are_put_into_evaluation_mode(tmp_path: Path) -> None:
    script(Maps().train(), tmp_path / "module.pt")
    build_from_file(spec_of("module.pt"), tmp_path)


def test_missing_files_are_named_with_their_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no module file .*module\.pt: put 'module\.pt' into .*, or set weights_dir"):
        build_from_file(spec_of("module.pt"), tmp_path)
    with pytest.raises(UserError, match=r"needs 'module\.pt': set weights_dir"):
        build_from_file(spec_of("module.pt"), None)


@pytest.mark.parametrize(("name", "kind"), [("module.pt", "TorchScript module"), ("module.pt2", "exported program")])
def test_damaged_files_are_refused_with_the_remedy(tmp_path: Path, name: str, kind: str) -> None:
    WRITERS[name](Maps().eval(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for damage in (b"", b"not a module", whole[: len(whole) // 2]):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(UserError, match=rf"{name} is not a whole {kind} .*write it with torch\."):
            build_from_file(spec_of(name), tmp_path)


def test_files_that_are_not_the_downloaded_ones_are_refused(tmp_path: Path) -> None:
    script(Maps().eval(), tmp_path / "module.pt")
    receipt = tmp_path / "module.pt.receipt.json"
    write_json(receipt, {"sha256": digest_file(tmp_path / "module.pt")})
    build_from_file(spec_of("module.pt"), tmp_path)
    write_json(receipt, {"sha256": "0" * 64})
    with pytest.raises(UserError, match=r"module\.pt has changed since"):
        build_from_file(spec_of("module.pt"), tmp_path)


def rewrite(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> None:
    """The same archive with changed parts, and more of them, as torch's own writer packs it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in parts.items():
        if name not in (".data/version", "version", ".data/serialization_id"):  # which the writer adds itself
            content = change(name, content)
            writer.write_record(name, content, len(content))
    for name, content in more.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (
            "data/weights/model_weights_config.json",
            lambda old: old.replace(b'"use_pickle": false', b'"use_pickle": true'),
        ),
        ("data/sample_inputs/model.pt", lambda _: PICKLE),
    ],
)
def test_archives_with_pickles_are_refused_before_torch_reads_them(
    tmp_path: Path, part: str, content: Callable[[bytes], bytes]
) -> None:
    export(Maps().eval(), tmp_path / "module.pt2")
    rewrite(tmp_path / "module.pt2", lambda _, old: old)
    build_from_file(spec_of("module.pt2"), tmp_path)  # rewriting alone does no harm
    rewrite(tmp_path / "module.pt2", lambda name, old: content(old) if name == part else old)
    with pytest.raises(UserError, match=r"is refused: it holds (a )?pickled .*, which could run any code"):
        build_from_file(spec_of("module.pt2"), tmp_path)
    assert not Path("run_by_a_pickle").exists()


@pytest.mark.parametrize(
    "part", ["data/constants/opaque_obj_0", "data/weights/model.pt", "data/aotinductor/model/model.so"]
)
def test_archives_with_opaque_objects_old_weights_or_compiled_code_are_refused(tmp_path: Path, part: str) -> None:
    export(Maps().eval(), tmp_path / "module.pt2")
    rewrite(tmp_path / "module.pt2", lambda _, old: old, **{part: PICKLE})
    with pytest.raises(UserError, match=f"is refused: it holds '{part}'"):
        build_from_file(spec_of("module.pt2"), tmp_path)


PICKLE = b"cos\nmkdir\n(S'run_by_a_pickle'\ntR."
"""Makes a folder when it is unpickled."""
