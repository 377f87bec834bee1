"""What a ledger lacks, and taking it: one file a network and measure, as runs have them, so that it can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.choice import ConfigError
from study.device import reproducible
from study.display import duration
from study.ledger.file import OF_HISTORY, LedgerFile
from study.ledger.networks import Network
from study.ledger.restored import NO_INITIAL, InitialMissing, Restorer
from study.measures import MEASURES, MeasureContext, checks_of, compute
from study.measures.own import check_own
from study.measuring import Measuring
from study.names import Label
from study.state import taken
from study.storage.atomic import read_json, write_json
from study.storage.paths import StopPaths, ledger_network

if TYPE_CHECKING:
    from study.data.dataset import Tensors


@dataclass(frozen=True)
class LedgerPlan:
    """Each network's files, what it lacks of evaluation and measures, and the seconds that finished values took."""

    restorer: Restorer
    files: dict[str, StopPaths]
    lacking: dict[str, tuple[str, ...]]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def file(self) -> LedgerFile:
        """The models.yaml."""
        return self.restorer.file

    @property
    def to_do(self) -> list[Network]:
        """The networks that lack something, in the order of the yaml."""
        return [n for n in self.file.networks if self.lacking[n.name] or not self.files[n.name].evaluation.exists()]

    def is_done(self, network: Network) -> bool:
        """Whether a network has all by now."""
        files = self.files[network.name]
        return files.evaluation.exists() and all(taken(files, label) for label in self.file.measures)

    @property
    def estimate(self) -> str:
        """How long it takes by the values that are there, in words."""
        means = {label: sum(s) / len(s) for label, s in self.seconds.items() if s}
        missing = [label for network in self.to_do for label in self.lacking[network.name]]
        if not missing:
            return "nothing to do" if not self.to_do else "evaluations alone"
        if unknown := {label for label in missing if label not in means}:
            return f"unknown until a network has its {', '.join(sorted(unknown)[:3])}{', ...' * (len(unknown) > 3)}"
        return duration(sum(means[label] for label in missing)) + ", by the values that are there"


def make_plan(file: LedgerFile, results: Path | None) -> LedgerPlan:
    """Load the data, look at every network's files, and build and load each network that lacks something.

    Raises ConfigError, one line, for what could not be measured: see `Restorer`; a measure that no network has; one of
    the initial weights where these are not given. Cost: the data once, each checkpoint read once or twice.
    """
    check_own(file.measures)
    restorer = Restorer.of(file)
    plan = LedgerPlan(restorer, {}, {})
    for network in file.networks:
        files = plan.files[network.name] = ledger_network(file.name, restorer.key(network), results)
        plan.lacking[network.name] = tuple(label for label in file.measures if not taken(files, label))
        for label in set(file.measures) - set(plan.lacking[network.name]):
            plan.seconds.setdefault(label, []).append(read_json(files.measure(label))["seconds"])
    _check(plan)
    return plan


def _check(plan: LedgerPlan) -> None:
    refused: dict[str, list[ValueError]] = {}
    for network in plan.to_do:
        model = plan.restorer.model(network)
        plan.restorer.check_initial(network, model)
        for label in plan.lacking[network.name]:
            try:
                for check in checks_of(label):
                    check(model)
            except ValueError as error:
                refused.setdefault(label, []).append(error)
        if network.initial is None:
            for label in plan.lacking[network.name]:
                if _reads_initial(label):
                    raise _no_initial(label, network)
    for label, errors in refused.items():
        if len(errors) == sum(label in plan.lacking[network.name] for network in plan.to_do):
            raise ConfigError("measures", label, f"no network has it: {errors[0]}")


def _reads_initial(label: str) -> bool:
    """Whether a measure of the catalogue asks for initial weights: tried on a network of three neurons."""
    import torch
    from torch import nn

    if Label.parse(label).measure not in MEASURES:
        return False
    if label not in _ASKED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(8, 2)
        context = MeasureContext(model, NO_INITIAL, x, model(x).argmax(1), "cross_entropy")
        try:
            compute(label, context)
            _ASKED[label] = False
        except InitialMissing:
            _ASKED[label] = True
        except (ValueError, ArithmeticError, RuntimeError):
            _ASKED[label] = False
    return _ASKED[label]


_ASKED: dict[str, bool] = {}


def _no_initial(label: str, network: Network) -> ConfigError:
    said = f"asks for the initial weights of {network.name}, allowed with it: a section initial, or a column of the CSV"
    return ConfigError("measures", label, said)


def show_plan(plan: LedgerPlan, folder: Path) -> None:
    """Print the plan."""
    file, data = plan.file, plan.restorer.data
    n, to_do = len(file.networks), plan.to_do
    print(f"{file.name}: {file.path}")
    print(f"  networks  {n}, by {', '.join(file.networks[0].values)}")
    print(f"  data      {file.data}: {len(data.train_y)} training, {len(data.test_y)} test inputs")
    print(f"  done      {n - len(to_do)}")
    print(f"  to do     {len(to_do)}: {sum(len(plan.lacking[one.name]) for one in to_do)} values")
    print(f"  estimate  {plan.estimate}")
    print(f"  measures  {', '.join(file.measures)}")
    if file.left_out:
        print(f"  left out  {', '.join(file.left_out)}: {OF_HISTORY}")
    print(f"  folder    {folder}", flush=True)


def take(plan: LedgerPlan, device: str, said: Callable[[str], None]) -> list[str]:
    """Evaluate and measure what is missing; `said` is told how far it is. A line for each value without a number.

    Raises ConfigError as `make_plan`, RuntimeError without the device.
    """
    with reproducible(device):
        data = plan.restorer.data.to(device)
        measuring = Measuring(plan.file.measures, data, device)
        begin, total = time.monotonic(), sum(len(labels) or 1 for labels in plan.lacking.values())
        done = total - sum(len(plan.lacking[network.name]) or 1 for network in plan.to_do)
        start = done
        for network, label in _steps(plan):
            if label is None:
                context = _context(plan, network, measuring)
                _evaluate(plan.files[network.name], context, data)
            else:
                try:
                    measuring.take(label, context, plan.files[network.name], network.name)
                except InitialMissing:
                    raise _no_initial(label, network) from None
                done += 1
            left = (time.monotonic() - begin) / max(done - start, 1) * (total - done)
            said(f"{done} of {total} values, about {duration(left)} left; {network.name}")
        return measuring.failed


def _steps(plan: LedgerPlan) -> Iterator[tuple[Network, str | None]]:
    """The networks one after another, of each its evaluation (None), then its measures."""
    for network in plan.to_do:
        yield network, None
        for label in plan.lacking[network.name]:
            yield network, label


def _context(plan: LedgerPlan, network: Network, measuring: Measuring) -> MeasureContext:
    data, device = measuring.data, measuring.device
    model, initial = plan.restorer.model(network, device), plan.restorer.initial(network, device)
    key = plan.files[network.name].folder.name
    held_out = data.test_x, data.test_y
    return MeasureContext(model, initial, data.train_x, data.train_y, plan.file.loss, key, held_out=held_out)


def _evaluate(files: StopPaths, context: MeasureContext, data: Tensors) -> None:
    from study.loss import evaluate

    if files.evaluation.exists():
        return
    begin = time.perf_counter()
    found: dict[str, Any] = evaluate(context.model, data, context.labels, context.loss)
    n_parameters = sum(p.numel() for p in context.model.parameters())
    write_json(files.evaluation, {**found, "n_parameters": n_parameters, "seconds": time.perf_counter() - begin})
