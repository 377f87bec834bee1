"""What README says of the LeNet5 studies, sentence by sentence: from committed records, mostly by pandas alone.

Where a sentence is not found, records or words have changed: read the section again, and mend whichever is wrong.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis.columns import configurations
from analysis.load import load_study
from analysis.statistics.coefficients import coefficients
from tests.coefficients import (
    DISTANCE,
    DRAWS,
    EPOCHS,
    ERROR,
    EVERY,
    INIT,
    KAPPA,
    LOSS,
    LOSS_ITSELF,
    LOSSES,
    NEURONS,
    NORM,
    NORMALIZED,
    PAIR,
    RAW,
    TRACE,
    Rows,
    Said,
    Study,
    after,
    between,
    committed,
    given,
    pearson,
    short,
    spearman,
    within,
)

README = Path("README.md").read_text()
HEADINGS = {
    "lenet5_cifar10": "\n## The papers' headline, run for real: LeNet5 on CIFAR-10\n",
    "lenet5_fashion": "\n### The same on Fashion-MNIST\n",
}


def section(study: str) -> str:
    return re.split(r"\n##+ ", README.split(HEADINGS[study])[1])[0]


def intervals(
    study: str, target: str, measure: str, coefficient: str, stops: Sequence[str]
) -> list[tuple[float, float]]:
    """As the section's table shows them, which a test of its own holds against the records."""
    (cells,) = re.findall(rf"^\| {target} \| {measure} \| {coefficient} \| (.*) \|$", section(study), re.MULTILINE)
    ends = [re.fullmatch(r".* \[(.*), (.*)\]", cell) for cell in cells.replace("−", "-").split(" | ")]
    chosen = [end for end, stop in zip(ends, EVERY, strict=True) if stop in stops]
    return [(float(end[1]), float(end[2])) for end in chosen]


