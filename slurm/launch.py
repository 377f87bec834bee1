"""Which study, on which cluster, with which folders: worked out once for every command."""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from slurm.cluster import Cluster, load_cluster
from slurm.journal import Journal
from study.config import ConfigError, run_key
from study.grid import Study, load_study, read_measures, shards
from study.measures import Own
from study.state import run_state
from study.storage.folders import usable
from study.storage.paths import CHECKOUT, RunPaths, results_root, runs_folder
from study.storage.sent import Sent, recall, remember
from study.study_file import StudyFileError, read_study_file

INLINE = Cluster("inline", "local")


@dataclass(frozen=True)
class Place:
    """A study's yaml, a cluster, and the runs and results folders, absolute; `words` name all of it to a command."""

    config: Path
    cluster: Cluster
    runs: Path
    results: Path
    words: str
    cluster_name: str  # or the path of its yaml
    is_named: bool  # by the command line, so that `words` hold it

    @property
    def study_name(self) -> str:
        """A study is named after its file."""
        return self.config.stem

    @functools.cached_property
    def study(self) -> Study:
        """The study, expanded when first asked for."""
        _ = self.digest  # first: an edit in between is then taken for one that came after
        return load_study(self.config)

    @functools.cached_property
    def digest(self) -> str:
        """`digest` of the study as it is here, whatever becomes of its file in the meantime."""
        return digest(self.config)

    def complete(self, candidates: Collection[str]) -> set[str]:
        """Those of these shards whose runs have all that the study asks for, by their files."""
        measures = self.study.measures
        return {
            shard.id
            for shard in (shards(self.study) if candidates else ())
            if shard.id in candidates
            and all(run_state(RunPaths(self.runs, run_key(c)), c, measures) == "done" for c in shard.runs)
        }

    @property
    def folders(self) -> str:
        """What is read and written, in words."""
        return f"results {self.results / self.study_name}, runs {self.runs}"

    def elsewhere(self) -> str:
        """Where the study was sent to, in words, if that is another place than this."""
        sent = recall(self.study_name)
        if sent is None or sent.results == str(self.results):
            return ""
        return f"sent to {sent.cluster}, results in {sent.results}: leave --cluster and --results out to see it"

    def command(self, name: str) -> str:
        """The line to type for another command about the same place."""
        where = f" --cluster {shlex.quote(self.cluster_name)}" if name == "submit" and not self.is_named else ""
        return f"python -m slurm {name} {self.words}{where}"

    @property
    def journal(self) -> Journal:
        """What was submitted, and how it fares."""
        return Journal(self.study_name, self.results)


def find_place(config: Path, cluster: str | None, runs: Path | None, results: Path | None) -> Place:
    """Folders by the command line, else by the cluster file, else by $STUDY_RUNS and $STUDY_RESULTS.

    Without a cluster, a study is where it was sent last, or on this machine where it never was. Raises ClusterError,
    ConfigError for a study that cannot be read, ValueError for a folder that is none.
    """
    if not config.is_file() and (CHECKOUT / config).is_file():
        config = CHECKOUT / config  # as from the checkout, wherever one is
    if not config.is_file():
        load_study(config)  # raises, with the line for people
    sent = recall(config.stem) if cluster is None else None
    name = cluster or (sent.cluster if sent else "local")
    found = INLINE if name == "inline" else load_cluster(name)
    root = _folder(results, sent.results if sent else found.results, str(results_root()))
    given = {"--cluster": cluster, "--runs": runs, "--results": results}
    words = shlex.join([str(config), *(str(w) for pair in given.items() if pair[1] for w in pair)])
    folder = _folder(runs, sent.runs if sent else found.runs, str(runs_folder()))
    return Place(config, found, usable("--runs", folder), usable("--results", root), words, name, bool(cluster))


def n_workers(cluster: Cluster) -> int:
    """How many shards a cluster runs at a time."""
    if cluster is INLINE:
        return 1
    if cluster.kind == "slurm":
        return cluster.array_parallelism * cluster.shards_per_job
    return cluster.processes or len(os.sched_getaffinity(0))


def _folder(asked: Path | None, of_cluster: str, default: str) -> Path:
    return Path(asked or of_cluster or default).expanduser().resolve()


def remember_place(place: Place) -> None:
    """Let later commands find what was sent, without being told where; a note that cannot be kept is no error."""
    cluster = place.cluster_name
    is_file = "/" in cluster or cluster.endswith((".yaml", ".yml"))
    name = str(Path(cluster).resolve()) if is_file else cluster
    try:
        remember(place.study_name, Sent(name, str(place.runs), str(place.results)))
    except OSError as error:
        print(f"where it was sent is not remembered: {error}", file=sys.stderr)


def digest(config: Path) -> str:
    """What tells whether a study has changed: a hash of its sections, those it takes from an extended file too.

    And of the code of one's own measures, and the members of sets. Raises StudyFileError, one line.
    """
    content = read_study_file(config)
    try:
        measures = read_measures(content["measures"], config.parent)
    except ConfigError as error:
        raise StudyFileError(config, error) from None
    taken = [(str(label), label.code if isinstance(label, Own) else "") for label in measures]
    return hashlib.sha256(repr((content, taken)).encode()).hexdigest()[:16]
