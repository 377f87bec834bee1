"""Cluster files: where jobs run. A yaml in slurm/clusters/ is checked here and turned into submitit's parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.storage.strict_yaml import YamlError, read_mapping

CLUSTERS = Path(__file__).parent / "clusters"
KINDS = ("local", "slurm")


class ClusterError(ValueError):
    """A cluster file that cannot be used: names the file, the field, the value and what is allowed, in one line."""


@dataclass(frozen=True)
class Cluster:
    """Where a shard's job runs, and with what. Never what it computes: no field is part of a run key."""

    name: str
    kind: str  # local: processes on this machine; slurm: sbatch
    # what the scheduler is asked for
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: str = ""  # nodes to avoid
    gpus: int = 0  # a job
    gpu_type: str = ""  # e.g. a100
    cpus: int = 1  # a job; a shard trains with one thread, more than 2 are wasted
    memory_gb: float = 4.0
    shards_per_job: int = 1  # side by side, each with a process, a log and a GPU of its own (gpus, cpus: of all)
    minutes: int = 60  # time limit of a job; it is checkpointed and requeued when reached
    array_parallelism: int = 256  # jobs of the study at once, over all its arrays
    max_array_size: int = 0  # 0: ask `scontrol show config`
    max_requeues: int = 20  # requeues for reaching the time limit; preemptions count too where minutes < 50
    signal_seconds: int = 90  # before the time limit, how long a job has at least to end its epoch and save
    flags: Mapping[str, str] = field(default_factory=dict)  # any further sbatch options, e.g. reservation: x
    srun: bool = True  # false: start python without srun
    # how a job finds its software and files
    modules: tuple[str, ...] = ()  # `module load` each
    setup: tuple[str, ...] = ()  # shell lines before the job
    container: str = ""  # put before python, e.g. apptainer exec --nv /images/torch.sif
    python: str = ""  # default: the python that submits
    environment: Mapping[str, str] = field(default_factory=dict)
    runs: str = ""  # runs folder on the shared file system; default: $STUDY_RUNS, else runs
    results: str = ""
    data: str = ""  # $STUDY_DATA of the jobs
    device: str = ""  # cpu or cuda; default: cuda if gpus, else cpu
    # local only
    processes: int = 0  # at once; 0: one a core


EARLY_SECONDS = 60  # sbatch's manual, --signal: it may be sent so much earlier than specified
START_SECONDS = 30  # ours: to import torch from a busy file server, load the data and end an epoch
FIELDS = {f.name: f for f in dataclasses.fields(Cluster) if f.name != "name"}
_POSITIVE = {"shards_per_job", "cpus", "memory_gb", "minutes", "array_parallelism"}
_LOCAL = {"kind", "processes", "environment", "runs", "results", "data", "device", "python"}
_OURS = {"array", "job-name", "comment", "output", "error", "signal", "time", "nodes", "ntasks", "ntasks-per-node",
         "requeue", "open-mode", "chdir"}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_NO_SPACE = {"partition": r"[\w.,\-]+", "account": r"[\w.\-@]+", "qos": r"[\w.\-]+", "gpu_type": r"[\w.\-]+",
             "exclude": r"[\w.,\-\[\]]+", "constraint": r"[\w.,\-&|*()\[\]!]+"}  # fmt: skip


def find_cluster(name: str) -> Path:
    """The yaml of a cluster's name (slurm/clusters/<name>.yaml) or path. Raises ClusterError naming the known ones."""
    path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else CLUSTERS / f"{name}.yaml"
    if not path.is_file():
        raise ClusterError(f"{path}: cluster: {name!r}: no such file, allowed: {known_clusters()}")
    return path


def known_clusters() -> str:
    """What `--cluster` may say, in words."""
    return ", ".join(["inline", *sorted(p.stem for p in CLUSTERS.glob("*.yaml")), "or the path of a yaml file"])


def load_cluster(name: str) -> Cluster:
    """Read and check a cluster file. Raises ClusterError, one line: file, field, value, what is allowed."""
    path = find_cluster(name)
    try:
        return _cluster(read_mapping(path, "field: value lines"), path.stem)
    except (YamlError, ClusterError) as error:
        raise ClusterError(f"{path}: {error}") from None


def _cluster(content: Mapping[Any, Any], name: str) -> Cluster:
    if not _NAME.fullmatch(name):
        raise ClusterError(f"file: {name!r}: allowed in a name: letters, digits, . _ -")
    kind = content.get("kind")
    if kind not in KINDS:
        raise ClusterError(f"kind: {kind!r}: allowed: {', '.join(KINDS)}")
    allowed = _LOCAL if kind == "local" else set(FIELDS) - {"processes"}
    for key, value in content.items():
        if key not in allowed:
            names = ", ".join(f for f in FIELDS if f in allowed)
            raise ClusterError(f"{key}: {value!r}: unknown field for kind {kind}, allowed: {names}")
    cluster = Cluster(name, **{key: _convert(key, value) for key, value in content.items()})
    _check_together(cluster)
    return cluster


