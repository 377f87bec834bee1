"""What README says of the LeNet5 studies, sentence by sentence: from committed records by pandas alone.

Where a sentence is not found, records or words have changed: read the section again, and mend whichever is wrong.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

README = " ".join(Path("README.md").read_text().split())
LOSSES, EPOCHS = ["loss_0.1", "loss_0.01"], ["epoch_10", "epoch_20", "epoch_40", "epoch_60"]
EVERY = LOSSES + EPOCHS
LOSS, ERROR, PAIR, INIT = "gap.loss", "gap.error", "hp.batch_size", "hp.init"
KAPPA, TRACE, NORM = "kappa_2019.fc3", "hessian_trace.fc3", "weight_norm_squared.fc3"
RAW, NORMALIZED = "relative_flatness.fc3", "relative_flatness_normalized.fc3"
DISTANCE, LOSS_ITSELF = "distance_from_init", "train_loss"
DRAWS, NEURONS = ("layerwise_1", "layerwise_2", "layerwise_3"), "neuronwise_1"

Rows = pd.DataFrame
Coefficient = Callable[[Rows, str, str], float]


def committed(study: str) -> Rows:
    """Rows of the networks that reached their stop."""
    rows = pd.read_csv(f"analysis/records/{study}.csv", low_memory=False)
    return rows[rows["train.converged"]]


def after(measure: str, transform: str) -> str:
    name, _, layer = measure.partition(".")
    return f"{name}@{transform}.{layer}"


def pearson(rows: Rows, measure: str, target: str) -> float:
    return float(np.corrcoef(rows[f"measure.{measure}"], rows[target])[0, 1])


def within(*axes: str) -> Coefficient:
    """Pearson's r of what is left when the mean of the networks that share a setting is removed."""

    def coefficient(rows: Rows, measure: str, target: str) -> float:
        both = rows[[f"measure.{measure}", target]]
        left = both - both.groupby([rows[axis] for axis in axes]).transform("mean")
        return float(np.corrcoef(left.T)[0, 1])

    return coefficient


def given(held: str) -> Coefficient:
    """Spearman's partial coefficient: residuals of ranks on the ranks of what is held fixed."""

    def coefficient(rows: Rows, measure: str, target: str) -> float:
        ranks = rows[[f"measure.{measure}", target, held]].rank().to_numpy()
        fixed = np.column_stack([np.ones(len(ranks)), ranks[:, 2]])
        left = ranks[:, :2] - fixed @ np.linalg.lstsq(fixed, ranks[:, :2], rcond=None)[0]
        return float(np.corrcoef(left.T)[0, 1])

    return coefficient


class Said(list[float]):
    """Coefficients, printed as README prints them."""

    def __str__(self) -> str:
        return " ".join(map(short, self))


def short(value: float) -> str:
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.2f}".replace("-", "−")).replace("−.00", ".00")


def between(values: Sequence[float], to: str = " and ") -> str:
    return f"{short(min(values))}{to}{short(max(values))}"


