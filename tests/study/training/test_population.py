"""A population that does not fit: trained in smaller ones, refilled as networks end, to the bits of one that fits."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.choice import Choice
from study.config import RunConfig, config_from_dict, run_key
from study.data.dataset import load
from study.device import check_device, free_bytes, is_out_of_memory
from study.run import run_shard
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training.capacity import Fit
from study.training.checkpoint import fresh_state
from study.training.population import Population
from study.training.start import build_model
from study.training.step import Stepper
from tests.support.blobs import known_blobs
from tests.support.held import peak_bytes

BASE = RunConfig(
    dataset=Choice("blobs_8"),
    hidden=(9,),
    lr=0.05,
    momentum=0.9,
    batch_size=40,
    n_train=290,
    stops=("loss_0.8",),
    max_epochs=7,
)
# They end at different epochs: at their loss, or at the last epoch that each has.
RUNS = [replace(BASE, seed=s, lr=0.03 + 0.03 * s, max_epochs=3 + s, label_noise=0.1 * s) for s in range(6)]
# Noise, a schedule by the epoch, an update of two gradients: whatever a step is given, each network at its own epoch.
_RICH: dict[str, Any] = {
    "dataset": "blobs_8", "batch": {"augment": {"crop": 1, "cutout": 2}}, "update": {"sam": {"rho": 0.02}},
    "model": {"mlp": {"dropout": 0.2}}, "schedule": {"cosine": {"warmup": 1}}, "hidden": [9], "batch_size": 40,
    "n_train": 290, "stops": ["epoch_2"], "max_epochs": 4,
}  # fmt: skip
with known_blobs():
    RICH = [replace(config_from_dict(_RICH), seed=s, stops=(f"epoch_{2 + s % 3}",)) for s in range(6)]
GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(scope="module", autouse=True)
def data_sets() -> Iterator[None]:
    with known_blobs():
        yield


def trained(runs: Sequence[RunConfig], root: Path, device: str = "cpu", stop_after: int = 99) -> list[str]:
    """Notes of training these, asked to leave after some epochs."""
    notes: list[str] = []
    asked = iter([False] * (stop_after - 1))

    def progress(event: dict[str, Any]) -> None:
        notes.extend([event["text"]] if event["kind"] == "note" else [])

    run_shard(
        runs, [], runs_root=root, device=device, should_stop=lambda: next(asked, stop_after < 99), progress=progress
    )
    return notes


def ends(runs: Sequence[RunConfig], root: Path) -> list[Any]:
    """Of each run: its outcome but for its seconds, its curve, its last weights."""
    found: list[Any] = []
    for run in runs:
        paths = RunPaths(root, run_key(run))
        outcome = {**json.loads(paths.outcome.read_text()), "seconds": 0}
        weights = read_tensors(paths.stop(run.stops[-1]).weights)
        found.append((outcome, paths.epochs.read_bytes(), {n: t.tolist() for n, t in weights.items()}))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The ends of both sets of runs, all at once."""
    root = tmp_path_factory.mktemp("whole")
    return {name: (trained(runs, root), ends(runs, root))[1] for name, runs in (("plain", RUNS), ("rich", RICH))}


def exhaust() -> None:
    """The error of torch's own allocator."""
    torch.empty(2**60, dtype=torch.uint8)


def exhausting(above: int, from_step: int = 0) -> Callable[..., None]:
    """A step that finds no memory for more networks than that, after some steps that did."""
    plain, n = Stepper.step, 0

    def step(self: Stepper, state: Any, x: torch.Tensor, *given: Any) -> None:
        nonlocal n
        n += 1
        plain(self, state, x, *given)  # the weights have moved already
        if len(x) > above and n > from_step:
            exhaust()

    return step


