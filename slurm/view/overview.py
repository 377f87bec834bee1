"""A study's shards and what they add up to: trained, running, the time that is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slurm.filter import EVERYTHING, Filter
from slurm.launch import Place
from slurm.view.status import IN_FLIGHT, ShardStatus, count, shard_states
from study.config import run_key
from study.grid import shards
from study.storage.paths import RunPaths


@dataclass(frozen=True)
class Overview:
    """A study's shards with their runs: `runs[shard]` are keys, `trained[shard]` how many have ended training."""

    study: str
    statuses: Sequence[ShardStatus]
    runs: Mapping[str, Sequence[str]]
    trained: Mapping[str, int]
    sent: Mapping[str, int]  # how many submissions held a shard
    commits: Sequence[str]
    runs_folder: str = ""
    results_folder: str = ""
    elsewhere: str = ""  # where the study was sent, if nothing was from here

    def totals(self) -> dict[str, Any]:
        """What the header says; seconds_left is None until something is done."""
        n_runs, n_trained = sum(map(len, self.runs.values())), sum(self.trained.values())
        running = [s.marker for s in self.statuses if s.state == "running" and s.marker]
        return {
            "study": self.study,
            "shards": {"total": len(self.statuses), **count(self.statuses)},
            "runs": {"total": n_runs, "trained": n_trained},
            "epochs_per_second": sum(m.epochs_per_second for m in running),
            "seconds_left": self._seconds_left(n_runs - n_trained, len(running)),
            "requeues": sum(s.requeues for s in self.statuses),
            "resubmissions": sum(max(0, n - 1) for n in self.sent.values()),
            "commits": list(self.commits),
            "runs_folder": self.runs_folder,
            "results_folder": self.results_folder,
        }

    @property
    def is_over(self) -> bool:
        """Whether no job can still do something by itself."""
        return not any(s.state in IN_FLIGHT for s in self.statuses)

    def _seconds_left(self, n_left: int, n_running: int) -> float | None:
        """By the job seconds that a run has taken so far, on as many jobs as run now."""
        if not n_left:
            return 0.0
        markers = [s.marker for s in self.statuses if s.marker and s.marker.runs_now and s.marker.seconds]
        if not markers or not n_running:
            return None
        return n_left * sum(m.seconds for m in markers) / sum(m.runs_now for m in markers) / n_running

    def as_json(self) -> str:
        """Everything, for scripts."""
        rows = []
        for s in self.statuses:
            rows.append(
                {**asdict(s), "requeues": s.requeues, "runs": len(self.runs[s.shard]), "trained": self.trained[s.shard]}
            )
        return json.dumps({**self.totals(), "shard_list": rows}, indent=1)


def look(place: Place, chosen: Filter = EVERYTHING) -> Overview:
    """Read the journal, the markers and the queue. Under 2 s for a thousand jobs: no run that is done is looked at.

    But for those whose job was sent when the study asked for something else: of these, files decide what is done.
    Raises ConfigError where no shard fits the filter.
    """
    journal = place.journal
    kept = journal.plan(place.digest)
    runs = kept.shards if kept else {s.id: [run_key(c) for c in s.runs] for s in shards(place.study)}
    if chosen.asks_for_runs:
        wanted = chosen.shards(place.study)
        runs = {shard: keys for shard, keys in runs.items() if shard in wanted}
    statuses = shard_states(journal, list(runs), place.runs)
    trained = {s.shard: _trained(s, runs[s.shard], place.runs) for s in statuses}
    unmarked = {s.shard for s in statuses if s.state not in ("done", *IN_FLIGHT)}
    unmarked = {shard for shard in unmarked if trained[shard] == len(runs[shard])}
    sure = kept.complete if kept else frozenset()
    done = {s.shard: s.marker.asked if s.marker else "" for s in statuses if s.state == "done"}
    outdated = {shard for shard, asked in done.items() if asked != place.digest} - sure  # of the study as it was
    if unmarked | outdated:  # done without the launcher, or before its marker could be written: the runs' files decide
        complete = place.complete(unmarked | outdated)
        statuses = [replace(s, state="done", cause="") if s.shard in complete else s for s in statuses]
        more = "the study asks for more since; `submit` sends it"
        statuses = [replace(s, state="new", cause=more) if s.shard in outdated - complete else s for s in statuses]
    statuses = [s for s in statuses if not chosen.states or s.state in chosen.states]
    runs = {s.shard: runs[s.shard] for s in statuses}
    trained = {s.shard: trained[s.shard] for s in statuses}
    submissions = journal.submissions()
    sent = Counter(shard for submission in submissions for shard in submission.shards if shard in runs)
    commits = list(dict.fromkeys(s.commit for s in submissions))
    return Overview(
        place.study_name, statuses, runs, trained, sent, commits, str(place.runs), str(place.journal.folder.parent),
        "" if submissions else place.elsewhere(),
    )  # fmt: skip


def _trained(status: ShardStatus, keys: Sequence[str], runs_root: Path) -> int:
    if status.state == "done":
        return len(keys)
    if status.state == "running" and status.marker is not None and status.marker.runs == len(keys):
        return status.marker.runs_done
    return sum(RunPaths(runs_root, key).outcome.exists() for key in keys)


def exit_status(overview: Overview) -> int:
    """0 if every shard is done, else 1."""
    return 0 if all(s.state == "done" for s in overview.statuses) else 1
