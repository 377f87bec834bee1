"""What a command made and from what, remembered beside it: nothing is made again that would come out the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from analysis.load import Source

PACKAGE = Path(__file__).parent
LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "rich", "scikit-learn", "scipy", "seaborn")


def fingerprint(sources: Iterable[Source], more: Iterable[str] = ()) -> str:
    """SHA-256 of all that decides what is made: the frames, this package's files, the libraries, and `more` words.

    Cost: one pass over the frames; milliseconds for a study of hundreds of runs.
    """
    digest = hashlib.sha256(repr((platform.python_version(), [version(name) for name in LIBRARIES])).encode())
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.parent != PACKAGE / "records" and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(PACKAGE)} {_sha(path)} ".encode())
    digest.update(repr(list(more)).encode())
    for source in sources:
        digest.update(repr((source.name, source.title, source.path.name, source.committed)).encode())
        for frame in source.frames():
            digest.update(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
            digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return digest.hexdigest()


def recall(note: Path, mark: str) -> str | None:
    """What was printed when `note` was written under this mark; None if a file made then is not as it was."""
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        same = kept["fingerprint"] == mark and all(
            _sha(note.parent / name) == sha for name, sha in kept["files"].items()
        )
        return str(kept["printed"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(note: Path, mark: str, files: Iterable[Path], printed: str) -> None:
    """Write down what was made (files as seen from the folder of `note`, their SHA-256) and what was printed about it.

    Where it cannot be written, all will be made again, which is no reason to fail.
    """
    made = {Path(os.path.relpath(path, note.parent)).as_posix(): _sha(path) for path in sorted(files)}
    content = {"fingerprint": mark, "files": made, "printed": printed}
    with contextlib.suppress(OSError):
        note.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
