"""Faults of all kinds, in a seeded order, on a study that runs on the testbed; after each, what its user would do."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.slurm.bed import ROOT, Bed, is_alive, preempt, sh, training

NODE = str(ROOT / "slurm/testbed/node")
WAIT_SECONDS = 600  # a job that was requeued may have to wait until a sibling has ended


@dataclass
class Chaos:
    """The study under fire. `table` has a row a fault: what was done, what `status` said of it."""

    bed: Bed
    seed: int
    table: list[tuple[str, str]] = field(default_factory=list)
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _wandb_killed: int = 0

    def run(self) -> None:
        """Inject every fault once, each while a job trains, and bring the study to its end as its user would."""
        faults = [
            self.kill_process, self.requeue_one_task, self.preemption_signal, self.lose_node, self.drain_node,
            self.cancel_one_task, self.full_disk, self.read_only_runs, self.freeze_process, self.restart_controller,
            self.two_submitters,
        ]  # fmt: skip
        random.Random(self.seed).shuffle(faults)
        with self._killing_wandb_core():
            self.bed.call("submit")
            for fault in faults:
                fault(self._victim())
                self.check_nothing_is_computed_twice()
            self._to_the_end()
        self.check_nothing_is_computed_twice()
        self._note(
            "kill -9 of wandb-core while a job mirrors", f"{self._wandb_killed} killed; runs and records complete"
        )

    def _victim(self) -> dict[str, Any]:
        """The job that has trained least. A fault may leave more behind than it aimed at, which its user would `retry`.

        A controller that is killed right after it has started a job, say, forgets that it did, starts it again where
        it runs already, calls that a failed launch, and holds the job.
        """
        for _ in range(5):
            status = self.bed.until(lambda s: bool(self._training(s)) or not _in_flight(s), WAIT_SECONDS, every=0.3)
            if found := self._training(status):
                return min(found, key=lambda shard: shard["marker"]["epoch"])  # far from its end
            self.bed.call("retry")
        raise AssertionError(f"no job trains after five retries\n{self.bed.logs()}")

    def _training(self, status: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for shard in training(status):
            with contextlib.suppress(OSError):  # its process has left meanwhile
                found += [shard] if is_alive(self.bed.pid(shard["shard"])) else []
        return found

    def _to_the_end(self) -> None:
        for _ in range(5):
            status = self.bed.until(lambda s: not _in_flight(s), 1200)
            if status["shards"].get("done") == status["shards"]["total"]:
                return
            self.bed.call("retry")
        raise AssertionError(f"not done after five retries\n{self.bed.logs()}")

    def _note(self, fault: str, seen: str) -> None:
        seen = seen.replace(str(self.bed.folder), "results")
        self.table.append((fault, seen))
        print(f"{time.strftime('%X')}  {fault}: {seen}", flush=True)

    def _seen(self, shard: str, condition: Callable[[dict[str, Any]], bool]) -> str:
        """Wait until a shard's status fulfils the condition; its cause, or what its last start ended with."""

        def of(status: dict[str, Any]) -> dict[str, Any]:
            return next(s for s in status["shard_list"] if s["shard"] == shard)

        found = of(self.bed.until(lambda status: condition(of(status)), WAIT_SECONDS, every=0.5))
        history = (found["marker"] or {}).get("history") or [""]
        return f"{found['state']}: {found['cause'] or history[-1]}".strip(": ")

    def _first_in_line(self, job: str) -> None:
        """A requeued job goes to the end of the queue; here it shall not wait for more siblings than those that run."""
        end = time.monotonic() + WAIT_SECONDS
        while sh("squeue", "-h", "-j", job, "-o", "%T").strip() != "PENDING":
            assert time.monotonic() < end, f"{job} was not requeued"
            time.sleep(0.3)
        sh("scontrol", "update", f"jobid={job}", "priority=4294960000")
        if "_" in job:
            # its exit status is 1 where some task of the array has ended already
            throttle = ["scontrol", "update", f"jobid={job.partition('_')[0]}", "arraytaskthrottle=2"]
            subprocess.run(throttle, capture_output=True, check=False)

    @contextlib.contextmanager
    def _frozen(self, shard: dict[str, Any]) -> Iterator[None]:
        """Cut the shard's process off meanwhile."""
        pid = self.bed.pid(shard["shard"])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile, by the scheduler
                os.kill(pid, signal.SIGCONT)

    def check_nothing_is_computed_twice(self) -> None:
        """An outcome that is written is never written again."""
        for path in self.bed.folder.glob("runs/*/*/outcome.json"):
            now = (path.stat().st_ino, path.stat().st_mtime_ns)
            assert self.finished.setdefault(path, now) == now, f"{path} was computed twice"

    # --- faults ---

    def kill_process(self, shard: dict[str, Any]) -> None:
        os.kill(self.bed.pid(shard["shard"]), signal.SIGKILL)
        seen = self._seen(shard["shard"], lambda s: s["state"] in ("failed", "lost"))
        self._note("kill -9 of a job's process", f"{seen}; sent again by `retry`")
        self.bed.call("retry")

    def requeue_one_task(self, shard: dict[str, Any]) -> None:
        before = {s["shard"]: s["marker"]["requeues"] for s in self.bed.shards("running") if s["marker"]}
        sh("scontrol", "requeue", shard["job"])
        self._first_in_line(shard["job"])
        seen = self._seen(shard["shard"], lambda s: s["marker"]["requeues"] > shard["marker"]["requeues"])
        for other in self.bed.shards("running"):
            if other["shard"] != shard["shard"] and other["shard"] in before:
                assert other["marker"]["requeues"] == before[other["shard"]], "a sibling was requeued too"
        self._note("`scontrol requeue` of one job", seen)

    def preemption_signal(self, shard: dict[str, Any]) -> None:
        preempt(shard["job"])
        self._first_in_line(shard["job"])
        seen = self._seen(shard["shard"], lambda s: s["marker"]["requeues"] > shard["marker"]["requeues"])
        self._note("preemption or time limit (USR2)", seen)

    def lose_node(self, shard: dict[str, Any]) -> None:
        old = self.bed.pid(shard["shard"])
        node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
        with self._frozen(shard):
            sh(NODE, "kill", node)
            self._first_in_line(shard["job"])
            restarts = shard["marker"]["restarts"] + 1
            marker = self.bed.until_restarted(shard["shard"], restarts, "holds a run of", WAIT_SECONDS)
            assert is_alive(old), "the process was to outlive its node's slurmd"
        self.bed.until(lambda s: not is_alive(old), WAIT_SECONDS)
        sh(NODE, "start", node)
        what = "node lost (kill -9 of slurmd); its process comes back when the job already runs elsewhere"
        self._note(what, f"{marker['cause']}; the old process stopped without a further write")

    def drain_node(self, shard: dict[str, Any]) -> None:
        node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
        sh("scontrol", "update", f"nodename={node}", "state=drain", "reason=chaos")
        sh("scontrol", "requeue", shard["job"])
        self._first_in_line(shard["job"])
        seen = self._seen(shard["shard"], lambda s: s["marker"]["requeues"] > shard["marker"]["requeues"])
        sh("scontrol", "update", f"nodename={node}", "state=resume")
        self._note("a node drained, its job requeued", seen)

    def cancel_one_task(self, shard: dict[str, Any]) -> None:
        sh("scancel", shard["job"])
        seen = self._seen(shard["shard"], lambda s: s["state"] in ("lost", "stopped"))
        self._note("`scancel` of one task", f"{seen}; sent again by `submit`")
        self.bed.call("submit")

    def full_disk(self, shard: dict[str, Any]) -> None:
        fillers = [self.bed.folder / "filler", self.bed.folder / "runs/filler"]
        for filler in fillers:
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64K"], stderr=subprocess.DEVNULL, check=False)
        seen = self._seen(shard["shard"], lambda s: s["state"] == "failed")
        for filler in fillers:
            filler.unlink()
        assert "No space left" in seen, seen
        self._note("disk of runs and results full", f"{seen}; sent again by `retry` when there was room")
        self.bed.call("retry")

    def read_only_runs(self, shard: dict[str, Any]) -> None:
        runs = str(self.bed.folder / "runs")
        end = time.monotonic() + WAIT_SECONDS
        while subprocess.run(["mount", "-o", "remount,ro", runs], capture_output=True).returncode:
            assert time.monotonic() < end, f"{runs} is always busy"  # as long as a file is open for writing
            time.sleep(0.02)
        seen = self._seen(shard["shard"], lambda s: s["state"] == "failed")
        sh("mount", "-o", "remount,rw", runs)
        assert "Read-only" in seen, seen
        self._note("runs folder read-only", f"{seen}; sent again by `retry`")
        self.bed.call("retry")

    def freeze_process(self, shard: dict[str, Any]) -> None:
        with self._frozen(shard):
            time.sleep(3)
        seen = self._seen(shard["shard"], lambda s: s["state"] in ("running", "done"))
        self._note("a process frozen for 3 s", seen.partition(":")[0])

    def restart_controller(self, shard: dict[str, Any]) -> None:
        folder = Path(os.environ["SLURM_CONF"]).parent
        pid = int((folder / "run/slurmctld.pid").read_text())
        with self._frozen(shard):
            os.kill(pid, signal.SIGKILL)
            try:
                seen = self._seen(shard["shard"], lambda s: s["state"] == "unknown")
            finally:
                sh(str(ROOT / "slurm/testbed/up"))
        time.sleep(15)  # until it has found out which starts it has forgotten, see `_victim`
        sh(str(ROOT / "slurm/testbed/up"))
        self._note("kill -9 of slurmctld", seen.split("; allowed")[0])

    def two_submitters(self, shard: dict[str, Any]) -> None:
        before = len(self.bed.ledger.submissions())
        assert self.bed.twice_at_once("retry") == [0, 0]
        sent = len(self.bed.ledger.submissions()) - before
        self._note("two `retry` at once, jobs running", f"{sent} job(s) sent for shards in flight")
        assert sent <= 1

    @contextlib.contextmanager
    def _killing_wandb_core(self) -> Iterator[None]:
        """Kill the first three wandb-core processes of our jobs."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.1) and self._wandb_killed < 3:
                for entry in Path("/proc").glob("[0-9]*"):
                    with contextlib.suppress(OSError):
                        if (entry / "comm").read_text().startswith("wandb-core") and (
                            str(self.bed.folder).encode() in (entry / "environ").read_bytes()
                        ):
                            os.kill(int(entry.name), signal.SIGKILL)
                            self._wandb_killed += 1

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _in_flight(status: dict[str, Any]) -> bool:
    return bool(status["shards"].keys() & {"running", "pending", "unknown"})


def markdown(table: list[tuple[str, str]]) -> str:
    """The table for people."""
    rows = [f"| {fault} | {seen} |" for fault, seen in table]
    return "\n".join(["| fault | what `status` said, and what then |", "|---|---|", *rows]) + "\n"
