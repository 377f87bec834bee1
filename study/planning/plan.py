"""What a study would cost before it is run: runs, shards, done, to do, estimated minutes. Writes nothing."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.choice import Choice, ConfigError
from study.config import RunConfig, n_images, run_key
from study.grid import Shard, Study, shards
from study.hyperparameter import shape_of
from study.measures import checks_of
from study.measures.own import check_own
from study.names import Label, few
from study.planning.estimate import costs_of
from study.seams.precision import check_precision
from study.state import State, missing, outdated, run_state
from study.storage.paths import RunPaths


@dataclass(frozen=True)
class Plan:
    """Shards with something to do, reduced to those runs; counts of runs by state; what each run costs.

    `counts["trained"]` of the partial ones are trained already, and `unmeasured` is what is to be measured of those.
    `changed`: what of it was measured before, by a person's own code as it was then.
    `costs`: seconds of one core by run key, None where nothing tells; `said` by what, or how it becomes known.
    """

    study: Study
    n_shards: int
    counts: Counter[str]
    unmeasured: tuple[str, ...]
    changed: tuple[str, ...]
    to_do: tuple[Shard, ...]
    costs: Mapping[str, float | None]
    said: str

    @property
    def n_to_do(self) -> int:
        """Runs that are not done."""
        return sum(len(shard.runs) for shard in self.to_do)

    @property
    def seconds(self) -> float | None:
        """Seconds of one core for all that is to do; None where the cost of a run is not known."""
        return self.seconds_of(self.to_do)

    def seconds_of(self, some: Iterable[Shard]) -> float | None:
        """The same for some of the shards."""
        costs = [self.costs[run_key(config)] for shard in some for config in shard.runs]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def make(
    study: Study,
    runs_root: str | Path,
    *,
    skip_published: bool = False,
    device: str = "",
    progress: Callable[[str], None] | None = None,
) -> Plan:
    """Look at the files of every run of a study once. `skip_published` counts published runs as done.

    `progress` is told which of several networks is checked: a large one takes seconds.

    Raises ValueError for a precision that `device` has not, and, if torch is installed, for a network that is to be
    trained and cannot be, or a person's own measure whose code does not run: its import is 2 s, the check below one.
    Where nothing is to do, neither is paid.
    """
    published: set[str] = set()
    if skip_published:
        from study.publishing.publish import published_keys

        published = published_keys(study)
    counts: Counter[str] = Counter()
    changed: set[str] = set()
    lacking: dict[str, list[tuple[str, ...]] | None] = {}  # by key; None: it is to be trained
    ended: dict[State, list[RunPaths]] = {"done": [], "partial": []}
    to_do: list[Shard] = []
    for shard in (pieces := shards(study)):
        left = []
        for config in shard.runs:
            paths = RunPaths(Path(runs_root), run_key(config))
            state = run_state(paths, config, study.measures)
            skipped = state != "done" and paths.key in published
            counts["published" if skipped else state] += 1
            trained = state != "new" and paths.outcome.exists()
            if trained:
                ended[state].append(paths)
            if state != "done" and not skipped:
                left.append(config)
                counts["trained"] += trained
                lacking[paths.key] = missing(paths, config, study.measures) if trained else None
                if trained:
                    changed |= outdated(paths, config, study.measures)
        if left:
            to_do.append(Shard(shard.id, tuple(left)))
    new = [c for shard in to_do for c in shard.runs if lacking[run_key(c)] is None]
    for precision in {config.precision for config in new} if device else ():
        check_precision(precision, device)
    _check_networks(new, progress or (lambda line: None))
    _check_defined(new, map(Label.parse, study.measures))
    unmeasured = {label for stops in lacking.values() for labels in stops or () for label in labels}
    if to_do and importlib.util.find_spec("torch") is not None:
        check_own(study.measures)
    labels, again = (tuple(label for label in study.measures if label in them) for them in (unmeasured, changed))
    costs, said = costs_of(study, lacking, ended["done"], ended["partial"])
    return Plan(study, len(pieces), counts, labels, again, tuple(to_do), costs, said)


def _check_networks(configs: Iterable[RunConfig], progress: Callable[[str], None]) -> None:
    """Refuse a network that cannot be trained: each size of each model once, on random inputs; no data is loaded."""
    seen = {}
    for c in configs:
        n_train = n_images(c) if c.extra == Choice("none") else None  # of images
        alone = n_train is not None and n_train % c.batch_size == 1
        network = shape_of(c, "model"), c.dataset, c.target, c.hidden, c.loss, c.precision
        seen[(*network, c.batch_size == 1 or alone)] = c, n_train
    if not seen or importlib.util.find_spec("torch") is None:
        return
    from study.training.trainable import check_trainable

    for i, (config, n_train) in enumerate(seen.values(), 1):
        if len(seen) > 1:
            progress(f"checking that networks can be trained: {i} of {len(seen)}, {config.model}")
        check_trainable(config, n_train)
    progress("")


def _check_defined(configs: Iterable[RunConfig], labels: Iterable[Label]) -> None:
    """Refuse what no network has, a measure or layers to rescale: every value would be recorded as missing."""
    each = {(shape_of(c, "model"), c.dataset, c.hidden): c for c in configs}
    if not each or importlib.util.find_spec("torch") is None:
        return
    from study.training.start import build_model
    from study.transforms.rescaling import last_two_layers

    asked = list(labels)
    checks: dict[Callable[[Any], object], str] = {}
    if any(label.transform for label in asked):
        checks[last_two_layers] = ""
    for label in asked:
        for one in checks_of(label.name):
            checks.setdefault(one, label.name)
    for check, name in checks.items():
        error: ValueError | None = None
        for config in each.values():
            try:
                check(build_model(config))
                break
            except ValueError as found:
                error = found
        else:
            assert error
            raise ConfigError("measures", name, f"no network has it: {error}") if name else error


def n_left(plan: Plan, runs_root: str | Path) -> int:
    """How many runs of the plan are not done by now."""
    runs = [(RunPaths(Path(runs_root), run_key(config)), config) for shard in plan.to_do for config in shard.runs]
    return sum(run_state(paths, config, plan.study.measures) != "done" for paths, config in runs)


def estimate(plan: Plan, n_workers: int = 1) -> str:
    """The plan's cost in words, for shards running on `n_workers` cores at a time."""
    if not plan.n_to_do:
        return "nothing to do"
    if plan.seconds is None:
        return f"unknown until {plan.said}"
    seconds = plan.seconds / min(n_workers, len(plan.to_do))
    long, short = (3600, "hours"), (60, "minutes") if seconds >= 30 else (1, "seconds")
    size, unit = long if seconds >= 7200 else short
    return f"{seconds / size:.1f} {unit} on {_plural(n_workers, 'core')}, by {plan.said}"


