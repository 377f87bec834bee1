"""What a job is to do, by value: it is pickled, and read again wherever the job starts."""

from __future__ import annotations

from dataclasses import dataclass

from study.config import RunConfig


@dataclass
class Assignment:
    """One shard of a study, where its files are, and on what it trains."""

    study: str
    shard: str
    runs: tuple[RunConfig, ...]
    measures: tuple[str, ...]
    runs_root: str
    results_root: str
    device: str
    wandb: str = "off"
    save_seconds: float = 3600.0  # how long a signal leaves it to end its epoch and save
    seams: tuple[str, ...] = ()  # those that the study changes, in whatever shard; what wandb shows of each run
    varies: tuple[str, ...] = ()  # hyperparameters in which the study's runs differ; what wandb names each run by
    live_rate: float = 0.0  # requests a minute with which wandb shows its runs while they train; 0: it does not
    test_curve: bool = False  # whether each epoch's row has the test loss and error
    asked: str = ""  # the digest of the study as it was when this was sent
