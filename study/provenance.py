"""Where a number comes from: commit, versions, device."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from pathlib import Path

# Only code can change a number: an edited document, a new record or a reader's own cluster file makes no run dirty.
CODE = (":/study", ":/slurm", ":(top,exclude)slurm/clusters", ":(top,exclude)*.md")


def commit() -> str:
    """The commit of this code, with `-dirty` where the code differs from it; $STUDY_COMMIT where a job says so."""
    return os.environ.get("STUDY_COMMIT") or _commit_of_checkout()


@functools.cache
def _commit_of_checkout() -> str:
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("--no-optional-locks", "status", "--porcelain", "--", *CODE)
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device: str) -> str:
    """The processor's model: bits depend on it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"cpu {model}"


def provenance(device: str, mode: str) -> dict[str, str]:
    """What is kept with each run: commit, torch version, device, and how it was executed."""
    import torch

    return {"commit": commit(), "torch": str(torch.__version__), "device": device_name(device), "mode": mode}
