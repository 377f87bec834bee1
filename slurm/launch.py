"""Which study, on which cluster, with which folders: worked out once for every command."""

from __future__ import annotations

import functools
import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from slurm.cluster import Cluster, load_cluster
from slurm.journal import Journal
from study.grid import Study, load_study
from study.storage.paths import results_root, runs_folder
from study.study_file import read_study_file

INLINE = Cluster("inline", "local")


@dataclass(frozen=True)
class Place:
    """A study's yaml, a cluster, and the runs and results folders, absolute; `words` name all of it to a command."""

    config: Path
    cluster: Cluster
    runs: Path
    results: Path
    words: str

    @property
    def study_name(self) -> str:
        """A study is named after its file."""
        return self.config.stem

    @functools.cached_property
    def study(self) -> Study:
        """The study, expanded when first asked for."""
        return load_study(self.config)

    def command(self, name: str) -> str:
        """The line to type for another command about the same place."""
        return f"python -m slurm {name} {self.words}"

    @property
    def journal(self) -> Journal:
        """What was submitted, and how it fares."""
        return Journal(self.study_name, self.results)


def find_place(config: Path, cluster: str, runs: Path | None, results: Path | None) -> Place:
    """Folders by the command line, else by the cluster file, else by $STUDY_RUNS and $STUDY_RESULTS.

    Raises ClusterError, and ConfigError for a study that cannot be read.
    """
    if not config.is_file():
        load_study(config)  # raises, with the line for people
    found = INLINE if cluster == "inline" else load_cluster(cluster)
    root = _folder(results, found.results, str(results_root()))
    given = {"--cluster": cluster, "--runs": runs, "--results": results}
    words = shlex.join([str(config), *(str(w) for pair in given.items() if pair[1] for w in pair)])
    return Place(config, found, _folder(runs, found.runs, str(runs_folder())), root, words)


def _folder(asked: Path | None, of_cluster: str, default: str) -> Path:
    return Path(asked or of_cluster or default).expanduser().resolve()


def digest(config: Path) -> str:
    """What tells whether a study has changed: a hash of its sections, those it takes from an extended file too."""
    return hashlib.sha256(repr(read_study_file(config)).encode()).hexdigest()
