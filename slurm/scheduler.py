"""The scheduler's commands: sbatch (through submitit), squeue, sacct, scancel, scontrol; asked again when busy."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slurm.cluster import Cluster, slurm_parameters

BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # ours: a controller that restarts is back within a minute
BUSY = re.compile(
    r"socket timed out|unable to contact|connection refused|connection reset|connection timed out|resource temporarily"
    r"|slurm temporarily|zero bytes were transmitted|communication connection failure|try again|backup controller",
    re.IGNORECASE,
)
QUERY_SECONDS = 20.0  # a status that cannot be had is "unknown", soon
DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own


class SchedulerError(RuntimeError):
    """A scheduler command that failed for good; one line."""


class Refused(SchedulerError):
    """A submission that the scheduler has heard and does not take: nothing was sent."""


def with_back_off(
    attempt: Callable[[], Any],
    before_retry: Callable[[], Any] = lambda: None,
    waits: Sequence[float] = BACK_OFF_SECONDS,
) -> Any:
    """Call `attempt`; when the scheduler is busy (a SchedulerError that matches BUSY) wait and call again."""
    for number, seconds in enumerate((*waits, None)):
        try:
            if number:
                before_retry()  # inside: a controller that was away a second ago may still be
            return attempt()
        except SchedulerError as error:
            if seconds is None or not BUSY.search(str(error)):
                raise
            print(f"{error}; asking again in {seconds:.0f} s", file=sys.stderr, flush=True)
            time.sleep(seconds)
    raise AssertionError("not reached")


def run(*command: str, waits: Sequence[float] = BACK_OFF_SECONDS[:1]) -> str:
    """Output of a scheduler command. Raises SchedulerError, one line, when it is missing or fails for good."""
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0"}  # lists of tasks are not cut at 64 characters

    def attempt() -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, env=environment)
        except FileNotFoundError:
            raise SchedulerError(
                f"{command[0]}: no such command here; allowed: a machine that submits to SLURM"
            ) from None
        except subprocess.TimeoutExpired:
            raise SchedulerError(f"{command[0]}: connection timed out after {QUERY_SECONDS:.0f} s") from None
        if done.returncode:
            raise SchedulerError(f"{command[0]}: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}")
        return done.stdout

    return str(with_back_off(attempt, waits=waits))


def check() -> None:
    """Raise SchedulerError unless jobs can be sent from here."""
    for name in ("sbatch", "srun"):
        if shutil.which(name) is None:
            raise SchedulerError(
                f"{name}: no such command here; allowed: a machine that submits to SLURM, or --cluster local"
            )


@functools.cache
def max_array_size() -> int:
    """The most tasks of one array, as the controller is configured; SLURM's own default where it cannot be asked."""
    if shutil.which("scontrol") is None:
        return DEFAULT_MAX_ARRAY_SIZE
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", run("scontrol", "show", "config"))
    return int(found[1]) if found else DEFAULT_MAX_ARRAY_SIZE


def executor(cluster: Cluster, job_name: str, logs: Path, environment: Mapping[str, str]) -> Any:
    """submitit's SlurmExecutor, set up for a cluster."""
    from submitit import SlurmExecutor

    python = " ".join(filter(None, [cluster.container, shlex.quote(cluster.python or sys.executable)]))
    made = SlurmExecutor(logs, max_num_timeout=cluster.max_requeues, python=python)
    made.update_parameters(**slurm_parameters(cluster, job_name, environment))
    return made


def script(cluster: Cluster, job_name: str, n_jobs: int, logs: Path, environment: Mapping[str, str]) -> str:
    """The sbatch file that `send` would write for so many jobs."""
    made = executor(cluster, job_name, logs, environment)
    if n_jobs > 1:
        made.parameters["map_count"] = n_jobs
    return str(made._make_submission_file_text(made._submitit_command_str, ""))


