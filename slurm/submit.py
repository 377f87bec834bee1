"""Shards without results -> jobs: here, on this machine's cores, or as submitit job arrays on a SLURM cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from slurm import scheduler, snapshot
from slurm.cluster import Cluster, ClusterError, device_of, find_cluster, known_clusters
from slurm.here import alone, detach, run_here
from slurm.job.several import bundled
from slurm.journal import Submission
from slurm.launch import INLINE, Place, find_place, remember_place
from slurm.parallelism import after, divide, in_flight
from slurm.refusal import explain
from slurm.request import Options, assign, environment, fetch_data, keep_plan, mirror
from slurm.view import preview
from slurm.view.status import IN_FLIGHT, ShardStatus, shard_states
from slurm.visible import check_visible
from study.config import RunConfig, n_images
from study.display import every_few_seconds
from study.grid import Shard
from study.planning import plan
from study.storage.folders import usable
from study.storage.sent import recall
from study.tracking.server import check


def submit(options: Options) -> int:
    """Show the plan, then send what has neither a result nor a job. The exit status: 0, or 1 if a shard failed."""
    check(options.wandb)
    place = _place(options)
    study, cluster, runs = place.study, place.cluster, place.runs
    device = options.device or device_of(cluster)
    if cluster.kind == "slurm" and device != "cpu":
        device = ""  # a GPU elsewhere, of which the one here says nothing
    progress = every_few_seconds(after=2)
    planned = partial(plan.make, study, runs, skip_published=options.skip_published, device=device, progress=progress)
    wanted = planned()
    if not wanted.to_do:
        preview.show(place, wanted, [], [])
        if not options.dry_run:
            mirror(place, options)
            if wanted.counts["done"]:
                remember_place(place)  # nothing is sent, but here it is
        return 0
    if options.dry_run:
        to_send, kept, _ = _choose(place, options, wanted)
        preview.show(place, wanted, to_send, kept)
        preview.show_script(place, to_send)
        return 0
    # Two submitters at once: the second waits here until the first has sent its jobs, and then finds them.
    with alone(place):
        wanted = planned()
        to_send, kept, arrays = _choose(place, options, wanted)
        preview.show(place, wanted, to_send, kept)
        fetch_data(place, to_send)
        if cluster.kind == "slurm":
            refused = options.retry and not _release(kept)
            return _send(place, options, to_send, arrays) or int(refused)
        if to_send and not options.wait and cluster is not INLINE:
            return detach(place)
    return run_here(place, options, to_send) if to_send else _end_status(kept)


def _place(options: Options) -> Place:
    place = find_place(options.config, options.cluster, options.runs, options.results)
    if options.cluster is None and recall(place.study_name) is None:
        raise ClusterError(f"--cluster: {place.study_name} was not sent yet, allowed: {known_clusters()}")
    if not options.dry_run:
        usable("--runs", place.runs, write=True)
        usable("--results", place.results, write=True)
    if place.cluster is not INLINE:
        check_visible(place.cluster, find_cluster(place.cluster_name))
    return place


def _choose(place: Place, options: Options, wanted: plan.Plan) -> tuple[list[Shard], list[ShardStatus], dict[str, int]]:
    """Shards to send now, in the order of `_turn`; those left alone, for a reason that is shown; arrays in flight."""
    states = {s.shard: s for s in shard_states(place.journal, [s.id for s in wanted.to_do], place.runs)}
    to_send, kept = [], []
    chosen = options.chosen.shards(place.study) if options.chosen.asks_for_runs else states.keys()
    for shard in wanted.to_do:
        if shard.id not in chosen:
            continue
        state = states[shard.id]
        mine = place.cluster.kind == "local"
        has_job = state.state in IN_FLIGHT and not (mine and state.kind == "local")
        held = state.state == "held"  # it has a job, which `retry` releases
        left_to_retry = state.state == "failed" and not options.retry and not mine
        if has_job or held or left_to_retry:
            kept.append(state)
        else:
            to_send.append(shard)
    return sorted(to_send, key=_turn), kept, in_flight(states.values())


def _turn(shard: Shard) -> tuple[int, int]:
    """First seeds first, so that what is done is a complete grid of fewer seeds; of those, the most optimizer steps.

    What is sent first among equals takes longest, so that the cores end together.
    """

    def steps(config: RunConfig) -> int:
        return -(-n_images(config) // config.batch_size) * config.max_epochs

    return min(config.seed for config in shard.runs), -max(map(steps, shard.runs))


def _release(kept: Sequence[ShardStatus]) -> bool:
    """Let jobs start that the scheduler holds. False where it refuses, which some sites do but to administrators."""
    held = list(dict.fromkeys(state.job for state in kept if state.state == "held"))
    try:
        scheduler.release(held)
    except scheduler.SchedulerError as error:
        print(f"held      {error}; `scancel` what stays held, then `retry`", file=sys.stderr)
        return False
    if held:
        print(f"released  {len(held)} held jobs")
    return True


def _send(place: Place, options: Options, to_send: Sequence[Shard], arrays: Mapping[str, int]) -> int:
    """One sbatch for each `max_array_size` shards; `arrays` are those that the study has in flight."""
    if not to_send:
        return 0
    scheduler.check()
    code = snapshot.take(place.results, allow_dirty=options.allow_dirty)
    keep_plan(place)
    size = preview.array_size(place.cluster) * place.cluster.shards_per_job
    pieces = [to_send[start : start + size] for start in range(0, len(to_send), size)]
    clusters, before = (
        divide(place.cluster, arrays, [preview.n_jobs(place.cluster, piece) for piece in pieces]),
        list(arrays),
    )
    limit, n_arrays = place.cluster.array_parallelism, len(arrays) + len(pieces)
    for piece, cluster in zip(pieces, clusters, strict=True):
        before.append(_send_array(place, options, piece, code, after(cluster, limit, before, n_arrays)))
    print(f"next      {place.command('watch')}")
    return 0


def _send_array(place: Place, options: Options, piece: Sequence[Shard], code: snapshot.Code, cluster: Cluster) -> str:
    """One sbatch; the array's id. Raises Refused, one line, and then nothing was sent."""
    id = place.journal.new_id()
    n = cluster.shards_per_job
    shards = tuple(s.id for s in piece)
    record = Submission(id, cluster.name, "slurm", code.commit, shards, shards_per_job=n)
    before = place.journal.reopen(record.shards)
    place.journal.write(record)
    jobs, variables = bundled(assign(place, options, piece), n), environment(place, code)
    try:
        sent = scheduler.send(cluster, f"{place.study.name}.{id}", jobs, place.journal.logs(id), variables)
    except scheduler.Refused as error:
        place.journal.withdraw(id, before)
        raise scheduler.Refused(explain(str(error), cluster, find_cluster(place.cluster_name))) from None
    place.journal.write(replace(record, job=sent))
    remember_place(place)
    what = f"{len(piece)} shards" + f" in {len(jobs)} jobs" * (n > 1)
    print(f"sent      job {sent}: {what}, code {code.commit}, logs {place.journal.logs(id)}")
    return sent


def _end_status(kept: Sequence[ShardStatus]) -> int:
    return 1 if any(state.state == "failed" for state in kept) else 0
