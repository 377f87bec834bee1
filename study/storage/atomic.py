"""Atomic files: a reader sees the old content or the new, never half of it, whenever the writer is killed."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from study.device import is_of_the_machine

if TYPE_CHECKING:
    import torch


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to disk, rename it into place. Raises OSError (disk full, read-only)."""
    write_by(path, _all_of(content))


def write_by(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """`write_bytes` of what `fill` writes into the open file, which may be more than fits into memory."""
    part = _part(path)
    try:
        _flush(part, fill)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Several files, all or none: every one is written beside its place and flushed before the first is renamed.

    After an error (disk full, read-only, Ctrl-C) all files are as they were. What no file system gives is one rename
    of several files: a kill or a power cut between two renames leaves new files beside old ones.
    """
    parts = {path: _part(path) for path in contents}
    before = {path: path.read_bytes() if path.exists() else None for path in contents}
    renamed: list[Path] = []
    try:
        for path, part in parts.items():
            _flush(part, _all_of(contents[path]))
        for path, part in parts.items():
            renamed.append(path)  # before it is: an interrupt may come in between
            part.replace(path)
    except BaseException:
        for path in renamed:
            _put_back(path, before[path])
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")  # hosts share folders, and pids


def _all_of(content: bytes) -> Callable[[BinaryIO], object]:
    return lambda file: file.write(content)


def _flush(part: Path, fill: Callable[[BinaryIO], object]) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _put_back(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != content:
        write_bytes(path, content)


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON in the order given; NaN and infinities are refused (ValueError), write None."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ValueError naming the file where it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken JSON ({error}); delete the file to have it made again") from error


def write_tensors(path: Path, value: Any) -> None:
    """`write_bytes` of torch.save: tensors on the CPU inside plain dicts, lists and numbers."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_bytes(path, buffer.getvalue())


def read_tensors(path: Path, device: str | torch.device = "cpu") -> Any:
    """The content of a file of `write_tensors`, without unpickling code. Raises ValueError where it is not whole."""
    import torch

    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        if is_of_the_machine(error):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{path}: cannot be read ({said}); allowed: a whole file of tensors") from None
