"""What paper/main.tex includes, made from the committed records alone: tables, figures, numbers.tex, appendix.tex;
the PDF.

No number is typed by hand: `\\val{<study>.<quantity>}` in the text is defined in numbers.tex, and one that is not is a
LaTeX error, not a question mark.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd

from analysis import verify
from analysis.columns import at_stop, configurations, main_stop, targets, varying
from analysis.drawing import render
from analysis.exclude import exclude
from analysis.load import InputError, Source, load_study
from analysis.make import Made, Progress, make, parts
from analysis.manuscript.wording import findings
from analysis.stopwise import first_target
from analysis.tables.correlation import headline
from analysis.vocabulary import target_words
from study.names import Label
from study.storage.paths import published_studies

PAPER = Path("paper")
_ROWS = 44  # of a table on one page
_CLAIMED = ("relative_flatness", "relative_flatness_normalized", "kappa_2019", "hessian_trace", "weight_norm_squared")


def generate(folder: Path = PAPER, progress: Progress = lambda done, total, name: None) -> list[Path]:
    """Write folder/tables, folder/figures, numbers.tex and appendix.tex for every committed study; return the paths."""
    for old in (*(folder / "tables").glob("*.tex"), *(folder / "figures").glob("*.pdf")):
        old.unlink()
    numbers: dict[str, str] = {}
    appendix: list[str] = []
    written: list[Path] = []
    for name in published_studies():
        source = load_study(name, committed=True)
        made = make(source, progress)
        numbers |= {f"{name}.{key}": value for key, value in study_numbers(source, made).items()}
        written += _write_study(source, made, folder)
        appendix += _appendix(source, made)
    published = verify.verify()
    numbers |= _published_numbers(published)
    written.append(_put(folder / "tables" / "published.tex", render.to_latex(_of_our_rules(published))))
    written.append(
        _put(folder / "numbers.tex", "".join(f"\\setval{{{k}}}{{{v}}}\n" for k, v in sorted(numbers.items())))
    )
    written.append(_put(folder / "appendix.tex", "\n".join(appendix) + "\n"))
    return written


def study_numbers(source: Source, made: Made) -> dict[str, str]:
    """Every number that a text about the study may want, as LaTeX: key -> value, at the main stop and first target."""
    frame = at_stop(source.records)
    kept, exclusions = exclude(frame)
    found = {
        "title": render.escape(source.title), "runs": str(exclusions.total), "kept": str(exclusions.kept),
        "configurations": str(len(set(configurations(kept)))), "stop": render.escape(main_stop(source.records)),
        "committed": "yes",
    }  # fmt: skip
    found |= {f"excluded.{rule}": str(count) for rule, count in exclusions.counts.items()}
    for column in ("n.train", "n.test", "n.parameters"):
        if column in frame.columns and frame[column].notna().any():
            found[column] = f"{int(frame[column].dropna().iloc[0]):,}".replace(",", "{,}")
    for axis in varying(frame):
        levels = sorted(frame[axis].dropna().unique())
        found[f"levels.{axis.removeprefix('hp.')}"] = render.escape(", ".join(str(v) for v in levels))
    found["seeds"] = str(len(frame["hp.seed"].unique())) if "hp.seed" in frame.columns else "1"
    for column in [c for c in frame.columns if c.startswith("prov.")]:
        found[column] = render.escape(", ".join(sorted({str(v)[:12] for v in frame[column].dropna()})))
    available = targets(kept)
    if available:
        found["target"] = target_words(available[0])
        found |= _coefficients(_headline(source, made))
    for table, row_name in (("layers", "layer"), ("differences", "than"), ("partial", "given"), ("granulated", "axis")):
        found |= _table_numbers(made.tables[table], table, row_name, main_stop(frame))
    found |= _last_layer_numbers(made.tables["last_layer"], main_stop(frame))
    found |= _within_numbers(made.tables["permutation"], main_stop(frame))
    found |= {key: render.escape(words) for key, words in findings(made.tables).items()}
    if "seconds" in source.timings.columns:
        found["minutes"] = render.number(float(source.timings["seconds"].sum()) / 60, 1)
    return found


def build_pdf(folder: Path = PAPER) -> Path:
    """Run latexmk on main.tex; return the PDF. Raises InputError where LaTeX is missing, fails, or complains.

    A complaint is an overfull box, an undefined reference or citation, or a number that numbers.tex does not define.
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
    bad = ("Overfull \\hbox", "Overfull \\vbox", "undefined on input line", "There were undefined", "! ")
    return [line for line in log.splitlines() if line.startswith(bad) or "undefined on input line" in line]


