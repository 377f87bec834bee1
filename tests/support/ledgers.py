"""A ledger of two linear networks, to be changed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


def linears(folder: Path, text: str = "", code: str = "") -> Path:
    """Two linear networks on three features, and a yaml to be changed."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(nn.Linear(3, 2).state_dict(), folder / f"w{seed}.pt")
        torch.save(nn.Linear(3, 2).state_dict(), folder / f"w{seed}.before")
    own = "import torch\n" + (code or "def build(hp):\n    return torch.nn.Linear(3, 2)\n")
    own += "def data():\n    torch.manual_seed(0)\n    x = torch.randn(12, 3)\n    y = (x[:, 0] > 0).long()\n"
    (folder / "own.py").write_text(own + "    return x[:8], y[:8], x[8:], y[8:]\n")
    (folder / "models.yaml").write_text(text or YAML)
    return folder / "models.yaml"


YAML = """
build: own.py:build
data: own.py:data
networks: [{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]
measures: [param_norm, inverse_margin, train_loss]
"""
