from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data.images import map_files, read_image, read_mask, read_resized, stream_files
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_eight_bit_images_keep_their_values(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY).convert(mode))
    assert np.array_equal(read_image(path), np.repeat(GREY[..., None], 3, 2))


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY.astype(np.uint16) * 257))
    assert np.array_equal(read_image(path)[..., 1], GREY)


def test_palettes_are_resolved_to_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray((GREY > 100).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    path = save(tmp_path / "a.png", image)
    assert read_image(path)[0, 0].tolist() == [10, 20, 30]
    assert read_image(path)[5, 7].tolist() == [200, 100, 50]
    assert np.array_equal(read_mask(path), GREY > 100)


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(UserError, match=r"a\.tiff: pixels are neither 8-bit nor 16-bit"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_any_nonzero_mask_value_is_defective(tmp_path: Path, mode: str) -> None:
    marked = np.zeros((6, 8), np.uint8)
    marked[2, 3] = 255 if mode == "1" else 1
    path = save(tmp_path / "mask.png", Image.fromarray(marked).convert(mode))
    assert np.array_equal(read_mask(path), marked > 0)


def test_resizing_squashes_to_a_square(tmp_path: Path) -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 30:] = 200
    resized = read_resized(save(tmp_path / "a.png", Image.fromarray(image)), (20, 20))
    assert resized.shape == (20, 20, 3)
    assert resized[10, 2].tolist() == [0, 0, 0]
    assert resized[10, 17].tolist() == [200, 200, 200]


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_resizing_gives_what_resizing_in_colour_gives(tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    sixteen_bit = Image.fromarray(pixels.astype(np.uint16) * 257)
    path = save(tmp_path / "a.png", sixteen_bit if mode == "I;16" else Image.fromarray(pixels).convert(mode))
    in_colour = Image.fromarray(read_image(path)).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read_resized(path, (16, 16)), np.asarray(in_colour))


def test_a_file_that_changed_since_indexing_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    digest = digest_file(path)
    assert read_image(path, digest=digest).shape == (6, 8, 3)
    save(path, Image.fromarray(GREY + 1))
    with pytest.raises(UserError, match="changed since it was indexed"):
        read_image(path, digest=digest)


def test_oversized_images_are_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match="too large"):
        read_image(path)


def test_all_bad_files_are_listed_at_once(tmp_path: Path) -> None:
    save(tmp_path / "whole.png", Image.fromarray(GREY))
    (tmp_path / "text.png").write_text("not an image")
    noise = save(tmp_path / "noise.png", Image.effect_noise((64, 64), 50)).read_bytes()
    (tmp_path / "short.png").write_bytes(noise[: len(noise) // 2])
    (tmp_path / "empty.png").touch()
    names = ["whole.png", "text.png", "short.png", "empty.png", "absent.png"]
    with pytest.raises(UserError) as caught:
        map_files(read_image, [tmp_path / name for name in names])
    message = str(caught.value)
    assert message.startswith("4 files cannot be used")
    assert all(name in message for name in names[1:])
    assert "whole.png" not in message


def test_streamed_files_end_at_the_first_that_is_wrong_and_name_all_that_are() -> None:
    def read(number: int) -> int:
        if number % 4 == 3:
            raise UserError(f"{number} is bad")
        return number

    found = []
    with pytest.raises(UserError, match=r"2 files cannot be used:\n  3 is bad\n  7 is bad$"):
        found.extend(stream_files(read, range(10)))
    assert found == [0, 1, 2]


def test_files_are_mapped_in_order(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{value}.png", Image.new("L", (2, 2), value)) for value in range(9)]
    assert [int(image[0, 0, 0]) for image in map_files(read_image, paths)] == list(range(9))
