"""Every page of the repository keeps its promises: links lead somewhere, commands are understood, files are there."""

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OUTPUTS = {"runs", "results", "build", "node_modules"}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in OUTPUTS for part in path.relative_to(ROOT).parts)
)
MADE = {"slurm/clusters/mine.yaml", "paper/main.pdf"}  # by a reader, or by a command
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of links and pictures that do not lead out of the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?<!\[)`[^`\n]*`", "", prose(text)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """What a link may name behind #, as GitHub makes it of the headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        n = sum(known == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", known) is not None for known in found)
        found.add(f"{slug}-{n}" if n else slug)
    return found


def broken_links(page: Path, text: str, root: Path = ROOT) -> list[str]:
    broken = []
    for target in links(text):
        name, _, anchor = target.partition("#")
        path = (root / page).parent / name if name else root / page
        missing = not path.exists() or (anchor and path.suffix != ".md")
        if missing or (anchor and anchor not in anchors(path.read_text() if name else text)):
            broken.append(target)
    return broken


def commands(text: str) -> Iterator[list[str]]:
    """Words of each `make` and `python -m` command, in blocks of shell and between backticks."""
    lines = [
        line for language, block in FENCE.findall(text) if language in ("sh", "bash") for line in block.splitlines()
    ]
    alias = dict(re.findall(r'alias (\w+)="([^"]+)"', "\n".join(lines)))
    lines += re.findall(r"`([^`\n]+)`", prose(text))
    for line in lines:
        said = re.sub(r"<[^>]*>", "X", re.sub(r"(^|\s)#.*", "", line))
        for piece in re.split(r"&&|;|\|\|", said):
            words = piece.split()
            if words and words[0] in alias:
                words = alias[words[0]].split() + words[1:]
            if words and words[0] in ("make", "python", ".venv/bin/python"):
                yield shlex.split(" ".join(words))


def problem(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Why a command cannot be what a page says; empty where it can."""
    if words[0] == "make":
        return _problem_of_make(words[1:])
    if words[1:2] != ["-m"]:
        script = words[1] if len(words) > 1 else ""
        return "" if not script.endswith(".py") or (ROOT / script).is_file() else f"no file {script}"
    module, given = words[2], words[3:]
    if not re.fullmatch(r"[\w.]+", module) or module.startswith("."):  # `python -m ...`
        return ""
    if find_spec(module) is None:
        return f"no module {module}"
    missing = [w for w in given if re.fullmatch(r"configs/[\w.]+", w) and not (ROOT / w).is_file()]
    if module == "analysis" and given[:1] in (["report"], ["make"]):
        studies = takewhile(lambda w: re.fullmatch(r"\w+", w), given[1:])
        missing += [w for w in studies if not (ROOT / f"configs/{w}.yaml").is_file()]
    if missing:
        return f"no file {missing[0]}"
    ours = module.split(".")[0] in ("study", "slurm", "analysis", "tests")
    return _problem_of_arguments(module, given, monkeypatch, capsys) if ours and given else ""


def _problem_of_make(words: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        known = rf"^{name} \?=|\$\({name}\)" if is_variable else rf"^{name}:"
        if not re.search(known, makefile, re.MULTILINE):
            return f"make knows no {name}"
    return ""


def _problem_of_arguments(
    module: str, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """The command's own parser reads the words up to a --help behind them, which ends it before it does anything."""
    is_package = (spec := find_spec(module)) is not None and spec.submodule_search_locations is not None
    main = import_module(f"{module}.__main__" if is_package else module).main
    monkeypatch.setattr(sys, "argv", [module, *given, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    if ended.value.code != 0:
        return (shown.err.splitlines() or ["refused"])[-1]
    unknown = [w for w in given if w.startswith("--") and w not in re.findall(r"--[\w-]+", shown.out)]
    return f"unknown option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, (ROOT / page).read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_are_understood(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {" ".join(words): problem(words, monkeypatch, capsys) for words in commands((ROOT / page).read_text())}
    assert {command: why for command, why in found.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_are_named_are_there(page: Path) -> None:
    folders = "study|slurm|analysis|tests|configs|paper"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", prose((ROOT / page).read_text()))
    assert [name for name in named if name not in MADE and not (ROOT / name).exists()] == []


def test_all_pages_are_found() -> None:
    known = ("README.md", "CONTRIBUTING.md", "configs/README.md", "slurm/README.md", "analysis/README.md",
             "study/measures/README.md", "study/tracking/README.md")  # fmt: skip
    assert set(map(Path, known)) <= set(PAGES)
    found = list(commands(Path("slurm/README.md").read_text()))
    assert [".venv/bin/python", "-m", "slurm", "watch", "configs/digits_mlp.yaml", "--cluster", "mine"] in found


def test_the_tests_see_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = 2 * "## With `code`, twice\n\n" + "[a](b.md) [c](#with-code-twice-1) [d](#e) [f](g.md#h)\n"
    (tmp_path / "a.md").write_text(page)
    (tmp_path / "g.md").write_text("# Not it\n```sh\n# h\n```\n")
    assert broken_links(Path("a.md"), page, tmp_path) == ["b.md", "#e", "g.md#h"]
    wrong = {
        "make reproduse": "make knows no reproduse",
        "make reproduce STUDI=x": "make knows no STUDI",
        "python -m studdy run": "no module studdy",
        "python -m study run configs/none.yaml": "no file configs/none.yaml",
        "python -m analysis report nothing": "no file nothing",
        "python -m study walk": "invalid choice: 'walk'",
        "python -m slurm submit --cluster local --dry-runs": "unknown option --dry-runs",
        "python -m study run configs/digits_mlp.yaml --wandb perhaps": "invalid choice: 'perhaps'",
        "python tests/none.py": "no file tests/none.py",
    }
    for command, said in wrong.items():
        assert said in problem(command.split(), monkeypatch, capsys), command
    right = ("make reproduce STUDY=x", "python -m slurm", "python -m study run configs/digits_mlp.yaml --wandb off",
             "python -m pytest -q", "python -m analysis report digits_mlp --committed")  # fmt: skip
    for command in right:
        assert problem(command.split(), monkeypatch, capsys) == "", command


def test_the_citation_is_of_people_who_are_cited() -> None:
    """CITATION.cff names the author of the licence, the library's version, and the papers as the bibliography does."""
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (author,) = content["authors"]
    assert re.search(rf"^Copyright \(c\) \d+ {author['name']}$", (ROOT / "LICENSE").read_text(), re.MULTILINE)
    assert f'__version__ = "{content["version"]}"' in (ROOT / "study/curvature/__init__.py").read_text()
    bibliography = (ROOT / "paper/references.bib").read_text()
    assert len(content["references"]) == 2
    for paper in content["references"]:
        names = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
        assert f"author = {{{names}}}" in bibliography and f"title = {{{paper['title']}}}" in bibliography
        assert paper["url"].rpartition("/")[2] in bibliography
