"""Upload offline wandb runs: several at once, within a stated rate of requests, backing off on 429, each run once.

The work is done by wandb's own `sync` command, a few runs a process. It retries refused requests by itself, but knows
no rate, marks a run as synced even if its data were refused for good, and forgets all when it is killed. So this module
starts runs no faster than the rate allows, reads from the command's log what the server has taken, and notes that.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from study.tracking.environment import held
from study.tracking.outbox import Mark, Outbox

REQUESTS_PER_RUN = (
    5  # wandb 0.31: UpsertBucket twice, CreateRunFiles, file_stream twice; files go to storage, not the API
)
HEADROOM = 0.9  # of the rate; the rest is for retries and for whoever else uses the account. Ours
FRUITLESS = 3  # so many processes in a row that send nothing end the upload. Ours
SLOT_SECONDS = 6.0  # runs that start together share a process: so many as the rate allows in this time. Ours
PLACES = ("DIR", "DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR")  # where wandb keeps files of its own
SECONDS_PER_RUN = 600.0  # a process that takes longer than this for each of its runs is ended. Ours

# The command, ended with its parent: a parent that is killed closes the pipe. Left alone it would go on uploading, and
# the next upload would send the same runs again beside it.
_SYNC = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
sys.argv[0] = "wandb"
from wandb.cli.cli import cli
cli()
"""


@dataclass
class UploadReport:
    """What happened: ids that arrived, a line for each that did not, and how often the server said 429."""

    sent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    n_refused: int = 0


@dataclass
class Pace:
    """When the next runs may start: `rate` API requests a minute, fewer for a while after each refusal."""

    rate: float
    slowness: float = 1.0

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate: {self.rate}: allowed: a number of requests a minute > 0")

    @property
    def seconds_per_run(self) -> float:
        """Time from the start of one run to the start of the next."""
        return self.slowness * 60 * REQUESTS_PER_RUN / (HEADROOM * self.rate)

    @property
    def batch(self) -> int:
        """How many runs start together."""
        return max(1, int(SLOT_SECONDS / self.seconds_per_run))

    def learn(self, refused: bool) -> None:
        """Half the speed after a refusal, a tenth faster after each batch without one."""
        self.slowness = min(16.0, self.slowness * 2) if refused else max(1.0, self.slowness / 1.1)


def estimate_seconds(n_runs: int, rate: float) -> float:
    """How long an upload will take where the rate is what limits it."""
    return n_runs * Pace(rate).seconds_per_run


def upload(
    results: Path,
    ids: Collection[str] | None = None,
    *,
    rate: float,
    parallel: int = 4,
    entity: str | None = None,
    project: str | None = None,
    progress: Callable[[int], None] = lambda sent: None,
) -> UploadReport:
    """Try once to upload each run that waits in results/<study>/wandb; `progress` is told how many were sent.

    What the server has confirmed is not sent again. A run that it took and could not confirm is, and wandb then appends
    to its curve: `study.tracking.mirror.deliver` sees to that. Raises ValueError for a rate that is not positive.
    """
    outbox, report, pace = Outbox(results), UploadReport(), Pace(rate)
    queue, next_start = deque(outbox.waiting(ids)), time.monotonic()
    running: list[_Sync] = []
    fruitless = 0
    try:
        while queue or running:
            if queue and len(running) < parallel and time.monotonic() >= next_start:
                batch = [queue.popleft() for _ in range(min(pace.batch, len(queue)))]
                running.append(_Sync(outbox, batch, entity, project))
                next_start = time.monotonic() + len(batch) * pace.seconds_per_run
            for sync in list(running):
                ended = sync.ended()  # before the log is read, so that its last lines are
                for id in sync.newly_sent():
                    outbox.note_sent(id)
                    report.sent.append(id)
                    progress(len(report.sent))
                if sync.n_refused or ended:
                    pace.learn(refused=sync.n_refused > 0)
                    report.n_refused += sync.n_refused
                    sync.n_refused = 0
                if ended:
                    running.remove(sync)
                    fruitless = 0 if len(sync.unsent()) < len(sync.marks) else fruitless + 1
                    report.failed += [f"{mark.id}: {sync.reason()}" for mark in sync.unsent()]
                    if fruitless >= FRUITLESS:
                        report.failed += [f"{mark.id}: {sync.reason()}" for mark in queue]
                        queue.clear()
                    sync.close()
            time.sleep(0.05)
    finally:
        for sync in running:
            sync.close()
    return report


