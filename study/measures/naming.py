"""How a study's yaml names measures: with options, and many at once by a set.

measures: [relative_flatness, "keskar(zeta=0.0001)", set:jiang2020]
"""

from __future__ import annotations

from study.choice import ConfigError, Value
from study.measures.registry import MEASURES, given_options
from study.names import Label

PREFIX = "set:"
ALL = f"{PREFIX}all"

# In no other set: terms of a bound, which are no predictors, and options that came after the library was published.
_BESIDE = ("bound2021", "petzka2019")
# Each member is a measure, with options or not; `all` and `library` come to these, see `sets`.
_SETS: dict[str, tuple[str, ...]] = {
    "flatness": (
        "relative_flatness", "relative_flatness_normalized", "kappa_2019", "rho_max", "rho_sum", "hessian_trace",
        "lambda_max",
    ),
    "jiang2020": (
        "parameter_count", "inverse_margin", "param_norm", "fro_distance", "log_prod_of_fro",
        "log_prod_of_fro_over_margin", "log_sum_of_fro", "log_sum_of_fro_over_margin", "log_prod_of_spec",
        "log_prod_of_spec_over_margin", "log_sum_of_spec", "log_sum_of_spec_over_margin", "log_spec_orig",
        "log_prod_of_spec_fft", "log_prod_of_spec_over_margin_fft", "log_sum_of_spec_fft",
        "log_sum_of_spec_over_margin_fft", "log_spec_orig_fft", "log_spec_init_fft", "fro_over_spec_fft",
        "dist_spec_init_fft", "log_spec_init", "fro_over_spec", "dist_spec_init", "path_norm", "path_norm_over_margin",
        "pac_bayes_flatness(noise=common)", "pac_bayes_orig", "pac_bayes_init", "pac_bayes_mag_flatness",
        "pac_bayes_mag_orig", "pac_bayes_mag_init", "sharpness_flatness", "sharpness_orig", "sharpness_init",
        "sharpness_mag_flatness", "sharpness_mag_orig", "sharpness_mag_init", "gradient_noise", "steps_to_loss",
        "steps_between_losses",
    ),
    "outputs": (
        "inverse_margin", "margin_normalized", "train_loss", "cross_entropy", "entropy", "confidence", "ece",
        "ece(binning=mass)", "brier", "temperature", "nll_after_temperature",
    ),
    "sharpness": (
        "keskar(zeta=0.0001)", "keskar", *(f"sharpness_max(rho={rho})" for rho in (0.25, 0.5, 1.0, 2.0)),
        *(f"sharpness_max(norm=linf,rho={rho})" for rho in (0.001, 0.002, 0.004, 0.008)), "sharpness_max(c=ones)",
        "sharpness_max(logits=normalized)", *(f"sharpness_mean(rho={rho})" for rho in (0.05, 0.1, 0.2, 0.4)),
        "sharpness_mean(c=ones,rho=0.01)", "sharpness_mean(logits=normalized)",
    ),
    "curvature": (
        "hessian_trace", "lambda_max", "lambda_max_network", "hessian_frobenius", "effective_rank", "soft_rank",
        "soft_rank(c=0.01)", "tic", "noise_over_trace", "gradient_square", "gradient_norm", "gradient_noise",
    ),
    "invariant": (
        "relative_flatness", "relative_flatness_normalized", "kappa_2019", "kappa_max", "rho_max", "rho_sum",
        "weight_curvature", "weight_curvature(form=root)", "weight_curvature(form=global)", "quotient_eigenvalue",
        "tsuzuku",
    ),
    "petzka2019": (
        *(f"kappa_2019{options}" for options in ("", "(form=max)", "(over=max)", "(form=max,over=max)")), "rho_max",
        "rho_max(over=max)", "rho_sum", "rho_sum(over=max)",
    ),
    "bound2021": ("feature_robustness", "feature_robustness(delta=0.01)", "label_constancy"),
    "petzka2021": (
        "relative_flatness", "hessian_trace", "lambda_max", "fisher_rao_norm", "weight_norm_squared",
        "pac_bayes_flatness",
    ),
}  # fmt: skip


def sets() -> dict[str, tuple[str, ...]]:
    """Every set by its name; `all` has each measure with its defaults, `library` all sets' besides, but for _BESIDE."""
    terms = {Label.parse(label).measure for label in _SETS["bound2021"]}
    every = tuple(label for label in MEASURES if label not in terms)
    listed = (canonical(label) for name, labels in _SETS.items() if name not in _BESIDE for label in labels)
    return _SETS | {"all": every, "library": tuple(dict.fromkeys((*every, *listed)))}


def members(text: str) -> tuple[str, ...]:
    """The measures of `set:<name>`, as they are labelled. Raises ConfigError, one line, for an unknown set."""
    name = text.removeprefix(PREFIX)
    if name not in sets():
        raise ConfigError("measures", text, f"unknown set, allowed: {', '.join(PREFIX + known for known in sets())}")
    return tuple(map(canonical, sets()[name]))


def canonical(text: str) -> str:
    """The one way to write a measure with its options: sorted, those that are the default left out.

    Raises ConfigError, one line, for what is no measure of the registry, and for an option that it has not.
    """
    try:
        label = Label.parse(text)
    except ValueError:
        allowed = 'allowed: measure(option=value), between [ and ] in quotes: "keskar(zeta=0.0001)"'
        raise ConfigError("measures", text, allowed) from None
    if label.measure not in MEASURES or label.transform or label.layer:
        many = " ".join(PREFIX + name for name in sets())
        allowed = f"unknown measure, allowed: {', '.join(MEASURES)}, file.py:function, or a set: {many}"
        raise ConfigError("measures", text, allowed)
    known = MEASURES[label.measure].options
    given = given_options(text, label.options, known)
    changed = {name: value for name, value in sorted(given.items()) if value != known[name].default}
    return str(Label(label.measure, ",".join(f"{name}={_written(value)}" for name, value in changed.items())))


def _written(value: Value) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
