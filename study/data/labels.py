"""The seam `labels`: what the images are said to be; and the older field `label_noise`.

An entry is `(clean, options, generator) -> labels`, both (n,): those of one run, drawn from its own seed. The labels of
test and validation images are clean but where an entry has an option `test` and it is "yes".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from study.choice import Check, ConfigError, Option, Registry, Value, word
from study.seeds import generator_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Labels = Callable[["Tensor", Mapping[str, Value], "torch.Generator"], "Tensor"]
LABELS: Registry[Labels] = Registry("labels")


def labels(name: str, *, check: Check | None = None, **options: Option) -> Callable[[Labels], Labels]:
    """Register an entry under its name, with its options and what it cannot go with."""

    def register(function: Labels) -> Labels:
        LABELS.add(name, function, options, described_by=function, check=check)
        return function

    return register


@labels("given")
def given(clean: Tensor, options: Mapping[str, Value], generator: torch.Generator) -> Tensor:
    """The data set's own."""
    return clean


_FRACTION = Option(0.0, "allowed: 0 <= number <= 1", lambda v: 0 <= v <= 1, stacked=True)


def _alone(options: Mapping[str, Value], run: Mapping[str, Any]) -> None:
    if run["label_noise"]:
        raise ConfigError("labels", "uniform", "allowed with label_noise: given")


@labels("uniform", check=_alone, fraction=_FRACTION, test=word("no", "yes"))
def uniform(clean: Tensor, options: Mapping[str, Value], generator: torch.Generator) -> Tensor:
    """A `fraction` of the labels drawn anew, uniformly over the classes present; of held-out images too if `test`."""
    import torch

    n_drawn = round(float(options["fraction"]) * len(clean))
    which = torch.randperm(len(clean), generator=generator)[:n_drawn].to(clean.device)
    present = clean.unique()
    drawn = torch.randint(len(present), (len(clean),), generator=generator)[:n_drawn].to(clean.device)
    result = clean.clone()
    result[which] = present[drawn]
    return result


def noisy_labels(clean: Tensor, fraction: float, n_classes: int, seed: int) -> Tensor:
    """Labels (n,) of which a `fraction` is moved to another class, drawn from the run's seed."""
    import torch

    n_noisy = round(fraction * len(clean))
    if not n_noisy:
        return clean
    generator = generator_for(seed, "label_noise")
    chosen = torch.randperm(len(clean), generator=generator)[:n_noisy].to(clean.device)
    shift = torch.randint(1, n_classes, (n_noisy,), generator=generator).to(clean.device)
    labels = clean.clone()
    labels[chosen] = (labels[chosen] + shift) % n_classes
    return labels
