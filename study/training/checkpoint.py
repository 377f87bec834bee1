"""A run while it trains: how far it is, its start, its curve, its end; saved.py keeps its state."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from study.config import RunConfig
from study.data.dataset import Tensors
from study.data.pixels import decoded
from study.names import Stop
from study.seams.growth import GROWTHS
from study.seams.mask import MASKS
from study.seams.optimizer import Stack
from study.seeds import generator_for
from study.storage.atomic import write_bytes, write_json, write_tensors
from study.storage.paths import RunPaths
from study.training.saved import Saved, forget
from study.training.stack import State, member
from study.training.start import build_model, training_labels
from study.training.step import start_optimizer

if TYPE_CHECKING:
    from torch import Tensor, nn

NEAR = 2.0  # within this factor of a loss stop the loss is checked `checks_per_epoch` times an epoch
Guard = Callable[[], None]
Row = dict[str, float | None]


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
    rows: list[Row] = field(default_factory=list)  # epochs not yet on disk
    seconds: float = 0.0
    trained_by: list[dict[str, str]] = field(default_factory=list)  # provenance of each that trained it, in turn
    status: str = ""  # how it ended

    def open_stops(self, kind: str) -> list[tuple[float, str]]:
        """Stops of a kind that are still to be met, the next one first."""
        missing = [stop for stop in _in_order(self.config.stops) if stop.text not in self.reached]
        return [(stop.value, stop.text) for stop in missing if stop.kind == kind]

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

    @property
    def ended(self) -> str:
        """How training ends now: finished, diverged or not_converged; "" where it goes on.

        One that has met every stop is finished whatever came after the last in the same epoch: its weights are kept.
        """
        if len(self.reached) == len(self.config.stops):
            return "finished"
        if not math.isfinite(self.last_loss):
            return "diverged"
        return "not_converged" if self.epoch >= self.config.max_epochs else ""

    def progress(self) -> dict[str, Any]:
        """What is kept beside its tensors, as plain values."""
        return {"epoch": self.epoch, "step": self.step, "last_loss": self.last_loss, "reached": dict(self.reached),
                "seconds": self.seconds, "hidden": list(self.hidden), "trained_by": list(self.trained_by),
                "status": self.status}  # fmt: skip

    def resume(self, progress: Mapping[str, Any]) -> None:
        """Go on from what `progress` gave."""
        self.epoch, self.step, self.last_loss = progress["epoch"], progress["step"], progress["last_loss"]
        self.reached, self.seconds = dict(progress["reached"]), progress["seconds"]
        self.hidden = tuple(progress.get("hidden", self.config.hidden))
        self.trained_by, self.status = list(progress.get("trained_by", [])), progress.get("status", "")


@functools.cache
def _in_order(stops: tuple[str, ...]) -> list[Stop]:
    return sorted(map(Stop.parse, stops), key=lambda stop: stop.rank)


def resume_or_start(
    config: RunConfig, paths: RunPaths, data: Tensors, saved: Saved | None, guard: Guard
) -> tuple[Run, State]:
    """A run as it was saved, or at its start, with its initial weights on disk."""
    run = Run(config, paths, config.hidden)
    if saved is not None:
        run.resume(saved.progress)
        return run, saved.state
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


def finish(run: Run, n_parameters: int, guard: Guard) -> None:
    """Write how training ended, and by what; the last file, so that its presence means the end.

    A run that was left and gone on with by other code, or elsewhere, says so: `a+b`, in turn.
    """
    append_rows(run.paths, run.epoch, run.rows, guard)
    run.rows = []
    loss = run.last_loss if math.isfinite(run.last_loss) else None
    end = {"epoch": run.epoch, "step": run.step, "train_loss": loss}
    outcome = {"status": run.status, "n_parameters": n_parameters, "end": end, "reached": run.reached,
               "seconds": run.seconds}  # fmt: skip
    guard()
    by = {name: "+".join(dict.fromkeys(one[name] for one in run.trained_by)) for name in run.trained_by[0]}
    write_json(run.paths.outcome, {**outcome, "provenance": by})
    forget([run.paths])


def append_rows(paths: RunPaths, epoch: int, rows: Sequence[Row], guard: Guard) -> None:
    """Bring epochs.jsonl up to `epoch`, of which `rows` are the last; epochs beyond those of a killed run are cut."""
    guard()
    old = paths.epochs.read_bytes() if paths.epochs.exists() else b""
    new = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    kept = old.splitlines(keepends=True)[: epoch - len(rows)]
    write_bytes(paths.epochs, b"".join(kept) + new.encode())
