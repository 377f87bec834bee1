"""Turns at a file that a command reads, adds to, and writes whole again and again."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from study.storage import lease


def alone(path: Path) -> lease.Lease:
    """Hold a file, after whoever holds it, who is named once; a context manager. To be read only now."""
    told = set()

    def say(owner: str) -> None:
        if owner not in told:
            told.add(owner)
            print(f"waiting: {path} is held by {owner}", file=sys.stderr, flush=True)

    return lease.acquire(path.parent, [path.name], f"{socket.gethostname()}/{os.getpid()}", on_wait=say)
