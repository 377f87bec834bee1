"""Faults of all kinds to jobs that train on the testbed; after each, what its user would do.

Each ends as soon as what it does is seen, in the queue, in a shard's marker or by `status`, not when a time is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.storage import lease
from tests.slurm.bed import PATIENCE, ROOT, Bed, is_alive, preempt, sh, training
from tests.slurm.gate import Gate

NODE = str(ROOT / "slurm/testbed/node")
UP = str(ROOT / "slurm/testbed/up")

Shard = dict[str, Any]  # as in `status --json`


@dataclass
class Faults:
    """What can befall a job. `table` has a row a fault: what was done, what `status` said of it."""

    bed: Bed
    gate: Gate
    table: list[tuple[str, str]] = field(default_factory=list)

    def all(self) -> list[Callable[[Shard], None]]:
        """Every fault that is done to one job at a time."""
        return [
            self.kill_process, self.requeue_one_task, self.preemption_signal, self.lose_node, self.drain_node,
            self.cancel_one_task, self.full_disk, self.read_only_runs, self.freeze_process, self.restart_controller,
            self.two_submitters,
        ]  # fmt: skip

    def note(self, fault: str, seen: str) -> None:
        """Add a row to the table."""
        seen = seen.replace(str(self.bed.folder), "results")
        self.table.append((fault, seen))
        print(f"{time.strftime('%X')}  {fault}: {seen}", flush=True)

    def alive(self, status: dict[str, Any]) -> list[Shard]:
        """The shards that train, in a process that has not left meanwhile."""
        found = []
        for shard in training(status):
            with contextlib.suppress(OSError):
                found += [shard] if is_alive(self.bed.pid(shard["shard"])) else []
        return found

    def _seen(self, shard: str, condition: Callable[[Shard], bool]) -> str:
        """Wait until a shard's status fulfils the condition; its cause, or what its last start ended with."""

        def of(status: dict[str, Any]) -> Shard:
            return next(s for s in status["shard_list"] if s["shard"] == shard)

        found = of(self.bed.until(lambda status: condition(of(status)), every=0.3))
        history = (found["marker"] or {}).get("history") or [""]
        return f"{found['state']}: {found['cause'] or history[-1]}".strip(": ")

    def _seen_requeued(self, shard: Shard) -> str:
        """Wait until the shard's job has started once more by the scheduler's doing."""
        return self._seen(shard["shard"], lambda s: s["marker"]["requeues"] > shard["marker"]["requeues"])

    @contextlib.contextmanager
    def _frozen(self, shard: Shard) -> Iterator[None]:
        """Cut the shard's process off meanwhile."""
        pid = self.bed.pid(shard["shard"])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile, by the scheduler
                os.kill(pid, signal.SIGCONT)

    def kill_process(self, shard: Shard) -> None:
        os.kill(self.bed.pid(shard["shard"]), signal.SIGKILL)
        seen = self._seen(shard["shard"], lambda s: s["state"] in ("failed", "lost"))
        self.note("kill -9 of a job's process", f"{seen}; sent again by `retry`")
        self.bed.call("retry")

    def requeue_one_task(self, shard: Shard) -> None:
        before = {s["shard"]: s["marker"]["requeues"] for s in self.bed.shards("running") if s["marker"]}
        sh("scontrol", "requeue", shard["job"])
        seen = self._seen_requeued(shard)
        for other in self.bed.shards("running"):
            if other["shard"] != shard["shard"] and other["shard"] in before:
                assert other["marker"]["requeues"] == before[other["shard"]], "a sibling was requeued too"
        self.note("`scontrol requeue` of one job", seen)

    def preemption_signal(self, shard: Shard) -> None:
        preempt(shard["job"])
        self.note("preemption or time limit (USR2)", self._seen_requeued(shard))

    def lose_node(self, shard: Shard) -> None:
        old = self.bed.pid(shard["shard"])
        node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
        with self._frozen(shard):
            sh(NODE, "kill", node)
            restarts = shard["marker"]["restarts"] + 1
            marker = self.bed.until_restarted(shard["shard"], restarts, "holds a run of")
            assert is_alive(old), "the process was to outlive its node's slurmd"
        self.bed.until(lambda s: not is_alive(old), every=0.3)
        sh(NODE, "start", node)
        what = "node lost (kill -9 of slurmd); its process comes back when the job already runs elsewhere"
        self.note(what, f"{marker['cause']}; the old process stopped without a further write")

    def drain_node(self, shard: Shard) -> None:
        node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
        sh("scontrol", "update", f"nodename={node}", "state=drain", "reason=chaos")
        sh("scontrol", "requeue", shard["job"])
        seen = self._seen_requeued(shard)
        sh("scontrol", "update", f"nodename={node}", "state=resume")
        self.note("a node drained, its job requeued", seen)

    def cancel_one_task(self, shard: Shard) -> None:
        sh("scancel", shard["job"])
        seen = self._seen(shard["shard"], lambda s: s["state"] in ("lost", "stopped"))
        self.note("`scancel` of one task", f"{seen}; sent again by `submit`")
        self.bed.call("submit")

    def full_disk(self, shard: Shard) -> None:
        fillers = [self.bed.folder / "filler", self.bed.folder / "runs/filler"]
        for filler in fillers:
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64K"], stderr=subprocess.DEVNULL, check=False)
        self.gate.open(shard["job"])  # it comes to a write
        seen = self._seen(shard["shard"], lambda s: s["state"] == "failed")
        for filler in fillers:
            filler.unlink()
        assert "No space left" in seen, seen
        self.note("disk of runs and results full", f"{seen}; sent again by `retry` when there was room")
        self.bed.call("retry")

    def read_only_runs(self, shard: Shard) -> None:
        runs = str(self.bed.folder / "runs")
        end = time.monotonic() + PATIENCE
        while subprocess.run(["mount", "-o", "remount,ro", runs], capture_output=True).returncode:
            assert time.monotonic() < end, f"{runs} is always busy"  # as long as a file is open for writing
            time.sleep(0.02)
        self.gate.open(shard["job"])  # it comes to a write
        seen = self._seen(shard["shard"], lambda s: s["state"] == "failed")
        sh("mount", "-o", "remount,rw", runs)
        assert "Read-only" in seen, seen
        self.note("runs folder read-only", f"{seen}; sent again by `retry`")
        self.bed.call("retry")

    def freeze_process(self, shard: Shard) -> None:
        held = self.bed.journal.marker(shard["shard"])
        assert held is not None
        heart = self.bed.folder / "runs/.leases/holders" / held.holder / "alive"
        with self._frozen(shard):
            while time.time() - heart.stat().st_mtime < lease.BEAT_SECONDS + 1:
                time.sleep(0.1)
            last = self.bed.journal.marker(shard["shard"])
            seen = self._seen(shard["shard"], lambda s: s["state"] == "running")
        assert last is not None

        def goes_on(now: Shard) -> bool:
            return now["state"] == "done" or now["marker"]["seconds"] > last.seconds

        self._seen(shard["shard"], goes_on)
        now = self.bed.journal.marker(shard["shard"])
        assert now is not None and now.holder == held.holder, "another job took its runs over"
        self.note("a process frozen until it has missed a heartbeat", seen.partition(":")[0])

    def restart_controller(self, shard: Shard) -> None:
        folder = Path(os.environ["SLURM_CONF"]).parent
        pid = int((folder / "run/slurmctld.pid").read_text())
        with self._frozen(shard):
            os.kill(pid, signal.SIGKILL)
            try:
                seen = self._seen(shard["shard"], lambda s: s["state"] == "unknown")
            finally:
                sh(UP)
        # until it has found out which starts it has forgotten, see `Chaos._victim`: no job is on its way
        self.bed.until(lambda s: not in_flight(s) - {t["shard"] for t in self.alive(s)})
        sh(UP)
        self.note("kill -9 of slurmctld", seen.split("; allowed")[0])

    def two_submitters(self, shard: Shard) -> None:
        before = len(self.bed.journal.submissions())
        assert self.bed.twice_at_once("retry") == [0, 0]
        sent = len(self.bed.journal.submissions()) - before
        self.note("two `retry` at once, jobs running", f"{sent} job(s) sent for shards in flight")
        assert sent <= 1


def in_flight(status: dict[str, Any]) -> set[str]:
    """The shards whose jobs may still go on by themselves."""
    return {s["shard"] for s in status["shard_list"] if s["state"] in ("running", "pending", "unknown")}
