"""What a study shows: analysis/studies/<study>.yaml, read strictly. A study without one shows what standard.yaml lists.

    question: Does ... ?                      one sentence, above the page's first section
    extends: lenet5_cifar10                   a file of this folder: its items and rules hold where this one is silent
    items:                                    tables and figures by name, in the order that matters to this study
      - forest                                the figure and the table of that name, those that there are
      - last_layer: {measures: [kappa_2019]}  with options: parameters of their `build`
    appendix: [layers, {sweep: figure}]       those of the items, or their figure or table alone, that the paper's
                                              appendix shows, in its order
    rules:                                    exclusion variants beside `default` and `all`, which no study changes
      authors_2021: [not_converged, {smallest_gaps: {n: 3}}]
    beside: [digits_library]                  published studies that the item `replication` lays beside this one
    published:                                what sources print about it; `verify` and the item `published` compare
      - source: who, where
        target: gap.loss
        rules: [default, authors_2021]
        claims:
          - {item: in words, measure: kappa_2019.fc3, coefficient: pearson, published: 0.91}

`python -m analysis items` lists the items, analysis/exclude.py the rules, Claim in
statistics/beside/published.py the claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from analysis import items
from analysis.columns import TARGETS, at_stop, main_stop, stops
from analysis.exclude import DEFAULT, STANDARD, Rule, Variants, exclude, read_rule
from analysis.items import Item, Part
from analysis.load import InputError, load_study
from analysis.statistics.beside.papers import Paper
from analysis.statistics.beside.published import Claim, Published
from analysis.statistics.beside.replication import Other
from analysis.studies.paper import read_papers
from analysis.studies.section import labels, mapping, typed
from study.storage.paths import SHOWN, published_studies
from study.storage.strict_yaml import YamlError, read_mapping

SECTIONS = ("question", "extends", "items", "appendix", "rules", "beside", "published")
_PUBLISHED = ("source", "target", "rules", "claims")
_STANDARD = "standard"


@dataclass(frozen=True)
class Shown:
    """What a study shows: its items in order, those of the appendix, exclusion variants, what is published about it."""

    study: str
    question: str
    items: tuple[Item, ...]
    appendix: tuple[Part, ...]
    rules: Variants
    published: tuple[Published, ...]
    beside: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[Other, ...]:
        """The committed records of the studies in `beside`. Raises InputError."""
        return tuple(map(_other, self.beside))

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The tables of papers that every study is laid beside. Raises InputError."""
        return read_papers()


