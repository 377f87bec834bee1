"""What README claims is what the project does: its table, its files, its commands."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from analysis.drawing.render import to_markdown
from analysis.load import load_study
from analysis.tables import headline, last_layer_stops
from tests.benchmarks.curvature import table

README = Path("README.md").read_text()


@pytest.mark.slow
def test_the_table_is_that_of_the_committed_records() -> None:
    """Where this fails, paste the expected text between the two markers."""
    (shown,) = re.findall(r"<!-- table: digits_mlp -->\n(.*?)<!-- end -->", README, re.DOTALL)
    records = load_study("digits_mlp", committed=True).records
    assert shown == to_markdown(headline.build(records))


@pytest.mark.slow
@pytest.mark.parametrize("study, said", [("lenet5_cifar10", "{} of the 144"), ("lenet5_fashion", "{} of the 48")])
def test_the_table_of_lenet5_is_that_of_the_committed_records(study: str, said: str) -> None:
    """Where this fails, paste the expected text between the two markers, and make the picture beside it again."""
    (shown,) = re.findall(rf"<!-- table: {study} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    records = load_study(study, committed=True).records
    assert shown == to_markdown(of_last_layer(records, brief=study == "lenet5_fashion"))
    said = said.format(records["key"].nunique())
    assert f"\n{said} are published" in README, "what is said of the table, too, is old"


def of_last_layer(records: pd.DataFrame, brief: bool = False) -> pd.DataFrame:
    """The last layer beside what is simpler, stop beside stop, as README shows it."""
    table = last_layer_stops.build(records)
    always, after = ["Pearson r"], ["Pearson r", "r after rescaling"]
    within = [c for c in table["coefficient"].drop_duplicates() if c.startswith("r within")]
    few = {
        "kappa_2019.fc3": [*after, "ρ given training loss", *within],
        "hessian_trace.fc3": after,
        "train_loss": always,
        "relative_flatness_normalized.fc3": always,
        "weight_norm_squared.fc3": after,
        "distance_from_init": always,
    }
    if not brief:
        few |= {
            "hessian_trace.fc3": [*after, *within],
            "distance_from_init": [*after, "ρ given training loss"],
        }
    wanted = [(m, c) in {(label, c) for label, cs in few.items() for c in cs}
              for m, c in zip(table["measure"], table["coefficient"], strict=True)]  # fmt: skip
    chosen = table[wanted].reset_index(drop=True)
    chosen.attrs |= table.attrs
    return chosen


def test_the_benchmark_is_the_committed_one() -> None:
    """Where this fails, paste the expected text between the two markers."""
    (shown,) = re.findall(r"<!-- table: curvature -->\n(.*?)<!-- end -->", README, re.DOTALL)
    measured = json.loads(Path("tests/benchmarks/curvature.json").read_text())
    command = f"`python -m tests.benchmarks.curvature {measured['command']}` on {measured['machine']}:"
    assert shown == f"{command}\n\n{table(measured['rows'])}"


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"(?:`|\]\()((?:study|slurm|analysis|tests|configs|paper)/[\w./-]+)(?:`|\))", README)
    assert len(named) > 10
    made = ("slurm/clusters/mine.yaml", "paper/main.pdf")
    missing = [name for name in named if name not in made and not Path(name.removesuffix("/")).exists()]
    assert missing == []


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The worked example of measuring one's own network: run as it stands; its output is what stands below it."""
    code, shown = re.findall(r"```python\n(import torch\n.*?)```\n+```\n(.*?)```", README, re.DOTALL)[0]
    exec(compile(code, "README.md", "exec"), {})
    numbers = [[float(x) for x in re.findall(r"-?\d+\.\d+", text)] for text in (capsys.readouterr().out, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=2e-3)


def commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m ")]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command's arguments are known: `--help` of its subcommand lists each option that it is given."""
    import subprocess
    import sys

    words = shlex.split(command)[2:]
    options = [w for w in words if w.startswith("--")]
    place = [words[0], *[w for w in words[1:2] if re.fullmatch(r"[a-z]+", w)]]
    done = subprocess.run([sys.executable, "-m", *place, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [o for o in options if o not in done.stdout] == []
