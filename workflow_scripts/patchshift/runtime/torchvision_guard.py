"""Make torchvision importable where its compiled operators do not fit the installed torch.

torchvision from the package index is linked against CUDA. Beside a CPU build of torch its operator library does not
load, and `import torchvision` fails because the schemas of two operators are missing. The schemas alone are enough
for models and transforms; the operators themselves stay unavailable, and nothing here uses them.

Tested in tests/features/test_backbones.py.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}

_libraries: list[torch.library.Library] = []  # a dropped library would undefine its operators


def make_torchvision_importable() -> None:
    """Define what torchvision's operator library would have, where it cannot load; call before the first import.

    Does nothing where the library loads, where torchvision is not installed, and when called again.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None or _libraries:
        return
    try:
        for library in Path(package.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        missing = [schema for name, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
        _libraries.append(torch.library.Library("torchvision", "FRAGMENT"))
        for schema in missing:
            _libraries[-1].define(schema)
