"""What folders of tests share: made datasets in real folder layouts, a server that misbehaves, a finished study."""

import csv
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from patchshift.runtime.sealed import SEAL_BYTES, seal
from tests.checkout import finished_tiny, make_checkout

__all__ = ["finished_tiny", "make_checkout"]

ROOT = Path(__file__).parents[1]

# No test asserts a speed: a busy machine is no counterexample.
settings.register_profile("patchshift", deadline=None)
settings.load_profile("patchshift")

MakeTree = Callable[..., Path]


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture
def edit_sealed() -> Callable[[Path], AbstractContextManager[h5py.File]]:
    """Edit a sealed file as one does who seals it anew."""

    @contextmanager
    def edit(path: Path) -> Iterator[h5py.File]:
        path.write_bytes(path.read_bytes()[:-SEAL_BYTES])
        with h5py.File(path, "r+") as file:
            yield file
        seal(path)

    return edit


@pytest.fixture
def make_mvtec_ad(tmp_path: Path) -> MakeTree:
    """Write a category in MVTec AD's layout: noisy images, each with its own content, and square defects."""

    def make(
        defects: Mapping[str, int] | None = None, *, train: int = 5, good: int = 3, size: tuple[int, int] = (30, 40)
    ) -> Path:
        root = tmp_path / "dataset" / "category"
        random = np.random.default_rng(0)
        counts = {("train", "good"): train, ("test", "good"): good}
        counts |= {("test", defect): count for defect, count in (defects or {"crack": 3, "scratch": 2}).items()}
        for (split, kind), count in counts.items():
            for number in range(count):
                pixels = random.integers(60, 120, (*size, 3), np.uint8)
                if kind != "good":
                    mask = np.zeros(size, np.uint8)
                    mask[10:16, 12:18] = 255
                    pixels[mask > 0] = 250
                    _save(mask, root / "ground_truth" / kind / f"{number:03d}_mask.png")
                _save(pixels, root / split / kind / f"{number:03d}.png")
        return root

    return make


@pytest.fixture
def make_mtd(tmp_path: Path) -> MakeTree:
    """Write Magnetic Tile Defects' layout: JPEG images of different sizes, masks beside them as PNG."""

    def make(*, free: int = 6, per_defect: int = 2) -> Path:
        root = tmp_path / "mtd"
        random = np.random.default_rng(0)
        for defect in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven"):
            for number in range(free if defect == "Free" else per_defect):
                size = (20 + number, 31)
                path = root / f"MT_{defect}" / "Imgs" / f"exp1_num_{number}.jpg"
                _save(random.integers(60, 120, size, np.uint8), path)
                mask = np.zeros(size, np.uint8)
                mask[3:6, 4:9] = 255 * (defect != "Free")
                _save(mask, path.with_suffix(".png"))
        return root

    return make


