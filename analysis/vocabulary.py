"""What a reader sees in place of a name: words of measures, gaps, hyperparameters and columns, and the measures' order.

How they are drawn is another matter: drawing/style.py. What no list here knows is shown as it is, without guessing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Real

from analysis.columns import LEDGER
from study.names import Label
from study.transforms.rescaling import given_factor

# Measure -> (words, family), in the order of every table. A family shares a colour.
MEASURES: dict[str, tuple[str, str]] = {
    "relative_flatness": ("relative flatness", "relative flatness"),
    "relative_flatness_normalized": ("relative flatness, normalized", "relative flatness"),
    "feature_robustness": ("feature robustness", "relative flatness"),
    "kappa_2019": ("kappa 2019", "flatness of 2019"),
    "rho_max": ("neuron-wise flatness, max", "flatness of 2019"),
    "rho_sum": ("neuron-wise flatness, sum", "flatness of 2019"),
    "hessian_trace": ("Hessian trace", "Hessian"),
    "lambda_max": ("largest Hessian eigenvalue", "Hessian"),
    "kappa_max": ("kappa max of neurons", "flatness of 2019"),
    "weight_curvature": ("weight-curvature index", "flatness of 2019"),
    "quotient_eigenvalue": ("layer-quotient eigenvalue", "flatness of 2019"),
    "tsuzuku": ("normalized flatness of Tsuzuku et al.", "flatness of 2019"),
    "lambda_max_network": ("largest eigenvalue, all weights", "Hessian"),
    "hessian_frobenius": ("Frobenius norm of the Hessian", "Hessian"),
    "effective_rank": ("effective rank", "Hessian"),
    "soft_rank": ("soft rank", "Hessian"),
    "tic": ("Takeuchi's criterion", "Hessian"),
    "noise_over_trace": ("gradient noise over Hessian trace", "Hessian"),
    "gradient_square": ("mean squared gradient", "Hessian"),
    "gradient_norm": ("gradient norm", "Hessian"),
    "gradient_noise": ("gradient noise", "Hessian"),
    "fisher_rao_norm": ("Fisher-Rao norm", "perturbation"),
    "pac_bayes_flatness": ("PAC-Bayes flatness", "perturbation"),
    "pac_bayes_orig": ("PAC-Bayes bound, origin", "perturbation"),
    "pac_bayes_init": ("PAC-Bayes bound, init", "perturbation"),
    "pac_bayes_mag_flatness": ("PAC-Bayes flatness, relative", "perturbation"),
    "pac_bayes_mag_orig": ("relative PAC-Bayes bound, origin", "perturbation"),
    "pac_bayes_mag_init": ("relative PAC-Bayes bound, init", "perturbation"),
    "keskar": ("sharpness of Keskar et al.", "perturbation"),
    "sharpness_max": ("adaptive sharpness, worst case", "perturbation"),
    "sharpness_mean": ("adaptive sharpness, average", "perturbation"),
    "sharpness_flatness": ("worst-case flatness", "perturbation"),
    "sharpness_orig": ("worst-case bound, origin", "perturbation"),
    "sharpness_init": ("worst-case bound, init", "perturbation"),
    "sharpness_mag_flatness": ("worst-case flatness, relative", "perturbation"),
    "sharpness_mag_orig": ("relative worst-case bound, origin", "perturbation"),
    "sharpness_mag_init": ("relative worst-case bound, init", "perturbation"),
    "weight_norm_squared": ("squared weight norm", "norm"),
    "distance_from_init": ("distance from init", "norm"),
    "parameter_count": ("number of weights", "norm"),
    "l2": ("norm of all weights", "norm"),
    "l2_distance": ("distance of weights from init", "norm"),
    "param_norm": ("sum of Frobenius norms", "norm"),
    "fro_distance": ("sum of Frobenius distances from init", "norm"),
    "log_prod_of_fro": ("product of Frobenius norms", "norm"),
    "log_prod_of_fro_over_margin": ("product of Frobenius norms over margin", "norm"),
    "log_sum_of_fro": ("geometric mean of Frobenius norms", "norm"),
    "log_sum_of_fro_over_margin": ("geometric mean of Frobenius norms over margin", "norm"),
    "log_prod_of_spec": ("product of spectral norms", "norm"),
    "log_prod_of_spec_over_margin": ("product of spectral norms over margin", "norm"),
    "log_sum_of_spec": ("geometric mean of spectral norms", "norm"),
    "log_sum_of_spec_over_margin": ("geometric mean of spectral norms over margin", "norm"),
    "fro_over_spec": ("sum of stable ranks", "norm"),
    "log_spec_orig": ("spectral bound, origin", "norm"),
    "log_spec_init": ("spectral bound, init", "norm"),
    "dist_spec_init": ("sum of spectral distances from init", "norm"),
    "path_norm": ("path norm", "norm"),
    "path_norm_over_margin": ("path norm over margin", "norm"),
    "inverse_margin": ("inverse margin", "output"),
    "margin_normalized": ("inverse margin of inputs", "output"),
    "train_loss": ("training loss", "output"),
    "cross_entropy": ("cross-entropy", "output"),
    "entropy": ("minus entropy", "output"),
    "confidence": ("confidence", "output"),
    "ece": ("calibration error", "output"),
    "brier": ("Brier score", "output"),
    "temperature": ("best temperature", "output"),
    "label_constancy": ("test labels that differ nearby (no predictor)", "output"),
    "nll_after_temperature": ("cross-entropy at best temperature", "output"),
}

# A norm of a convolution as the operator on images is called as that of its kernel, and stands behind all measures.
MEASURES |= {
    f"{name}_fft": (f"{MEASURES[name][0]}, operators", "norm")
    for name in ("log_prod_of_spec", "log_prod_of_spec_over_margin", "log_sum_of_spec", "log_sum_of_spec_over_margin",
                 "fro_over_spec", "log_spec_orig", "log_spec_init", "dist_spec_init")
}  # fmt: skip
MEASURES |= {
    "steps_to_loss": ("steps to a loss", "history"),
    "steps_between_losses": ("steps between losses", "history"),
}

# Target -> (short words, an axis with its unit).
TARGETS: dict[str, tuple[str, str]] = {
    "gap.loss": ("loss gap", "generalization gap (loss, nats)"),
    "gap.error": ("error gap", "generalization gap (error)"),
    "gap.shift.mean.loss": ("loss gap, shifted", "gap to shifted test sets, mean (loss, nats)"),
    "gap.shift.mean.error": ("error gap, shifted", "gap to shifted test sets, mean (error)"),
    "test.loss": ("test loss", "test loss (nats)"),
    "test.error": ("test error", "test error"),
    "gen.gap": ("gap", "generalization gap"),
}

HYPERPARAMETERS: dict[str, str] = {
    "hp.lr": "learning rate",
    "hp.n_train": "training samples",
    "hp.hidden": "hidden widths",
    "hp.dataset": "data set",
}

# Column of a table -> (text, LaTeX). Columns `x.low` and `x.high` are printed as an interval behind x.
COLUMNS: dict[str, tuple[str, str]] = {
    "tau_b": ("Kendall τ_b", r"Kendall $\tau_b$"),
    "tau_b_after": ("τ_b after rescaling", r"$\tau_b$ after rescaling"),
    "tau_a": ("Kendall τ_a", r"Kendall $\tau_a$"),
    "weighted_tau": ("weighted τ", r"weighted $\tau$"),
    "pearson": ("Pearson r", r"Pearson $r$"),
    "spearman": ("Spearman ρ", r"Spearman $\rho$"),
    "tau_b_levels": ("τ_b, new levels", r"$\tau_b$, new levels"),
    "tau_b_holds_0": ("τ_b: 0 inside", r"$\tau_b$: 0 inside"),
    "pearson_levels": ("r, new levels", r"$r$, new levels"),
    "pearson_holds_0": ("r: 0 inside", r"$r$: 0 inside"),
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
    "psi_all": ("Ψ", r"$\Psi$"),
    "psi_shared": ("Ψ, shared axes", r"$\Psi$, shared axes"),
    "sign_error_mean": ("sign error, mean", "sign error, mean"),
    "sign_error_p90": ("sign error, 90th percentile", "sign error, 90th percentile"),
    "psi_b": ("ψ_b", r"$\psi_b$"),
    "psi_means": ("ψ of means", r"$\psi$ of means"),
    "K_means": ("K of means", r"$K$ of means"),
    "unweighted_means": ("unweighted, of means", "unweighted, of means"),
    "nan_cells": ("NaN cells", "NaN cells"),
    "nan_cells_b": ("NaN cells (ψ_b)", r"NaN cells ($\psi_b$)"),
    "p_permutation": ("p (permutation)", r"$p$ (perm.)"),
    "p_least": ("least p", r"least $p$"),
    "q_bh": ("q (BH)", r"$q$ (BH)"),
    "q_bh_after": ("q after (BH)", r"$q$ after (BH)"),
    "tau_b_q": ("q of τ_b", r"$q$ of $\tau_b$"),
    "pearson_q": ("q of r", r"$q$ of $r$"),
    "r_less_trace": ("Δr", r"$\Delta r$"),
    "tau_b_less_trace": ("Δτ_b", r"$\Delta\tau_b$"),
    "r_less_trace_after": ("Δr after rescaling", r"$\Delta r$ after rescaling"),
    "nearest_tau_b": ("τ_b with it", r"$\tau_b$ with it"),
    "r2_linear": ("R² linear", r"$R^2$ linear"),
    "r2_monotone": ("R² monotone", r"$R^2$ monotone"),
    "r2_loss": ("R² of training loss", r"$R^2$ of training loss"),
    "added_to_loss": ("added to loss", "added to loss"),
    "r2_norm": ("R² of norm", r"$R^2$ of norm"),
    "added_to_norm": ("added to norm", "added to norm"),
    "than": ("less", "less"),
    "order": ("τ_b of the order", r"$\tau_b$ of the order"),
    "there_stop": ("stop there", "stop there"),
    "there_n": ("n there", r"$n$ there"),
    "there_tau_b": ("τ_b there", r"$\tau_b$ there"),
    "first_there": ("first, there", "first, there"),
    "change": ("change, median", "change, median"),
    "repeat_tau_b": ("τ_b of both", r"$\tau_b$ of both"),
    "again_tau_b": ("τ_b, again", r"$\tau_b$, again"),
    "between_seeds": ("τ_b, seed with seed", r"$\tau_b$, seed with seed"),
    "with_gap": ("τ_b with the gap", r"$\tau_b$ with the gap"),
    "gap_between_seeds": ("the gap's, seed with seed", "the gap's, seed with seed"),
    "gap_by_others": ("the gap's, by other seeds", "the gap's, by other seeds"),
    "tau_b_than": ("τ_b, plain gap", r"$\tau_b$, plain gap"),
    "delta_tau_b": ("Δτ_b", r"$\Delta\tau_b$"),
}


def measure_words(label: str) -> str:
    """A measure with its options, transform and layer: "Hessian trace @layerwise_1, fc1"."""
    parsed = Label.parse(label)
    name = parsed.measure.removesuffix("_last_layer")  # a ledger's column of the last layer alone
    last = ", last layer" if name != parsed.measure else ""
    words = MEASURES[name][0] if name in MEASURES else name.replace("_", " ")
    options = f" ({parsed.options})" if parsed.options else ""
    transform = f" @{parsed.transform}" if parsed.transform else ""
    return words + options + transform + (f", {parsed.layer}" if parsed.layer else "") + last


def family(label: str) -> str:
    """The family that a measure belongs to; empty for an unknown one."""
    return MEASURES.get(Label.parse(label).measure, ("", ""))[1]


def ordered(labels: Iterable[str]) -> list[str]:
    """Sort measures into the order of MEASURES; unknown ones behind, by name; a transform behind its measure."""
    place = {label: i for i, label in enumerate(MEASURES)}

    def rank(label: str) -> tuple[int, str, bool, str]:
        parsed = Label.parse(label)
        is_sweep = given_factor(parsed.transform) is not None  # after those whose factor was drawn
        return (place.get(parsed.measure, len(place)), parsed.name, is_sweep, parsed.transform)

    return sorted(labels, key=rank)


def hyperparameter_words(column: str) -> str:
    """Words for an hp.* column, or for several changed together (hp.batch_size+hp.lr)."""
    parts = column.split("+")
    return " & ".join(HYPERPARAMETERS.get(part, re.sub("[._]", " ", part.removeprefix("hp."))) for part in parts)


def level_words(value: object) -> str:
    """A level of a hyperparameter: a number short and with a minus sign, an empty cell as `none`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return "none" if value != value else f"{float(value):.6g}".replace("-", "−")


def at_words(stop: str) -> str:
    """ " at loss_0.1"; nothing of a ledger, which has no stop."""
    return "" if stop == LEDGER else f" at {stop}"


def target_words(column: str) -> str:
    """Short words for a target column, as in a table's head."""
    return TARGETS.get(column, (_shift_words(column), ""))[0]


def target_axis(column: str) -> str:
    """Axis label of a target, with its unit."""
    return TARGETS.get(column, ("", _shift_words(column)))[1]


def _shift_words(column: str) -> str:
    """ "error gap, blur 3" of gap.shift.blur_3.error; any other column as it is."""
    match = re.fullmatch(r"gap\.shift\.(\w+)\.(loss|error)", column)
    return f"{match[2]} gap, {match[1].replace('_', ' ')}" if match else column


def column_words(column: str, latex: bool = False) -> str:
    """The head of a table's column; not escaped where no list knows it."""
    return COLUMNS.get(column, (column.replace("_", " "),) * 2)[1 if latex else 0]
