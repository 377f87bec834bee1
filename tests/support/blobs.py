"""Small images around a centre a class, drawn here: for tests on machines that have neither scikit-learn nor files."""

import contextlib
from collections.abc import Iterator

import torch

from study.data.dataset import DATASETS, Dataset, Tensors

N_TRAIN, N_TEST, N_CLASSES = 300, 100, 10


def blobs(side: int) -> Dataset:
    """Images of one channel and this side."""

    def load(n_train: int) -> Tensors:
        generator = torch.Generator().manual_seed(side)
        centres = torch.randn(N_CLASSES, 1, side, side, generator=generator)
        y = torch.arange(N_TRAIN + N_TEST) % N_CLASSES
        x = centres[y] + 2 * torch.randn(len(y), 1, side, side, generator=generator)
        return Tensors(x[:N_TRAIN][:n_train], y[:N_TRAIN][:n_train], x[N_TRAIN:], y[N_TRAIN:])

    return Dataset(N_TRAIN, N_TEST, N_CLASSES, (1, side, side), load)


@contextlib.contextmanager
def known_blobs() -> Iterator[None]:
    """The data sets `blobs_8` and `blobs_28`, inside the block only."""
    sides = (8, 28)
    for side in sides:
        DATASETS.add(f"blobs_{side}", blobs(side))
    try:
        yield
    finally:
        for side in sides:
            DATASETS.remove(f"blobs_{side}")
