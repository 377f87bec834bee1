"""Parts of a document that code writes: between `<!-- generated: <name> -->` and `<!-- end -->`, all else by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

BLOCK = re.compile(r"(<!-- generated: ([a-z]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Blocks = Mapping[str, Callable[[], str]]


def filled(text: str, blocks: Blocks) -> str:
    """The text with each generated part as it is made now. Raises ValueError for a name that is none of `blocks`."""

    def part(match: re.Match[str]) -> str:
        if match[2] not in blocks:
            raise ValueError(f"generated: {match[2]!r}: allowed: {', '.join(blocks)}")
        return f"{match[1]}\n{blocks[match[2]]()}\n{match[4]}"

    return BLOCK.sub(part, text)


def fill(path: Path, blocks: Blocks) -> Path:
    """Bring the generated parts of a file up to date; the file. Raises OSError, and ValueError as `filled` does."""
    path.write_text(filled(path.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    return path


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of texts, escaped but for what stands in `code` and in links."""
    lines = [header, ["---"] * len(header), *([escaped(cell, "*|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def escaped(text: str, special: str = "*") -> str:
    """Text with formulas in it, as Markdown: outside of `code` nothing opens a tag or an emphasis."""
    pattern = re.compile(rf"[{special}]|<(?=[\w/!?])|(?<!\w)_")
    return "`".join(p if i % 2 else pattern.sub(r"\\\g<0>", p) for i, p in enumerate(text.split("`")))