def cifar10(rows: Rows) -> list[str]:
    study, few = Study(rows), Study(rows[rows[PAIR] != 512])
    kept = Study(rows[rows.groupby("stop")[LOSS].rank() > 3])
    epochs, losses = study.epochs, study.losses
    one_init, one_pair, one_configuration, held = within(INIT), within(PAIR), within(INIT, PAIR), given("train.loss")
    low, high = rows.groupby("stop")["train.loss"].min(), rows.groupby("stop")["train.loss"].max()
    parts = [rows[rows[axis] != setting] for axis in (PAIR, INIT) for setting in rows[axis].unique()]
    seeds = [rows[rows["hp.seed"] == seed] for seed in rows["hp.seed"].unique()]
    three = ["loss_0.1", "loss_0.01", "epoch_40"]
    part, seed = ([between(r, " to ") for r in zip(*(Study(some).at(three, KAPPA) for some in several), strict=True)]
                  for several in (parts, seeds))  # fmt: skip
    fold = (rows[f"measure.{after(TRACE, NEURONS)}"] / rows[f"measure.{TRACE}"]).groupby(rows["stop"])
    lost = np.subtract(
        [study.at(EVERY, m) for m in (RAW, KAPPA)], [study.at(EVERY, after(m, NEURONS)) for m in (RAW, KAPPA)]
    )
    grown = study.change([NEURONS], RAW, KAPPA) + 1
    moved = rows[[c for c in rows if c.endswith(".difference")]]
    recorded = rows.loc[moved.notna().any(axis=1), "key"].nunique()
    (trace, trace_lower), (kappa, kappa_lower) = map(short, losses(TRACE)), map(short, losses(KAPPA))
    for pair in rows[PAIR].unique():
        alone = Study(rows[rows[PAIR] == pair])
        assert all(a > b for a, b in zip(alone.losses(TRACE), alone.losses(KAPPA), strict=True)), "in each of the four"
    return [
        f"relative flatness and kappa stay to {study.change(DRAWS, KAPPA, RAW, NORMALIZED):.0e} of themselves",
        f"falls from {trace} to between {study.drawn(LOSSES[:1], TRACE)} over three draws at a training loss of .1",
        f"from {trace_lower} to between {study.drawn(LOSSES[1:], TRACE)} at .01",
        f"from {between(epochs(TRACE), '-')} to between {study.drawn(EPOCHS, TRACE)} at the epochs",
        f"by at most {moved.max().max():.0e} of the largest (recorded for {recorded} networks)",
        f"grow up to {grown:.1f} times, though r falls by {short(np.max(lost))} at most",
        f"keeps {short(losses(after(TRACE, NEURONS))[0])} of its {trace}",
        f"({(fold.max() / fold.min()).max():.1f}-fold apart",
        f"kappa has {epochs(KAPPA)} with the loss gap at the ends of epochs 10, 20, 40 and 60, "
        f"and {epochs(KAPPA, ERROR)} with the error gap. But the source",
        f"training losses of {low['epoch_40']:.2f} to {high['epoch_40']:.2f} at epoch 40",
        f"*lower* test error ({study.at(EPOCHS[:2], KAPPA, 'test.error')})",
        f"training loss alone has {epochs(LOSS_ITSELF)} with the loss gap "
        f"and {epochs(LOSS_ITSELF, ERROR)} with the error gap",
        f"the distance from the initial weights has {epochs(DISTANCE)} with the loss gap",
        f"against the rest: {epochs(KAPPA, of=one_init)} with the loss gap, "
        f"without batch 512 {few.epochs(KAPPA, of=one_init)}",
        f"a partial ρ of {epochs(KAPPA, of=held)} (the distance keeps {epochs(DISTANCE, of=held)})",
        f"the seed alone it has {epochs(KAPPA, of=one_configuration)} with the loss gap, "
        f"and {epochs(KAPPA, ERROR, one_configuration)} with the error gap",
        f"it does not**: {kappa} at .1 and {kappa_lower} at .01, the stop nearest to convergence",
        f"The trace, as trained, has {losses(TRACE)}",
        f"(together {losses(TRACE, of=one_pair)} against {losses(KAPPA, of=one_pair)})",
        f"correlates most, has {losses(NORMALIZED)}",
        f"lie within {low[LOSSES[0]]:.3f}-{high[LOSSES[0]]:.3f} and {low[LOSSES[1]]:.4f}-{high[LOSSES[1]]:.4f}",
        f"held fixed, kappa's ρ is {losses(KAPPA, of=held)}",
        f"Pooled, kappa has {losses(KAPPA, ERROR)}",
        f"it has {losses(KAPPA, ERROR, one_pair)}: the flatter ones",
        f"it has {losses(KAPPA, ERROR, one_init)}: larger batches",
        f"(without it {few.losses(KAPPA, ERROR, one_init)})",
        f"({losses(TRACE, ERROR, one_pair)}; {losses(TRACE, ERROR, one_init)})",
        f"change little: {kept.epochs(KAPPA)} at the epochs, {kept.losses(KAPPA)} at the losses; "
        f"with the training loss held fixed {kept.epochs(KAPPA, of=held)} and {kept.losses(KAPPA, of=held)}",
        f"({epochs(NORM)}), until the layer is rescaled (then between {study.drawn(EPOCHS, NORM)})",
        f"at one training loss it has {losses(NORM)} with the loss gap",
        f"(ρ {between(study.at(EVERY, RAW, of=given(f'measure.{NORM}')), '-')})",
        f"kappa has {part[0]} at .1 ({short(few.losses(KAPPA)[0])} without batch 512), {part[1]} at .01 and {part[2]} "
        f"at epoch 40; one seed at a time {seed[0]}, {seed[1]} and {seed[2]}",
    ]


