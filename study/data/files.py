"""The files of a torchvision data set: which they are, where they come from, and whether they are whole."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Bytes of a value by the type byte of an IDX file (MNIST's format): ubyte, byte, short, int, float, double.
_IDX_BYTES = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}


@dataclass(frozen=True)
class Archive:
    """What is downloaded: its place under a torchvision root, its checksum by torchvision, its addresses."""

    path: str
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """What torchvision reads of one data set: path under the root -> md5, or None for an IDX file, which says its size;
    and the archives that these are in."""

    name: str
    parts: Mapping[str, str | None]
    archives: tuple[Archive, ...]

    def here(self, root: Path) -> bool:
        """Whether every file is under this root. Raises ValueError, one line, for one that is there and not whole."""
        for path, md5 in self.parts.items():
            if (root / path).exists() and (problem := _problem(root / path, md5)):
                advice = "whole files: delete it, and it is downloaded again, or put the right one there"
                raise ValueError(f"STUDY_DATA: {str(root)!r}: {path} {problem}; allowed: {advice}")
        return all((root / path).exists() for path in self.parts)


def files_of(kind: Any, options: Mapping[str, Any]) -> Files:
    """The files of a torchvision class with these arguments of its own: MNIST and its kin, CIFAR, SVHN."""
    name = kind.__name__
    if hasattr(kind, "split_list"):  # SVHN
        url, path, md5 = kind.split_list[options["split"]]
        return Files(name, {path: md5}, (Archive(path, md5, (url,)),))
    if hasattr(kind, "base_folder"):  # CIFAR
        listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        parts = {f"{kind.base_folder}/{path}": md5 for path, md5 in listed}
        return Files(name, parts, (Archive(kind.filename, kind.tgz_md5, (kind.url,)),))
    raw = f"{name}/raw"
    if "split" in options:  # EMNIST: all its splits are in one archive
        kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
        stems = [f"{raw}/emnist-{options['split']}-{part}-{k}" for part in ("train", "test") for k in kinds]
        path = f"{raw}/{kind.url.rpartition('/')[2]}"
        return Files(name, dict.fromkeys(stems), (Archive(path, kind.md5, (kind.url,)),))
    archives = [Archive(f"{raw}/{path}", md5, tuple(m + path for m in kind.mirrors)) for path, md5 in kind.resources]
    return Files(name, {a.path.removesuffix(".gz"): None for a in archives}, tuple(archives))


def md5_of(path: Path) -> str:
    """A file's MD5 in hex: what torchvision has of each archive."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _problem(path: Path, md5: str | None) -> str:
    """Why a file is not whole, with its size; "" for one that is."""
    size = path.stat().st_size
    if not size:
        return "is empty (0 bytes)"
    if md5 is not None:
        return "" if md5_of(path) == md5 else f"({size:,} bytes) is not the file that torchvision knows (MD5 {md5})"
    with path.open("rb") as file:
        head = file.read(16)
    n_dimensions = head[3] if len(head) > 3 else 0
    if head[:2] != b"\0\0" or head[2:3] not in map(bytes, zip(_IDX_BYTES, strict=True)) or not 1 <= n_dimensions <= 3:
        return f"({size:,} bytes) is no IDX file"
    sizes = [int.from_bytes(head[i : i + 4], "big") for i in range(4, 4 + 4 * n_dimensions, 4)]
    wanted = 4 + 4 * n_dimensions + math.prod(sizes) * _IDX_BYTES[head[2]]
    return "" if size == wanted else f"has {size:,} of {wanted:,} bytes"