def show(plan: Plan, n_workers: int = 1) -> None:
    """Print the plan."""
    study, counts = plan.study, plan.counts
    print(f"{study.name}: {study.title}")
    published = f", {counts['published']} published" if counts["published"] else ""
    print(f"  runs      {len(study.runs)} in {_plural(plan.n_shards, 'shard')}")
    print(f"  done      {counts['done']}{published}")
    print(f"  to do     {plan.n_to_do} in {_plural(len(plan.to_do), 'shard')}{_work(plan)}")
    if plan.changed:
        print(f"  again     {', '.join(plan.changed)}: the code has changed since")
    print(f"  estimate  {estimate(plan, n_workers)}")
    labels = [Label.parse(label) for label in study.measures]
    transforms = list(dict.fromkeys(label.transform for label in labels if label.transform))
    print(f"  measures  {', '.join(label.name for label in labels if not label.transform)}")
    if transforms:
        print(f"  and of reparameterized networks  {', '.join(transforms)}")
    print(end="", flush=True)


def _work(plan: Plan) -> str:
    """What is to do with the runs that are not done: to be trained, or measured alone."""
    n, n_trained = plan.n_to_do, plan.counts["trained"]
    started = f"({plan.counts['partial'] - n_trained} started)"
    if not n_trained:
        return f" {started}"
    to_train = f"{n - n_trained} to train {started}, " if n > n_trained else ""
    labels = plan.unmeasured
    take = f"{_plural(len(labels), 'measure')} to take: {few(labels)}" if labels else "to evaluate"
    return f": {to_train}{n_trained} trained; {take}"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"
