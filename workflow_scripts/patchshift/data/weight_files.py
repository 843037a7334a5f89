"""Tell weight files from what servers send in their place (error pages, halves, pointers to large files), and from
others than those that were downloaded.

Nothing is loaded: the first bytes and the index of a file are enough, or its digest.

Tested in tests/data/test_weight_files.py.
"""

import json
import zipfile
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import SAFE
from patchshift.runtime.files import digest_file, read_json

LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""

TORCH_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The number (as a pickle spells it) with which `torch.save` began before it wrote zip files."""

PICKLE = b"\x80"
ZIP = b"PK\x03\x04"
PROGRAMS = (".pt2",)
"""Exported programs are zip files, in which each version of torch calls the members otherwise."""


def find_fault(path: Path, name: str) -> str | None:
    """What keeps a whole file from being weights of the kind that its name says; None: nothing.

    Args:
        path: the file, under whatever name.
        name: the name that it is to bear: `*.safetensors`, or a name of what `torch.save`, TorchScript or
            `torch.export` write.
    """
    with path.open("rb") as file:
        start = file.read(32)
    fault = _find_fault_of_safetensors(path) if name.endswith(SAFE) else _find_fault_of_torch(path, name, start)
    return f"{fault} (it begins with {start[:8]!r})" if fault else None


def check_receipt(path: Path) -> None:
    """Hold a file to the receipt of its download, if one lies beside it.

    Raises:
        UserError: if its SHA-256 is not the receipt's.
    """
    receipt = path.with_name(f"{path.name}.receipt.json")
    if not receipt.is_file():
        return
    content = read_json(receipt)
    digest = content.get("sha256") if isinstance(content, dict) else None
    if digest != digest_file(path):
        raise UserError(
            f"{path} has changed since {receipt.name} was written, which names another SHA-256: delete {receipt.name} "
            "to use the file as it is, or both to download it again"
        )


def _find_fault_of_safetensors(path: Path) -> str | None:
    """The header is 8 bytes of length and JSON: name -> dtype, shape, place of a tensor; the tensors fill the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            return "not a safetensors file: it has no header"
        try:
            header = json.loads(file.read(length))
            ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return "not a safetensors file: its header is damaged"
    if not ends:
        return "no weights: it holds no tensor"
    held = size - 8 - length
    return None if max(ends) == held else f"not whole: it holds {held} bytes of tensors, its header says {max(ends)}"


def _find_fault_of_torch(path: Path, name: str, start: bytes) -> str | None:
    if start.startswith(PICKLE) and TORCH_MAGIC in start:
        return None
    if not start.startswith(ZIP):
        return "no file of torch"
    if not zipfile.is_zipfile(path):
        return "not whole: its end is missing"
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = any(member.endswith("/data.pkl") for member in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return f"damaged ({error})"
    return None if pickled or name.endswith(PROGRAMS) else "a zip file of something else than torch"
