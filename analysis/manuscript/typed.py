"""Numbers typed by hand into a template: refused, but for those that its head declares, each with where it is from.

    {# typed
    2019: the year of arXiv:1912.00058
    3.11: pyproject.toml, requires-python
    #}

A number is a numeral that stands alone: not part of a name (LeNet5, CIFAR-10, loss_0.1, a string that is a label with
its options), not in code, a link, a file's name or, in LaTeX, math, a command's argument or the preamble. Numbers in
words ("four") are not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import Environment

_NUMERAL = re.compile(r"(?<![\w.,^/@#-])[−-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e-?\d+)?(?![\w/])")
_LABEL = re.compile(r"""(["'])[a-z]\w*\([\w.=,-]+\)(?:[@.][\w.-]+)*\1""")
_SKIPPED = (r"```.*?```", r"`[^`\n]*`", r"\]\([^)\s]*\)", r"https?://\S+", r"<!--.*?-->", r"<[^>\n]+>")
_SKIPPED_LATEX = (
    r"(?m)(?<!\\)%.*$", r"\$[^$]*\$", r"\\begin\{align\*\}.*?\\end\{align\*\}",
    r"\\(?:ref|label|input|cite\w*|texttt|url|href|section|includegraphics|setcounter|vspace|setlength)"
    r"(?:\[[^]]*\])?(?:\{[^{}]*\})+", r"\\\w+\{[^{}]*\}\{[\d.]+\\?\w*\}",
)  # fmt: skip


def complaints(content: str, environment: Environment, latex: bool = False) -> Iterator[tuple[int, str]]:
    """Line and reason of each number typed without a source, then of each declared number that is not there."""
    declared: dict[str, tuple[int, str]] = {}
    used: set[str] = set()
    started = not latex
    for line, kind, piece in _pieces(content, environment):
        if kind == "comment":
            declared |= _declared(line, piece)
            continue
        if kind == "string" and _LABEL.fullmatch(piece):
            continue
        if kind == "data" and not started:
            started = r"\begin{document}" in piece
            line += piece.partition(r"\begin{document}")[0].count("\n") if started else 0
            piece = piece.partition(r"\begin{document}")[2]
        for at, numeral in _numerals(piece, latex) if kind != "float" else [(0, piece)]:
            used.add(numeral)
            if numeral not in declared:
                said = "typed by hand: fill it in, or declare it with its source in the template's head"
                yield line + at, f"{numeral}: {said}"
    for numeral, (line, _) in declared.items():
        if numeral not in used:
            yield line, f"{numeral}: declared, but not in the text: remove it"


def _pieces(content: str, environment: Environment) -> Iterator[tuple[int, str, str]]:
    """The template's own text, its comments, and what stands in expressions as text, with a decimal point, or alone."""
    before = ""
    for line, kind, piece in environment.lex(content):
        if kind in ("data", "comment", "string", "float"):
            yield line, kind, piece
        elif kind == "integer" and before == "variable_begin":
            yield line, "float", piece
        before = kind if kind != "whitespace" else before


def _declared(line: int, comment: str) -> dict[str, tuple[int, str]]:
    if comment.strip().partition("\n")[0].strip() != "typed":
        return {}
    found = {}
    for at, entry in enumerate(comment.splitlines()):
        number, colon, reason = entry.partition(": ")
        if colon and reason.strip():
            found[number.strip()] = (line + at, reason.strip())
    return found


def _numerals(piece: str, latex: bool) -> Iterator[tuple[int, str]]:
    for pattern in _SKIPPED_LATEX if latex else _SKIPPED:
        piece = re.sub(pattern, lambda found: "\n" * found[0].count("\n"), piece, flags=re.DOTALL)
    for found in _NUMERAL.finditer(piece):
        yield piece[: found.start()].count("\n"), found[0].rstrip(",.")
