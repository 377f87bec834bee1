"""sbatch's refusal in the words of the cluster file: which field it is about."""

from __future__ import annotations

import re
from pathlib import Path

from slurm.cluster import Cluster

# What sbatch says -> the fields that may be meant; the first that fits. SLURM's messages (slurm_errno.c).
_ABOUT = (
    (r"account or account/partition", ("account", "partition")),
    (r"partition", ("partition",)),
    (r"account", ("account",)),
    (r"qos", ("qos",)),
    (r"feature|constraint", ("constraint",)),
    (r"gres|generic resource|gpu", ("gpus", "gpu_type")),
    (r"time limit|wall", ("minutes",)),
    (r"memory", ("memory_gb",)),
    (r"node name|nodelist", ("exclude",)),
    (r"node configuration|cpu count|more processors", ("gpus", "gpu_type", "cpus", "memory_gb", "constraint")),
    (r"reservation|option|mail|licen[sc]e", ("flags",)),
)  # fmt: skip


def explain(message: str, cluster: Cluster, file: Path) -> str:
    """One line: the cluster file, its field and value, what sbatch said."""
    for pattern, fields in _ABOUT:
        given = [f"{name}: {getattr(cluster, name)!r}" for name in fields if getattr(cluster, name)]
        if given and re.search(pattern, message, re.IGNORECASE):
            return f"{file}: {', '.join(given)}: refused: {message}; nothing was sent"
    return f"{file}: refused: {message}; nothing was sent"
