"""What READMEs say of the committed benchmarks: `python -m tests.benchmarks.document training` prints what one says.

curvature.json is shown in study/curvature/README.md, training.json in study/training/README.md, measuring.json and
stopping.json in study/measures/README.md. elsewhere/ has an earlier run on another machine, of which the first
sentences are said, too: ratios differ between processors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import training
from tests.benchmarks.curvature import table

COMMITTED = Path(__file__).parent / "curvature.json"
TRAINING = Path(__file__).parent / "training.json"
MEASURING = Path(__file__).parent / "measuring.json"
STOPPING = Path(__file__).parent / "stopping.json"
ELSEWHERE = Path(__file__).parent / "elsewhere"
POPULATION, OURS, ALONE = "64 mlps of digits", "ours, one after another", "by hand, one after another"
LIMIT = 60  # passes that all measures but searches may take, of LeNet5 on 5,000 images


def section(measured: dict) -> str:
    """The command, the machine, what the rows come to, and the rows themselves, as Markdown."""
    command = f"`python -m tests.benchmarks.curvature {measured['command']}` on {measured['machine']}:"
    findings = [*_of_curvature(measured), *_elsewhere("curvature", _of_curvature, 1)]
    return "\n".join([command, "", *(f"- {finding}" for finding in findings), "", table(measured["rows"])])


def _elsewhere(name: str, said: Callable[[dict], list[str]], sentences: int) -> list[str]:
    """The first sentences of an earlier run on another machine."""
    measured = json.loads((ELSEWHERE / f"{name}.json").read_text())
    return [f"On {measured['machine']}, earlier: {' '.join(said(measured)[:sentences])}"]


def _of_curvature(measured: dict) -> list[str]:
    """What the rows come to."""
    time = {(row["case"], row["peer"]): row["time_ratio"] for row in measured["rows"]}
    peak = {(row["case"], row["peer"]): row["peak_bytes"] for row in measured["rows"]}

    def times(case: str, peer: str) -> str:
        return f"{time[case, peer]:,.0f}" if time[case, peer] >= 20 else f"{time[case, peer]:.1f}"

    def share(case: str, peer: str) -> str:
        return f"{1 / time[case, peer]:.2f}"

    stacks = [time[case, peer] for case, peer in time if case == POPULATION and peer not in (ALONE, OURS)]
    lenet5, many, last, resnet = "lenet5", "100 classes, tolerance 1e-3", "last layer, N = 50000", "resnet18, 32 x 32"
    return [
        f"All layers of LeNet5 take {share(lenet5, 'BackPACK DiagGGNExact')} of the time that BackPACK takes for the "
        f"diagonals, and {share(lenet5, 'forward + backward')} times that of a forward and backward pass.",
        f"PyHessian takes {times(lenet5, 'PyHessian, 1% standard error')} times as long for the trace of that network "
        f"to 1 percent, curvlinops {times(lenet5, 'curvlinops, 1% standard error')} times.",
        f"The published loop over a last layer's Hessian takes {times(last, 'Hessian by a loop')} times as long.",
        f"With 100 classes, a tolerance of 1e-3 takes {share(many, 'ours, all columns')} of the time of all columns.",
        *(
            [
                f"{POPULATION}, the pass written by hand: stacks take {min(stacks) / time[POPULATION, ALONE]:.2f} to "
                f"{max(stacks) / time[POPULATION, ALONE]:.2f} of the time of one after another."
            ]
            if stacks
            else []
        ),
        f"ResNet-18 adds {peak[resnet, 'ours, all layers'] / 2**20:.0f} MB for 1,000 images.",
    ]


def training_section(measured: dict) -> str:
    """The command, the machine, what the rows come to, and the rows themselves, as Markdown."""
    arguments = f" {measured['command']}" if measured["command"] else ""
    command = f"`python -m tests.benchmarks.training{arguments}` on {measured['machine']}, commit {measured['commit']}"
    anew = [f"; rows of {cases} at commit {commit}" for commit, cases in _measured_anew(measured["rows"]).items()]
    command += "".join(anew) + ":"
    findings = [*_of_training(measured), *_elsewhere("training", _of_training, 2)]
    return "\n".join([command, "", *(f"- {finding}" for finding in findings), "", training.table(measured["rows"])])


def _of_training(measured: dict) -> list[str]:
    """What the rows come to."""
    rows = {row["case"]: row for row in measured["rows"]}
    lenet5 = [row["time_ratio"] for case, row in rows.items() if case.startswith("lenet5 batch")]
    few, many = (rows[f"mlp population {n}"]["networks_per_minute"] for n in (1, 64))
    return [
        f"64 networks of the laptop study take {rows['64 mlps']['time_ratio']:.2f} of the time that plain PyTorch "
        "takes for one after another, the mean of its three batch sizes.",
        f"LeNet5 takes {min(lenet5):.2f} to {max(lenet5):.2f}, by batch size; NiN {rows['nin']['time_ratio']:.2f}, "
        f"ResNet-20 {rows['resnet20']['time_ratio']:.2f}.",
        f"A stack of 64 trains {many / few:.1f} times as many networks a minute as one network alone.",
    ]


def measuring_section(measured: dict) -> str:
    """The command, the machine, what the whole library comes to, and its dearest measures, as Markdown."""
    rows = {row["case"]: row for row in measured["rows"]}
    whole, less = rows["all measures"], rows["all but searches"]
    met = "met" if less["passes"] <= LIMIT else "NOT MET"
    dear = [row for row in rows.values() if row["labels"] == 1 and row["passes"] >= 1]
    shown = [whole, less, *sorted(dear, key=lambda row: -row["passes"])]
    lines = [f"| {_cell(row['case'])} | {row['seconds']:.2f} | {row['passes']:.1f} |" for row in shown]
    return "\n".join(
        [
            f"`python -m tests.benchmarks.measuring {measured['command']}` on {measured['machine']}, "
            f"commit {measured['commit']}:",
            "",
            f"- {whole['labels']} measures of one network, {whole['missing']} of which have no value here, cost "
            f"{less['passes']:.0f} passes besides the searches (at most {LIMIT}: {met}), {whole['passes']:.0f} with "
            "them. A pass is one forward and backward pass over the images; on fewer images it takes more of them.",
            "",
            "| measure | seconds | passes |",
            "| :--- | ---: | ---: |",
            *lines,
            "",
        ]
    )


def stopping_section(measured: dict) -> str:
    """The command, the machine, and of each label how far off its values are and what two standard errors hold."""
    labels = list(dict.fromkeys(row["label"] for row in measured["rows"]))
    networks = len({row["key"] for row in measured["rows"]})
    lines = [
        f"`python -m tests.benchmarks.stopping {measured['command']}` on {measured['machine']}, commit "
        f"{measured['commit']}; {networks} LeNet5 at two stops, from the least to the most:",
        "",
        "| measure | bias | error | its standard error | truth within two |",
        "| :--- | ---: | ---: | ---: | ---: |",
    ]
    for label in labels:
        of = [row for row in measured["rows"] if row["label"] == label]

        def between(column: str, digits: int, sign: str = "", of: list[dict] = of) -> str:
            low, high = (f"{100 * end(row[column] for row in of):{sign}.{digits}f}" for end in (min, max))
            return f"{low}% to {high}%"

        bias = between("bias", 1, "+") if "sharpness" in label else ""  # of the others the truth is the values' mean
        cells = [bias, between("error", 1), between("standard_error", 1), between("held", 0)]
        lines.append(f"| `{label}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(case: str) -> str:
    return case if case.startswith("all ") else f"`{case}`"


def _measured_anew(rows: list[dict]) -> dict[str, str]:
    """The cases of those rows that say a commit of their own, by it: they were measured again by themselves."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if "commit" in row:
            found.setdefault(row["commit"], []).append(f"`{row['case']}`")
    return {commit: ", ".join(cases) for commit, cases in found.items()}


def main() -> None:
    """Print what a README says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="?", default="curvature", choices=tuple(SECTIONS))
    file, said = SECTIONS[parser.parse_args().benchmark]
    print(said(json.loads(file.read_text())), end="")


SECTIONS = {
    "curvature": (COMMITTED, section),
    "training": (TRAINING, training_section),
    "measuring": (MEASURING, measuring_section),
    "stopping": (STOPPING, stopping_section),
}


if __name__ == "__main__":
    main()