def _write_study(source: Source, made: Made, folder: Path) -> list[Path]:
    written = []
    short = {"headline": _headline(source, made), "last_layer_short": _last_layer(made.tables["last_layer"])}
    printed = {name: excerpt(table, source) for name, table in made.tables.items()}
    for name, table in {**printed, **short}.items():
        for number, part in enumerate(pieces(table)):
            path = folder / "tables" / f"{source.name}-{name}{_suffix(number)}.tex"
            written.append(_put(path, render.to_latex(part)))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in made.figures.items():
        path = folder / "figures" / f"{source.name}-{name}.pdf"
        path.write_bytes(render.pdf(figure))
        written.append(path)
    return written


def _headline(source: Source, made: Made) -> pd.DataFrame:
    available = targets(at_stop(source.records))
    table = made.tables["correlation"]
    if not available:
        return table
    short = headline(table, main_stop(source.records), available[0], made.tables["reparameterization"])
    return short.drop(columns=["note"], errors="ignore")


def _last_layer(table: pd.DataFrame) -> pd.DataFrame:
    """What a page of the text has room for: the measures that the source papers are about, without tau-b's."""
    if table.attrs.get("lacks"):
        return table
    rows = first_target(table)
    rows = rows[rows["measure"].map(lambda m: Label.parse(m).name).isin(_CLAIMED)]
    short = rows[[c for c in rows.columns if not c.startswith(("tau_b", "partial", "target"))]].reset_index(drop=True)
    short.attrs = dict(table.attrs)
    return short


def excerpt(table: pd.DataFrame, source: Source, most: int = 2 * _ROWS) -> pd.DataFrame:
    """What the appendix prints of a table with more than `most` rows: the main stop and first target, cut at `most`."""
    if len(table) <= most:
        return table
    rows = table[table["stop"] == main_stop(source.records)] if "stop" in table.columns else table
    if len(rows) > most and "target" in rows.columns:
        rows = rows[rows["target"] == rows["target"].iloc[0]]
    short = rows.iloc[:most].reset_index(drop=True)
    command = f"python -m analysis make {source.name} --committed"
    cut = f"{len(short)} of {len(table)} rows; all are in the CSV that {command} writes."
    note = table.attrs.get("note_at", {}).get(main_stop(source.records), table.attrs.get("note", ""))
    short.attrs = dict(table.attrs) | {"note": f"{note} {cut}".strip()}
    return short


def pieces(table: pd.DataFrame, rows: int = _ROWS) -> list[pd.DataFrame]:
    """Cut a long table into parts that fit a page each; the note stands under the last."""
    if len(table) <= rows:
        return [table]
    found = [table.iloc[at : at + rows].reset_index(drop=True) for at in range(0, len(table), rows)]
    for part in found:
        part.attrs = {k: v for k, v in table.attrs.items() if k != "note" or part is found[-1]}
    return found


def _appendix(source: Source, made: Made) -> list[str]:
    def caption(title: str) -> str:
        return rf"\caption{{{render.escape(f'{source.title}: {title}.')}}}"

    lines = [rf"\subsection{{{render.escape(source.title)}}}"]
    for name, table in made.tables.items():
        title, lacks = table.attrs["title"], table.attrs.get("lacks")
        if lacks:
            lines.append(rf"\paragraph{{{render.escape(title)}}} Not available: it needs {render.escape(lacks)}.\par")
            continue
        for number in range(len(pieces(excerpt(table, source)))):
            path = f"tables/{source.name}-{name}{_suffix(number)}"
            shown = caption(title + (" (continued)" if number else ""))
            lines.append(rf"\begin{{table}}[htbp]{shown}\centering\input{{{path}}}\end{{table}}")
    titles = {part.name: part.title for part in parts("figures")}
    for name in made.figures:
        graphic = rf"\includegraphics{{figures/{source.name}-{name}}}"
        lines.append(rf"\begin{{figure}}[htbp]\centering{graphic}{caption(titles[name])}\end{{figure}}")
    return [*lines, r"\clearpage"]