def test_an_error_of_the_allocator_is_known_from_others() -> None:
    with pytest.raises(RuntimeError) as found:
        exhaust()
    assert is_out_of_memory(found.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(("above", "from_step", "sizes"), [(3, 0, [6]), (2, 20, [6, 3]), (1, 28, [4, 2])])
def test_out_of_memory_goes_on_with_half_as_many_to_the_same_bits(
    above: int, from_step: int, sizes: list[int], whole: dict[str, list[Any]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At the first step, and within a later epoch, when some networks have ended and others have been saved."""
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(Stepper, "step", exhausting(above, from_step))
    notes = trained(RUNS, tmp_path)
    assert ends(RUNS, tmp_path) == whole["plain"]
    assert [int(note.split()[0]) for note in notes] == sizes
    assert all("can't allocate memory" in note and "at a time go on" in note for note in notes)
    assert not list(tmp_path.rglob("population*"))


def test_one_network_that_does_not_fit_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stepper, "step", exhausting(0))
    with pytest.raises(RuntimeError, match=r"model: mlp: allowed: networks of which one fits into the memory of cpu"):
        trained(RUNS[:2], tmp_path)


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_networks_that_do_not_fit_follow_as_others_end(
    kind: str, whole: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack stays as full as it may be; left at an epoch's end and gone on with, the bits are the same."""
    runs = RUNS if kind == "plain" else RICH
    seen: dict[str, list[Any]] = {"whole": [], "cut": []}
    monkeypatch.setattr(Fit, "capacity", lambda self, n: min(n, 4))
    epoch = Population._epoch

    def watched(self: Population) -> None:
        root = self.runs[0].paths.folder.relative_to(tmp_path).parts[0]
        seen[root].append(([run.config.seed for run in self.runs], len(self.waiting)))
        epoch(self)

    monkeypatch.setattr(Population, "_epoch", watched)
    assert trained(runs, tmp_path / "whole") == [
        "4 of 6 networks fit into the memory of cpu; the others follow as these end"
    ]
    for n in (1, 2, 1, 99):
        trained(runs, tmp_path / "cut", stop_after=n)
    assert ends(runs, tmp_path / "whole") == ends(runs, tmp_path / "cut") == whole[kind]
    assert all(len(stack) == 4 for stack, n_waiting in seen["whole"] if n_waiting)
    assert seen["whole"][0] == ([0, 1, 2, 3], 2) and seen["cut"] == seen["whole"], "a GPU's bits depend on the stack"


class Killed(Exception):
    """Stands for a SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("n_writes", [1, 2, 5, 9, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 27, 30])
def test_where_bits_depend_on_the_stack_a_kill_leaves_it_as_it_was(
    n_writes: int, whole: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any write, also between those of networks that end; seldom saved, as a GPU's are."""
    seen: dict[str, set[Any]] = {"whole": set(), "cut": set()}
    epoch, room, left = Population._epoch, 4, n_writes

    def watched(self: Population) -> None:
        part = self.runs[0].paths.folder.relative_to(tmp_path).parts[0]
        seen[part].add(tuple((run.config.seed, run.epoch) for run in self.runs))
        epoch(self)

    def guard() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    monkeypatch.setattr("study.training.population.depends_on_stack", lambda device: True)
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 1e9)
    monkeypatch.setattr(Population, "_epoch", watched)
    monkeypatch.setattr(Fit, "capacity", lambda self, n: min(n, room))
    trained(RUNS, tmp_path / "whole")
    with contextlib.suppress(Killed):
        run_shard(RUNS, [], runs_root=tmp_path / "cut", guard=guard)
    if list((tmp_path / "cut").rglob("population.json")):
        room = 2  # less memory is free now; what was saved knows what there was room for
    trained(RUNS, tmp_path / "cut")
    assert seen["cut"] == seen["whole"] and ends(RUNS, tmp_path / "cut") == whole["plain"]


def test_a_kill_after_a_whole_stack_has_ended_leaves_the_next_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for three, and after these for two: the file knows, though no network has ended among the two."""
    runs = [replace(BASE, seed=s, stops=("epoch_2",), max_epochs=2) for s in range(6)]
    seen: dict[str, set[Any]] = {"whole": set(), "cut": set()}
    epoch, rooms, kill = Population._epoch, iter([3, 2, 9, 3, 2, 9]), [False]

    def watched(self: Population) -> None:
        part = self.runs[0].paths.folder.relative_to(tmp_path).parts[0]
        stack = tuple((run.config.seed, run.epoch) for run in self.runs)
        if kill[0] and (3, 1) in stack:
            raise Killed
        seen[part].add(stack)
        epoch(self)

    monkeypatch.setattr("study.training.population.depends_on_stack", lambda device: True)
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 1e9)
    monkeypatch.setattr(Population, "_epoch", watched)
    monkeypatch.setattr(Fit, "capacity", lambda self, n: min(n, next(rooms)))
    trained(runs, tmp_path / "whole")
    kill[0] = True
    with pytest.raises(Killed):
        trained(runs, tmp_path / "cut")
    kill[0] = False
    trained(runs, tmp_path / "cut")
    assert seen["cut"] == seen["whole"] and ((3, 1), (4, 1)) in seen["whole"]


def fit(**changes: Any) -> Fit:
    config = config_from_dict({"dataset": "blobs_8", "n_train": 300, **changes})
    state = fresh_state(config, build_model(config), {})
    return Fit(config, config.hidden, state, load(config.dataset, config.n_train), "cpu")


@pytest.mark.parametrize(
    "changes",
    [{"hidden": [64, 64]}, {"hidden": [300], "batch_size": 300, "optimizer": "adam"},
     {"hidden": [32], "update": {"sam": {}}, "dataset": "blobs_8", "model": {"mlp": {"dropout": 0.5}}}],
)  # fmt: skip
def test_a_network_takes_no_more_than_the_bound_and_not_much_less(changes: dict[str, Any]) -> None:
    some = fit(**changes)
    few, more = (peak_bytes(lambda k=k: some.trial(k)) for k in (2, 4))
    assert 1 <= some.bound() / ((more - few) / 2) <= 8


def test_what_is_measured_is_a_step_and_an_evaluation_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose allocator counts; here a profiler does."""
    monkeypatch.setattr(Fit, "_peak_bytes", lambda self, work: peak_bytes(work))
    some = fit(hidden=[64], batch_size=300)
    few, more = (peak_bytes(lambda k=k: some.trial(k)) for k in (2, 4))
    batch = 300 * some.data.train_x[0].numel() * 4
    assert max(1.5 * batch, (more - few) / 2) <= some._measured() <= 3 * (more - few) / 2


def test_the_size_of_a_population_follows_from_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    some = fit(hidden=[64])
    for n_fit in (1, 7, 40):
        monkeypatch.setattr(
            "study.training.capacity.free_bytes", lambda device, n=n_fit: int((n + 0.5) * some.bound() / 0.6)
        )
        assert some.capacity(1000) == n_fit
        assert some.capacity(4) == 4, "few are tried without a look"
    monkeypatch.setattr("study.training.capacity.free_bytes", lambda device: None)
    assert some.capacity(1000) == 1000


def test_memory_is_that_of_this_machine() -> None:
    assert 2**24 < (free_bytes("cpu") or 0) < 2**48


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("tpu", "'tpu': allowed: cpu, cuda"),
        ("cuda:", "'cuda:': allowed"),
        ("cuda:99", "'cuda:99': "),
        ("", "'': allowed"),
    ],
)
def test_a_device_that_is_none_is_refused_in_one_line(device: str, text: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, RuntimeError), match="device: " + text) as found:
        trained(RUNS[:1], tmp_path, device)
    assert "\n" not in str(found.value) and not list(tmp_path.iterdir())
    check_device("cpu")


