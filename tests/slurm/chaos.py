"""Faults of all kinds, in a seeded order, on a study on the testbed, and how its user brings it to its end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.slurm.faults import Faults, Shard, in_flight

LET_GO_AFTER = 4  # faults: then one shard trains to its end, and the others go on beside a shard that is done


@dataclass
class Chaos(Faults):
    """The study under fire."""

    seed: int = 1
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _hits: dict[str, int] = field(default_factory=dict)  # shard -> faults that it was aimed at by
    _let_go: set[str] = field(default_factory=set)  # jobs that the gate does not stop any more
    _wandb_killed: int = 0

    def run(self) -> None:
        """Inject every fault once, each while a job trains, and bring the study to its end as its user would."""
        faults = self.all()
        random.Random(self.seed).shuffle(faults)
        with self._killing_wandb_core():
            self.bed.call("submit")
            self.bed.until(_each_shard_has_an_outcome, every=0.3)
            self.check_nothing_is_computed_twice()
            for number, fault in enumerate(faults):
                if number == LET_GO_AFTER:
                    job = self._victim()["job"]
                    self._let_go.add(job)
                    self.gate.open(job)
                fault(self._victim())
                self.check_nothing_is_computed_twice()
            self.gate.open()
            self._to_the_end()
            self.bed.until_left()  # a shard is done before its job has mirrored it
        assert self._wandb_killed, "no wandb-core was met"
        self.check_nothing_is_computed_twice()
        self.note(
            "kill -9 of wandb-core while a job mirrors", f"{self._wandb_killed} killed; runs and records complete"
        )

    def _victim(self) -> Shard:
        """Of the jobs that train at the gate, the one whose shard was hit least.

        A fault may leave more behind than it aimed at, which its user would `retry`. A controller that is killed right
        after it has started a job, say, forgets that it did, starts it again where it runs already, calls that a failed
        launch, and holds the job.
        """
        for _ in range(5):
            status = self.bed.until(lambda s: bool(self._at_gate(s)) or not in_flight(s), every=0.3)
            if found := self._at_gate(status):
                victim = min(found, key=lambda shard: self._hits.get(shard["shard"], 0))
                self._hits[victim["shard"]] = self._hits.get(victim["shard"], 0) + 1
                return victim
            self.bed.call("retry")
        raise AssertionError(f"no job trains after five retries\n{self.bed.logs()}")

    def _at_gate(self, status: dict[str, Any]) -> list[Shard]:
        return [shard for shard in self.alive(status) if shard["job"] not in self._let_go]

    def _to_the_end(self) -> None:
        for _ in range(5):
            status = self.bed.until(lambda s: not in_flight(s))
            if status["shards"].get("done") == status["shards"]["total"]:
                return
            self.bed.call("retry")
        raise AssertionError(f"not done after five retries\n{self.bed.logs()}")

    def check_nothing_is_computed_twice(self) -> None:
        """An outcome that is written is never written again."""
        for path in self.bed.folder.glob("runs/*/*/outcome.json"):
            now = (path.stat().st_ino, path.stat().st_mtime_ns)
            assert self.finished.setdefault(path, now) == now, f"{path} was computed twice"

    @contextlib.contextmanager
    def _killing_wandb_core(self) -> Iterator[None]:
        """Kill the first three wandb-core processes of our jobs."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.05) and self._wandb_killed < 3:
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


def _each_shard_has_an_outcome(status: dict[str, Any]) -> bool:
    return all(shard["marker"] and shard["marker"]["runs_done"] for shard in status["shard_list"])


def markdown(table: list[tuple[str, str]]) -> str:
    """The table for people."""
    rows = [f"| {fault} | {seen} |" for fault, seen in table]
    return "\n".join(["| fault | what `status` said, and what then |", "|---|---|", *rows]) + "\n"
