"""Data sets without files here: small ones in torchvision's own formats, written by the test, are read."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from study.data.dataset import DATASETS, Tensors
from study.data.pixels import decoded, looked_up
from study.data.vision import torchvision

N = {"train": 7, "test": 5}


def images(part: str, *shape: int) -> np.ndarray:
    return np.random.RandomState(len(part)).randint(0, 256, (N[part], *shape)).astype(np.uint8)


def labels(part: str, n_classes: int) -> np.ndarray:
    return (np.arange(N[part]) * 5 % n_classes).astype(np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    """MNIST's format: two zeros, the type (8: bytes), the number of axes, each axis as a big-endian int, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.tobytes())


def write_idx_files(folder: Path, stems: dict[str, str], n_classes: int, columns: bool = False) -> None:
    for part, stem in stems.items():
        x = images(part, 28, 28)
        write_idx(folder / f"{stem}-images-idx3-ubyte", x.transpose(0, 2, 1).copy() if columns else x)
        write_idx(folder / f"{stem}-labels-idx1-ubyte", labels(part, n_classes))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    return tmp_path


def check(name: str, n_classes: int, *shape: int) -> Tensors:
    """The first 6 training images and the whole test set are those written, as bytes, and decode to [-1, 1]."""
    spec, data = DATASETS[name], DATASETS[name].load(6)
    assert (spec.n_classes, spec.shape) == (n_classes, shape)
    for part, x, y, n in (("train", data.train_x, data.train_y, 6), ("test", data.test_x, data.test_y, 5)):
        assert x.dtype == torch.uint8 and x.is_contiguous() and y.dtype == torch.int64
        assert torch.equal(
            x, torch.from_numpy(images(part, *shape[-2:] if shape[0] == 1 else shape)[:n]).view(n, *shape)
        )
        assert torch.equal(y, torch.from_numpy(labels(part, n_classes)[:n]).long())
    return data


def test_kmnist(root: Path) -> None:
    write_idx_files(root / "KMNIST/raw", {"train": "train", "test": "t10k"}, 10)
    check("kmnist", 10, 1, 28, 28)


def test_emnist_is_upright(root: Path) -> None:
    stems = {part: f"emnist-balanced-{part}" for part in ("train", "test")}
    write_idx_files(root / "EMNIST/raw", stems, 47, columns=True)
    check("emnist_balanced", 47, 1, 28, 28)


def test_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = torchvision().datasets.CIFAR100
    monkeypatch.setattr(kind, "train_list", [["train", None]])
    monkeypatch.setattr(kind, "test_list", [["test", None]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    folder = root / "cifar-100-python"
    folder.mkdir()
    for part in N:
        fine = labels(part, 100).tolist()
        content = {"data": images(part, 3, 32, 32).reshape(-1, 3072), "fine_labels": fine}
        (folder / part).write_bytes(pickle.dumps({**content, "coarse_labels": [0] * len(fine)}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"c{i}" for i in range(100)]}))
    check("cifar100", 100, 3, 32, 32)


def test_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = torchvision().datasets.SVHN
    files = {part: [url, name, None] for part, (url, name, _) in kind.split_list.items()}
    monkeypatch.setattr(kind, "split_list", files)
    for part in N:
        y = labels(part, 10)
        y[y == 0] = 10  # so the file has the digit 0
        x = images(part, 3, 32, 32).transpose(2, 3, 1, 0)  # rows, columns, channels, images
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": x, "y": y[:, None]})
    check("svhn", 10, 3, 32, 32)


@pytest.mark.gpu
def test_bytes_have_the_same_bits_on_a_gpu() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(decoded(every.cuda()).cpu(), decoded(every))


def test_bytes_have_the_bits_of_floats() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    expected = ((torch.arange(256, dtype=torch.float32) / 255) - 0.5) / 0.5
    assert torch.equal(decoded(every), expected)
    assert torch.equal(looked_up(every), expected)
    assert torch.equal(decoded(every.flip(0).view(4, 64)), expected.flip(0).view(4, 64))
    assert decoded(expected) is expected
