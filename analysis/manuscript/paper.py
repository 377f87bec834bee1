"""What paper/main.tex includes, made from the committed records alone: figures, tables, appendix.tex; and the PDF.

The text itself, with its numbers and its own tables, is filled in by prose.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from analysis.load import InputError
from analysis.make import Progress
from analysis.manuscript import appendix
from study.storage.paths import published_studies

PAPER = Path("paper")
_OVERFULL = 2.0  # points that a line may stick out; ours


def generate(folder: Path = PAPER, progress: Progress = lambda done, total, name: None) -> list[Path]:
    """Write the figures that folder/main.tex includes, and appendix.tex with what it includes; return the paths.

    `progress(done, total, name)` is called before each study and at the end. Cost: a minute, for the resamples.
    """
    for old in (*(folder / "tables").glob("*.tex"), *(folder / "figures").glob("*.pdf")):
        old.unlink()
    text = (folder / "main.tex").read_text(encoding="utf-8")
    studies = published_studies()
    lines: list[str] = []
    for done, study in enumerate(studies):
        progress(done, len(studies), study)
        in_text = re.findall(rf"\{{figures/{study}-(\w+)\}}", text)
        for name in in_text:
            appendix.draw(study, name, folder)
        lines += appendix.write(study, folder, in_text)
    progress(len(studies), len(studies), "")
    (folder / "appendix.tex").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = [*(folder / "tables").glob("*.tex"), *(folder / "figures").glob("*.pdf")]
    return [*sorted(made), folder / "appendix.tex"]


def build_pdf(folder: Path = PAPER) -> Path:
    """Run latexmk on main.tex; return the PDF. Raises InputError where LaTeX is missing, fails, or complains.

    A complaint is an overfull box, or an undefined reference or citation.
    """
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        packages = "latexmk texlive-latex-recommended texlive-fonts-recommended"
        raise InputError(f"paper: latexmk: not installed: needed are Debian's {packages} (or use --no-pdf)")
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    log = (folder / "main.log").read_text(encoding="utf-8", errors="replace") if (folder / "main.log").exists() else ""
    problems = complaints(log)
    if done.returncode != 0 or problems:
        first = problems[0] if problems else (done.stdout + done.stderr).strip().splitlines()[-1]
        raise InputError(f"{folder / 'main.tex'}: latexmk: {first}: see {folder / 'main.log'}")
    return folder / "main.pdf"


def complaints(log: str) -> list[str]:
    """Lines of a LaTeX log that the paper may not have."""
    bad = ("There were undefined", "! ")
    found = []
    for line in log.splitlines():
        wide = re.match(r"Overfull \\[hv]box \(([\d.]+)pt", line)
        if line.startswith(bad) or "undefined on input line" in line or (wide and float(wide[1]) > _OVERFULL):
            found.append(line)
    return found
