"""README, findings and paper: text by hand around numbers that are filled in, never typed.

A template stands under paper/text/ where its text stands in the repository, with `.j2` behind its name; vocabulary.py
is all it may say, typed.py what it may not. A LaTeX template writes `<< >>`, `<% %>` and `<# #>` for Jinja's braces.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError

from analysis.load import InputError
from analysis.manuscript import typed
from analysis.manuscript.networks import ROOT
from analysis.manuscript.number import printed
from analysis.manuscript.vocabulary import WORDS

TEXT = ROOT / "paper" / "text"
_MARKS = ("{{", "}}", "{%", "%}", "{#", "#}")
_LATEX_MARKS = ("<<", ">>", "<%", "%>", "<#", "#>")  # braces and percent signs are LaTeX's own


def templates(folder: Path = TEXT) -> list[Path]:
    """Every text's template, in the order of their paths."""
    return sorted(folder.rglob("*.j2"))


def text_of(template: Path, folder: Path = TEXT, root: Path = ROOT) -> Path:
    """The file that a template is the text of."""
    return root / template.relative_to(folder).with_suffix("")


def fill(template: Path, folder: Path = TEXT) -> str:
    """The text with its numbers, from the committed records.

    Raises InputError, naming template and line, for a word or a value that is not known, for a claim that no longer
    holds and for a number typed by hand. Cost: seconds for a study's first number, then next to nothing.
    """
    latex = template.name.endswith(".tex.j2")
    environment = _environment(folder, latex)
    place = template.relative_to(folder.parents[1] if folder == TEXT else folder)
    content = template.read_text(encoding="utf-8")
    try:
        for line, complaint in typed.complaints(content, environment, latex):
            raise InputError(f"{place}: line {line}: {complaint}")
        filled = environment.get_template(template.relative_to(folder).as_posix()).render()
    except TemplateSyntaxError as error:
        raise InputError(f"{place}: line {error.lineno}: {error.message}: allowed is Jinja") from None
    except UndefinedError as error:
        reason = f"{error.message}: allowed are {', '.join(WORDS)}"
        raise InputError(f"{place}: line {_line(error, template)}: {reason}") from None
    except (ValueError, TypeError, KeyError, TemplateError) as error:
        if isinstance(error, InputError) and str(error).startswith(f"{place}: line"):
            raise
        raise InputError(f"{place}: line {_line(error, template)}: {error}") from None
    note = f"Filled in by `python -m analysis prose` from {place}: edit that."
    return (f"% {note}\n" if latex else f"<!-- {note} -->\n") + filled


def write(folder: Path = TEXT, root: Path = ROOT) -> list[Path]:
    """Fill every template; return the texts' paths."""
    written = []
    for template in templates(folder):
        path = text_of(template, folder, root)
        content = fill(template, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def _environment(folder: Path, latex: bool) -> Environment:
    value, end_value, block, end_block, comment, end_comment = _LATEX_MARKS if latex else _MARKS
    environment = Environment(
        block_start_string=block, block_end_string=end_block, variable_start_string=value,
        variable_end_string=end_value, comment_start_string=comment, comment_end_string=end_comment,
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, finalize=lambda x: printed(x, latex),
    )  # fmt: skip
    environment.globals |= WORDS
    return environment


def _line(error: Exception, template: Path) -> int:
    """The template's line in which an error was raised; Jinja writes template frames into the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == template]
    return lines[-1] or 0 if lines else 0
