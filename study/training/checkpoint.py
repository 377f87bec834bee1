"""A run's files while it trains: how far it is, its tensors, its curve, its end; a kill loses no bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from study.config import RunConfig
from study.data.dataset import Tensors
from study.data.pixels import decoded
from study.names import Stop
from study.provenance import provenance
from study.seams.growth import GROWTHS
from study.seams.mask import MASKS
from study.seams.optimizer import Stack
from study.seeds import generator_for
from study.storage.atomic import read_tensors, write_bytes, write_json, write_tensors
from study.storage.paths import RunPaths
from study.training.stack import State, member
from study.training.start import build_model, training_labels
from study.training.step import start_optimizer

if TYPE_CHECKING:
    from torch import Tensor, nn

NEAR = 2.0  # within this factor of a loss stop the loss is checked `checks_per_epoch` times an epoch
Guard = Callable[[], None]


@dataclass
class Run:
    """Train state of one network apart from its tensors; `hidden` are its widths now."""

    config: RunConfig
    paths: RunPaths
    hidden: tuple[int, ...]
    epoch: int = 0
    step: int = 0
    last_loss: float = math.inf
    reached: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[dict[str, float | None]] = field(default_factory=list)  # epochs not yet on disk
    seconds: float = 0.0
    status: str = ""

    def open_stops(self, kind: str) -> list[tuple[float, str]]:
        """Stops of a kind that are still to be met, the next one first."""
        missing = [Stop.parse(s) for s in self.config.stops if s not in self.reached]
        return [(s.value, s.text) for s in sorted(missing, key=lambda s: s.rank) if s.kind == kind]

    def meets(self, loss: float, error: float, at_epoch_end: bool) -> list[str]:
        """The open stops that a training loss and the error on the data set's own images meet now."""
        met = [stop for target, stop in self.open_stops("loss") if loss <= target]
        if at_epoch_end and math.isfinite(loss):
            met += [stop for target, stop in self.open_stops("epoch") if self.epoch >= target]
            met += [stop for target, stop in self.open_stops("error") if error <= target]
        return met

    def near(self) -> bool:
        """Whether the next loss stop is close enough to look more often than at epoch ends."""
        stops = self.open_stops("loss")
        return bool(stops) and self.last_loss <= NEAR * stops[0][0]

    def widths(self) -> tuple[int, ...]:
        """The widths with which its next epoch is to be trained."""
        growth = self.config.growth
        return GROWTHS[growth.name].widths(self.config.hidden, self.epoch, GROWTHS.options(growth))


def load_or_start(config: RunConfig, paths: RunPaths, data: Tensors, guard: Guard) -> tuple[Run, State]:
    """A run as its checkpoint left it, or at its start, with its initial weights on disk."""
    run = Run(config, paths, config.hidden)
    if paths.state.exists():
        found = read_tensors(paths.state)
        run.epoch, run.step, run.last_loss = found["epoch"], found["step"], found["last_loss"]
        run.reached, run.seconds = dict(found["reached"]), found["seconds"]
        run.hidden = tuple(found.get("hidden", config.hidden))
        groups = {name: found.get(name, {}) for name in ("parameters", "buffers", "optimizer", "mask")}
        return run, State(**groups)
    run.hidden = run.widths()
    model = build_model(config, run.hidden)

    def own_data() -> tuple[Tensor, Tensor]:
        return decoded(data.train_x).cpu(), training_labels(config, data.train_y).cpu()

    options, generator = MASKS.options(config.mask), generator_for(config.seed, "mask")
    mask = MASKS[config.mask.name](model, own_data, options, generator)
    state = fresh_state(config, model, mask or {})
    guard()
    write_tensors(paths.init, state.parameters)
    return run, state


def fresh_state(config: RunConfig, model: nn.Module, mask: Stack) -> State:
    """A network's tensors before a step of the optimizer, its masked weights at 0."""
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, alive in mask.items():
        parameters[name].mul_(alive)
    kept = model.state_dict().keys()
    buffers = {name: b.detach().clone() for name, b in model.named_buffers() if name in kept}
    one = {name: p.unsqueeze(0) for name, p in parameters.items()}
    optimizer = {slot: member(stack, 0) for slot, stack in start_optimizer(config, one).items()}
    return State(parameters, buffers, optimizer, mask)


def grown(run: Run, state: State) -> State:
    """The state of a run whose widths change now: its network extended, its optimizer new. Sets `run.hidden`."""
    growth, old, widths = run.config.growth, build_model(run.config, run.hidden), run.widths()
    old.load_state_dict(state.network)
    new = build_model(run.config, widths)
    extend = GROWTHS[growth.name].extend
    if extend is None:
        raise ValueError(f"growth: {growth.name!r}: widths change to {widths}, allowed: an entry that extends networks")
    extend(old, new, GROWTHS.options(growth), generator_for(run.config.seed, "growth", run.epoch))
    run.hidden = widths
    return fresh_state(run.config, new, {})


def save(run: Run, state: State, guard: Guard) -> None:
    """Write a network's state, from which training goes on to the same bits."""
    append_rows(run, guard)
    guard()
    progress = {"epoch": run.epoch, "step": run.step, "last_loss": run.last_loss, "reached": run.reached,
                "seconds": run.seconds, "hidden": list(run.hidden)}  # fmt: skip
    write_tensors(run.paths.state, {**progress, **state.as_dict()})


def finish(run: Run, n_parameters: int, device: str, mode: str, guard: Guard) -> None:
    """Write how training ended; the last file, so that its presence means the end."""
    append_rows(run, guard)
    loss = run.last_loss if math.isfinite(run.last_loss) else None
    end = {"epoch": run.epoch, "step": run.step, "train_loss": loss}
    outcome = {"status": run.status, "n_parameters": n_parameters, "end": end, "reached": run.reached,
               "seconds": run.seconds}  # fmt: skip
    guard()
    write_json(run.paths.outcome, {**outcome, "provenance": provenance(device, mode)})
    run.paths.state.unlink(missing_ok=True)


def append_rows(run: Run, guard: Guard) -> None:
    """Bring epochs.jsonl up to the state that is written next; epochs beyond the state of a killed run are cut."""
    guard()
    old = run.paths.epochs.read_bytes() if run.paths.epochs.exists() else b""
    new = "".join(json.dumps(row, allow_nan=False) + "\n" for row in run.rows)
    kept = old.splitlines(keepends=True)[: run.epoch - len(run.rows)]
    write_bytes(run.paths.epochs, b"".join(kept) + new.encode())
    run.rows = []
