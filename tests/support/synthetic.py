"""Records as study/records.py writes them, made from a formula with a known answer."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

LAYERS = ("fc1", "fc2", "fc3")


def synthetic_records(
    n_seeds: int = 3,
    stops: tuple[str, ...] = ("loss_0.01",),
    transforms: tuple[str, ...] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """27 configurations x seeds x stops; relative flatness follows the gap closely, the Hessian trace less so."""
    r = np.random.default_rng(seed)
    rows = []
    grid = itertools.product((0.01, 0.03, 0.1), (8, 32, 128), (0.5, 1.0, 2.0), range(n_seeds), stops)
    for i, (lr, batch, gain, run_seed, stop) in enumerate(grid):
        gap = 0.3 + 0.1 * np.log2(gain) - 0.05 * np.log10(lr) + 0.03 * np.log2(batch / 8) + 0.03 * r.normal()
        status = "not_converged" if (lr == 0.01 and batch == 128 and gain == 2.0) else "finished"
        row = {
            "key": f"{i // len(stops):012x}", "stop": stop,
            "hp.dataset": "digits", "hp.n_train": 300, "hp.label_noise": 0.0, "hp.model": "mlp",
            "hp.hidden": "64-64-64",
            "hp.init": "default", "hp.init_gain": gain, "hp.optimizer": "sgd", "hp.lr": lr, "hp.momentum": 0.9,
            "hp.weight_decay": 0.0, "hp.batch_size": batch, "hp.loss": "cross_entropy", "hp.max_epochs": 400,
            "hp.checks_per_epoch": 1, "hp.seed": run_seed,
            "train.status": status, "train.converged": status == "finished", "train.epoch": 40 + i % 7,
            "train.step": 400,
            "train.loss": 0.0095 + 0.0004 * r.random(), "train.error": 0.0,
            "test.loss": gap + 0.0097, "test.error": round(0.05 + gap / 8, 3),
            "gap.loss": gap, "gap.error": round(0.05 + gap / 8, 3), "n.train": 300, "n.test": 1497,
            "n.parameters": 9000,
        }  # fmt: skip
        noise = {
            "relative_flatness": 0.15,
            "relative_flatness_normalized": 0.2,
            "kappa_2019": 0.25,
            "hessian_trace": 1.2,
        }
        for label, sigma in noise.items():
            parts = {layer: np.exp(2 * gap + sigma * r.normal()) * (k + 1) for k, layer in enumerate(LAYERS)}
            for name in ("", *(f"@{t}" for t in transforms)):
                factor = 1.0 if label.startswith(("rel", "kap")) or not name else np.exp(3 * r.normal())
                row[f"measure.{label}{name}"] = sum(parts.values()) * factor
                row |= {f"measure.{label}{name}.{layer}": v * factor for layer, v in parts.items()}
        parts = {layer: np.exp(-gap + 0.3 * r.normal()) for layer in LAYERS}
        row["measure.weight_norm_squared"] = sum(parts.values())
        row |= {f"measure.weight_norm_squared.{layer}": v for layer, v in parts.items()}
        row["measure.distance_from_init"] = r.normal() + 5
        row["measure.inverse_margin"] = np.nan if i == 4 else r.random()
        row["measure.train_loss"] = row["train.loss"]
        row |= {"prov.commit": "0" * 40, "prov.torch": "2.13.0", "prov.device": "cpu", "prov.mode": "stacked"}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["key", "stop"], ignore_index=True)


def synthetic_ledger(n_rows: int = 10_000, n_measures: int = 40, n_seeds: int = 5, seed: int = 0) -> pd.DataFrame:
    """A ledger in the field's schema: a grid of n_rows / n_seeds configurations, measures of falling quality."""
    r = np.random.default_rng(seed)
    settings = list(itertools.product((0.001, 0.003, 0.01, 0.03), (32, 64, 128, 256, 512), (2, 4, 8, 16, 32),
                                      (100, 200, 400, 800), ("svhn", "cifar10"), (0.0, 0.1, 0.2)))  # fmt: skip
    n_configurations = min(len(settings), n_rows // n_seeds)
    chosen = [settings[i] for i in sorted(r.permutation(len(settings))[:n_configurations])]
    names = ["hp.lr", "hp.batch_size", "hp.depth", "hp.width", "hp.dataset", "hp.dropout"]
    frame = pd.DataFrame([s for s in chosen for _ in range(n_seeds)], columns=names)
    frame["seed"] = np.tile(np.arange(n_seeds), n_configurations)
    gap = 0.2 + 0.03 * np.log10(frame["hp.lr"]) + 0.02 * np.log2(frame["hp.depth"]) + 0.02 * r.normal(size=len(frame))
    frame["gen.gap"] = gap.round(4)
    frame["is.converged"] = r.random(len(frame)) > 0.03
    columns = {f"complexity.m{k:02d}": gap + 0.01 * (k + 1) * r.normal(size=len(frame)) for k in range(n_measures)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


CONVOLUTIONAL = ("conv1", "conv2", "fc1", "fc2", "fc3")
LENET_STOPS = ("loss_0.1", "loss_0.01", "epoch_10", "epoch_20", "epoch_40", "epoch_60")
TRANSFORMS = ("layerwise_1", "layerwise_2", "layerwise_3", "neuronwise_1")
SWEEP = ("1e-3", "1e-2", "1e-1", "5", "10", "25", "1e3")


def synthetic_lenet(n_seeds: int = 9, stops: tuple[str, ...] = LENET_STOPS, seed: int = 0) -> pd.DataFrame:
    """Records of the LeNet5 study's shape: 4 inits x 4 zipped (batch, lr) pairs x seeds x stops, 5 layers.

    The 2019 and 2021 measures of a layer follow the gap, the trace less; reparameterized networks have the columns of
    their last two layers and the total over all. One network diverges, one does not reach a loss of 0.01.
    """
    r = np.random.default_rng(seed)
    inits, pairs = ("xavier_normal", "kaiming_uniform", "uniform", "normal"), zip(BATCHES, RATES, strict=True)
    rows = []
    for i, (init, (batch, lr), run) in enumerate(itertools.product(inits, list(pairs), range(n_seeds))):
        base = 1.0 + 0.2 * inits.index(init) - 0.15 * np.log10(batch) + 0.1 * r.normal()
        status = "diverged" if i == 7 else "not_converged" if i == 11 else "finished"
        for place, stop in enumerate(stops):
            late = -np.log10(float(stop.removeprefix("loss_"))) if stop.startswith("loss") else place
            loss = 10**-late * (1 + 0.1 * r.random()) if stop.startswith("loss") else float(np.exp(-place - r.normal()))
            gap = base * (0.5 + 0.3 * late) + 0.05 * r.normal()
            row = {
                "key": f"{i:012x}", "stop": stop, "hp.dataset": "cifar10", "hp.n_train": 10000, "hp.model": "lenet5",
                "hp.init": init, "hp.lr": lr, "hp.weight_decay": 0.0, "hp.batch_size": batch, "hp.seed": run,
                "train.status": status,
                "train.converged": status == "finished" or (status == "not_converged" and stop != "loss_0.01"),
                "train.epoch": 10 * place, "train.loss": loss, "train.error": 0.01 * place,
                "test.loss": gap + loss, "test.error": round(0.3 + gap / 9, 4), "gap.loss": gap,
                "gap.error": round(0.29 + gap / 9, 4), "n.train": 10000, "n.test": 10000, "n.parameters": 62006,
            }  # fmt: skip
            row |= _lenet_measures(r, gap, loss)
            row |= {"prov.commit": "0" * 12, "prov.torch": "2.13.0", "prov.device": "cpu", "prov.mode": "stacked"}
            if status == "diverged":
                row |= {c: np.nan for c in row if c.startswith(("measure.", "gap.", "test.", "train.loss"))}
            rows.append(row)
    return pd.DataFrame(rows).sort_values(["key", "stop"], ignore_index=True)


BATCHES, RATES = (4, 32, 64, 512), (0.001, 0.008, 0.02, 0.1)
# Label -> (noise of its logarithm, what a factor a does to fc2's and to fc3's value: its power of a).
_LAYERWISE = {
    "relative_flatness": (0.2, 0), "relative_flatness_normalized": (0.25, 0), "kappa_2019": (0.2, 0),
    "rho_max": (0.3, 0), "rho_sum": (0.3, 0), "hessian_trace": (0.6, 2), "lambda_max": (0.7, 2),
    "weight_norm_squared": (0.3, -2),
}  # fmt: skip
_SCALAR = ("fisher_rao_norm", "pac_bayes_flatness", "distance_from_init", "inverse_margin", "train_loss")


def _lenet_measures(r: np.random.Generator, gap: float, loss: float) -> dict[str, float]:
    row: dict[str, float] = {}
    factors = {t: float(r.integers(5, 26)) for t in TRANSFORMS} | {f"factor_{a}": float(a) for a in SWEEP}
    for label, (sigma, power) in _LAYERWISE.items():
        parts = {k: float(np.exp(gap + sigma * r.normal()) * (j + 1)) for j, k in enumerate(CONVOLUTIONAL)}
        row |= {f"measure.{label}": sum(parts.values())} | {f"measure.{label}.{k}": v for k, v in parts.items()}
        for name, a in factors.items():
            changed = parts | {"fc2": parts["fc2"] * a**power, "fc3": parts["fc3"] * a**-power}
            row[f"measure.{label}@{name}"] = sum(changed.values())
            row |= {f"measure.{label}@{name}.{k}": changed[k] for k in ("fc2", "fc3")}
    for label in _SCALAR:
        value = loss if label == "train_loss" else float(np.exp(0.5 * gap + 0.4 * r.normal()))
        row[f"measure.{label}"] = value
        if label == "pac_bayes_flatness":
            row["measure.pac_bayes_flatness.se"] = 0.05 * value
        if label in ("pac_bayes_flatness", "distance_from_init"):
            row |= {f"measure.{label}@{name}": value * a for name, a in factors.items()}
    return row


def synthetic_mnist(n_seeds: int = 20) -> pd.DataFrame:
    """Records of the MNIST study's shape: 4 zipped pairs x seeds x 5 stops, five layers, nothing reparameterized."""
    stops = ("loss_0.1", "loss_0.07", "epoch_50", "epoch_100", "epoch_200")
    frame = synthetic_lenet(n_seeds, stops, seed=1)
    frame = frame[frame["hp.init"] == "xavier_normal"].assign(**{"hp.dataset": "mnist", "hp.model": "mlp"})
    frame = frame[[c for c in frame.columns if "@" not in c]]
    names = {f"measure.{m}.{old}": f"measure.{m}.fc{k + 1}" for m in _LAYERWISE for k, old in enumerate(CONVOLUTIONAL)}
    return frame.rename(columns=names).reset_index(drop=True)


def synthetic_audit() -> pd.DataFrame:
    """A measure of each kind: of one that is the same, one that ends, one that grows, one that has no value after."""
    rows = []
    for factor in ("1e-3", "1e-2", "1e-1", "1e1", "1e2", "1e3"):
        a = float(factor)
        each = {"same": 2.0, "ends": 2 + a / (1 + a), "grows": 2 * a, "logs": 2 + np.log(a), "lost": np.nan}
        for measure, after in each.items():
            rows.append({"key": "a", "model": "mlp", "images": 9, "measure": measure, "transform": "layer-wise",
                         "factor": factor, "before": 2.0, "after": after})  # fmt: skip
    rows += [{**row, "transform": "permutation", "factor": None, "after": 2.5} for row in rows[:2]]
    rows += [{**rows[0], "measure": "never", "before": np.nan, "after": np.nan}]
    frame = pd.DataFrame(rows)
    change = (frame["after"] - frame["before"]) / frame["before"]
    return frame.assign(relative_change=change, tolerance=1e-6, output_difference=3e-16)