class Study:
    """Coefficients of a study's networks at its stops."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def at(self, stops: Sequence[str], measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return Said(of(self.rows[self.rows["stop"] == stop], measure, target) for stop in stops)

    def losses(self, measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return self.at(LOSSES, measure, target, of)

    def epochs(self, measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return self.at(EPOCHS, measure, target, of)

    def drawn(self, stops: Sequence[str], measure: str, to: str = " and ") -> str:
        """Between what, with the loss gap, after the three draws of the factor."""
        return between([r for draw in DRAWS for r in self.at(stops, after(measure, draw))], to)

    def change(self, transforms: Sequence[str], *measures: str) -> float:
        """Largest change of the measures, of themselves, when every network is reparameterized."""
        ratios = [self.rows[f"measure.{after(m, t)}"] / self.rows[f"measure.{m}"] for m in measures for t in transforms]
        return max((ratio - 1).abs().max() for ratio in ratios)


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
        f"{epochs(KAPPA, of=one_init)} with the loss gap, without batch 512 {few.epochs(KAPPA, of=one_init)}",
        f"a partial ρ of {epochs(KAPPA, of=held)} (the distance keeps {epochs(DISTANCE, of=held)})",
        f"the seed alone it has {epochs(KAPPA, of=one_configuration)} with the loss gap, "
        f"and {epochs(KAPPA, ERROR, one_configuration)} with the error gap",
        f"{kappa} at .1 and {kappa_lower} at .01, the stop nearest to convergence",
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
    epochs, losses = study.epochs, study.losses
    one_init, one_pair, held = within(INIT), within(PAIR), given("train.loss")
    low, high = rows.groupby("stop")["train.loss"].min(), rows.groupby("stop")["train.loss"].max()
    left = rows.loc[(rows[PAIR] == 512) & (rows["stop"] == "loss_0.01"), "key"].nunique()
    assert left == 4 and (rows["stop"] == "loss_0.01").sum() == 40, "eight of batch 512 alone are left out"
    assert all(a < b for a, b in zip(epochs(KAPPA, of=held), cifar.epochs(KAPPA, of=held), strict=True)), "less"
    (trace, trace_lower), (kappa, kappa_lower) = map(short, losses(TRACE)), map(short, losses(KAPPA))
    (seed, seed_lower) = (between(r, " to ") for r in zip(*seeds, strict=True))
    return [
        f"leaves relative flatness and kappa within {study.change(DRAWS, KAPPA, RAW, NORMALIZED):.0e} of themselves",
        f"falls from {trace} to between {study.drawn(LOSSES[:1], TRACE)} over three draws at a training loss of .1",
        f"from {trace_lower} to between {study.drawn(LOSSES[1:], TRACE)} at .01",
        f"no more than {short(max(epochs(TRACE)))} as trained, and {study.drawn(EPOCHS, TRACE, ' to ')} after",
        f"Kappa has {epochs(KAPPA)} with the loss gap and {epochs(KAPPA, ERROR)} with the error gap, the training loss "
        f"alone {epochs(LOSS_ITSELF)} and {epochs(LOSS_ITSELF, ERROR)}",
        f"a partial ρ of {epochs(KAPPA, of=held)} with the loss gap",
        f"squared norm keeps {epochs(NORM, of=held)}",
        f"on CIFAR-10, has {epochs(DISTANCE)} here",
        f"the seed alone kappa has {epochs(KAPPA, of=within(INIT, PAIR))}",
        f"it has {epochs(KAPPA, of=one_init)}, again by batch 512, which lags behind: "
        f"without it {few.epochs(KAPPA, of=one_init)}",
        f"one batch size and learning rate {epochs(KAPPA, of=one_pair)}",
        f"{kappa} at .1 and {kappa_lower} at .01, with intervals that hold zero",
        f"({low[LOSSES[0]]:.3f}-{high[LOSSES[0]]:.3f} and {low[LOSSES[1]]:.4f}-{high[LOSSES[1]]:.4f}) "
        f"ρ is {losses(KAPPA, of=held)}",
        f"The trace, as trained, has {losses(TRACE)}, the normalized form {losses(NORMALIZED)}, "
        f"and the squared norm {losses(NORM)}",
        f"without it kappa has {few.losses(KAPPA)}",
        f"authors' code leaves out, {kept.losses(KAPPA)}",
        f"Among networks of one initialization it has {losses(KAPPA, of=one_init)}, "
        f"among those of one batch size and learning rate {losses(KAPPA, of=one_pair)}",
        f"One seed at a time it has {seed}, and {seed_lower}",
        f"kappa has {losses(KAPPA, ERROR)}; among networks of one batch size and learning rate "
        f"{losses(KAPPA, ERROR, one_pair)}, as on CIFAR-10 ({cifar.losses(KAPPA, ERROR, one_pair)})",
        f"it has {losses(KAPPA, ERROR, one_init)}, where CIFAR-10 had {cifar.losses(KAPPA, ERROR, one_init)}",
        f"initial weights: {losses(DISTANCE, ERROR)} here, {cifar.losses(DISTANCE, ERROR)} there",
    ]


@pytest.mark.parametrize("study, sentences", [("lenet5_cifar10", cifar10), ("lenet5_fashion", fashion)])
def test_what_readme_says_of_lenet5_is_what_the_committed_records_say(
    study: str, sentences: Callable[[Rows], list[str]]
) -> None:
    assert [sentence for sentence in sentences(committed(study)) if sentence not in README] == []
