"""One shard trained by the project, and its networks one after another by plain PyTorch, in turn in one process.

On a GPU both take full float32 for products and convolutions: with torch's own default, TF32 for convolutions, the
networks alone would be quicker there, and their results others.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from study.config import RunConfig, config_from_dict, run_key
from study.data.dataset import DATASETS, Tensors, dataset, load
from study.run import run_shard
from study.storage.atomic import read_json, read_tensors
from study.storage.paths import RunPaths
from tests.benchmarks.alone import Alone
from tests.benchmarks.arithmetic import Clock, Cost, cost_of_epoch

NAME = "benchmark_images"
RATES = (0.01, 0.03, 0.1)  # of the laptop study
SCALE = 0.3  # of the inputs: about that of pixels


@dataclass(frozen=True)
class Case:
    """What is trained: `networks` of one config on `n_train` inputs of a shape, the i-th with seed i.

    `compared` of them, evenly spread, are trained alone too, and their time is taken for that of all. The rates of
    mlps differ as the laptop study's do. `tolerance`: how far weights may be from those of a network alone in the end,
    relative to their norm.
    """

    name: str
    shape: tuple[int, ...]
    n_train: int
    networks: int
    config: Mapping[str, Any]
    compared: int = 0
    tolerance: float = 1e-3

    @property
    def n_alone(self) -> int:
        """How many networks are trained alone."""
        return self.compared or self.networks

    def configs(self, n_epochs: int) -> list[RunConfig]:
        """The runs of the shard, that end at an epoch."""
        common = {**self.config, "dataset": NAME, "stops": [f"epoch_{n_epochs}"], "max_epochs": n_epochs}
        rates = [self.config["lr"]] if "lr" in self.config else RATES
        return [config_from_dict({**common, "seed": i, "lr": rates[i % len(rates)]}) for i in range(self.networks)]


@dataclass
class Result:
    """Seconds of a network's epoch in every round, by us and alone; how far weights are apart; steps; cost by count;
    what the training said, as that steps could not be recorded or that memory ran out."""

    rounds: list[tuple[float, float]] = field(default_factory=list)
    error: float = math.inf
    steps: int = 0
    cost: Cost = field(default_factory=lambda: Cost(0.0, 0.0))
    notes: list[str] = field(default_factory=list)


class Race:
    """Our epochs, each followed by as many of networks alone. The first epoch warms up and the last writes files."""

    def __init__(self, alone: list[Alone], share: float, n_epochs: int, threads: int, clock: Clock) -> None:
        self.tasks = [network for network in alone for _ in range(n_epochs)]
        self.share, self.threads, self.clock = share, threads, clock
        self.result, self.since = Result(), 0.0

    def on_progress(self, event: Mapping[str, Any]) -> None:
        """What run_shard tells: an epoch of `running` networks has ended."""
        elapsed = self.clock() - self.since
        if event["kind"] == "note":
            self.result.notes.append(event["text"])
        if event["kind"] == "epoch":
            running = event["running"]
            n = min(
                max(1, round(running * self.share)), len(self.tasks)
            )  # of a population in parts, until none is left
            if running and event["epoch"] > 1 and n:
                self.result.rounds.append((elapsed / running, self._alone(n)))
            torch.set_num_threads(self.threads)  # run_shard has set 1
        self.since = self.clock()

    def _alone(self, n: int) -> float:
        strict = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)  # run_shard has set it; a user's own loop is as torch is
        start = self.clock()
        for _ in range(n):
            self.tasks.pop(0).epoch()
        seconds = (self.clock() - start) / n
        torch.use_deterministic_algorithms(strict)
        return seconds

    def finish(self) -> None:
        """What is left to be trained alone."""
        while self.tasks:
            self.tasks.pop(0).epoch()


def run(case: Case, device: str, threads: int, repeats: int) -> Result:
    """Train a case both ways. Raises ValueError where the two did not take the same steps."""
    n_epochs, clock = repeats + 2, clock_of(device, threads)
    with _registered(case), TemporaryDirectory() as folder:
        configs = case.configs(n_epochs)
        data = load(NAME).to(device)
        spread = configs[:: case.networks // case.n_alone][: case.n_alone]
        alone = [Alone(config, data.train_x, data.train_y) for config in spread]
        race = Race(alone, case.n_alone / case.networks, n_epochs, threads, clock)
        torch.set_num_threads(threads)
        Alone(configs[0], data.train_x, data.train_y).epoch()  # warms up
        run_shard(configs, [], runs_root=folder, device=device, progress=race.on_progress)
        torch.set_num_threads(threads)
        race.finish()
        result = race.result
        result.error = max(_error(network, RunPaths(Path(folder), run_key(network.config))) for network in alone)
        result.steps = _steps(alone, configs, Path(folder))
        model, first = alone[0].model, configs[0]
        result.cost = cost_of_epoch(model, data.train_x, data.train_y, first.batch_size, first.momentum > 0)
    return result


def clock_of(device: str, threads: int) -> Clock:
    """Of the processor with one thread on a CPU, so that what else runs adds little; else of the wall."""
    if device.startswith("cuda"):

        def clock() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return clock
    return time.process_time if threads == 1 else time.perf_counter


@contextlib.contextmanager
def _registered(case: Case) -> Iterator[None]:
    """The data set of a case, while it lasts: classes around centres, so that there is something to learn."""

    def draw(n: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(10, *case.shape, generator=generator)
        y = torch.randint(10, (n,), generator=generator)
        return SCALE * (centres[y] + torch.randn(n, *case.shape, generator=generator)), y

    @dataset(NAME, n_train=case.n_train, n_test=10, n_classes=10, shape=case.shape)
    def images(n_train: int) -> Tensors:
        """Noise around ten centres."""
        return Tensors(*draw(n_train), *draw(10))

    load.cache_clear()
    try:
        yield
    finally:
        DATASETS.remove(NAME)
        load.cache_clear()


def _error(network: Alone, paths: RunPaths) -> float:
    """The distance of our weights at the end from those of the network alone, relative to their norm."""
    ours = read_tensors(paths.stop(network.config.stops[0]).weights).values()  # parameters, then buffers
    alone = [tensor.detach().cpu() for tensor in (*network.model.parameters(), *network.model.buffers())]
    difference = sum(float((a.double() - b).square().sum()) for a, b in zip(ours, alone, strict=True))
    return math.sqrt(difference / sum(float(b.double().square().sum()) for b in alone))


def _steps(alone: list[Alone], configs: list[RunConfig], root: Path) -> int:
    """The steps that every network took. Raises ValueError where they are not the same."""
    ours = {read_json(RunPaths(root, run_key(config)).outcome)["end"]["step"] for config in configs}
    theirs = {network.steps for network in alone}
    if ours != theirs or len(ours) != 1:
        raise ValueError(f"steps: ours {sorted(ours)}, alone {sorted(theirs)}: allowed: the same for all")
    return ours.pop()