def fashion(rows: Rows) -> list[str]:
    study, few, cifar = Study(rows), Study(rows[rows[PAIR] != 512]), Study(committed("lenet5_cifar10"))
    kept = Study(rows[rows.groupby("stop")[LOSS].rank() > 3])
    seeds = [Study(rows[rows["hp.seed"] == seed]).losses(KAPPA) for seed in rows["hp.seed"].unique()]
    parts = [rows[rows[axis] != setting] for axis in (PAIR, INIT) for setting in rows[axis].unique()]
    part, seed = ([between(r, " to ") for r in zip(*several, strict=True)]
                  for several in ([Study(some).losses(KAPPA) for some in parts], seeds))  # fmt: skip
    epochs, losses = study.epochs, study.losses
    one_init, one_pair, held = within(INIT), within(PAIR), given("train.loss")
    at_20 = rows[rows["stop"] == "epoch_20"]
    slow = at_20[at_20["train.loss"] < at_20["train.loss"].max()]
    at_first = rows[rows["stop"] == LOSSES[0]]
    highest = at_first.loc[at_first[LOSS].idxmax()]
    rest = Study(rows[rows["key"] != highest["key"]])
    lowest = rows[rows["stop"] == LOSSES[1]].nsmallest(3, LOSS)
    same = Study(cifar.rows[(cifar.rows[PAIR] != 512) | ~cifar.rows[INIT].isin(["normal_0.1", "uniform_0.1"])])
    low, high = rows.groupby("stop")["train.loss"].min(), rows.groupby("stop")["train.loss"].max()
    reached = rows[rows["stop"] == LOSSES[1]]
    left = reached[reached[PAIR] == 512]

    assert len(reached) == 40 and len(left) == 4 and set(left[INIT]) == {"kaiming_uniform", "xavier_normal"}
    assert set(lowest[PAIR]) == {512} and list(highest[[INIT, PAIR]]) == ["uniform_0.1", 64]
    assert all(a < b for a, b in zip(epochs(KAPPA, of=held), cifar.epochs(KAPPA, of=held), strict=True)), "less"
    assert min(Study(some).losses(KAPPA)[1] for some in parts) == few.losses(KAPPA)[1], "the least without batch 512"
    for several in (study, cifar):
        assert all(a >= b for a, b in zip(several.losses(TRACE), several.losses(KAPPA), strict=True)), "as closely"
    (trace, trace_lower), (kappa, kappa_lower) = map(short, losses(TRACE)), map(short, losses(KAPPA))
    return [
        f"leaves relative flatness and kappa as they are, to {study.change(DRAWS, KAPPA, RAW, NORMALIZED):.0e}",
        f"falls from {trace} to between {study.drawn(LOSSES[:1], TRACE)} over three draws at a training loss of .1",
        f"from {trace_lower} to between {study.drawn(LOSSES[1:], TRACE)} at .01",
        f"it has {epochs(TRACE)} as trained, and between {study.drawn(EPOCHS, TRACE)} after",
        f"Kappa has {epochs(KAPPA)} with the loss gap and {epochs(KAPPA, ERROR)} with the error gap, the training loss "
        f"alone {epochs(LOSS_ITSELF)} and {epochs(LOSS_ITSELF, ERROR)}",
        f"a partial ρ of {epochs(KAPPA, of=held)} with the loss gap",
        f"as trained, {epochs(NORM, of=held)} (there {cifar.epochs(NORM, of=held)})",
        f"at a loss of {short(at_20['train.loss'].max())} at epoch 20 makes the {short(epochs(LOSS_ITSELF)[1])} "
        f"and kappa's {short(epochs(KAPPA, of=held)[1])}: without it {short(pearson(slow, LOSS_ITSELF, LOSS))} "
        f"and {short(held(slow, KAPPA, LOSS))}",
        f"kappa has {epochs(KAPPA, of=one_init)}, again by batch 512, which lags behind "
        f"(without it {few.epochs(KAPPA, of=one_init)})",
        f"one batch size and learning rate {epochs(KAPPA, of=one_pair)}, "
        f"where the training loss has {epochs(LOSS_ITSELF, of=one_pair)}",
        f"the seed alone {epochs(KAPPA, of=within(INIT, PAIR))} (there {cifar.epochs(KAPPA, of=within(INIT, PAIR))})",
        f"on CIFAR-10, has {epochs(DISTANCE)} here",
        f"({epochs(DISTANCE, of=one_pair)}, there {cifar.epochs(DISTANCE, of=one_pair)})",
        f"with the loss gap**: {kappa} at .1, where the interval only just holds zero, and {kappa_lower} at .01",
        f"({low[LOSSES[0]]:.3f}-{high[LOSSES[0]]:.3f} and {low[LOSSES[1]]:.4f}-{high[LOSSES[1]]:.4f}) does not matter: "
        f"Spearman's ρ is {losses(KAPPA, of=spearman)}, and {losses(KAPPA, of=held)} with it held fixed",
        f"one of the initializations, kappa has {part[0]} at .1 and {part[1]} at .01",
        f"(at .01 three of those four), it has {kept.losses(KAPPA)}",
        f"on top of the first panel) {rest.losses(KAPPA)}",
        f"One seed at a time it has {seed[0]}, and {seed[1]}",
        f"The trace, as trained, has {losses(TRACE)}, the normalized form {losses(NORMALIZED)}, "
        f"and the squared norm {losses(NORM)}",
        f"kappa has {losses(KAPPA, of=one_init)} (the trace {losses(TRACE, of=one_init)}), "
        f"among those of one batch size and learning rate {losses(KAPPA, of=one_pair)} ({losses(TRACE, of=one_pair)})",
        f"at one training loss** kappa has {losses(KAPPA, ERROR)}",
        f"it has {losses(KAPPA, ERROR, one_pair)}, as on CIFAR-10 ({cifar.losses(KAPPA, ERROR, one_pair)})",
        f"without it {without_kaiming(study)} (there {without_kaiming(cifar)})",
        f"it has {losses(KAPPA, ERROR, one_init)}, where CIFAR-10 had {cifar.losses(KAPPA, ERROR, one_init)}",
        f"(CIFAR-10 without those has {short(same.losses(KAPPA, ERROR, one_init)[1])})",
    ]


