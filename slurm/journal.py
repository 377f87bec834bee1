"""The only module that knows a file name inside results/<study>/jobs/: what was submitted, and each shard's marker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from study.storage import lease
from study.storage.atomic import write_json
from study.storage.paths import results_folder

REQUEUED = "time limit or preemption: saved, requeued"  # the cause of a stop after which the job goes on by itself
MARKER_BYTES = 2048  # fixed, so that later versions overwrite it in place, which a full disk does not prevent


@dataclass(frozen=True)
class Submission:
    """One array (or one local launch): which shards, in order of the array's index, under which scheduler job."""

    id: str
    cluster: str
    kind: str
    commit: str
    shards: tuple[str, ...]
    job: str = ""  # the scheduler's id of the array; empty while it is being sent, and for inline and local
    cancelled: tuple[str, ...] = ()  # shards that `cancel` has ended; a local submitter that reads this starts none
    holder: str = ""  # a local submitter's lease in the jobs folder: while it lives, shards that wait for a core start
    shards_per_job: int = 1

    def index(self, shard: str) -> int:
        """Which job of the array does a shard."""
        return self.shards.index(shard) // self.shards_per_job

    def task(self, shard: str) -> str:
        """The scheduler's id of a shard's job: an array of one is a plain job."""
        return self.job if len(self.shards) <= self.shards_per_job else f"{self.job}_{self.index(shard)}"

    def beside(self, shard: str) -> tuple[str, ...]:
        """The shards of the same job, this one too."""
        first = self.index(shard) * self.shards_per_job
        return self.shards[first : first + self.shards_per_job]


@dataclass(frozen=True)
class Kept:
    """The runs of each shard of a study; those shards that had all it asks for when this was written."""

    shards: dict[str, list[str]]
    complete: frozenset[str]


@dataclass
class Marker:
    """What a shard's job last said of itself. `state`: waiting, running, done, failed, stopped; new when sent again."""

    shard: str
    state: str = "waiting"
    job: str = ""
    restarts: int = 0  # of this job
    requeues: int = 0  # of all jobs that this shard has had
    host: str = ""
    holder: str = ""
    runs: int = 0
    runs_before: int = 0  # trained when this start began
    runs_done: int = 0
    epoch: int = 0
    epochs_per_second: float = 0.0  # of all its networks together
    seconds: float = 0.0
    cause: str = ""  # why it failed or stopped, one line
    log: str = ""  # of this start, in the folder of logs
    asked: str = ""  # the digest of the study as it was when this job was sent: what it is done of
    history: list[str] = field(default_factory=list)  # what earlier starts ended with

    @property
    def runs_now(self) -> int:
        """Runs that this start has trained, in `seconds`."""
        return self.runs_done - self.runs_before

    def past(self, cancelled: bool = False) -> list[str]:
        """The history that the next start goes on from: this one's ending included."""
        if self.state in ("new", "done"):
            return self.history
        ending = self.cause if self.state in ("failed", "stopped") else "ended without a word"
        ending = "cancelled" if cancelled and self.state != "failed" else ending
        return [*self.history, f"job {self.job} start {self.restarts + 1}: {self.state}: {ending}"]


