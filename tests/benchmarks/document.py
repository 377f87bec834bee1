"""What study/curvature/README.md says of the committed benchmark: `python -m tests.benchmarks.document` prints it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.curvature import table

COMMITTED = Path(__file__).parent / "curvature.json"


def section(measured: dict) -> str:
    """The command, the machine, what the rows come to, and the rows themselves, as Markdown."""
    time = {(row["case"], row["peer"]): row["time_ratio"] for row in measured["rows"]}
    peak = {(row["case"], row["peer"]): row["peak_bytes"] for row in measured["rows"]}

    def times(case: str, peer: str) -> str:
        return f"{time[case, peer]:,.0f}" if time[case, peer] >= 20 else f"{time[case, peer]:.1f}"

    def share(case: str, peer: str) -> str:
        return f"{1 / time[case, peer]:.2f}"

    lenet5, many, last, resnet = "lenet5", "100 classes, tolerance 1e-3", "last layer, N = 50000", "resnet18, 32 x 32"
    findings = [
        f"All layers of LeNet5 take {share(lenet5, 'BackPACK DiagGGNExact')} of the time that BackPACK takes for the "
        f"diagonals, and {share(lenet5, 'forward + backward')} times that of a forward and backward pass.",
        f"PyHessian takes {times(lenet5, 'PyHessian, 1% standard error')} times as long for the trace of that network "
        f"to 1 percent, curvlinops {times(lenet5, 'curvlinops, 1% standard error')} times.",
        f"The published loop over a last layer's Hessian takes {times(last, 'Hessian by a loop')} times as long.",
        f"With 100 classes, a tolerance of 1e-3 takes {share(many, 'ours, all columns')} of the time of all columns.",
        f"ResNet-18 adds {peak[resnet, 'ours, all layers'] / 2**20:.0f} MB for 1,000 images.",
    ]
    command = f"`python -m tests.benchmarks.curvature {measured['command']}` on {measured['machine']}:"
    return "\n".join([command, "", *(f"- {finding}" for finding in findings), "", table(measured["rows"])])


if __name__ == "__main__":
    print(section(json.loads(COMMITTED.read_text())), end="")
