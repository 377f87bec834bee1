"""What is done to a network in the audit: every transformation at every place where it is exact, at every factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from study.transforms.equivalent import FOLDING, equivalent, has_batch_norm
from study.transforms.folding import folded
from study.transforms.places import AT_PLACES, NORM, PERMUTATION, Place, find_places

FACTORS = ("1e-3", "1e-2", "1e-1", "1e1", "1e2", "1e3")


@dataclass(frozen=True)
class Change:
    """A transformation at a place, as a function of the network; `place` and `factor` are "" where it has none."""

    transform: str
    place: str
    factor: str
    apply: Callable[[nn.Module], nn.Module]

    @property
    def words(self) -> str:
        """For an error: "layer-wise fc1-fc2 1e3"."""
        return " ".join(filter(None, (self.transform, self.place, self.factor)))


def changes(model: nn.Module, key: str, n_places: int | None = None) -> list[Change]:
    """All that leave a network's function, in the order of its layers; of each kind at `n_places` at most.

    Those are spread evenly over the places where it is exact, from the first to the last. Raises ValueError as
    `find_places` does.
    """
    places = find_places(model)
    chosen = {
        transform: _spread([p for p in places if transform not in p.refused], n_places) for transform in AT_PLACES
    }
    found = [change for place in places for change in _at(place, key, [t for t in AT_PLACES if place in chosen[t]])]
    return found + ([Change(FOLDING, "", "", folded)] if has_batch_norm(model) else [])


def _spread(places: list[Place], most: int | None) -> list[Place]:
    if most is None or len(places) <= most:
        return places
    return [places[round(i * (len(places) - 1) / max(most - 1, 1))] for i in range(most)]


def _at(place: Place, key: str, transforms: list[str]) -> Iterator[Change]:
    def change(transform: str, factor: str) -> Change:
        number = float(factor or 1)
        return Change(transform, place.name, factor, lambda model: equivalent(model, transform, place, number, key))

    for transform in transforms:
        yield from (change(transform, factor) for factor in (("",) if transform == PERMUTATION else FACTORS))


def counted(model: nn.Module, n_places: int | None = None) -> str:
    """How many changes of each kind, in words."""
    names = [change.transform for change in changes(model, "", n_places)]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "none"


def refusals(model: nn.Module) -> list[str]:
    """A line for what is not exact at a place, and why; that a layer has no norm layer is no such thing."""
    lines = []
    for place in find_places(model):
        asked = [t for t in AT_PLACES if t in place.refused and (t != NORM or (place.layer and place.norm))]
        for why in dict.fromkeys(place.refused[transform] for transform in asked):
            lines.append(f"{place.name}: {', '.join(t for t in asked if place.refused[t] == why)}: {why}")
    return lines
