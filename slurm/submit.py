"""Shards without results -> jobs: here, on this machine's cores, or as submitit job arrays on a SLURM cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slurm import scheduler, snapshot
from slurm.cluster import Cluster, ClusterError, device_of, find_cluster, known_clusters
from slurm.job import ShardJob
from slurm.journal import Submission
from slurm.launch import INLINE, Place, digest, find_place, remember_place
from slurm.refusal import explain
from slurm.status import IN_FLIGHT, ShardStatus, shard_states
from study import plan
from study.config import RunConfig, run_key
from study.data.dataset import DATASETS
from study.grid import Shard, shards
from study.hyperparameter import changed_seams
from study.storage import lease
from study.storage.sent import recall
from study.tracking.server import check


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    config: Path
    cluster: str | None  # None: where the study was sent last
    runs: Path | None = None
    results: Path | None = None
    device: str = ""
    wandb: str = "offline"
    allow_dirty: bool = False
    skip_published: bool = False
    dry_run: bool = False
    wait: bool = True
    retry: bool = False


def _job(place: Place, options: Options, shard: Shard) -> ShardJob:
    """What is pickled for a shard."""
    mirrors = place.cluster.kind == "slurm" or options.wandb == "online"  # else once at the end, which costs less
    return ShardJob(
        place.study.name, shard.id, shard.runs, place.study.measures, str(place.runs), str(place.results),
        options.device or device_of(place.cluster), options.wandb if mirrors else "off",
        0.8 * place.cluster.signal_seconds if place.cluster.kind == "slurm" else 3600.0,
        tuple(sorted(changed_seams(place.study.runs))),
    )  # fmt: skip


def _mirror(place: Place, options: Options) -> None:
    """Show what is done in wandb, where the jobs do not."""
    if place.cluster.kind != "local" or options.wandb == "off":
        return
    from study.tracking.mirror import mirror

    study = place.study
    done = mirror(study.runs, study.measures, place.runs, study.name, options.wandb, place.results)
    for problem in done.problems:
        print(problem, file=sys.stderr)


def submit(options: Options) -> int:
    """Show the plan, then send what has neither a result nor a job. The exit status: 0, or 1 if a shard failed."""
    check(options.wandb)
    place = find_place(options.config, options.cluster, options.runs, options.results)
    if options.cluster is None and recall(place.study_name) is None:
        raise ClusterError(f"--cluster: {place.study_name} was not sent yet, allowed: {known_clusters()}")
    study, cluster, runs = place.study, place.cluster, place.runs
    wanted = plan.make(study, runs, skip_published=options.skip_published)
    if not wanted.to_do:
        _show(place, wanted, [], [])
        _mirror(place, options)
        return 0
    if options.dry_run:
        to_send, kept = _choose(place, options, wanted)
        _show(place, wanted, to_send, kept)
        return 0
    # Two submitters at once: the second waits here until the first has sent its jobs, and then finds them.
    with lease.acquire(place.journal.folder, ["submit"], _me(), on_wait=_say_waiting):
        wanted = plan.make(study, runs, skip_published=options.skip_published)
        to_send, kept = _choose(place, options, wanted)
        _show(place, wanted, to_send, kept)
        if cluster.kind == "slurm":
            refused = options.retry and not _release(kept)
            return _send(place, options, to_send) or int(refused)
        if to_send and not options.wait and cluster is not INLINE:
            return _detach(place)
    return _run_here(place, options, to_send) if to_send else _end_status(kept)


def _me() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def _say_waiting(owner: str) -> None:
    print(f"waiting for another submitter of this study ({owner})", file=sys.stderr, flush=True)


def _choose(place: Place, options: Options, wanted: plan.Plan) -> tuple[list[Shard], list[ShardStatus]]:
    """Shards to send now, in the order of `_turn`; and those left alone, each for a reason that is shown."""
    states = {s.shard: s for s in shard_states(place.journal, [s.id for s in wanted.to_do], place.runs)}
    to_send, kept = [], []
    for shard in wanted.to_do:
        state = states[shard.id]
        mine = place.cluster.kind == "local"
        in_flight = state.state in IN_FLIGHT and not (mine and state.kind == "local")
        held = state.state == "held"  # it has a job, which `retry` releases
        left_to_retry = state.state == "failed" and not options.retry and not mine
        if in_flight or held or left_to_retry:
            kept.append(state)
        else:
            to_send.append(shard)
    return sorted(to_send, key=_turn), kept


def _turn(shard: Shard) -> tuple[int, int]:
    """First seeds first, so that what is done is a complete grid of fewer seeds; of those, the most optimizer steps.

    What is sent first among equals takes longest, so that the cores end together.
    """

    def steps(config: RunConfig) -> int:
        return -(-(config.n_train or DATASETS[config.dataset].n_train) // config.batch_size) * config.max_epochs

    return min(config.seed for config in shard.runs), -max(map(steps, shard.runs))


def _show(place: Place, wanted: plan.Plan, to_send: Sequence[Shard], kept: Sequence[ShardStatus]) -> None:
    cluster = place.cluster
    plan.show(wanted, n_workers(cluster))
    n_arrays = -(-len(to_send) // _array_size(cluster)) if to_send and cluster.kind == "slurm" else 0
    where = f"{n_arrays} job array(s), " if n_arrays else ""
    print(f"  cluster   {cluster.name}: {where}{len(to_send)} jobs to send, one a shard")
    print(f"  folders   {place.folders}")
    if cluster.kind == "slurm" and wanted.seconds is not None and wanted.n_to_do:
        hours = wanted.seconds / 3600 * sum(len(s.runs) for s in to_send) / wanted.n_to_do
        print(f"  cost      {hours:.2f} {'GPU' if cluster.gpus else 'CPU'}-hours, by {wanted.rate_source}")
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


def n_workers(cluster: Cluster) -> int:
    """How many shards a cluster runs at a time."""
    if cluster is INLINE:
        return 1
    if cluster.kind == "slurm":
        return cluster.array_parallelism
    return cluster.processes or len(os.sched_getaffinity(0))


def _release(kept: Sequence[ShardStatus]) -> bool:
    """Let jobs start that the scheduler holds. False where it refuses, which some sites do but to administrators."""
    held = [state.job for state in kept if state.state == "held"]
    try:
        scheduler.release(held)
    except scheduler.SchedulerError as error:
        print(f"held      {error}; `scancel` what stays held, then `retry`", file=sys.stderr)
        return False
    if held:
        print(f"released  {len(held)} held jobs")
    return True


def _array_size(cluster: Cluster) -> int:
    return cluster.max_array_size or scheduler.max_array_size()


def _environment(place: Place, code: snapshot.Code) -> dict[str, str]:
    data = place.cluster.data or os.environ.get("STUDY_DATA", "")
    found = {**code.environment(), "OMP_NUM_THREADS": "1"}
    return {**found, "STUDY_DATA": str(Path(data).expanduser().resolve())} if data else found


def _keep_plan(place: Place) -> None:
    pieces = {shard.id: [run_key(c) for c in shard.runs] for shard in shards(place.study)}
    place.journal.write_plan(digest(place.study.path), pieces)


def _send(place: Place, options: Options, to_send: Sequence[Shard]) -> int:
    """One sbatch for each `max_array_size` shards."""
    if not to_send:
        return 0
    scheduler.check()
    code = snapshot.take(place.results, allow_dirty=options.allow_dirty)
    _keep_plan(place)
    size = _array_size(place.cluster)
    for start in range(0, len(to_send), size):
        piece = to_send[start : start + size]
        id = place.journal.new_id()
        record = Submission(id, place.cluster.name, "slurm", code.commit, tuple(s.id for s in piece))
        before = place.journal.reopen(record.shards)
        place.journal.write(record)
        jobs, environment = [_job(place, options, s) for s in piece], _environment(place, code)
        try:
            job = scheduler.send(place.cluster, f"{place.study.name}.{id}", jobs, place.journal.logs(id), environment)
        except scheduler.Refused as error:
            place.journal.withdraw(id, before)
            raise scheduler.Refused(explain(str(error), place.cluster, find_cluster(place.cluster_name))) from None
        place.journal.write(replace(record, job=job))
        remember_place(place)
        print(f"sent      job {job}: {len(piece)} shards, code {code.commit}, logs {place.journal.logs(id)}")
    print(f"next      {place.command('watch')}")
    return 0


def _run_here(place: Place, options: Options, to_send: Sequence[Shard]) -> int:
    code = snapshot.take(place.results, allow_dirty=True) if place.cluster is not INLINE else None
    _keep_plan(place)
    id = place.journal.new_id()
    commit = code.commit if code else snapshot.provenance.commit()
    jobs = [_job(place, options, shard) for shard in to_send]
    record = Submission(id, place.cluster.name, "local", commit, tuple(s.id for s in to_send))
    with lease.acquire(place.journal.folder, [id], _me()) as held:
        place.journal.reopen(record.shards)
        place.journal.write(replace(record, holder=held.id))
        remember_place(place)
        try:
            if code is None:
                failures = _inline(jobs)
            else:
                from slurm.local import Pool

                environment = {**place.cluster.environment, **_environment(place, code)}
                logs, n_at_once = place.journal.logs(id), n_workers(place.cluster)
                failures = Pool(jobs, place.journal, logs, n_at_once, environment, place.cluster.python).run()
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
            return 130
    _mirror(place, options)
    for shard, reason in failures.items():
        print(f"failed    shard {shard}: {reason}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(jobs)} shards failed; logs: {place.journal.logs(id)}", file=sys.stderr)
    return 1 if failures else 0


def _inline(jobs: Sequence[ShardJob]) -> dict[str, str]:
    failures = {}
    for number, job in enumerate(jobs, 1):
        print(f"shard {job.shard} ({number} of {len(jobs)}): {len(job.runs)} runs", file=sys.stderr, flush=True)
        try:
            outcome = job()
        except Exception as error:
            failures[job.shard] = f"{type(error).__name__}: {error}"
            continue
        if outcome != "done":
            failures[job.shard] = outcome
    return failures


def _detach(place: Place) -> int:
    """Go on in the background: the same command again, in a session of its own, with its output in a file."""
    log = place.journal.folder / "submit.log"
    command = [argument for argument in sys.argv[1:] if argument != "--no-wait"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "slurm", *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    print(f"running   in the background: process {process.pid}, log {log}, `kill {process.pid}` stops it")
    return 0


def _end_status(kept: Sequence[ShardStatus]) -> int:
    return 1 if any(state.state == "failed" for state in kept) else 0
