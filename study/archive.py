"""The trained networks of a study as one file: what measuring later needs, so that nothing has to be trained again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from study.config import RunConfig, completed, config_from_dict, run_key
from study.grid import Study
from study.provenance import commit
from study.storage import archive as tar
from study.storage import lease
from study.storage.atomic import read_json
from study.storage.paths import RunPaths


@dataclass(frozen=True)
class Archived:
    """What was packed: runs, how many of the study are not trained, files, bytes of the archive and its SHA-256."""

    n_runs: int
    n_left: int
    n_files: int
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Restored:
    """What was unpacked: the study's name, its runs, and how many files were not there yet."""

    study: str
    n_runs: int
    n_written: int


def pack(study: Study, runs_root: str | Path, target: Path) -> Archived:
    """Write the runs that are trained: config, initial weights, curve, outcome, weights and evaluation of each stop.

    Measures are left out: they stand in the records, and are taken again where they are wanted. The same runs packed by
    the same commit give the same bytes. Raises ValueError where there is nothing to pack, where a run lacks a file, and
    where `target` is there already; OSError.
    """
    if target.exists():
        raise ValueError(f"{target}: is there already, allowed: a new name")
    root = Path(runs_root)
    trained = [(c, p) for c in study.runs if (p := RunPaths(root, run_key(c))).outcome.exists()]
    if not trained:
        raise ValueError(f"{root}: holds no trained run of {study.name}; allowed: run the study first")
    outcomes = [read_json(paths.outcome) for _, paths in trained]
    files = [
        file
        for (config, paths), outcome in zip(trained, outcomes, strict=True)
        for file in _present(config, paths, whole=outcome["status"] != "diverged")
    ]
    about = {
        "study": study.name, "title": study.title, "runs": len(trained), "commit": commit(),
        "trained_by": sorted({c for outcome in outcomes for c in outcome["provenance"]["commit"].split("+")}),
    }  # fmt: skip
    tar.pack(root, files, target, about)
    n_left = len(study.runs) - len(trained)
    return Archived(len(trained), n_left, len(files), target.stat().st_size, tar.sha256(target))


def restore(archive: Path, runs_root: str | Path) -> Restored:
    """Put the runs of an archive under `runs_root`, where they count as trained.

    All of it is read and checked first: checksums, that each run's key is that of its config, that no file is there
    which differs. Raises ValueError, one line, and OSError; then nothing was written.
    """
    root, names = Path(runs_root), _Names(Path(runs_root))
    manifest = tar.check(archive, root, names)
    with lease.acquire(root, names.files, f"study restore {os.getpid()}") as held:
        n = tar.unpack(archive, root, lambda name: PurePosixPath(name).name == "outcome.json", held.check)
    return Restored(str(manifest.about.get("study", "?")), len(names.files), n)


def _files(config: RunConfig, paths: RunPaths) -> tuple[list[Path], list[Path]]:
    """What a trained run has, and what it may have."""
    stops = [paths.stop(stop) for stop in config.stops]
    weights = [stop.weights for stop in stops]
    return [paths.config, paths.init, paths.epochs, paths.outcome, *weights], [stop.evaluation for stop in stops]


def _present(config: RunConfig, paths: RunPaths, whole: bool) -> Iterable[Path]:
    needed, more = _files(config, paths)
    for file in needed:
        if whole and not file.exists():
            raise ValueError(f"{file}: is missing, allowed: all files of a trained run")
    return [file for file in (*needed, *more) if file.exists()]


def _config(name: str, content: bytes) -> RunConfig:
    try:
        return config_from_dict(completed(json.loads(content)))
    except (TypeError, ValueError) as error:
        raise tar.ArchiveError(f"{name}: is no run's config, allowed: those of `study archive`: {error}") from None


class _Names:
    """Which names an archive may hold: those of its runs, whose configs come first among the files of each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, set[str]] = {}  # key -> the names of that run's files

    def __call__(self, name: str, content: bytes) -> bool:
        key = "".join(PurePosixPath(name).parts[1:2])
        if name == self._name(RunPaths(self.root, key).config):
            config = _config(name, content)
            if run_key(config) != key:
                raise tar.ArchiveError(f"{name}: is the config of {run_key(config)}, allowed: that of {key}")
            needed, more = _files(config, RunPaths(self.root, key))
            self.files[key] = {self._name(file) for file in (*needed, *more)}
        return name in self.files.get(key, ())

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()