class Journal:
    """The jobs folder of one study."""

    def __init__(self, study: str, results_root: str | Path | None = None) -> None:
        self.folder = results_folder(study, results_root).resolve() / "jobs"

    def new_id(self) -> str:
        """A name for a submission, for who holds the submit lease; the last part keeps two previews apart."""
        return f"{len(self.submissions()) + 1:04d}-{uuid.uuid4().hex[:6]}"

    def logs(self, submission: str) -> Path:
        """Where submitit keeps a submission's script, pickles and logs."""
        return self.folder / "logs" / submission

    def write(self, submission: Submission) -> None:
        """Keep a submission. Raises OSError."""
        write_json(self._submission(submission.id), asdict(submission))

    def _submission(self, id: str) -> Path:
        return self.folder / "submissions" / f"{id}.json"

    def submissions(self) -> list[Submission]:
        """All that was ever submitted, oldest first."""
        found = []
        for file in sorted((self.folder / "submissions").glob("*.json"), key=_number):
            with contextlib.suppress(OSError, ValueError, TypeError):  # TypeError: fields of a later version
                found.append(_submission(json.loads(file.read_text())))
        return found

    def waiting_locally(self) -> set[str]:
        """Shards that a submitter on some machine, alive as far as can be told, will start when a core is free."""
        return {
            shard
            for submission in self.submissions()
            if submission.kind == "local" and lease.alive(self.folder, submission.holder)
            for shard in submission.shards
            if shard not in submission.cancelled
        }

    def cancelled(self, submission: str) -> set[str]:
        """The shards of a submission that `cancel` has ended since it was written."""
        with contextlib.suppress(OSError, ValueError):
            return set(_submission(json.loads((self._submission(submission)).read_bytes())).cancelled)
        return set()

    def cancel(self, shards: Collection[str]) -> None:
        """Note that these shards' jobs are ended by their user, with all that they do. Raises OSError."""
        ended: dict[str, list[str]] = {}
        found = self.latest()
        for shard in shards:
            ended.setdefault(found[shard].id, []).extend(found[shard].beside(shard))
        for submission in self.submissions():
            if more := ended.get(submission.id):
                self.write(replace(submission, cancelled=tuple(sorted({*submission.cancelled, *more}))))

    def latest(self) -> dict[str, Submission]:
        """Shard id -> the last submission that holds it."""
        return {shard: submission for submission in self.submissions() for shard in submission.shards}

    def marker(self, shard: str) -> Marker | None:
        """A shard's marker, or None where no job has started."""
        try:
            content = json.loads((self.folder / "shards" / f"{shard}.json").read_bytes())
            return Marker(**content)
        except (OSError, ValueError, TypeError):
            return None

    def mark(self, marker: Marker) -> None:
        """Overwrite a shard's marker. Raises OSError where even a write in place fails."""
        path = self.folder / "shards" / f"{marker.shard}.json"
        content = _fit(asdict(marker))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)

    def reopen(self, shards: Iterable[str]) -> list[Marker]:
        """Let no word of an ended job count for shards that are sent again, whose runs or measures are wanting.

        Returns the markers as they were.
        """
        latest, changed = self.latest(), []
        for shard in shards:
            before, sent = self.marker(shard), latest.get(shard)
            cancelled = sent is not None and shard in sent.cancelled
            if before is not None and (cancelled or before.state in ("done", "failed", "stopped")):
                changed.append(before)
                history = before.past(cancelled)
                self.mark(replace(before, state="new", holder="", cause="", history=history))
        return changed

    def withdraw(self, submission: str, markers: Iterable[Marker]) -> None:
        """Forget a submission that the scheduler has refused; these markers were reopened for it."""
        self._submission(submission).unlink()
        shutil.rmtree(self.logs(submission), ignore_errors=True)
        for marker in markers:
            self.mark(marker)

    def write_plan(self, digest: str, shards: Mapping[str, Sequence[str]], complete: Iterable[str]) -> None:
        """Keep which runs each shard has and which are complete, for `status` to read instead of all their files."""
        pieces = {shard: list(keys) for shard, keys in shards.items()}
        write_json(self.folder / "plan.json", {"digest": digest, "shards": pieces, "complete": sorted(complete)})

    def plan(self, digest: str) -> Kept | None:
        """What `write_plan` kept, if it was made from the same yaml and code."""
        with contextlib.suppress(OSError, ValueError, KeyError):  # KeyError: of an earlier version
            content: dict[str, Any] = json.loads((self.folder / "plan.json").read_bytes())
            if content["digest"] == digest:
                return Kept(dict(content["shards"]), frozenset(content["complete"]))
        return None


def _number(file: Path) -> tuple[int, str]:
    """What sorts names by their number: 10000 comes after 9999."""
    return len(file.stem.partition("-")[0]), file.name


def _submission(content: dict[str, Any]) -> Submission:
    cancelled = content.get("cancelled") or ()
    if cancelled is True:  # of an earlier version: the whole submission
        cancelled = content["shards"]
    return Submission(**{**content, "shards": tuple(content["shards"]), "cancelled": tuple(cancelled)})


def _fit(content: dict[str, Any]) -> bytes:
    content["cause"] = content["cause"][:400]
    content["history"] = [line[:120] for line in content["history"][-5:]]
    text = json.dumps(content).encode()
    if len(text) > MARKER_BYTES:  # characters that JSON writes as six
        text = json.dumps({**content, "cause": "", "history": []}).encode()
    return text.ljust(MARKER_BYTES)
