"""Atomic files: a reader sees the old content or the new, never half of it, whenever the writer is killed."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to disk, rename it into place. Raises OSError (disk full, read-only)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of sorted, indented JSON; NaN and infinities are refused (ValueError), write None for them."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ValueError naming the file where it is broken."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken JSON ({error}); delete the file to have it made again") from error


def write_tensors(path: Path, value: Any) -> None:
    """`write_bytes` of torch.save: tensors on the CPU inside plain dicts, lists and numbers."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_bytes(path, buffer.getvalue())


def read_tensors(path: Path, device: str | torch.device = "cpu") -> Any:
    """The content of a file of `write_tensors`, without unpickling code."""
    import torch

    return torch.load(path, map_location=device, weights_only=True)