@pytest.fixture
def make_visa(tmp_path: Path) -> MakeTree:
    """Write a category in VisA's layout, with the official parts of this and another category beside it."""

    def make(
        types: Sequence[str] = ("burnt", "Small scratches", "burnt,foreign particals on top"), *, normal: int = 6
    ) -> Path:
        root = tmp_path / "visa" / "cashew"
        random = np.random.default_rng(0)
        parts, labels = [], []
        for kind, count in (("Normal", normal), ("Anomaly", len(types))):
            for number in range(count):
                pixels, mask = _draw(random, (30, 40), defective=kind == "Anomaly")
                name = f"Data/Images/{kind}/{number:03d}.JPG"
                _save(pixels, root / name)
                if kind == "Anomaly":
                    _save(mask // 255 * (number + 1), root / f"Data/Masks/Anomaly/{number:03d}.png")
                train = kind == "Normal" and number < normal - 2
                parts.append(("cashew", "train" if train else "test", kind.lower(), f"cashew/{name}", ""))
                labels.append((f"cashew/{name}", types[number] if kind == "Anomaly" else "normal", ""))
        parts.append(("fryum", "test", "normal", "fryum/Data/Images/Normal/000.JPG", ""))
        _write_csv(root.parent / "split_csv" / "1cls.csv", ("object", "split", "label", "image", "mask"), parts)
        _write_csv(root / "image_anno.csv", ("image", "label", "mask"), labels)
        return root

    return make


@pytest.fixture(scope="session")
def write_ksdd2() -> MakeTree:
    """Write KSDD2's layout: images and masks side by side, a mask for good images, too, and a stray copy."""

    def write(root: Path, *, good: int = 5, defective: int = 4) -> Path:
        random = np.random.default_rng(0)
        for part, first in (("train", 10000), ("test", 20000)):
            for number in range(good + defective):
                pixels, mask = _draw(random, (63, 23), defective=number >= good)
                _save(pixels, root / part / f"{first + number}.png")
                _save(mask, root / part / f"{first + number}_GT.png")
        _save(mask, root / "train" / "10001_GT (copy).png")
        return root

    return write


@pytest.fixture
def make_ksdd2(tmp_path: Path, write_ksdd2: MakeTree) -> MakeTree:
    """Write KSDD2's layout to a folder of this test."""
    return partial(write_ksdd2, tmp_path / "ksdd2")


@pytest.fixture
def make_btad(tmp_path: Path) -> MakeTree:
    """Write a category in BTAD's layout: BMP images with PNG masks."""

    def make(*, train: int = 5, ok: int = 2, ko: int = 4) -> Path:
        root = tmp_path / "btad" / "01"
        random = np.random.default_rng(0)
        for folder, count in (("train/ok", train), ("test/ok", ok), ("test/ko", ko)):
            for number in range(count):
                pixels, mask = _draw(random, (30, 40), defective=folder == "test/ko")
                _save(pixels, root / folder / f"{number:04d}.bmp")
                if folder == "test/ko":
                    _save(mask, root / "ground_truth" / "ko" / f"{number:04d}.png")
        return root

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeTree:
    """Write a user's own images: `good`, `defect/{type}`, `masks/{type}`; or these below `train` and `test`."""

    def make(
        defects: Mapping[str, int] | None = None, *, good: int = 6, masks: bool = True, divided: bool = False
    ) -> Path:
        root = tmp_path / "own"
        random = np.random.default_rng(0)
        for part in ("train", "test") if divided else ("",):
            for kind, count in {"": good, **(defects or {"scratch": 3, "dent": 2})}.items():
                folder = root / part / "defect" / kind if kind else root / part / "good"
                for number in range(count):
                    pixels, mask = _draw(random, (30, 40), defective=bool(kind))
                    _save(pixels, folder / f"{number:03d}.png")
                    if kind and masks:
                        _save(mask, root / part / "masks" / kind / f"{number:03d}.png")
        return root

    return make


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a CSV file as spreadsheets do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _draw(random: np.random.Generator, size: tuple[int, int], *, defective: bool) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image [H, W, 3], with a bright square if it is defective, and its mask [H, W], 0 and 255."""
    pixels, mask = random.integers(60, 120, (*size, 3), np.uint8), np.zeros(size, np.uint8)
    if defective:
        mask[10:16, 12:18] = 255
        pixels[mask > 0] = 250
    return pixels, mask


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@dataclass
class Answer:
    """How one request is answered; by default as a good server would."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    claim: int | None = None
    ignore_range: bool = False
    ignore_if_range: bool = False
    omit: tuple[str, ...] = ()
    hold: threading.Event | None = None


@dataclass
class Served:
    """One request, and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int
    sent: int


class Server:
    """Files by path, and the answers to give next; what is not said is answered well."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, deque[Answer]] = {}
        self.served: list[Served] = []
        self.address = ""

    def put(self, path: str, content: bytes, *answers: dict[str, Any]) -> str:
        self.files[path] = content
        self.answers[path] = deque(Answer(**answer) for answer in answers)
        return f"{self.address}/{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.strip("/")
        queue = self.answers.get(path) or deque()
        answer = queue.popleft() if queue else Answer()
        content = self.files.get(path)
        status = answer.status or (200 if content is not None else 404)
        body = (content or b"") if status == 200 else b"sorry"
        headers = {"ETag": f'"{hash(content)}"', "Content-Length": str(len(body))} | answer.headers
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        same = answer.ignore_if_range or handler.headers.get("If-Range") == headers["ETag"]
        if wanted and status == 200 and same and not answer.ignore_range:
            first, total = int(wanted[1]), len(body)
            if first >= total:
                status, body = 416, b""
            else:
                status, body = 206, body[first:]
                headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
            headers |= {"Content-Length": str(len(body))} | answer.headers
        if answer.claim is not None:
            headers["Content-Length"] = str(answer.claim)
        body = body[: answer.cut_after]
        # Noted before the first byte goes out: a client that has all of them may look at once.
        self.served.append(Served(path, dict(handler.headers), status, len(body)))
        handler.send_response(status)
        for name, value in headers.items():
            if name not in answer.omit:
                handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        if answer.hold is not None:
            handler.wfile.flush()
            answer.hold.wait(60)
        handler.close_connection = True


@contextmanager
def _serve() -> Iterator[Server]:
    own = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            own.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        own.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield own
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def serve() -> Callable[[], AbstractContextManager[Server]]:
    """A real HTTP server on loopback, for as long as its context lasts."""
    return _serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    with _serve() as own:
        yield own
