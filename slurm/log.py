"""A job's log: where it is, the line in it that says why the job ended, and the log itself for people."""

from __future__ import annotations

import os
import re
from pathlib import Path

from slurm.journal import Journal, Marker, Submission

TAIL_BYTES = 65536
LOG = "STUDY_JOB_LOG"  # of one shard of a job that does several: where its process writes
# What stands after a cause: srun's word that a task ended, submitit's that there was an error, python's own frames.
_AFTER = re.compile(r"srun: |submitit (INFO|WARNING|ERROR) |\s|Traceback \(most recent|\*+$|-+$")


def job_log() -> str:
    """This process's log in the folder of logs; empty where it has none of its own, as inline."""
    if LOG in os.environ:
        return os.environ[LOG]
    if "SUBMITIT_FOLDER" not in os.environ:
        return ""
    from submitit import JobEnvironment

    file = JobEnvironment().paths.stderr
    return f"{file.parent.name}/{file.name}"


def find_log(journal: Journal, shard: str, submission: Submission | None, job: str, marker: Marker | None) -> str:
    """The path of what a shard's job wrote to stderr; empty where no job was sent, or it has no log of its own."""
    if marker is not None and marker.job == job and marker.log:
        return str(journal.logs(marker.log))
    if submission is None or submission.kind != "slurm" or not submission.job:
        return ""
    return str(journal.logs(submission.id) / f"{submission.task(shard)}_0_log.err")


def last_error(path: str) -> str:
    """The last line of a log that says something; empty where the file is not there (yet) or is empty."""
    lines = [line for line in _tail(Path(path)) if line.strip()] if path else []
    telling = [line for line in lines if not _AFTER.match(line)]
    return (telling or lines or [""])[-1].strip()[:400]


def read_log(path: str, n_lines: int) -> str:
    """The end of both of a job's files: what it said, then what went wrong."""
    parts = []
    for file in (Path(path).with_suffix(".out"), Path(path)):
        if lines := _tail(file)[-n_lines:]:
            parts.append("\n".join([f"--- {file}", *lines]))
    return "\n".join(parts) or f"--- {path}: empty: the job has written nothing"


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
