"""analysis/README.md says what the package is today."""

import pkgutil

import analysis.figures
import analysis.statistics
import analysis.tables
from analysis import reference
from analysis.exclude import RULES
from study.reference.markdown import BLOCK, filled


def test_generated_parts_are_those_of_today() -> None:
    """Where this fails: python -m analysis reference."""
    text = reference.FILE.read_text()
    assert sorted(match[2] for match in BLOCK.finditer(text)) == sorted(reference.BLOCKS)
    assert filled(text, reference.BLOCKS) == text


def test_nothing_is_left_out_and_everything_is_explained() -> None:
    """A row a table, figure and rule, a section a statistic; each says what it is in a sentence."""
    for package in (analysis.tables, analysis.figures):
        kind = package.__name__.removeprefix("analysis.")
        rows = reference.BLOCKS[kind]().splitlines()[2:]
        assert [row.split("]")[0].removeprefix("| [") for row in rows] == sorted(
            module.name for module in pkgutil.iter_modules(package.__path__)
        )
        assert [row for row in rows if len(row.split(" | ")[1]) < 30] == []
    sections = reference.BLOCKS["statistics"]().split("### ")[1:]
    assert [section.split("\n")[0] for section in sections] == sorted(
        module.name.split(".")[-1]
        for module in pkgutil.walk_packages(analysis.statistics.__path__, "analysis.statistics.")
        if not module.ispkg
    )
    assert [section for section in sections if len(section.split("\n\n")[1]) < 30] == []
    assert len(reference.BLOCKS["rules"]().splitlines()) == 2 + len(RULES)


def test_public_statistics_are_named_where_they_are_defined() -> None:
    text = reference.BLOCKS["statistics"]()
    (section,) = [part for part in text.split("### ") if part.startswith("permutation\n")]
    assert "`from analysis import` `permutation`." in section
