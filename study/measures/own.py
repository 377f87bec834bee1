"""A measure from a person's own file: `measures: [my_file.py:my_measure]` in a study's yaml.

Its code is read, not run, when the study is, and travels by value: a queued job measures with what was sent.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from study.choice import ConfigError
from study.measures.own_file import read_function
from study.measures.registry import MEASURES, Sampled, Value
from study.names import Label
from study.seeds import seed_for

if TYPE_CHECKING:
    from torch import nn

    from study.measures.context import MeasureContext


class OwnMeasureError(ValueError):
    """The code of a person's own measure cannot be run, or gives no value that could be recorded; one line."""


class Own(str):
    """The label of a measure from a person's own file, with its code; everywhere else a label like any other.

    `code` is a hash of the whole file, which each value is stored with: where it has changed since, it is measured
    again. `options` are those that differ from the function's defaults.
    """

    PROVENANCE: ClassVar = "prov.code."

    path: Path
    source: str
    code: str
    options: dict[str, str | int | float]

    @classmethod
    def read(cls, text: str, folder: Path) -> Own:
        """From a yaml's text; a relative path starts at `folder`. Raises ConfigError, one line."""
        found = read_function(text, folder)
        if found.name in MEASURES:
            allowed = "allowed: a name that no measure of the catalogue has"
            raise ConfigError("measures", text, f"{found.name} is a measure of study/measures/, {allowed}")
        options = ",".join(f"{option}={value}" for option, value in sorted(found.options.items()))
        made = cls(str(Label(found.name, options)))
        made.path, made.source, made.options = found.path, found.source, dict(found.options)
        made.code = hashlib.sha256(found.source.encode()).hexdigest()[:12]
        return made

    @property
    def provenance(self) -> str:
        """The records' column of `code`."""
        return f"{self.PROVENANCE}{Label.parse(self).measure}"

    def at(self, transform: str) -> Own:
        """The same measure of networks that are reparameterized."""
        made = Own(str(Label.parse(self).at(transform=transform)))
        made.__dict__.update(self.__dict__)
        return made

    def function(self) -> Callable[[Any], Value]:
        """The function with its options. Raises OwnMeasureError where the file cannot be run."""
        try:
            module = _module(str(self.path), self.source)
        except Exception as error:
            raise self._mistake(error) from error
        return functools.partial(getattr(module, Label.parse(self).measure), **self.options)

    def take(self, ctx: MeasureContext) -> Value:
        """Its value of a network, which is left as it was, whatever the code does to it; global draws are seeded.

        Raises ValueError, ArithmeticError and RuntimeError as the code does, for a value that is missing, and
        OwnMeasureError for everything else that it raises, or for what is no value.
        """
        function = self.function()
        with _kept(ctx.model, seed_for(ctx.key, "measure", Label.parse(self).name)):
            try:
                result = function(ctx)
            except (ValueError, ArithmeticError, RuntimeError):
                raise
            except Exception as error:
                raise self._mistake(error) from error
        return self._checked(result, ctx)

    def _checked(self, result: Any, ctx: MeasureContext) -> Value:
        allowed = "allowed: a number, Sampled(value, standard_error), or a number for each of ctx.layers()"
        if isinstance(result, dict):
            layers = (ctx.before or ctx).layers()
            if not result or (strange := [name for name in result if name not in layers]):
                said = f"gives values of {', '.join(map(repr, strange))}" if result else "gives no value of any layer"
                raise OwnMeasureError(f"measures: '{self.path}:{self}': {said}, allowed: {', '.join(layers)}")
        for value in result.values() if isinstance(result, dict) else [result]:
            if isinstance(result, Sampled):
                continue
            try:
                float(value)
            except (TypeError, ValueError, RuntimeError):
                said = f"gives a {type(value).__name__}"
                raise OwnMeasureError(f"measures: '{self.path}:{self}': {said}, {allowed}") from None
        return result if isinstance(result, dict | Sampled) else float(result)

    def _mistake(self, error: Exception) -> OwnMeasureError:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.path)
        ]
        where = f" line {lines[-1]}" if lines else ""
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return OwnMeasureError(f"measures: '{self.path}:{self}':{where} {said}; allowed: code that runs")


def codes(measures: Iterable[str]) -> dict[str, dict[str, str]]:
    """`prov.code` of a person's own measures among these by label: a row of one that was edited since is of another."""
    return {str(label): {"prov.code": label.code} for label in measures if isinstance(label, Own)}


def check_own(measures: Iterable[str]) -> None:
    """Run the files of a person's own measures among these. Raises OwnMeasureError where one cannot be run."""
    for label in measures:
        if isinstance(label, Own):
            label.function()


@functools.lru_cache(maxsize=64)
def _module(path: str, source: str) -> ModuleType:
    """A file's code, run once a process; it is a module of its own, which dataclasses in it ask for."""
    name = f"own_measures_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


@contextmanager
def _kept(model: nn.Module, seed: int) -> Iterator[None]:
    """Whatever happens to a network: its tensors, gradients, flags and mode are put back, the global generator too."""
    import torch

    before = [(t, t.detach().clone(), t.grad, t.requires_grad) for t in _tensors(model)]
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value, grad, flag in before:
                    tensor.requires_grad_(flag)
                    tensor.grad = grad
                    if not torch.equal(tensor, value):
                        tensor.copy_(value)
            for module, training in modes:
                module.training = training
    if list(map(id, _tensors(model))) != [id(tensor) for tensor, *_ in before]:
        raise OwnMeasureError(
            "measures: a measure of one's own has put other parameters into the network; allowed: none"
        )


def _tensors(model: nn.Module) -> list[Any]:
    return [*model.parameters(), *model.buffers()]
