"""A recorded step: what it is given stays in its place, and its first replay is held to the step itself."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.config import RunConfig, config_from_dict, run_key
from study.data.dataset import load
from study.device import reproducible, upload
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training import graph
from study.training.graph import Given, Record, Work
from study.training.population import Population
from study.training.steps import WORTH, Epoch
from tests.support.blobs import known_blobs

FREE = {"hidden": [64, 64]}  # the default: these models do not read it
COMMON = {"dataset": "blobs_8", "hidden": [7], "batch_size": 10, "n_train": 174, "max_epochs": 3, "momentum": 0.9,
          "lr": 0.05, "stops": ["epoch_3"]}  # fmt: skip
# What a step reads beside its batch: the time, noise of the batch, of dropout and of the update, buffers, counters.
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "time": {"schedule": {"cosine": {"warmup": 1}}, "weight_decay": 0.01},
    "noise": {"batch": {"augment": {"crop": 1, "cutout": 2}},
              "model": {"mlp": {"dropout": 0.3}}, "update": {"entropy_sgd": {"steps": 3, "noise": 0.01}}},
    "adam": {"optimizer": "adam", "momentum": 0.0, "update": {"sam": {"rho": 0.05}}, "objective": "label_smoothing"},
    "convolutions": {**FREE, "model": "lenet5", "dataset": "blobs_28"},
    "norms": {**FREE, "model": {"nin": {"depth": 1, "width": 4, "dropout": 0.1}}, "dataset": "blobs_28"},
    "bf16": {**FREE, "precision": "bf16", "model": "lenet5", "dataset": "blobs_28"},
    "tf32": {**FREE, "precision": "tf32", "model": "lenet5", "dataset": "blobs_28"},
}  # fmt: skip
ON_CPU = [kind for kind in SHAPES if kind != "tf32"]
WHERE = [("cpu", kind) for kind in ON_CPU] + [pytest.param("cuda", kind, marks=pytest.mark.gpu) for kind in SHAPES]


@pytest.fixture(scope="module", autouse=True)
def data_sets() -> Iterator[None]:
    with known_blobs():
        yield


def runs_of(kind: str) -> list[RunConfig]:
    config = config_from_dict({**COMMON, **SHAPES[kind]})
    return [replace(config, seed=s, max_epochs=3 + s, stops=(f"epoch_{2 + s % 2}",)) for s in range(3)]


def by_doing_it(work: Work) -> Work:
    """Stands for a recording: works a few times, as warming up does, and again whenever it is replayed."""
    for _ in range(graph.WARM_UP):
        work()
    return work


def trained(
    runs: Sequence[RunConfig],
    root: Path,
    record: Record | None,
    device: str = "cpu",
    made: Callable[[Population], None] = lambda population: None,
) -> tuple[list[Any], list[str]]:
    """The last weights of each run, and the notes."""
    notes: list[str] = []
    with reproducible(device):
        data = load(runs[0].dataset, runs[0].n_train).to(device)
        paths = [RunPaths(root, run_key(run)) for run in runs]
        population = Population(runs, paths, data, device, "stacked", lambda: None, notes.append)
        population.recording.record = record
        made(population)
        population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    return [read_tensors(p.stop(run.stops[-1]).weights) for p, run in zip(paths, runs, strict=True)], notes


def equal(a: list[Any], b: list[Any]) -> bool:
    return all(torch.equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x)


@pytest.mark.parametrize(("device", "kind"), WHERE)
def test_replayed_steps_have_the_bits_of_steps(kind: str, device: str, tmp_path: Path) -> None:
    """Over epochs, with a shorter last batch, and after a network has ended."""
    runs = runs_of(kind)
    made = 0

    def counted(work: Work) -> Work:
        nonlocal made
        made += 1
        return (by_doing_it if device == "cpu" else graph.record)(work)

    eager, _ = trained(runs, tmp_path / "eager", None, device)
    replayed, notes = trained(runs, tmp_path / "replayed", counted, device)
    assert equal(eager, replayed) and notes == []
    assert made == 2, "one for each stack: of all, and of those that are left"


def refusing(work: Work) -> Work:
    work()
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def stale(work: Work) -> Work:
    return lambda: None


def twice(work: Work) -> Work:
    return lambda: (work(), work())[0]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (refusing, "CUDA error: operation not permitted when stream is capturing"),
        (stale, "other bits"),
        (twice, "other bits"),
    ],
)
def test_what_cannot_be_recorded_goes_on_step_by_step(record: Record, why: str, tmp_path: Path) -> None:
    runs = runs_of("noise")
    eager, _ = trained(runs, tmp_path / "eager", None)
    found, notes = trained(runs, tmp_path / "found", record)
    assert equal(eager, found)
    assert len(notes) == 1 and why in notes[0] and "\n" not in notes[0]


def test_a_network_that_diverges_is_recorded_all_the_same(tmp_path: Path) -> None:
    runs = [replace(run, lr=lr) for run, lr in zip(runs_of("plain"), (1e30, 0.05, 0.02), strict=True)]
    notes: list[str] = []
    data, paths = load("blobs_8", runs[0].n_train), [RunPaths(tmp_path, run_key(run)) for run in runs]
    population = Population(runs, paths, data, "cpu", "stacked", lambda: None, notes.append)
    population.recording.record = by_doing_it
    population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    assert notes == [] and all(p.outcome.exists() for p in paths)


@pytest.mark.parametrize(("last", "notes_expected"), [(2, 0), (3, 1)])
def test_a_stack_is_recorded_once_it_has_done_as_many_steps_as_recording_costs(
    last: int, notes_expected: int, tmp_path: Path
) -> None:
    """Of three whole steps an epoch: over epochs, and not in a stack that ends before."""
    runs = [replace(run, batch_size=58, stops=(f"epoch_{last}",)) for run in runs_of("plain")]
    found, notes = trained(runs, tmp_path, refusing)
    assert len(found) == 3 and len(notes) == notes_expected


@pytest.mark.parametrize("n", [3, 1])
def test_where_recording_has_no_memory_fewer_networks_go_on_and_one_unrecorded(n: int, tmp_path: Path) -> None:
    runs, sizes = runs_of("plain")[:n], list[int]()

    def record(work: Work) -> Work:
        sizes.append(len(population_of[-1].runs))
        if len(sizes) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return by_doing_it(work)

    population_of: list[Population] = []
    eager, _ = trained(runs, tmp_path / "eager", None)
    found, (note,) = trained(runs, tmp_path / "found", record, made=population_of.append)
    assert equal(eager, found) and sizes[0] == n
    if n > 1:
        assert set(sizes[1:]) == {1} and note.startswith("3 networks at a time ran out of memory")
    else:
        assert sizes == [1] and "not recorded" in note


def test_a_step_that_draws_otherwise_is_not_replayed(tmp_path: Path) -> None:
    """A custom entry that asks for another stream than at the first time is no step to record."""
    runs = runs_of("plain")[:1]
    data, paths = load("blobs_8", 174), [RunPaths(tmp_path, run_key(run)) for run in runs]
    population = Population(runs, paths, data, "cpu", "stacked", lambda: None)
    names = iter(["first", "second", "third"])

    def step(given: Given) -> None:
        given.noise.uniform(next(names), (2,))

    given = Epoch(population.runs, 174, "cpu").given(1)
    with pytest.raises(graph.NotRecorded, match="draws second in one step and first in another"):
        graph.RecordedStep(step, population.state, given, by_doing_it)
    times = iter([False, True, True, True])
    with pytest.raises(graph.NotRecorded, match="draws late in one step and nothing in another"):
        graph.RecordedStep(
            lambda given: next(times) and given.noise.uniform("late", (2,)), population.state, given, by_doing_it
        )


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Any wait of the host for the GPU is an error."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


@pytest.mark.gpu
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_no_step_waits_for_the_gpu(kind: str, recorded: bool, tmp_path: Path) -> None:
    runs = runs_of(kind)
    with reproducible("cuda"):
        data, paths = load(runs[0].dataset, 174).to("cuda"), [RunPaths(tmp_path, run_key(run)) for run in runs]
        population = Population(runs, paths, data, "cuda", "stacked", lambda: None)
        population.recording.record = graph.record if recorded else None
        steps = population.epochs.steps
        epoch, n_first = (
            Epoch(population.runs, 174, "cuda"),
            WORTH + 2,
        )  # the one that is recorded, and the first replay
        for step in range(1, epoch.n_steps + 1):
            with no_waiting() if step > n_first else contextlib.nullcontext():
                steps(epoch.given(step), epoch.size)


@pytest.mark.gpu
def test_bytes_go_up_as_they_are() -> None:
    tensor = torch.arange(10**6)
    assert torch.equal(upload(tensor, "cuda").cpu(), tensor)
