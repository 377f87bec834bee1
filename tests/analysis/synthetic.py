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