def read_shown(study: str, folder: Path = SHOWN) -> Shown:
    """What a study shows. Raises InputError, one line: file, field, value, what is allowed."""
    path = folder / f"{study}.yaml"
    content = _content(path if path.is_file() else folder / f"{_STANDARD}.yaml", folder)
    try:
        rules = {"default": DEFAULT, **dict(_rules(content.get("rules", {}))), "all": ()}
        shown = tuple(_items(content["items"])) if "items" in content else _standard(folder)
        return Shown(
            study,
            typed("question", content.get("question", ""), str, "one sentence"),
            shown,
            tuple(_appendix(content.get("appendix", []), shown)),
            rules,
            tuple(_published(content.get("published", []), rules)),
            tuple(_beside(content.get("beside", []), study)),
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def studies_with_files(folder: Path = SHOWN) -> list[str]:
    """Names of the studies that have a file of their own."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem != _STANDARD)


def _standard(folder: Path) -> tuple[Item, ...]:
    """The items of standard.yaml in its order, and behind them those that it does not know."""
    listed = tuple(_items(_content(folder / f"{_STANDARD}.yaml", folder)["items"]))
    return listed + tuple(Item(name) for name in items.every() if name not in {item.name for item in listed})


def _content(path: Path, folder: Path, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """The sections of a file, with the items and rules of the one that it extends; `below` are those that extend it."""
    try:
        content = read_mapping(path, "a mapping with " + ", ".join(SECTIONS))
    except YamlError as error:
        raise InputError(f"{path}: {error}") from None
    for section in content:
        if section not in SECTIONS:
            raise InputError(f"{path}: {section}: {content[section]!r}: allowed are {', '.join(SECTIONS)}")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    known = [name for name in studies_with_files(folder) if name not in (path.stem, *below)]
    if parent not in known:
        raise InputError(f"{path}: extends: {parent}: allowed are {', '.join(known)}")
    above = _content(folder / f"{parent}.yaml", folder, (path.stem, *below))
    return {name: above[name] for name in ("items", "rules") if name in above} | content


def _items(value: object) -> Iterator[Item]:
    seen: set[str] = set()
    for entry in typed("items", value, list, "a list of items"):
        name, options = _choice("items", entry)
        if name not in items.every():
            raise ValueError(f"items: {name}: allowed are {', '.join(items.every())}")
        if name in seen:
            raise ValueError(f"items: {name}: is given twice: once is allowed")
        seen.add(name)
        item = Item(name, options)
        if options:
            allowed = {option for part in item.parts() for option in part.options}
            for option, asked in options.items():
                if option not in allowed:
                    raise ValueError(
                        f"items.{name}: {option}: allowed are {', '.join(sorted(allowed)) or 'no options'}"
                    )
                labels(f"items.{name}.{option}", asked)
        yield item


def _appendix(value: object, shown: tuple[Item, ...]) -> Iterator[Part]:
    known = {item.name: item for item in shown}
    for entry in typed("appendix", value, list, "a list of items"):
        name, kind = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, "")
        if name not in known:
            raise ValueError(f"appendix: {name}: allowed are {', '.join(known)}")
        there = {one.kind: one for one in known[name].parts()}
        if kind and kind not in there:
            raise ValueError(f"appendix.{name}: {kind}: allowed are {', '.join(there)}")
        yield from [there[kind]] if kind else there.values()


def _choice(section: str, entry: object) -> tuple[str, dict[str, Any]]:
    """A name, or {name: {option: value}}."""
    name, options = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
    if not isinstance(name, str) or not isinstance(options, dict):
        raise ValueError(f"{section}: {entry!r}: allowed is a name, or name: {{option: value}}")
    return name, options


def _rules(value: object) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    for variant, choices in typed("rules", value, dict, "variant: [rules]").items():
        if not isinstance(variant, str) or variant in STANDARD:
            raise ValueError(f"rules: {variant}: allowed is a name of its own, not {' or '.join(STANDARD)}")
        listed = typed(f"rules.{variant}", choices, list, "a list of rules")
        try:
            yield variant, tuple(map(read_rule, listed))
        except ValueError as error:
            raise ValueError(f"rules.{variant}: {error}") from None


def _beside(value: object, study: str) -> Iterator[str]:
    for name in typed("beside", value, list, "a list of studies"):
        known = [one for one in published_studies() if one != study]
        if name not in known:
            raise ValueError(f"beside: {name}: allowed are {', '.join(known)}, whose records are committed")
        yield name


def _other(name: str) -> Other:
    source = load_study(name, committed=True)
    kept = {stop: exclude(at_stop(source.records, stop))[0] for stop in stops(source.records)}
    return Other(name, source.title, main_stop(source.records), kept)


def _published(value: object, rules: Variants) -> Iterator[Published]:
    for number, entry in enumerate(typed("published", value, list, "a list of sources"), 1):
        place = f"published[{number}]"
        content = mapping(place, entry, _PUBLISHED, needed=("source", "target", "claims"))
        if content["target"] not in TARGETS:
            raise ValueError(f"{place}.target: {content['target']}: allowed are {', '.join(TARGETS)}")
        variants = typed(f"{place}.rules", content.get("rules", ["default"]), list, "a list of variants")
        for variant in variants:
            if variant not in rules:
                raise ValueError(f"{place}.rules: {variant}: allowed are {', '.join(rules)}")
        entries = typed(f"{place}.claims", content["claims"], list, "a list of claims")
        claims = tuple(_claim(f"{place}.claims[{at}]", claim) for at, claim in enumerate(entries, 1))
        source = typed(f"{place}.source", content["source"], str, "words")
        yield Published(source, content["target"], tuple(variants), claims)


def _claim(place: str, entry: object) -> Claim:
    known = tuple(field.name for field in fields(Claim))
    content = mapping(place, entry, known, needed=known[:4])
    labels(f"{place}.measure", [content["measure"]])
    for name in ("published", "at_most"):
        value = content.get(name, 0.0)
        if not isinstance(value, int | float | str) or isinstance(value, bool) or (name == "at_most" and value == ""):
            raise ValueError(f"{place}.{name}: {value}: a number is allowed")
    above = labels(f"{place}.above", content["above"]) if "above" in content else ()
    try:
        return Claim(**content | {"item": str(content["item"]), "above": above})
    except ValueError as error:
        raise ValueError(f"{place}.{error}") from None