class _Sync:
    """One `wandb sync` process over a few runs, and what its log tells."""

    def __init__(self, outbox: Outbox, marks: Sequence[Mark], entity: str | None, project: str | None) -> None:
        self.marks = {mark.id: mark for mark in marks}
        self.n_refused = 0
        self.error = ""
        self._log = _Log()
        self._limit = time.monotonic() + SECONDS_PER_RUN * len(marks)
        self.folder = outbox.folder / "uploads" / f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        options = ["--include-synced", "-n", str(len(marks))]
        options += ["--entity", entity] if entity else []
        options += ["--project", project] if project else []
        command = [sys.executable, "-c", _SYNC, "sync", *options, *(str(outbox.data(mark)) for mark in marks)]
        with (self.folder / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=held(dict.fromkeys(PLACES, str(self.folder))),
            )

    def ended(self) -> bool:
        """Whether the process has ended; one that takes too long is ended here."""
        if time.monotonic() > self._limit:
            self.error = self.error or "took too long"
            self._process.kill()
            self._process.wait()
        return self._process.poll() is not None

    def newly_sent(self) -> list[str]:
        """Ids that the server has confirmed since the last call; refusals and errors are noted on the way."""
        before = len(self._log.sent)
        for line in self._log.new_lines(self.folder):
            self.n_refused += line.get("status") == 429
            if str(line.get("level", "")).startswith("ERROR"):
                self.error = str(line.get("msg", ""))
        return [id for id in self._log.sent[before:] if id in self.marks]

    def unsent(self) -> list[Mark]:
        """Runs of this process that the server has not confirmed."""
        return [mark for mark in self.marks.values() if mark.id not in self._log.sent]

    def reason(self) -> str:
        """Why runs did not arrive, in one line: the log's last error, else the last line of the output."""
        output = (self.folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return " ".join((self.error or (output or ["no message"])[-1]).split())

    def close(self) -> None:
        """End the process if it still runs, and remove its folder."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Log:
    """Reads a sync process's log as it grows. A run is sent once its last request (`complete`) got a 200."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._completing: set[str] = set()
        self._offset = 0

    def new_lines(self, folder: Path) -> list[dict[str, object]]:
        """Entries that were written since the last call."""
        files = sorted(folder.glob("wandb/logs/debug-sync*.log"))
        if not files:
            return []
        with files[0].open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(whole)
        lines = []
        for text in whole.splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
            self._follow(lines[-1])
        return lines

    def _follow(self, line: dict[str, object]) -> None:
        id = Path(str(line.get("sync_path", ""))).stem.removeprefix("run-")
        message = str(line.get("msg", ""))
        if message == "filestream: sending request" and line.get("complete"):
            self._completing.add(id)
        taken = message == "filestream: request sent" and str(line.get("status", "")).startswith("200")
        if taken and id in self._completing and id not in self.sent:
            self.sent.append(id)


def recover(outbox: Outbox) -> None:
    """Note what uploads that were killed on this machine had sent, from the logs they left."""
    for folder in (outbox.folder / "uploads").glob(f"{platform.node()}-*"):
        node, process, _ = folder.name.rsplit("-", 2)
        if node == platform.node() and not _is_running(int(process)):  # another's name may begin as this one's
            log = _Log()
            with contextlib.suppress(FileNotFoundError):  # another upload notes the same at this moment
                log.new_lines(folder)
            for id in log.sent:
                outbox.note_sent(id)
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
