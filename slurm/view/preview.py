"""What a submission would be: jobs, arrays, what each asks for, what all of it costs. Writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slurm import scheduler
from slurm.cluster import Cluster
from slurm.launch import Place, n_workers
from slurm.request import environment
from slurm.snapshot import Code
from slurm.view.status import ShardStatus
from study import provenance
from study.grid import Shard
from study.planning import plan


def show(place: Place, wanted: plan.Plan, to_send: Sequence[Shard], kept: Sequence[ShardStatus]) -> None:
    """Print the plan, what is to be sent, and what is left alone for which reason."""
    cluster = place.cluster
    plan.show(wanted, n_workers(cluster))
    n, each = n_jobs(cluster, to_send), cluster.shards_per_job
    n_arrays = -(-n // array_size(cluster)) if to_send and cluster.kind == "slurm" else 0
    where = f"{n_arrays} job array(s), " if n_arrays else ""
    print(
        f"  cluster   {cluster.name}: {where}{n} jobs to send, {'one a shard' if each == 1 else f'{each} shards each'}"
    )
    print(f"  folders   {place.folders}")
    if cluster.kind == "slurm" and to_send:
        _show_cost(place, wanted, to_send)
    for name in dict.fromkeys(state.state for state in kept):
        those = [state for state in kept if state.state == name]
        releases = "`retry` releases them" if cluster.kind == "slurm" else "`retry` on their cluster releases them"
        hint = {"failed": "; `retry` sends them again", "held": f"; {releases}"}.get(name, "")
        print(f"  {name:<9} {len(those)} shards left alone{hint}")
        for state in those[:5]:
            print(f"            {state.shard} job {state.job or '-'}: {state.why or name}")
            if state.last_line:
                print(f"            log {state.log}")
    sys.stdout.flush()


def _show_cost(place: Place, wanted: plan.Plan, to_send: Sequence[Shard]) -> None:
    cluster, n = place.cluster, n_jobs(place.cluster, to_send)
    unit = "GPU" if cluster.gpus else "CPU"
    gpus = f"{cluster.gpus} GPU{f' {cluster.gpu_type}' * bool(cluster.gpu_type)}, " if cluster.gpus else ""
    size = f"{gpus}{cluster.cpus} CPU{'s' * (cluster.cpus > 1)}, {cluster.memory_gb:g} GB, {cluster.minutes} minutes"
    print(f"  each job  {f'partition {cluster.partition}, ' * bool(cluster.partition)}{size}, then requeued")
    if (seconds := wanted.seconds_of(to_send)) is not None:
        print(f"  cost      {seconds / 3600:.2f} {unit}-hours, by {wanted.said}")
    else:
        most = n * (cluster.gpus or 1) * cluster.minutes / 60
        seed = min(config.seed for shard in to_send for config in shard.runs)
        print(f"  cost      at most {most:.2f} {unit}-hours until a requeue, unknown until {wanted.said}:")
        print(f"            {place.command('submit')} --where seed={seed}")


def show_script(place: Place, to_send: Sequence[Shard]) -> None:
    """Print the sbatch file of the first array, where this machine has SLURM's commands."""
    if place.cluster.kind != "slurm" or not to_send:
        return
    commit = provenance.commit()
    variables = environment(place, Code(place.results / ".code" / commit, commit))
    n = min(n_jobs(place.cluster, to_send), array_size(place.cluster))
    name = f"{place.study_name}.{place.journal.new_id()}"
    try:
        scheduler.check()
    except scheduler.SchedulerError as error:
        print(f"  script    not without SLURM: {error}")
        return
    print(f"\n{scheduler.script(place.cluster, name, n, place.journal.logs(name.rpartition('.')[2]), variables)}")


def n_jobs(cluster: Cluster, to_send: Sequence[Shard]) -> int:
    """How many jobs do so many shards."""
    return -(-len(to_send) // cluster.shards_per_job)


def array_size(cluster: Cluster) -> int:
    """The most jobs of one array."""
    return cluster.max_array_size or scheduler.max_array_size()
