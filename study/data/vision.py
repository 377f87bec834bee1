"""torchvision beside a CPU build of torch.

The package index's torchvision 0.28.0 wheel is compiled for CUDA. Beside a CPU build of torch its compiled part cannot
load, and `import torchvision` stops at `operator torchvision::nms does not exist`, because nms and qnms are registered
unguarded. Declaring the two schemas lets the rest (datasets, transforms, models) work; detection stays missing.
Where the compiled part loads nothing here happens. This module can go when that wheel imports beside a CPU torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_kept: list[Any] = []  # the library must stay referenced, or its declarations are withdrawn


def torchvision() -> ModuleType:
    """The torchvision package, with `datasets` and `models` imported."""
    try:
        module = importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torch

        # Only after the failed import: where the real operators load, declaring them twice aborts the process.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        module = importlib.import_module("torchvision")
    importlib.import_module("torchvision.datasets")
    importlib.import_module("torchvision.models")
    return module
