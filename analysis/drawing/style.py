"""How a measure, a hyperparameter or a column is called and drawn: the one list of labels, symbols, order and colours.

Colours are Okabe and Ito's, which readers with any common colour blindness tell apart; every colour comes with a marker
of its own, so that a figure also reads in grey. Sizes are those of a two-column paper.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from study.names import Label
from study.transforms.rescaling import given_factor

COLUMN, PAGE = 3.3, 6.9  # inches: one column, and both
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A600", "#666666",
)  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, YELLOW, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Look:
    """How one measure appears: words for text, a LaTeX symbol for figures and the paper, a colour and a marker."""

    label: str
    words: str
    symbol: str
    colour: str = GREY
    marker: str = "o"


# In the order of every table. Families share a colour: relative flatness, Hessian, norms, outputs.
MEASURES: dict[str, Look] = {
    look.label: look
    for look in (
        Look("relative_flatness", "relative flatness", r"\kappa_{\mathrm{Tr}}", BLUE, "o"),
        Look("relative_flatness_normalized", "relative flatness, normalized", r"\tilde\kappa_{\mathrm{Tr}}", BLUE, "s"),
        Look("kappa_2019", "kappa 2019", r"\|W\|^2\,\mathrm{Tr}\,H", SKY, "^"),
        Look("kappa_max_2019", "kappa max 2019", r"\|W\|^2\,\lambda_{\max}", SKY, "D"),
        Look("kappa_max_2021", "kappa max 2021", r"\kappa_{\max}", BLUE, "D"),
        Look("rho_max", "neuron-wise flatness, max", r"\max_j\rho_j", SKY, "v"),
        Look("rho_sum", "neuron-wise flatness, sum", r"\sum_j\rho_j", SKY, "P"),
        Look("hessian_trace", "Hessian trace", r"\mathrm{Tr}\,H", RED, "o"),
        Look("lambda_max", "largest Hessian eigenvalue", r"\lambda_{\max}(H)", RED, "D"),
        Look("fisher_rao_norm", "Fisher-Rao norm", r"\|\theta\|_{\mathrm{FR}}", PURPLE, "o"),
        Look("pac_bayes_flatness", "PAC-Bayes flatness", r"1/\sigma^2", PURPLE, "s"),
        Look("weight_norm_squared", "squared weight norm", r"\|W\|^2", GREEN, "o"),
        Look("distance_from_init", "distance from init", r"\|\theta-\theta_0\|", GREEN, "s"),
        Look("inverse_margin", "inverse margin", r"1/\gamma^2", ORANGE, "o"),
        Look("train_loss", "training loss", r"L_{\mathrm{train}}", ORANGE, "s"),
    )
}

TARGETS: dict[str, tuple[str, str]] = {
    "gap.loss": ("loss gap", "generalization gap (loss, nats)"),
    "gap.error": ("error gap", "generalization gap (error)"),
    "test.error": ("test error", "test error"),
    "test.loss": ("test loss", "test loss (nats)"),
    "gen.gap": ("gap", "generalization gap"),
}

HYPERPARAMETERS: dict[str, str] = {
    "hp.lr": "learning rate",
    "hp.batch_size": "batch size",
    "hp.init_gain": "init gain",
    "hp.init": "init",
    "hp.n_train": "training samples",
    "hp.label_noise": "label noise",
    "hp.weight_decay": "weight decay",
    "hp.hidden": "hidden widths",
    "hp.dataset": "data set",
    "hp.model": "model",
    "hp.seed": "seed",
}

# Column of a table -> (text, LaTeX). Columns `x.low` and `x.high` are printed as an interval behind x.
COLUMNS: dict[str, tuple[str, str]] = {
    "tau_b": ("Kendall τ_b", r"Kendall $\tau_b$"),
    "tau_b_after": ("τ_b after rescaling", r"$\tau_b$ after rescaling"),
    "tau_a": ("Kendall τ_a", r"Kendall $\tau_a$"),
    "weighted_tau": ("weighted τ", r"weighted $\tau$"),
    "pearson": ("Pearson r", r"Pearson $r$"),
    "spearman": ("Spearman ρ", r"Spearman $\rho$"),
    "pearson_without": ("r without", r"$r$ without"),
    "pearson_after": ("r after rescaling", r"$r$ after rescaling"),
    "partial_tau": ("partial τ_b", r"partial $\tau_b$"),
    "partial_spearman": ("partial ρ", r"partial $\rho$"),
    "partial_given_loss": ("τ_b given training loss", r"$\tau_b$ given training loss"),
    "partial_given_norm": ("τ_b given norm", r"$\tau_b$ given norm"),
    "spearman_given_loss": ("ρ given training loss", r"$\rho$ given training loss"),
    "spearman_given_norm": ("ρ given norm", r"$\rho$ given norm"),
    "configurations": ("configs", "configs"),
    "psi": ("ψ", r"$\psi$"),
    "psi_b": ("ψ_b", r"$\psi_b$"),
    "nan_cells": ("NaN cells", "NaN cells"),
    "nan_cells_b": ("NaN cells (ψ_b)", r"NaN cells ($\psi_b$)"),
    "Psi": ("Ψ", r"$\Psi$"),
    "p_permutation": ("p (permutation)", r"$p$ (perm.)"),
    "q_bh": ("q (BH)", r"$q$ (BH)"),
    "delta_tau_b": ("Δτ_b", r"$\Delta\tau_b$"),
}

DECIMALS: dict[str, int] = {"networks_needed": 0, "se": 3, "p_permutation": 4, "q_bh": 4}


def look(label: str) -> Look:
    """Return how a measure appears; a label that no list knows is shown as it is, without guessing.

    `hessian_trace.fc1` gets its layer and `hessian_trace@layerwise_1` its transform behind the name.
    """
    parsed = Label.parse(label)
    known = MEASURES.get(parsed.name)
    words = known.words if known else parsed.name.replace("_", " ")
    symbol = known.symbol if known else r"\mathrm{" + parsed.name.replace("_", r"\ ") + "}"
    for part, sign in ((parsed.transform, "@"), (parsed.layer, "")):
        if part:
            words += f" {sign}{part}" if sign else f", {part}"
    return Look(label, words, symbol, known.colour if known else GREY, known.marker if known else "o")


def ordered(labels: Iterable[str]) -> list[str]:
    """Sort measures into the order of MEASURES; unknown ones behind, by name; a transform behind its measure."""
    place = {label: i for i, label in enumerate(MEASURES)}

    def rank(label: str) -> tuple[int, str, bool, str]:
        parsed = Label.parse(label)
        is_sweep = given_factor(parsed.transform) is not None  # after those whose factor was drawn
        return (place.get(parsed.name, len(place)), parsed.name, is_sweep, parsed.transform)

    return sorted(labels, key=rank)


def hyperparameter(column: str) -> str:
    """Words for an hp.* column, or for several changed together (hp.batch_size+hp.lr)."""
    parts = column.split("+")
    return " & ".join(HYPERPARAMETERS.get(part, part.removeprefix("hp.").replace("_", " ")) for part in parts)


def target_words(column: str) -> str:
    """Short words for a target column, as in a table's head."""
    return TARGETS.get(column, (column, column))[0]


def target_axis(column: str) -> str:
    """Axis label of a target, with its unit."""
    return TARGETS.get(column, (column, column))[1]


def panel_words(label: str) -> str:
    """A measure's words, broken into lines that fit below a panel of a row of five."""
    return textwrap.fill(look(label).words, 19)


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the project's one style: serif-free 8 pt, thin axes, embedded TrueType fonts, no display needed."""
    settings: dict[Any, Any] = {  # matplotlib names every key in its type
        "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
        "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
        "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.0,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
        "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 200, "figure.dpi": 100,
        "figure.constrained_layout.use": True, "axes.unicode_minus": True, "svg.hashsalt": "study",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield
