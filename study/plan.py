"""What a study would cost before it is run: runs, shards, done, to do, estimated minutes. Writes nothing."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from study.choice import Choice
from study.config import RunConfig, n_images, run_key
from study.grid import Shard, Study, shards
from study.hyperparameter import shape_of
from study.names import Label
from study.state import missing, run_state
from study.storage.atomic import read_json
from study.storage.paths import RunPaths


@dataclass(frozen=True)
class Plan:
    """Shards with something to do, reduced to those runs; counts of runs by state; seconds of one core, or None.

    `unmeasured`: what is to be measured of runs that are trained already, `counts["trained"]` of the partial ones.
    """

    study: Study
    n_shards: int
    counts: Counter[str]
    unmeasured: tuple[str, ...]
    to_do: tuple[Shard, ...]
    seconds: float | None
    rate_source: str

    @property
    def n_to_do(self) -> int:
        """Runs that are not done."""
        return sum(len(shard.runs) for shard in self.to_do)


def make(study: Study, runs_root: str | Path, *, skip_published: bool = False) -> Plan:
    """Look at the files of every run of a study once. `skip_published` counts published runs as done.

    Raises ConfigError for a network that is to be trained and cannot be, if torch is installed: its import is 2 s, the
    check below one. Where nothing is to do, neither is paid.
    """
    published: set[str] = set()
    if skip_published:
        from study.publish import published_keys

        published = published_keys(study)
    counts: Counter[str] = Counter()
    unmeasured: set[str] = set()
    to_do: list[Shard] = []
    measured: list[float] = []
    for shard in (pieces := shards(study)):
        left = []
        for config in shard.runs:
            paths = RunPaths(Path(runs_root), run_key(config))
            state = run_state(paths, config, study.measures)
            skipped = state != "done" and paths.key in published
            counts["published" if skipped else state] += 1
            if state == "done" and len(measured) < 200:
                measured.append(_seconds(paths))
            if state != "done" and not skipped:
                left.append(config)
                if paths.outcome.exists():
                    counts["trained"] += 1
                    unmeasured |= missing(paths, config, study.measures)
        if left:
            to_do.append(Shard(shard.id, tuple(left)))
    _check_networks(config for shard in to_do for config in shard.runs)
    n_left = counts["new"] + counts["partial"]
    rate, source = study.seconds_per_run, "the config's seconds_per_run"
    if measured:
        rate, source = sum(measured) / len(measured), f"{len(measured)} finished runs here"
    labels = tuple(label for label in study.measures if label in unmeasured)
    return Plan(study, len(pieces), counts, labels, tuple(to_do), None if rate is None else n_left * rate, source)


def _check_networks(configs: Iterable[RunConfig]) -> None:
    """Refuse a network that cannot be trained: each size of each model once, on random inputs; no data is loaded."""
    seen = {}
    for c in configs:
        n_train = n_images(c) if c.extra == Choice("none") else None  # of images
        alone = n_train is not None and n_train % c.batch_size == 1
        kind = (shape_of(c, "model"), c.dataset, c.target, c.hidden, c.loss)
        seen[(*kind, c.batch_size == 1 or alone)] = c, n_train
    if not seen or importlib.util.find_spec("torch") is None:
        return
    from study.training.trainable import check_trainable

    for config, n_train in seen.values():
        check_trainable(config, n_train)


def n_left(plan: Plan, runs_root: str | Path) -> int:
    """How many runs of the plan are not done by now."""
    runs = [(RunPaths(Path(runs_root), run_key(config)), config) for shard in plan.to_do for config in shard.runs]
    return sum(run_state(paths, config, plan.study.measures) != "done" for paths, config in runs)


def _seconds(paths: RunPaths) -> float:
    """Seconds that a finished run took: training, and all that was measured."""
    files = [paths.outcome, *sorted(paths.folder.glob("stops/*/*.json"))]
    return sum(float(read_json(file).get("seconds", 0.0)) for file in files)


def estimate(plan: Plan, n_workers: int = 1) -> str:
    """The plan's cost in words, for shards running on `n_workers` cores at a time."""
    if not plan.n_to_do:
        return "nothing to do"
    if plan.seconds is None:
        return "unknown until the first run is finished (or seconds_per_run is set)"
    minutes = plan.seconds / 60 / min(n_workers, len(plan.to_do))
    return f"{minutes:.1f} minutes on {n_workers} core(s), by {plan.rate_source}"


def show(plan: Plan, n_workers: int = 1) -> None:
    """Print the plan."""
    study, counts = plan.study, plan.counts
    print(f"{study.name}: {study.title}")
    published = f", {counts['published']} published" if counts["published"] else ""
    print(f"  runs      {len(study.runs)} in {plan.n_shards} shard{'s' * (plan.n_shards != 1)}")
    print(f"  done      {counts['done']}{published}")
    to_do = f"{plan.n_to_do} in {len(plan.to_do)} shard{'s' * (len(plan.to_do) != 1)}"
    trained = f", {counts['trained']} trained" if counts["trained"] else ""
    print(f"  to do     {to_do} ({counts['partial'] - counts['trained']} started{trained})")
    if plan.unmeasured:
        n = len(plan.unmeasured)
        few = ", ".join(plan.unmeasured[:3]) + f" and {n - 3} more" * (n > 3)
        print(f"  to take   {n} measure{'s' * (n != 1)} of trained networks: {few}")
    print(f"  estimate  {estimate(plan, n_workers)}")
    labels = [Label.parse(label) for label in study.measures]
    transforms = list(dict.fromkeys(label.transform for label in labels if label.transform))
    print(f"  measures  {', '.join(label.name for label in labels if not label.transform)}")
    if transforms:
        print(f"  and of reparameterized networks  {', '.join(transforms)}")
    print(end="", flush=True)