@pytest.mark.gpu
def test_a_trial_on_a_gpu_measures_a_network() -> None:
    config = config_from_dict({"dataset": "blobs_8", "hidden": [256], "batch_size": 300, "n_train": 300})
    state = fresh_state(config, build_model(config), {})
    some = Fit(config, config.hidden, state, load("blobs_8", 300).to("cuda"), "cuda")
    assert 1 <= some._measured() / 4 / sum(t.numel() for t in state.parameters.values()) <= 200
    assert 1 <= some.capacity(10**9) < 10**9


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_a_stack_equals_training_alone(kind: str, device: str, tmp_path: Path) -> None:
    """On a GPU to rounding: kernels for a stack are others than those for one."""
    runs = RUNS[:3] if kind == "plain" else RICH[:3]
    trained(runs, tmp_path / "all", device)
    for run in runs:
        trained([run], tmp_path / "one", device)
    for (_, _, a), (_, _, b) in zip(ends(runs, tmp_path / "all"), ends(runs, tmp_path / "one"), strict=True):
        for name in a:
            tolerance = {"rtol": 0.0, "atol": 0.0} if device == "cpu" else {"rtol": 1e-2, "atol": 1e-3}
            torch.testing.assert_close(torch.tensor(a[name]), torch.tensor(b[name]), **tolerance)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("changes", [{}, {"model": Choice("lenet5"), "dataset": Choice("blobs_28")}])
def test_a_resumed_population_has_the_same_bits(changes: dict[str, Any], device: str, tmp_path: Path) -> None:
    runs = [replace(BASE, seed=s, max_epochs=3, stops=(f"epoch_{2 + s % 2}",), **changes) for s in range(3)]
    trained(runs, tmp_path / "whole", device)
    for n in (1, 1, 99):
        trained(runs, tmp_path / "cut", device, n)
    assert ends(runs, tmp_path / "whole") == ends(runs, tmp_path / "cut")
