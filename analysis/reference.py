"""What the code knows of analysis/README.md: tables, figures, statistics, exclusion rules, and what was simulated.

`python -m analysis reference` writes it there; a test holds the committed text to what would be written.
"""

from __future__ import annotations

import ast
from pathlib import Path

import analysis
from analysis import simulated
from analysis.exclude import DEFAULT, RULES
from analysis.items import parts
from study.reference.markdown import Blocks, escaped, fill, table

HOME = Path(__file__).parent
FILE = HOME / "README.md"


def write() -> Path:
    """Bring the generated parts of FILE up to date; the file. Raises OSError, ValueError for an unknown part."""
    return fill(FILE, BLOCKS)


def _items(kind: str) -> str:
    rows = []
    for part in parts(kind):
        made_of = f" From `{part.frame}.csv`." if part.frame != "records" else ""
        rows.append((f"[{part.name}]({kind}s/{part.name}.py)", part.about + made_of))
    return table((kind, "what it shows"), rows)


def _statistics() -> str:
    """A section a module of statistics/: its docstring, which defines what is computed, and its public names."""
    pieces = []
    for path in sorted(HOME.glob("statistics/**/[a-z]*.py"), key=lambda path: path.stem):
        place = path.relative_to(HOME).as_posix()
        dotted = f"analysis.{place.removesuffix('.py').replace('/', '.')}"
        text = "\n\n".join(map(escaped, _paragraphs(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))))
        names = [f"`{name}`" for name in analysis.__all__ if analysis.home(name) == dotted]
        public = f" `from analysis import` {', '.join(names)}." if names else ""
        pieces.append(f"### {path.stem}\n\n{text}\n\n[{place.removeprefix('statistics/')}]({place}).{public}\n")
    return "\n".join(pieces)


def _rules() -> str:
    rows = []
    for name, kind in RULES.items():
        options = ", ".join(f"`{option}`" for option in kind.options) or "none"
        usual = "every table" if name in {rule.kind for rule in DEFAULT} else "where a study's file says so"
        rows.append((f"`{name}`", kind.reason.replace(":g}", "}"), options, usual))
    return table(("rule", "leaves out", "options", "in"), rows)


def _paragraphs(docstring: str | None) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in (docstring or "").split("\n\n")]


BLOCKS: Blocks = {
    "tables": lambda: _items("table"),
    "figures": lambda: _items("figure"),
    "statistics": _statistics,
    "rules": _rules,
    "coverage": simulated.sentence,
}
