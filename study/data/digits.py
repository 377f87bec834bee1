"""scikit-learn's 8x8 digits, which come with the package: real images without a download."""

from __future__ import annotations

from study.data.dataset import Tensors, dataset


@dataset("digits", n_train=300, n_test=1497, n_classes=10, shape=(64,))
def digits(n_train: int) -> Tensors:
    """scikit-learn's 1,797 8x8 digits, scaled to [0, 1]; 300 to train on. RandomState's stream is frozen for good."""
    import numpy as np
    import torch

    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("dataset: 'digits': needs scikit-learn, which carries it: pip install scikit-learn") from error

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    x = torch.from_numpy(images[order] / 16.0).float()
    y = torch.from_numpy(labels[order]).long()
    return Tensors(x[:300][:n_train], y[:300][:n_train], x[300:], y[300:])


@dataset("digits_images", n_train=300, n_test=1497, n_classes=10, shape=(1, 8, 8))
def digits_images(n_train: int) -> Tensors:
    """The same digits as images of one channel, for networks that need some."""
    flat = digits(n_train)
    return Tensors(flat.train_x.view(-1, 1, 8, 8), flat.train_y, flat.test_x.view(-1, 1, 8, 8), flat.test_y)
