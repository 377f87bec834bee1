"""What the code knows of the READMEs of configs/, study/measures/ and study/ledger/: sections, fields, choices, ...

`python -m study reference` writes it there; a test holds the committed text to what would be written.
"""

from __future__ import annotations

import ast
import inspect
import io
import statistics
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.choice import Entry, Option, Registry
from study.config import FIELDS, SEAMS, STACKED, RunConfig, allowed_text
from study.data.dataset import DATASETS, Dataset
from study.data.shift import SHIFTS
from study.grid import load_study
from study.ledger.file import SECTIONS as LEDGER
from study.measures import MEASURES, PREFIX
from study.measures.naming import sets
from study.models.registry import MODELS
from study.reference.definition import definition
from study.reference.markdown import Blocks, escaped, fill, table
from study.storage.paths import CONFIGS, published_file, published_studies
from study.storage.rows import read_table
from study.study_file import SECTIONS, Section, read_study_file
from study.transforms.rescaling import ALLOWED

_LEDGER = Path(__file__).parents[1] / "ledger/README.md"
FILES = (CONFIGS / "README.md", Path(__file__).parents[1] / "measures/README.md", _LEDGER)


def write() -> list[Path]:
    """Bring the generated parts of FILES up to date; the files. Raises OSError, ValueError for an unknown part."""
    return [fill(path, BLOCKS) for path in FILES]


def _sections() -> str:
    return _of_sections(SECTIONS)


def _ledger() -> str:
    return _of_sections(LEDGER)


def _of_sections(sections: Mapping[str, Section]) -> str:
    rows = [(f"`{n}`", s.form, _default(s.default), s.meaning) for n, s in sections.items()]
    return table(("section", "form", "default", "meaning"), rows)


def _fields() -> str:
    meanings = field_meanings()
    rows = []
    for name, field in FIELDS.items():
        kind = str(field.type).replace("tuple[", "list of ").replace(", ...]", "").replace("Choice", "choice")
        mixed = "yes" if name in STACKED else ""
        rows.append((f"`{name}`", kind, _default(field.default), allowed_text(name), mixed, meanings[name]))
    return table(("field", "type", "default", "allowed", "mixed", "meaning"), rows)


def field_meanings() -> dict[str, str]:
    """What each field of RunConfig means: the comment on its line, or the comment lines right above it."""
    source = inspect.getsource(RunConfig)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
    alone = {line for line, comment in comments.items() if not comment.line[: comment.start[1]].strip()}
    meanings = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = [node.end_lineno or node.lineno]
            if lines[0] not in comments:
                lines = []
                while node.lineno - 1 - len(lines) in alone:
                    lines.insert(0, node.lineno - 1 - len(lines))
            meanings[node.target.id] = " ".join(comments[line].string.lstrip("# ") for line in lines)
    return meanings


def _datasets() -> str:
    rows = [
        (f"`{name}`", f"{d.n_train:,}", f"{d.n_test:,}", f"{d.n_classes}", " x ".join(map(str, d.shape)), _error(d))
        for name, d in DATASETS.items()
    ]
    return table(("data set", "training", "test", "classes", "one input", "Bayes error"), rows)


def _error(dataset: Dataset) -> str:
    return "" if dataset.bayes_error is None else f"{dataset.bayes_error:.4f}"


def _models() -> str:
    rows = [
        (f"`{name}`", e.meaning, "images with channels" if e.content.min_dimensions > 1 else "any", _options(MODELS, e))
        for name, e in MODELS.entries().items()
    ]
    return table(("model", "what it is", "inputs", "options"), rows)


def _seams() -> str:
    rows = []
    for field, registry in SEAMS.items():
        for name, entry in registry.entries().items() if registry is not MODELS else ():
            rows.append((f"`{field}`", f"`{name}`", entry.meaning, _options(registry, entry)))
    return table(("field", "name", "what it is", "options"), rows)


def _options(registry: Registry[Any], entry: Entry[Any]) -> str:
    return _listed(entry.options, registry.vectors)


