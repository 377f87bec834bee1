"""What is committed is what would be made today; the paper shows what is made, is short, and LaTeX is content.

Both in one module, which one process tests: texts and paper ask for the same tables.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from analysis.manuscript import paper, prose

ROOT = Path(__file__).parents[2] / "paper"
TEXT_PAGES, APPENDIX_PAGES = 10, 30
needs_latex = pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed (see README)")


@pytest.mark.slow
@pytest.mark.parametrize("template", prose.templates(), ids=lambda path: path.name)
def test_each_text_is_what_would_be_filled_in_today(template: Path) -> None:
    """Where this fails: `python -m analysis prose`, and read what has changed."""
    assert prose.text_of(template).read_text() == prose.fill(template)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of paper/ with all that main.tex includes."""
    root = tmp_path_factory.mktemp("paper")
    for name in ("main.tex", "references.bib"):
        shutil.copy(ROOT / name, root / name)
    paper.generate(root)
    return root


@pytest.mark.slow
def test_what_is_made_is_what_is_shown(folder):
    shown = (folder / "main.tex").read_text() + (folder / "appendix.tex").read_text()
    made = {path.stem for kind in ("tables/*.tex", "figures/*.pdf") for path in folder.glob(kind)}
    asked = set(re.findall(r"\{(?:figures|tables)/([\w.-]+)\}", shown))
    assert asked == made and len(made) > 30
    assert [path.name for path in folder.glob("*.pdf")] == []


@needs_latex
@pytest.mark.slow
def test_the_pdf_is_short_and_without_complaints(folder):
    pdf = paper.build_pdf(folder)
    assert pdf.read_bytes().startswith(b"%PDF") and b"/Type3" not in pdf.read_bytes()
    assert paper.complaints((folder / "main.log").read_text(errors="replace")) == []
    labels = (folder / "main.aux").read_text(errors="replace")
    text, end = map(int, re.findall(r"\\newlabel{end:(?:text|appendix)}{{.*?}{(\d+)}", labels))
    assert 4 < text <= TEXT_PAGES and 10 < end - text <= APPENDIX_PAGES
