"""What a model's modules hold: kept over a computation, and replaced during one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def check_model(model: nn.Module) -> None:
    """Raise ValueError for what is no network of one's own with numbers in it: wrapped, traced, lazy, on meta."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}, not a torch.nn.Module")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(f"model is a {type(model).__name__}; give the network inside, model.module")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"{name!r} of the model" if name else "model"
            raise ValueError(f"{what} is a module of torch.jit; give the network that it was made from")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(value):
            raise ValueError(f"{name!r} has no shape yet (a lazy module): call the model once before")
        if value.device.type == "meta":
            raise ValueError(f"{name!r} is on the meta device, where there are no numbers: load the model's weights")


@contextlib.contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Every module's attributes, parameters, buffers, submodules, hooks and mode are the same objects afterwards.

    Whatever a forward pass did to them, and also where it raised. Not what was written into a tensor in place.
    """
    found = [(vars(module), *_copied(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for attributes, before, tables in found:
            _restore(attributes, before)
            for name, table in tables.items():
                _restore(attributes[name], table)


class Places:
    """Where a model's tensors are held: one under two names, or in a module of two names, is replaced in all places."""

    def __init__(self, model: nn.Module) -> None:
        names = {id(value): name for name, value in (*model.named_buffers(), *model.named_parameters())}
        self._places: list[tuple[dict[str, Any], str, Tensor, str]] = [
            (table, key, value, names[id(value)])
            for module in model.modules()
            for table in (module._parameters, module._buffers)
            for key, value in table.items()
            if value is not None
        ]

    @contextlib.contextmanager
    def taken_by(self, state: Mapping[str, Tensor]) -> Iterator[None]:
        """The tensors of `state`, by the first name of what they stand for, instead of the model's own."""
        try:
            for table, key, _, name in self._places:
                table[key] = state[name]
            yield
        finally:
            for table, key, value, _ in self._places:
                table[key] = value


def _copied(attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict]]:
    """The attributes, and the contents of those of a module's own that are tables of parameters, hooks and the like."""
    tables = {name: dict(value) for name, value in attributes.items() if name[0] == "_" and isinstance(value, dict)}
    return dict(attributes), tables


def _restore(table: dict[str, Any], before: dict[str, Any]) -> None:
    if list(table) != list(before) or any(table[name] is not value for name, value in before.items()):
        table.clear()
        table.update(before)
