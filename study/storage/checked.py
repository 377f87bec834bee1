"""Files of tensors that tell whether they are whole: a checksum stands in front, and words that are read without them.

The first 64 bytes are the SHA-256, in hex, of all that follows: one line of JSON, and what torch.save writes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from study.storage.atomic import write_by

_DIGITS = 64


class BrokenFile(ValueError):
    """A file is cut short, or is not what was written."""


def write_checked(path: Path, words: Any, value: Any) -> None:
    """Write JSON-able words, and tensors on the CPU inside plain dicts, lists and numbers. Atomic."""
    import torch

    def fill(file: BinaryIO) -> None:
        file.write(b"0" * _DIGITS)
        hashed = _Hashed(file)
        hashed.write(json.dumps(words).encode() + b"\n")
        torch.save(value, hashed)  # type: ignore[arg-type]  # asks for no more than write and flush
        file.seek(0)
        file.write(hashed.digest.hexdigest().encode())

    write_by(path, fill)


def read_words(path: Path) -> Any:
    """The words alone, unchecked; a few bytes are read. Raises BrokenFile where there are none, and OSError."""
    with path.open("rb") as file:
        file.seek(_DIGITS)
        try:
            return json.loads(file.readline())
        except ValueError:
            raise BrokenFile(f"{path}: has no first line") from None


def read_checked(path: Path) -> Any:
    """The tensors, after the whole file was compared with its checksum. Raises BrokenFile, and OSError."""
    import torch

    with path.open("rb") as file:
        wanted = file.read(_DIGITS).decode(errors="replace")
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise BrokenFile(f"{path}: is cut short or damaged (its SHA-256 is not the one that it names)")
        file.seek(_DIGITS)
        file.readline()
        return torch.load(_Rest(file), map_location="cpu", weights_only=True)  # type: ignore[arg-type]  # reads and seeks


class _Rest:
    """What is left of a file, as a file of its own: torch 2.4 looks for its archive from a file's first byte."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.start = file, file.tell()
        self.read, self.readinto, self.readline = file.read, file.readinto, file.readline  # type: ignore[attr-defined]

    def tell(self) -> int:
        return self.file.tell() - self.start

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset + self.start if whence == 0 else offset, whence) - self.start


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()
