"""Which shards a command is about: `--where lr=0.1`, `--key 4a96`, `--failed`. Without any, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from study.choice import ConfigError, nested
from study.config import SEAMS, RunConfig, run_key
from study.grid import Study, shards
from study.hyperparameter import SIZES, checked, matches, size


@dataclass(frozen=True)
class Filter:
    """Shards that hold a run which fits all that is asked for; a shard is sent, cancelled and shown as a whole."""

    keys: Sequence[str] = ()  # of runs or shards, or how they begin
    where: Sequence[str] = ()  # field=value
    states: Sequence[str] = ()  # of shards

    @property
    def asks_for_runs(self) -> bool:
        """Whether `shards` has to be asked."""
        return bool(self.keys or self.where)

    def shards(self, study: Study) -> set[str]:
        """Ids of the shards that fit, states apart. Raises ConfigError where none does."""
        rule = _rule(self.where)
        fits = [run for run in study.runs if matches(run, rule)]
        if not fits:
            raise ConfigError("--where", " ".join(self.where), f"fits no run, allowed: {_values(study.runs, rule)}")
        wanted, found = set(fits), set()
        unused = set(self.keys)
        if "" in unused:  # as of an empty shell variable: everything begins so
            raise ConfigError("--key", "", "allowed: how a run's or a shard's key begins, one digit at least")
        for shard in shards(study):
            for name in (shard.id, *(run_key(run) for run in shard.runs if run in wanted)):
                hit = {key for key in self.keys if name.startswith(key)}
                unused -= hit
                if wanted.intersection(shard.runs) and (hit or not self.keys):
                    found.add(shard.id)
        if unused:
            raise ConfigError("--key", min(unused), "no run or shard begins so; `study keys` prints those there are")
        return found


EVERYTHING = Filter()


def _rule(where: Sequence[str]) -> dict[str, Any]:
    given = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError("--where", text, "allowed: field=value, e.g. lr=0.1")
        if name in given:
            raise ConfigError("--where", text, f"{name} is given twice, allowed: once")
        try:
            given[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError("--where", text, "allowed: a value as in the study's yaml") from None
    rule = dict(nested(given, SEAMS))
    for name, value in rule.items():
        checked(name, value)
    return rule


def _values(runs: Sequence[RunConfig], rule: dict[str, Any]) -> str:
    """What the study has of the fields that were asked for."""
    return "; ".join(f"{name}: {', '.join(dict.fromkeys(_value(run, name) for run in runs))}" for name in rule)


def _value(run: RunConfig, name: str) -> str:
    return str(size(run.hidden)[name] if name in SIZES else getattr(run, name))