def without_kaiming(study: Study) -> Said:
    return Study(study.rows[study.rows[INIT] != "kaiming_uniform"]).losses(KAPPA, ERROR, within(PAIR))


@pytest.mark.parametrize("study, sentences", [("lenet5_cifar10", cifar10), ("lenet5_fashion", fashion)])
def test_what_readme_says_of_lenet5_is_what_the_committed_records_say(
    study: str, sentences: Callable[[Rows], list[str]]
) -> None:
    words = " ".join(section(study).split())
    assert [sentence for sentence in sentences(committed(study)) if words.count(sentence) != 1] == []


PARTS = ["r within init", "r within learning rate & batch size"]


def test_which_intervals_hold_what() -> None:
    def holds(value: float, *of: object) -> list[bool]:
        return [low <= value <= high for low, high in intervals(*of)]  # type: ignore[arg-type]

    kappa, r = "kappa 2019, fc3", "Pearson r"
    assert all(holds(0.91, "lenet5_cifar10", "loss gap", kappa, r, EPOCHS)), "it lies in each interval"
    assert all(high < 0.91 for _, high in intervals("lenet5_cifar10", "loss gap", kappa, r, LOSSES)), ".91 lies above"
    both = [holds(0, "lenet5_cifar10", "error gap", kappa, part, LOSSES) for part in PARTS]
    assert np.shape(both) == (2, 2) and np.all(both), "all four intervals hold zero"
    assert all(holds(0, "lenet5_fashion", "loss gap", kappa, r, LOSSES)), "with the loss gap"
    frame = load_study("lenet5_fashion", committed=True).records
    frame = frame[frame["stop"] == "loss_0.1"]  # two digits of a table cannot tell it
    exact = coefficients(frame[f"measure.{KAPPA}"], frame[LOSS], configurations(frame), 2000).interval("pearson")
    assert -0.01 < exact.low <= 0, "only just holds zero"
    every = [holds(0, "lenet5_fashion", gap, kappa, part, EVERY) for gap in ("loss gap", "error gap") for part in PARTS]
    assert np.shape(every) == (4, 6) and np.all(every), "every interval of kappa within"
