"""The code that a job runs: a copy of the submitted commit, so that editing the checkout changes no queued job."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from study import provenance
from study.names import few

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("study", "slurm")  # all that a job imports


class DirtyTree(ValueError):
    """Code that differs from its commit, which a record could not name."""


@dataclass(frozen=True)
class Code:
    """Where a job's code is, and what its records call it."""

    folder: Path
    commit: str

    def environment(self) -> dict[str, str]:
        """Variables that make python import this code, wherever it is started, and records name it."""
        return {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(self.folder), "STUDY_COMMIT": self.commit}


def take(results_root: str | Path, *, allow_dirty: bool) -> Code:
    """The code of HEAD under <results>/.code/<commit>; with `allow_dirty` a dirty tree's files as they are now.

    Raises DirtyTree for a tree that differs from its commit, or has none, unless `allow_dirty`.
    """
    commit = provenance.commit()
    clean = not commit.endswith("-dirty") and commit != "unknown"
    if not clean and not allow_dirty:
        reason = "is no git checkout" if commit == "unknown" else f"differs from its commit in {_changed()}"
        raise DirtyTree(f"{CHECKOUT}: code: {commit!r}: {reason}; allowed: committed code, or --allow-dirty")
    root = Path(results_root).resolve() / ".code"
    folder = root / commit
    if clean and folder.is_dir():
        return Code(folder, commit)
    root.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".part-", dir=root))
    made.chmod(0o755)
    try:
        _export(commit, made) if clean else _copy(made)
        folder = folder if clean else root / f"{commit}-{made.name.removeprefix('.part-')}"
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another submitter was quicker with the same commit
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Code(folder, commit)


def _changed() -> str:
    lines = _git("--no-optional-locks", "status", "--porcelain", "--", *provenance.CODE).decode().splitlines()
    return few([line[3:] for line in lines])


def _export(commit: str, folder: Path) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(_git("archive", "--format=tar", commit, *PACKAGES))
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(folder, filter="data")


def _copy(folder: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "testbed"))


def _git(*arguments: str) -> bytes:
    environment = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=True, env=environment)
    return done.stdout
