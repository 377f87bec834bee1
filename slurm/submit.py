"""Shards without results -> jobs: here, on this machine's cores, or as submitit job arrays on a SLURM cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from slurm import preview, scheduler, snapshot
from slurm.cluster import ClusterError, find_cluster, known_clusters
from slurm.here import detach, me, run_here
from slurm.journal import Submission
from slurm.launch import INLINE, Place, find_place, remember_place
from slurm.refusal import explain
from slurm.request import Options, assign, environment, keep_plan, mirror
from slurm.status import IN_FLIGHT, ShardStatus, shard_states
from slurm.visible import check_visible
from study import plan
from study.config import RunConfig
from study.data.dataset import DATASETS
from study.grid import Shard
from study.storage import lease
from study.storage.folders import usable
from study.storage.sent import recall
from study.tracking.server import check


def submit(options: Options) -> int:
    """Show the plan, then send what has neither a result nor a job. The exit status: 0, or 1 if a shard failed."""
    check(options.wandb)
    place = _place(options)
    study, cluster, runs = place.study, place.cluster, place.runs
    wanted = plan.make(study, runs, skip_published=options.skip_published)
    if not wanted.to_do:
        preview.show(place, wanted, [], [])
        if not options.dry_run:
            mirror(place, options)
            if wanted.counts["done"]:
                remember_place(place)  # nothing is sent, but here it is
        return 0
    if options.dry_run:
        to_send, kept = _choose(place, options, wanted)
        preview.show(place, wanted, to_send, kept)
        preview.show_script(place, to_send)
        return 0
    # Two submitters at once: the second waits here until the first has sent its jobs, and then finds them.
    with lease.acquire(place.journal.folder, ["submit"], me(), on_wait=_say_waiting):
        wanted = plan.make(study, runs, skip_published=options.skip_published)
        to_send, kept = _choose(place, options, wanted)
        preview.show(place, wanted, to_send, kept)
        if cluster.kind == "slurm":
            refused = options.retry and not _release(kept)
            return _send(place, options, to_send) or int(refused)
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
    if place.cluster.kind == "slurm":
        check_visible(place.cluster, find_cluster(place.cluster_name))
    return place


def _say_waiting(owner: str) -> None:
    print(f"waiting for another submitter of this study ({owner})", file=sys.stderr, flush=True)


def _choose(place: Place, options: Options, wanted: plan.Plan) -> tuple[list[Shard], list[ShardStatus]]:
    """Shards to send now, in the order of `_turn`; and those left alone, each for a reason that is shown."""
    states = {s.shard: s for s in shard_states(place.journal, [s.id for s in wanted.to_do], place.runs)}
    to_send, kept = [], []
    chosen = options.chosen.shards(place.study) if options.chosen.asks_for_runs else states.keys()
    for shard in wanted.to_do:
        if shard.id not in chosen:
            continue
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


def _send(place: Place, options: Options, to_send: Sequence[Shard]) -> int:
    """One sbatch for each `max_array_size` shards."""
    if not to_send:
        return 0
    scheduler.check()
    code = snapshot.take(place.results, allow_dirty=options.allow_dirty)
    keep_plan(place)
    size = preview.array_size(place.cluster)
    for start in range(0, len(to_send), size):
        piece = to_send[start : start + size]
        id = place.journal.new_id()
        record = Submission(id, place.cluster.name, "slurm", code.commit, tuple(s.id for s in piece))
        before = place.journal.reopen(record.shards)
        place.journal.write(record)
        jobs, variables = [assign(place, options, s) for s in piece], environment(place, code)
        try:
            sent = scheduler.send(place.cluster, f"{place.study.name}.{id}", jobs, place.journal.logs(id), variables)
        except scheduler.Refused as error:
            place.journal.withdraw(id, before)
            raise scheduler.Refused(explain(str(error), place.cluster, find_cluster(place.cluster_name))) from None
        place.journal.write(replace(record, job=sent))
        remember_place(place)
        print(f"sent      job {sent}: {len(piece)} shards, code {code.commit}, logs {place.journal.logs(id)}")
    print(f"next      {place.command('watch')}")
    return 0


def _end_status(kept: Sequence[ShardStatus]) -> int:
    return 1 if any(state.state == "failed" for state in kept) else 0
