"""Settings for all tests: one thread, no wandb server, results never in the checkout; real images where they are."""

import os
import signal
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_ERROR_REPORTING"] = "false"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a script's `pytest &`; what tests start would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest


@pytest.fixture
def image_root() -> Path:
    """A torchvision root with the real data sets; tests that need it skip, saying so, where there is none."""
    root = os.environ.get("STUDY_DATA", "")
    if not root or not Path(root).is_dir():
        pytest.skip("STUDY_DATA is not set to a torchvision root: no real images here")
    return Path(root)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import importlib.util

    # Files with slow tests first: one that began last would run alone, with every other process idle.
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