def _convert(name: str, value: Any) -> Any:
    kind = str(FIELDS[name].type)

    def refuse(allowed: str) -> ClusterError:
        return ClusterError(f"{name}: {value!r}: allowed: {allowed}")

    if kind in ("int", "float"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (kind == "float" and isinstance(value, float))):
            raise refuse("an integer" if kind == "int" else "a number")
        large_enough = value > 0 if name in _POSITIVE else value >= 0
        if not (large_enough and value < 10**7):  # so, and not the other way round, for NaN
            raise refuse(f"{'more than' if name in _POSITIVE else 'at least'} 0, less than 10,000,000")
        return float(value) if kind == "float" else value
    if kind == "bool":
        if not isinstance(value, bool):
            raise refuse("true, false")
        return value
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() and "\n" not in v for v in value):
            raise refuse("a list of shell lines")
        return tuple(value)
    if kind.startswith("Mapping"):
        if not isinstance(value, dict):
            raise refuse("a mapping of names to values")
        return {str(k): _scalar(name, k, v) for k, v in value.items()}
    if not isinstance(value, str) or "\n" in value or not value.strip():
        raise refuse("one line of text (leave the field out for none)")
    if name in _NO_SPACE and not re.fullmatch(_NO_SPACE[name], value):
        raise refuse(f"characters {_NO_SPACE[name]}")
    return value


def _scalar(name: str, key: Any, value: Any) -> str:
    pattern = r"[A-Za-z_]\w*" if name == "environment" else r"[a-z][a-z0-9\-]*"
    if not isinstance(key, str) or not re.fullmatch(pattern, key):
        raise ClusterError(f"{name}: {key!r}: allowed as a name: {pattern}")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "\n" in str(value):
        raise ClusterError(f"{name}.{key}: {value!r}: allowed: text or a number (quote yes, no, on, off)")
    if name == "flags" and key in _OURS:
        raise ClusterError(f"flags.{key}: {value!r}: is set by the launcher, allowed: any other sbatch option")
    return str(value)


def _check_together(cluster: Cluster) -> None:
    if cluster.device not in ("", "cpu", "cuda"):
        raise ClusterError(f"device: {cluster.device!r}: allowed: cpu, cuda")
    if cluster.gpu_type and not cluster.gpus:
        raise ClusterError(f"gpu_type: {cluster.gpu_type!r}: allowed only with gpus > 0")
    if cluster.kind == "slurm" and cluster.device == "cuda" and not cluster.gpus:
        raise ClusterError("device: 'cuda': allowed only with gpus > 0")
    most = 60 * cluster.minutes - EARLY_SECONDS - START_SECONDS
    if cluster.kind == "slurm" and cluster.signal_seconds > most:
        early = f"SLURM may signal {EARLY_SECONDS} s early, and a job needs {START_SECONDS} s to start"
        allowed = f"at most {most} of {cluster.minutes} minutes" if most > 0 else "more minutes"
        raise ClusterError(f"signal_seconds: {cluster.signal_seconds}: {early}, allowed: {allowed}")
    n = cluster.shards_per_job
    if cluster.gpus not in (0, n):
        one = "0 or 1, a shard trains on one device" if n == 1 else f"0 or {n}, one a shard"
        raise ClusterError(f"gpus: {cluster.gpus}: allowed: {one} (shards_per_job: {n})")
    if cluster.kind == "slurm" and cluster.cpus < n > 1:
        raise ClusterError(f"cpus: {cluster.cpus}: allowed: at least {n}, one a shard (shards_per_job: {n})")


def device_of(cluster: Cluster) -> str:
    """Where a shard computes: as the file says, else the GPU it asks for, else the CPU."""
    return cluster.device or ("cuda" if cluster.gpus else "cpu")


def setup_lines(cluster: Cluster, environment: Mapping[str, str]) -> list[str]:
    """Shell lines of a job before python starts, in order: modules, the site's own, our environment."""
    import shlex

    lines = [f"module load {module}" for module in cluster.modules] + list(cluster.setup)
    values = {**cluster.environment, **environment}
    return lines + [f"export {name}={shlex.quote(value)}" for name, value in values.items()] + ["unset WANDB_SERVICE"]


def slurm_parameters(cluster: Cluster, job_name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of submitit's SlurmExecutor.update_parameters; the sbatch file that follows is pinned by a test."""
    optional = {
        name: getattr(cluster, name) or None for name in ("partition", "account", "qos", "constraint", "exclude")
    }
    gres = f"gpu:{cluster.gpu_type}:{cluster.gpus}" if cluster.gpu_type else f"gpu:{cluster.gpus}"
    parameters = {
        **optional,
        "job_name": job_name,
        "time": cluster.minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cluster.cpus,
        "mem": f"{max(1, round(cluster.memory_gb * 1024))}MB",  # 0 would be all that a node has
        "gres": gres if cluster.gpus else None,
        "array_parallelism": cluster.array_parallelism,
        "signal_delay_s": cluster.signal_seconds,
        "setup": setup_lines(cluster, environment),
        "use_srun": cluster.srun,
        "srun_args": [f"--cpus-per-task={cluster.cpus}"],  # since SLURM 22.05 srun does not take it from sbatch
        "additional_parameters": {"requeue": True, **cluster.flags},
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    return {**given, "wckey": None}  # submitit's own default key is refused by sites that check it
