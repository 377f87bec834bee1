"""Tables of papers, analysis/studies/papers/<paper>.yaml, read strictly; README.md there says what one holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.columns import TARGETS
from analysis.load import InputError
from analysis.statistics.beside.papers import BASELINES, STATISTICS, Paper, Row
from analysis.studies.section import mapping, typed
from study.measures import canonical
from study.storage.paths import PAPERS
from study.storage.strict_yaml import YamlError, read_mapping

SECTIONS = ("title", "source", "tag", "target", "statistic", "axes", "measures", "note")
_ROW = ("label", "baseline", "without", "note", "instead", "values")
_RANGE = {"granulated": (-1, 1), "sign_error": (0, 1)}


def read_papers(folder: Path = PAPERS) -> tuple[Paper, ...]:
    """Every file of the folder, those of psi first. Raises InputError: file, field, value, what is allowed."""
    papers = map(_read, sorted(folder.glob("*.yaml")))
    return tuple(sorted(papers, key=lambda paper: list(STATISTICS).index(paper.statistic)))


def _read(path: Path) -> Paper:
    try:
        return _paper(read_mapping(path, "a mapping with " + ", ".join(SECTIONS)))
    except (YamlError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


def _paper(content: dict[str, Any]) -> Paper:
    mapping("paper", content, SECTIONS, needed=SECTIONS[:-1])
    words = {name: typed(name, content.get(name, ""), str, "words") for name in ("title", "source", "note")}
    for name, allowed in (("target", TARGETS), ("statistic", tuple(STATISTICS))):
        if content[name] not in allowed:
            raise ValueError(f"{name}: {content[name]}: allowed are {', '.join(allowed)}")
    tag = typed("tag", content["tag"], dict, "tag: what it means")
    if len(tag) != 1 or not all(isinstance(word, str) for pair in tag.items() for word in pair):
        raise ValueError(f"tag: {tag}: allowed is one, in words: what it means in words")
    statistic, axes = str(content["statistic"]), dict(_axes(content["axes"]))
    columns = (*(axes if statistic == "granulated" else ()), *STATISTICS[statistic])
    rows = tuple(_rows(content["measures"], columns, _RANGE[statistic]))
    (letter, meaning), target = next(iter(tag.items())), content["target"]
    return Paper(**words, tag=letter, meaning=meaning, target=target, statistic=statistic, axes=axes, rows=rows)


def _axes(value: object) -> Iterator[tuple[str, tuple[str, ...]]]:
    taken = {name for names in STATISTICS.values() for name in names}
    allowed = "a list of ours, as hp.lr or hp.optimizer+hp.lr"
    for name, known in typed("axes", value, dict, "axis: [axes of ours]").items():
        if not isinstance(name, str) or name in taken:
            raise ValueError(f"axes: {name}: allowed is a name other than {', '.join(sorted(taken))}")
        for axis in typed(f"axes.{name}", known, list, allowed):
            if not isinstance(axis, str) or not all(part.startswith("hp.") for part in axis.split("+")):
                raise ValueError(f"axes.{name}: {axis}: allowed is {allowed}")
        yield name, tuple(known)


def _rows(value: object, columns: tuple[str, ...], within: tuple[int, int]) -> Iterator[Row]:
    taken: dict[str, str] = {}
    for name, entry in typed("measures", value, dict, "name in the paper: {label, values}").items():
        place = f"measures.{typed('measures', name, str, 'a name in words')}"
        row = _row(place, name, mapping(place, entry, _ROW, needed=("values",)))
        if len(row.numbers) != len(columns) or not all(within[0] <= number <= within[1] for number in row.numbers):
            numbers = f"{len(columns)} numbers from {within[0]} to {within[1]}: {', '.join(columns)}"
            raise ValueError(f"{place}.values: {list(row.numbers)}: allowed are {numbers}")
        for ours in filter(None, (row.ours, row.instead)):
            if ours in taken:
                raise ValueError(f"{place}: {ours}: is that of {taken[ours]}, too: once is allowed")
            taken[ours] = name
        yield row


def _row(place: str, name: str, content: dict[str, Any]) -> Row:
    words = {key: typed(f"{place}.{key}", content[key], str, "words") for key in _ROW[:-1] if key in content}
    given = [key for key in _ROW[:3] if key in content]
    if len(given) != 1:
        raise ValueError(f"{place}: {', '.join(given) or 'none'}: allowed is one of {', '.join(_ROW[:3])}")
    if "baseline" in words and words["baseline"] not in BASELINES:
        raise ValueError(f"{place}.baseline: {words['baseline']}: allowed are {', '.join(BASELINES)}")
    if "instead" in words and "label" not in words:
        raise ValueError(f"{place}.instead: {words['instead']}: allowed is one beside a label")
    for key in ("label", "instead"):
        if key in words:
            _check_label(f"{place}.{key}", words[key])
    for number in typed(f"{place}.values", content["values"], list, "a list of numbers"):
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise ValueError(f"{place}.values: {number!r}: a number is allowed")
    return Row(name, tuple(map(float, content["values"])), **words)


def _check_label(place: str, label: str) -> None:
    """A measure that is taken, written as records have it."""
    try:
        right = canonical(label)
    except ValueError as error:
        raise ValueError(f"{place}: {str(error).removeprefix('measures: ')}") from None
    if right != label:
        raise ValueError(f"{place}: {label}: allowed is {right}")