def _listed(options: Mapping[str, Option], vectors: bool) -> str:
    found = []
    for name, option in options.items():
        mixed = ", mixed" if option.stacked and vectors else ""
        found.append(f"`{name}` {option.default} ({_words(option.allowed)}{mixed})")
    return "; ".join(found)


def _words(allowed: str) -> str:
    return allowed.removeprefix("allowed: ")


def _sets() -> str:
    rows = [(f"`{PREFIX}{name}`", ", ".join(f"`{label}`" for label in labels)) for name, labels in sets().items()]
    return table(("set", "measures"), rows)


def _transforms() -> str:
    return escaped(f"Transforms: {ALLOWED}.\n")


def _shifts() -> str:
    rows = [
        (f"`{name}`", entry.meaning, ", ".join(f"{level:g}" for level in entry.content[1]))
        for name, entry in SHIFTS.entries().items()
    ]
    return table(("shift", "what it is", "level at severity 1 to 5"), rows)


def _studies() -> str:
    """A row a yaml in configs/: what is varied, and where it is measured."""
    rows = []
    for path in sorted(CONFIGS.glob("*.yaml")):
        study, content = load_study(path), read_study_file(path)
        axes = [f"`{field}` {values}" for field, values in content["grid"].items()]
        if content["zip"]:
            axes.append(" with ".join(f"`{field}` {values}" for field, values in content["zip"].items()))
        n_seeds = len({run.seed for run in study.runs})
        stops = list(dict.fromkeys(stop for run in study.runs for stop in run.stops))
        numbers = (f"{len(study.runs)}", f"{n_seeds}", "; ".join(axes).replace("'", ""), ", ".join(stops))
        rows.append((f"[{study.name}]({path.name})", study.title, *numbers))
    return table(("study", "title", "runs", "seeds", "varied", "measured at"), rows)


def _measures() -> str:
    rows = []
    for m in MEASURES.values():
        together = "the network" if m.function.__annotations__["return"] == "Whole" else "their sum"
        value_for = f"each layer, and {together}" if m.layerwise else "the network"
        rows.append((f"[`{m.label}`](#{m.label})", definition(m)["Meaning"], value_for))
    return table(("measure", "what it is", "a value for"), rows)


def _catalogue() -> str:
    pieces = []
    for m in MEASURES.values():
        home = m.function.__module__.rpartition(".")[2]
        said = definition(m)
        bullets = "".join(f"- {name}: {escaped(text)}\n" for name, text in said.items() if name != "Meaning")
        options = f"- Options: {_listed(m.options, False)}\n" if m.options else ""
        pieces.append(f"### {m.label}\n\n{bullets}{options}- Code: [families/{home}.py](families/{home}.py)\n")
    return "\n".join(pieces)


def _searches() -> str:
    """A row a search: by how much its value moves with twice the steps, from the published searches of every study."""
    found: dict[str, dict[str, list[float]]] = {}
    studies = [study for study in published_studies() if published_file(study, "searches").exists()]
    for study in studies:
        for row in read_table(published_file(study, "searches")):
            changes = found.setdefault(row["measure"], {}).setdefault(study, [])
            changes += [abs(float(row["relative_change"]))] if row["relative_change"] else []
    rows = [(f"`{label}`", *(_moved(of.get(study)) for study in studies)) for label, of in found.items()]
    return table(("search", *studies), rows)


def _moved(changes: list[float] | None) -> str:
    """The median and the largest in percent, and how many; none where a search found nothing on any network."""
    if not changes:
        return "" if changes is None else "no value"
    return f"{100 * statistics.median(changes):.2g}, {100 * max(changes):.2g} ({len(changes)})"


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{list(value) if isinstance(value, tuple) else value}`".replace("'", "")


BLOCKS: Blocks = {
    "sections": _sections,
    "fields": _fields,
    "datasets": _datasets,
    "models": _models,
    "seams": _seams,
    "transforms": _transforms,
    "shifts": _shifts,
    "studies": _studies,
    "measures": _measures,
    "sets": _sets,
    "catalogue": _catalogue,
    "searches": _searches,
    "ledger": _ledger,
}
