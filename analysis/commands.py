"""What `python -m analysis` does, command by command; its arguments are read in __main__.py."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import cache, items
from analysis.columns import about, at_stop
from analysis.drawing import figure_file, render, terminal
from analysis.load import InputError, Source, ledger_name, load_ledger, load_study
from analysis.make import Made, build, make, write
from analysis.page.definitions import definitions
from analysis.studies.coverage import missing
from study.storage.folders import find_folders, usable
from study.storage.paths import published_studies, results_root

FORMATS = {"text": ".txt", "md": ".md", "tex": ".tex", "csv": ".csv"}


def report(options: argparse.Namespace) -> None:
    """Tables, figures and the page of studies."""
    folders = [_folder(name, options) for name in options.study]
    names = [folder.name for folder in folders]
    if twice := [name for name in names if names.count(name) > 1]:  # its networks would count twice on the page
        raise InputError(f"study: {twice[0]}: given twice, allowed: once")
    _report([(_source(name, options), folder) for name, folder in zip(options.study, folders, strict=True)], options)


def ledger(options: argparse.Namespace) -> None:
    """The same of a ledger."""
    _report([(load_ledger(options.file), _folder(str(options.file), options))], options)


def make_all(options: argparse.Namespace) -> None:
    """Tables and figures of the studies named; without any, of all committed records, and prose."""
    options.committed = options.committed or not options.study
    for name in options.study or published_studies():
        source, folder = _source(name, options), _folder(name, options)
        _say(source)
        made = make(source, progress=_progress)
        written = f"{len(write(made, folder))} files in {folder}"
        print("".join(f"{source.name}: {line}\n" for line in [*made.missing, written, *_lacking(made)]), end="")
    if not options.study:
        prose(options)


def figure(options: argparse.Namespace) -> None:
    """One figure of a study, as files."""
    source = _source(options.study, options)
    name = "-".join(filter(None, (options.name, options.stop, options.target)))
    folder = _folder(options.study, options, write=options.out is None) / "figures"
    paths = [options.out] if options.out else [folder / (name + end) for end in figure_file.FIGURE_FILES]
    _check_out(paths[0], figure_file.FIGURE_FILES)
    built = _one("figure", options.name, source, options)
    assert isinstance(built, Figure)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(figure_file.pdf(built) if path.suffix == ".pdf" else figure_file.png(built))
        print(path)
    _say(source)


def table(options: argparse.Namespace) -> None:
    """One table of a study, to the terminal or a file."""
    ends = {end: kind for kind, end in FORMATS.items()}
    if options.out and not options.format:
        _check_out(options.out, tuple(ends))
    kind = options.format or (ends[options.out.suffix] if options.out else "text")
    source = _source(options.study, options)
    built = _one("table", options.name, source, options)
    assert isinstance(built, pd.DataFrame)
    writers = {"md": render.to_markdown, "tex": render.to_latex, "csv": render.to_csv}
    text = writers[kind](built) if kind in writers else terminal.to_text(built, _width())
    if options.out is None:
        print(text, end="")
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        print(options.out)
    _say(source)


def list_items(options: argparse.Namespace) -> None:
    """Every figure and table, a line each."""
    wide = max(map(len, items.every()))
    for kind in items.KINDS:
        for part in items.parts(kind):
            print(f"{kind:6}  {part.name:{wide}}  {part.about}")


def verify(options: argparse.Namespace) -> None:
    """Published numbers beside ours: a summary, or every row."""
    from analysis.verify import summary
    from analysis.verify import verify as compare

    found = compare(on_read=lambda file: print(f"read      {file}", file=sys.stderr, flush=True))
    shown = found.drop(columns=["source", "measure"]) if options.all else summary(found)
    shown.attrs |= {k: v for k, v in found.attrs.items() if k == "note" or options.all}
    print(terminal.to_text(shown, _width(), sys.stdout.isatty()), end="")
    print("\n".join(f"source: {source}" for source in found["source"].unique()))
    if not options.all:
        print("each stop: python -m analysis verify --all")


def prose(options: argparse.Namespace) -> None:
    """The numbers of README, findings and paper."""
    from analysis.manuscript.prose import write as fill

    for path in fill():
        print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def paper(options: argparse.Namespace) -> None:
    """What paper/main.tex includes, its text, and the PDF."""
    from analysis.manuscript.paper import PAPER, build_pdf, generate

    prose(options)  # first: the text says which figures it shows
    generate(PAPER, progress=_progress)
    if options.pdf:
        print(build_pdf(PAPER))


def reference(options: argparse.Namespace) -> None:
    """The generated parts of analysis/README.md."""
    from analysis.reference import write as fill

    print(fill())


def _source(study: str, options: argparse.Namespace) -> Source:
    """A study by its name or yaml, or a ledger by its CSV file."""
    if _is_ledger(study):
        return load_ledger(Path(study))
    return load_study(study, _folder(study, options, write=False).parent, options.committed)


def _is_ledger(study: str) -> bool:
    return study.lower().endswith(".csv")


def _check_out(path: Path, ends: tuple[str, ...]) -> None:
    """Refuse a file whose suffix names no format."""
    if path.suffix not in ends:
        raise InputError(f"--out: {path}: allowed is a name that ends in {' or '.join(ends)}")


def _say(source: Source) -> None:
    """Which file was read."""
    print(f"read      {source.path}", file=sys.stderr)


def _folder(study: str, options: argparse.Namespace, *, write: bool = True) -> Path:
    """Where a study's results are: as asked, else where it was sent; of a ledger and of committed records, by default.

    Raises InputError where it cannot be a folder, or not be written: before anything is made.
    """
    local = _is_ledger(study) or options.committed
    try:
        root = results_root(options.results) if local else find_folders(Path(study).stem, None, options.results).results
        name = ledger_name(Path(study)) if _is_ledger(study) else Path(study).stem
        return usable("--results", root, write=write) / name
    except ValueError as error:
        raise InputError(str(error)) from None


def _one(kind: str, name: str, source: Source, options: argparse.Namespace) -> pd.DataFrame | Figure:
    """A table or figure by its name, of one stop and about one target where these are given."""
    part = items.part(kind, name)
    for option, narrowed in (("stop", at_stop), ("target", about)):
        if (value := getattr(options, option)) is None:
            continue
        if part.frame != "records":
            raise InputError(f"--{option}: {value}: allowed with items of the records; {name} is of {part.frame}")
        try:
            source = replace(source, records=narrowed(source.records, value))
        except ValueError as error:
            raise InputError(f"--{error}") from None
    built = build(kind, name, source)
    if isinstance(built, str):
        raise InputError(f"{source.name}: {kind} {name}: not available: it needs {built}")
    return figure_file.settle(built) if isinstance(built, Figure) else built


def _report(found: list[tuple[Source, Path]], options: argparse.Namespace) -> None:
    """Write everything; print what is missing, each study's first table and, last, the path of the page (of all).

    What was already made of the same records by the same code is not made again.
    """
    sources, folders = [source for source, _ in found], {source.name: folder for source, folder in found}
    for source in sources:
        _say(source)
    roots = {folder.parent for folder in folders.values()}
    root = roots.pop() if len(roots) == 1 else results_root(options.results)
    path = (folders[sources[0].name] if len(sources) == 1 else root) / "report.html"
    note = path.with_name("report.made.json")
    more = [line for source in sources for line in missing(source)]
    more += map(str, definitions([source.records for source in sources]))  # of study/, which has no part in the mark
    mark = cache.fingerprint(sources, more)
    printed = cache.recall(note, mark)
    if printed is None:
        files, printed = write_all(sources, folders, path)
        cache.remember(note, mark, files, printed)
    else:
        print("nothing has changed since these were made; to make them again, remove the page", file=sys.stderr)
    print(printed, end="")
    print(path)


def write_all(sources: list[Source], folders: dict[str, Path], path: Path) -> tuple[list[Path], str]:
    """Make all files of the studies, in the folder of each, and the page at `path`; the files and what to print."""
    from analysis.page.report import write_report

    pairs, files, printed = [], [path], ""
    for source in sources:
        made = make(source, progress=_progress)
        files += write(made, folders[source.name])
        if len(sources) > 1:
            files.append(write_report([(source, made)], folders[source.name] / "report.html"))
        pairs.append((source, made))
        printed += "".join(f"{source.name}: {line}\n" for line in made.missing)
        first = "headline" if "headline" in made.tables else next(iter(made.tables), "headline")
        printed += terminal.to_text(made.table(first), _width())
        printed += "".join(f"{line}\n" for line in _lacking(made))
    write_report(pairs, path, folders)
    return files, printed


def _lacking(made: Made) -> list[str]:
    """What is not shown and what it needs, in one line; none where nothing is lacking."""
    each = [f"{', '.join(names)} (needs {reason})" for reason, names in made.needs().items()]
    return [f"not shown: {'; '.join(each)}"] if each else []


def _progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{done}/{total} {name}", end="" if done < total else "\r\033[K", file=sys.stderr, flush=True)


def _width() -> int:
    return max(100, shutil.get_terminal_size((140, 24)).columns)