def send(
    cluster: Cluster, job_name: str, jobs: Sequence[Any], logs: Path, environment: Mapping[str, str],
) -> str:  # fmt: skip
    """One sbatch for all `jobs`; the id of the array (or of the one job). A busy controller is asked again.

    An sbatch that timed out may have been heard: what goes by the name is cancelled before the next attempt, so that
    nothing is sent twice. Raises Refused, and SchedulerError where it is not known whether it was heard.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    made = executor(cluster, job_name, logs, environment)

    def attempt() -> str:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what the exception says too
                return str(made.submit_array(jobs)[0].job_id).split("_")[0]
        except (FailedJobError, FailedSubmissionError) as error:
            message = " ".join(str(error).split()) or "sbatch failed without a message"
            raise (SchedulerError if BUSY.search(message) else Refused)(message) from None

    return str(with_back_off(attempt, lambda: run("scancel", f"--name={job_name}", waits=())))


def queue(job_names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """`<job name>/<array index>` -> (job id, state, reason or nodes) of what is queued or running. One call."""
    names = sorted(set(job_names))
    if not names:
        return {}
    found = {}
    output = run("squeue", "-h", "-r", "-t", "all", "-o", "%j|%i|%T|%R", f"--name={','.join(names)}")
    for line in output.splitlines():
        name, id, state, reason = line.split("|", 3)
        found[f"{name}/{id.partition('_')[2] or 0}"] = (id, state, reason)
    return {place: entry for place, entry in found.items() if entry[1] in _QUEUED}


_QUEUED = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING",
           "SIGNALING", "STAGE_OUT", "REQUEUE_FED", "SPECIAL_EXIT", "STOPPED", "RESV_DEL_HOLD"}  # fmt: skip


def holds(state: str, reason: str) -> bool:
    """Whether the scheduler itself keeps a queued job from starting, for good: its launch failed, or its exit status is
    one that the site holds, or its reservation was deleted. A job that somebody holds (`scontrol hold`, `requeuehold`)
    is not meant."""
    return state in ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD") or bool(_HOLD.search(reason))


_HOLD = re.compile(r"fail.* requeued held|JobHoldMaxRequeue", re.IGNORECASE)


def history(jobs: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Job or array task id -> (state, exit code, nodes) by the accounting. One call. Raises SchedulerError."""
    ids = sorted({job.partition("_")[0] for job in jobs if job})
    if not ids:
        return {}
    output = run("sacct", "-n", "-P", "-X", "-o", "JobID,State,ExitCode,NodeList", "-j", ",".join(ids))
    rows = [line.split("|") for line in output.splitlines()]
    whole = [row for row in rows if len(row) == 4 and row[1]]
    return {task: (row[1].split()[0], row[2], row[3]) for row in whole for task in _tasks(row[0])}


def _tasks(id: str) -> list[str]:
    """One line of sacct stands for all tasks of an array that never started.

    >>> _tasks("7_[0,4-6%2]"), _tasks("7_3")
    (['7_0', '7_4', '7_5', '7_6'], ['7_3'])
    """
    job, bracket, pieces = id.partition("_[")
    if not bracket:
        return [id]
    ends = [piece.partition("-") for piece in pieces.rstrip("]").partition("%")[0].split(",")]
    return [f"{job}_{k}" for first, _, last in ends for k in range(int(first), int(last or first) + 1)]


def cancel(jobs: Sequence[str]) -> None:
    """scancel, a thousand ids a call."""
    for start in range(0, len(jobs), 1000):
        run("scancel", *jobs[start : start + 1000], waits=BACK_OFF_SECONDS)


def release(jobs: Sequence[str]) -> None:
    """scontrol release, a hundred ids a call. Raises SchedulerError where one is refused; the others are released."""
    for start in range(0, len(jobs), 100):
        run("scontrol", "release", ",".join(jobs[start : start + 100]), waits=BACK_OFF_SECONDS)


def explain_exit(code: str) -> str:
    """sacct's `status:signal` in words: a job that could not even write why it failed ends with the errno."""
    status, _, number = code.partition(":")
    if number not in ("", "0"):
        return "a log file could not be opened" if number == "53" else f"killed by signal {number}"
    from slurm.job.work import DISK

    return os.strerror(int(status)) if status.isdigit() and int(status) in DISK else f"exit status {status}"
