"""What a cluster file names must be there before jobs are sent: a path that is not fails every job in turn."""

from __future__ import annotations

import os
from pathlib import Path

from slurm.cluster import Cluster, ClusterError


def check_visible(cluster: Cluster, file: Path) -> None:
    """Raise ClusterError, one line, for a python, a data folder or a file system that this machine does not see.

    Jobs are sent from where they are also looked at, so what a node sees is seen here. Not asked of a python inside a
    container, or of one by name, which a module may bring.
    """
    python = Path(cluster.python)
    if python.is_absolute() and not cluster.container and not os.access(python, os.X_OK):
        raise _absent(file, "python", cluster.python, "no such program", "a python that nodes see, or its bare name")
    if cluster.data and not Path(cluster.data).expanduser().is_dir():
        allowed = "a folder that nodes see, with the data sets in it"
        raise _absent(file, "data", cluster.data, "no such folder", allowed)
    for name in ("runs", "results"):
        folder = Path(getattr(cluster, name)).expanduser()
        if folder.is_absolute() and not (system := Path(*folder.parts[:2])).exists():
            raise _absent(file, name, str(folder), f"{system} does not exist", "a folder that nodes see; it is made")


def _absent(file: Path, name: str, value: str, reason: str, allowed: str) -> ClusterError:
    return ClusterError(f"{file}: {name}: {value!r}: {reason} here, allowed: {allowed}")
