"""A study on the testbed, as its user sees it: by the commands, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slurm.__main__ import main
from slurm.journal import Journal
from study.grid import load_study
from study.records import collect

ROOT = Path(__file__).parents[2]
CLUSTER = {"kind": "slurm", "partition": "main", "gpus": 1, "device": "cpu", "memory_gb": 0.9, "minutes": 30}
PATIENCE = 600.0  # s: more than anything takes on a slow and busy machine; only what is stuck takes so long


@dataclass
class Bed:
    """One study with folders of its own, on a cluster file of its own."""

    study: Path
    folder: Path
    cluster: dict[str, Any] = field(default_factory=dict)
    wandb: str = "off"
    checkout: Path = ROOT

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster_file = self.folder.parent / f"{self.folder.name}.yaml"
        self.cluster_file.write_text(json.dumps({**CLUSTER, **self.cluster}))  # JSON is YAML
        self.journal = Journal(self.study.stem, self.folder)

    def command(self, name: str, *more: str) -> list[str]:
        """A launcher command about this study."""
        places = [
            "--runs",
            str(self.folder / "runs"),
            "--results",
            str(self.folder),
            "--cluster",
            str(self.cluster_file),
        ]
        sends = ["--wandb", self.wandb, "--allow-dirty"] if name in ("submit", "retry") else []
        return [sys.executable, "-m", "slurm", name, str(self.study), *places, *sends, *more]

    def call(self, name: str, *more: str, ok: tuple[int, ...] = (0,)) -> str:
        """Run it; its output. Fails the test unless the exit status is one of `ok`."""
        done = subprocess.run(
            self.command(name, *more), cwd=self.checkout, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode in ok, f"{name}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def twice_at_once(self, name: str) -> list[int]:
        """Exit statuses of two of the same command, started together."""
        with contextlib.ExitStack() as left_behind:
            both = []
            for _ in range(2):
                process = subprocess.Popen(self.command(name), cwd=self.checkout, stdout=subprocess.DEVNULL)
                both.append(left_behind.enter_context(process))
                left_behind.callback(process.kill)
            return [process.wait(PATIENCE) for process in both]

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        done = subprocess.run(self.command("status", "--json"), cwd=self.checkout, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        return dict(json.loads(done.stdout))

    def shards(self, *states: str) -> list[dict[str, Any]]:
        """The shards in these states."""
        return [s for s in self.status()["shard_list"] if s["state"] in states]

    def until(
        self, condition: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE, every: float = 0.5
    ) -> dict[str, Any]:
        """Ask for the status until it fulfils the condition."""
        end = time.monotonic() + seconds
        while not condition(status := self.status()):
            assert time.monotonic() < end, f"not within {seconds} s: {json.dumps(status, indent=1)}\n{self.logs()}"
            time.sleep(every)
        return status

    def until_done(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until every shard is done."""
        return self.until(lambda s: s["shards"].get("done") == s["shards"]["total"], seconds)

    def until_training(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until a job is training; its shard."""
        return training(self.until(lambda s: bool(training(s)), seconds, every=0.3))[0]

    def until_left(self) -> None:
        """Wait until no job of this study is in the queue."""
        end = time.monotonic() + PATIENCE
        while f"{self.study.stem}." in (found := sh("squeue", "-h", "-o", "%j %i %T")):
            assert time.monotonic() < end, f"jobs that do not end:\n{found}"
            time.sleep(0.3)

    def until_restarted(self, shard: str, restarts: int, cause: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the scheduler has started a shard's job so many times again and that says `cause`; its marker."""

        def marker(status: dict[str, Any]) -> dict[str, Any]:
            return next(s["marker"] for s in status["shard_list"] if s["shard"] == shard)

        def waits(status: dict[str, Any]) -> bool:
            return marker(status)["restarts"] >= restarts and cause in marker(status)["cause"]

        return marker(self.until(waits, seconds, every=0.3))

    def until_idle(self, node: str) -> None:
        """Wait until a node takes jobs again, for the next test.

        Asked of scontrol: sinfo was seen to say something else of a node that scontrol had called idle for a minute.
        """
        end = time.monotonic() + PATIENCE
        while "State=IDLE " not in (found := sh("scontrol", "show", "node", node)):
            assert time.monotonic() < end, f"{node} does not come back: {found}"
            time.sleep(0.5)

    def pid(self, shard: str) -> int:
        """The process that holds a shard."""
        marker = self.journal.marker(shard)
        assert marker is not None
        who = self.folder / "runs/.leases/holders" / marker.holder / "who"
        return int(json.loads(who.read_text())["pid"])

    def records(self) -> bytes:
        """The bytes of records.csv."""
        path, missing = collect(load_study(self.study), self.folder / "runs", self.folder)
        assert missing == 0
        return path.read_bytes()

    def logs(self) -> str:
        """The end of every log, for a failing test."""
        files = sorted((self.journal.folder / "logs").glob("*/*_log.*"))
        return "\n".join(f"--- {f}\n{f.read_text()[-1500:]}" for f in files)


def training(status: dict[str, Any]) -> list[dict[str, Any]]:
    """The shards whose jobs train, of a status."""
    running = [s for s in status["shard_list"] if s["state"] == "running" and s["marker"]]
    mine = [s for s in running if s["marker"]["job"] == s["job"]]  # not the word of a job that was killed
    started = [s for s in mine if s["marker"]["state"] == "running" and s["marker"]["epoch"] > 1]
    return [s for s in started if s["marker"]["runs_done"] < s["runs"]]


def undisturbed(study: Path, folder: Path) -> bytes:
    """The bytes of records.csv of an inline run that nothing disturbs."""
    with undisturbed_meanwhile(study, folder) as records:
        return records()


@contextlib.contextmanager
def undisturbed_meanwhile(study: Path, folder: Path) -> Iterator[Callable[[], bytes]]:
    """The same in a process beside the caller's own work; call what it yields for the bytes, at the end."""
    command = [sys.executable, "-m", "slurm", "submit", str(study), "--cluster", "inline", "--wandb", "off"]
    places = ["--runs", str(folder / "runs"), "--results", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "submit.log"
    with log.open("wb") as file, subprocess.Popen([*command, *places], cwd=ROOT, stdout=file, stderr=file) as process:

        def records() -> bytes:
            assert process.wait() == 0, log.read_text()
            return Bed(study, folder).records()

        try:
            yield records
        finally:
            process.kill()  # where the caller has failed


def preempt(job: str) -> None:
    """What the time limit and a preemption send.

    Its exit status is 1 where the job is requeued before the controller has noted that the signal was heard.
    """
    subprocess.run(["scancel", "--signal=USR2", job], capture_output=True, check=False)


def children_seconds() -> float:
    """CPU time of all children that have been waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def epochs_lasting(seconds: float, text: str, folder: Path) -> int:
    """How many EPOCHS make the study of `text` train for at least so long inline on this machine, start-up apart.

    In CPU time, which other processes hardly change; training has one thread, so that the clock never shows less.
    Two runs of different length are compared, in this process; the longer one is made longer until a second is between.
    """
    folder.mkdir()

    def spent(epochs: int) -> float:
        study, out = folder / f"pace{epochs}.yaml", str(folder / str(epochs))
        study.write_text(text.replace("EPOCHS", str(epochs)))
        begin = time.process_time()
        places = ["--runs", out, "--results", out]
        assert main(["submit", str(study), "--cluster", "inline", "--wandb", "off", *places]) == 0
        return time.process_time() - begin

    spent(1)  # the first imports torch
    few, many = 5, 20
    short = spent(few)
    while (more := spent(many) - short) < 1:
        many *= 4
    return math.ceil(seconds * (many - few) / more)


def is_alive(pid: int) -> bool:
    """Whether a process is there, zombies aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def sh(*command: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout
