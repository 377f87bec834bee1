"""Documents say what the code is today: their generated parts are those that would be written now."""

import re
from pathlib import Path

import pytest

from study.__main__ import main
from study.config import FIELDS, RunConfig, config_from_dict
from study.measures import MEASURES
from study.reference import pages
from study.reference.markdown import BLOCK, escaped, fill, filled, table


@pytest.mark.parametrize("path", pages.FILES, ids=lambda path: path.parent.name)
def test_generated_parts_are_those_of_today(path: Path) -> None:
    """Where this fails: python -m study reference."""
    text = path.read_text()
    assert BLOCK.search(text), "no generated part left"
    assert filled(text, pages.BLOCKS) == text


def test_every_part_stands_in_a_document() -> None:
    found = [match[2] for path in pages.FILES for match in BLOCK.finditer(path.read_text())]
    assert sorted(found) == sorted(pages.BLOCKS)


def test_the_command_mends_what_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "README.md"
    old.write_text("before\n<!-- generated: datasets -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(pages, "FILES", (old,))
    assert main(["reference"]) == 0
    text = old.read_text()
    assert text.startswith("before\n<!-- generated: datasets -->\n") and text.endswith("<!-- end -->\nafter\n")
    assert "| `mnist` | 60,000 | 10,000 | 10 | 1 x 28 x 28 |" in text and "old" not in text
    assert main(["reference"]) == 0 and old.read_text() == text


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("<!-- generated: nonsense -->\n<!-- end -->\n")
    with pytest.raises(ValueError, match="'nonsense': allowed: sections, fields"):
        fill(path, pages.BLOCKS)


def test_every_source_says_what_was_read_and_no_place_that_was_not() -> None:
    sources = [line for line in pages.BLOCKS["catalogue"]().splitlines() if line.startswith("- Source: ")]
    assert len(sources) == len(MEASURES)
    said = re.compile(r"read in .*(v1|code)|: baseline of the study|, as `\w+`")
    assert [source for source in sources if not said.search(source)] == []
    # Nobody has read these papers' own text: a place in them was taken from memory.
    assert [
        source for source in sources if re.search(r"(Definition|Theorem|Lemma|[Ss]ection|[Aa]ppendix) ", source)
    ] == []


def test_a_layerwise_measure_has_the_networks_own_value_or_a_sum() -> None:
    ends = {line.split("`")[1]: line.rpartition(" | ")[2] for line in pages.BLOCKS["measures"]().splitlines()[2:]}
    assert ends["hessian_trace"] == ends["kappa_2019"] == "each layer, and their sum |"
    whole = ("effective_rank", "hessian_frobenius", "weight_curvature")
    assert {ends[label] for label in whole} == {"each layer, and the network |"}
    assert ends["param_norm"] == "the network |"


def test_every_field_has_a_meaning() -> None:
    meanings = pages.field_meanings()
    assert meanings.keys() == FIELDS.keys()
    assert [name for name, text in meanings.items() if len(text) < 5] == []
    assert meanings["init"].startswith("initial weights, by torch.nn.init") and "U(-0.1, 0.1)" in meanings["init"]
    assert "init" not in meanings["init_gain"].split()[0]


def test_the_table_of_fields_says_what_is_accepted() -> None:
    """Each name that the table allows is accepted, in a config that can have it."""
    rows = [line.split(" | ") for line in pages.BLOCKS["fields"]().splitlines() if line.startswith("| `")]
    assert len(rows) == len(FIELDS)
    for name in ("dataset", "model", "init", "optimizer", "loss"):
        (allowed,) = [row[3] for row in rows if row[0] == f"| `{name}`"]
        for value in allowed.split(", "):
            given = {
                "dataset": "mnist",
                "target": "binary",
                name: value,
                "momentum": 0.5 if value == "nesterov" else 0.0,
            }
            assert str(getattr(config_from_dict(given), name)) == value
    assert str(RunConfig().dataset) in rows[0][3]


def test_the_catalogue_has_all_that_a_docstring_says() -> None:
    text = pages.BLOCKS["catalogue"]()
    for label in MEASURES:
        (section,) = [part for part in text.split("### ") if part.startswith(f"{label}\n")]
        names = [line.partition(":")[0] for line in section.splitlines() if line.startswith("- ")]
        assert [name for name in names if name != "- Options"] == [
            "- Formula", "- Source", "- Parameters", "- Data", "- Draws", "- Cost", "- Invariant", "- Code"
        ]  # fmt: skip
        assert ("- Options" in names) == bool(MEASURES[label].options)
        assert all(line.partition(": ")[2] for line in section.splitlines() if line.startswith("- "))
    (sampled,) = [part for part in text.split("### ") if part.startswith("pac_bayes_flatness\n")]
    assert "- Draws: 10 noise vectors" in sampled


def test_formulas_survive_markdown() -> None:
    assert escaped("sum_s <w_s, w> * ||W||_F, `a*b` 1 < 2") == r"sum_s \<w_s, w> \* ||W||\_F, `a*b` 1 < 2"
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"