def _suffix(number: int) -> str:
    return f"-{number + 1}" if number else ""


def _coefficients(table: pd.DataFrame) -> dict[str, str]:
    found = {}
    for row in table.to_dict("records"):
        name = str(row["measure"])
        found[f"{name}.n"] = str(row["n"])
        for coefficient in ("tau_b", "tau_a", "pearson"):
            found |= _value(f"{name}.{coefficient}", row, coefficient)
    return found


def _table_numbers(table: pd.DataFrame, name: str, row_name: str, stop: str) -> dict[str, str]:
    if table.attrs.get("lacks"):
        return {}
    rows = table[table["stop"] == stop] if "stop" in table.columns else table
    if "target" in rows.columns and len(rows):
        rows = rows[rows["target"] == rows["target"].iloc[0]]
    found: dict[str, str] = {}
    for row in rows.to_dict("records"):
        for column in ("tau_b", "pearson", "delta_tau_b", "partial_tau", "partial_spearman", "psi", "networks_needed"):
            if column in row:
                found |= _value(f"{name}.{row['measure']}.{row[row_name]}.{column}", row, column)
    return found


def _last_layer_numbers(table: pd.DataFrame, stop: str) -> dict[str, str]:
    """`last.<measure>.<column>` at the main stop, the measure without its layer; `last.layer`, the layer.

    Another stop stands before the measure, and before that `error` for the error gap: `last.error.epoch_40.<measure>`.
    """
    if table.attrs.get("lacks"):
        return {}
    found = {
        "last.layer": render.escape(next(layer for layer in (Label.parse(m).layer for m in table["measure"]) if layer))
    }
    columns = [c for c in table.columns if f"{c}.low" in table.columns]
    for row in table.to_dict("records"):
        at = {"gap.error": "error."}.get(row["target"], "") + ("" if row["stop"] == stop else f"{row['stop']}.")
        for column in columns:
            found |= _value(f"last.{at}{str(row['measure']).partition('.')[0]}.{column}", row, column)
    return found


def _within_numbers(table: pd.DataFrame, stop: str) -> dict[str, str]:
    """`within.<setting>.<measure>.pearson` at the main stop; `within.error.` with the error gap."""
    if table.attrs.get("lacks"):
        return {}
    found: dict[str, str] = {}
    for row in table[table["stop"] == stop].to_dict("records"):
        setting = str(row["within"]).replace("&", "and").replace(" ", "_")
        at = {"gap.error": "error."}.get(row["target"], "")
        found |= _value(f"within.{at}{setting}.{row['measure']}.pearson", row, "pearson")
    return found


def _value(key: str, row: dict, column: str) -> dict[str, str]:
    # A number of the running text is math, so that its minus sign is one.
    found = {key: _math(row[column])}
    if f"{column}.low" in row:
        found[f"{key}.interval"] = f"[{_math(row[f'{column}.low'])}, {_math(row[f'{column}.high'])}]"
    return found


def _math(value: object) -> str:
    text = render.number(value, 0 if isinstance(value, float) and abs(value) >= 20 else 2)
    return "n/a" if text == "n/a" else f"${text.replace('−', '-').replace('∞', chr(92) + 'infty')}$"


def _of_our_rules(table: pd.DataFrame) -> pd.DataFrame:
    """What the text prints of `verify`: the claims under the default rules (or without records), item by item."""
    rows = table[table["rules"].isin(["default", "n/a"])].reset_index(drop=True)
    short = rows.drop(columns=["source", "measure", "rules"])
    short.attrs = dict(table.attrs)
    return short


def _published_numbers(table: pd.DataFrame) -> dict[str, str]:
    return {"published.claims": str(len(table.drop_duplicates(["study", "item"])))}


def _put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
