"""README is short, leads to everything, its example runs; numbers: analysis/test_manuscript, links: test_documents."""

import re
from pathlib import Path

import pytest

from tests.test_documents import anchors

README = Path("README.md").read_text()
BEGINNING = README.partition("\n## ")[0]


def test_it_is_read_in_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_its_contents_are_listed() -> None:
    """A section that is not in the list of contents is not found."""
    listed = set(re.findall(r"^- \[[^]]+\]\(#([\w-]+)\)", BEGINNING, re.MULTILINE))
    title = re.sub(r"[^\w ]", "", re.findall(r"^# (.+)$", README, re.MULTILINE)[0]).lower().replace(" ", "-")
    assert listed == anchors(README) - {title}


@pytest.mark.parametrize(
    ("section", "page"),
    [
        ("Measure a network of your own", "study/curvature/README.md"),
        ("Add a measure", "study/measures/README.md"),
        ("Write a study", "configs/README.md"),
        ("Launch on a cluster", "slurm/README.md"),
    ],
)
def test_what_a_stranger_wants_is_one_link_away(section: str, page: str) -> None:
    assert f"]({page}" in README.split(f"\n## {section}\n")[1].split("\n## ")[0]


def test_every_document_is_linked() -> None:
    pages = {*Path().glob("*.md"), *Path().glob("paper/findings/*.md")}
    pages |= {page for folder in ("analysis", "configs", "slurm", "study") for page in Path(folder).rglob("README.md")}
    assert [str(page) for page in sorted(pages) if page.name != "README.md" or page.parent != Path()
            if f"]({page}" not in README] == []  # fmt: skip


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code.replace("from relative_flatness import", "from study.curvature import"), "README.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "3"]
    assert len(code.splitlines()) <= 10


def test_its_pictures_are_all_that_are_kept() -> None:
    """A picture in paper/readme that no page shows is removed."""
    pages = [path.read_text() for path in Path().rglob("*.md") if ".venv" not in path.parts]
    kept = sorted(path.name for path in Path("paper/readme").iterdir())
    assert [name for name in kept if not any(f"readme/{name})" in page for page in pages)] == []
