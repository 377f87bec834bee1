"""Data sets from a server of this machine: once for four processes, whole or not at all, each failure one line."""

import gzip
import io
import multiprocessing
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.__main__ import main
from study.data import fetch
from study.data.dataset import DATASETS
from study.data.files import files_of
from study.data.vision import torchvision
from tests.support.data_server import Server, idx, md5, mnist_files, mnist_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with mnist_server(monkeypatch) as found:
        yield found


def problem(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_over(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*") if p.name.endswith(".part") or p.suffix in (".gz", ".zip"))


def test_four_processes_download_once(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    fork = multiprocessing.get_context("fork")  # starts in milliseconds, and keeps the server's address
    together, results = fork.Barrier(4), fork.SimpleQueue()

    def load(train: bool) -> None:
        together.wait()
        try:
            results.put(len(fetch.part("MNIST", root, train=train)))
        except Exception as error:
            results.put(repr(error))

    processes = [fork.Process(target=load, args=(i % 2 == 0,)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(results.get() for _ in range(4)) == [4, 4, 6, 6]
    assert sorted(server.asked) == sorted(server.files), "each file once"
    assert left_over(root) == []


def test_a_truncated_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    name = "t10k-images-idx3-ubyte.gz"
    server.keep[name] = 100
    text = problem(lambda: fetch.part("MNIST", tmp_path, train=True))
    assert text.startswith(f"STUDY_DATA: '{tmp_path}': holds no MNIST ({server.url}{name}: 100 of ")
    assert "; allowed: a network to download it, STUDY_DATA=a torchvision root that has MNIST/raw/train-images" in text
    assert not (tmp_path / "MNIST").exists() and left_over(tmp_path) == []
    del server.keep[name]
    assert len(fetch.part("MNIST", tmp_path, train=True)) == 6


def test_without_a_network_one_line_says_what_to_put_where(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "data"))
    config = tmp_path / "s.yaml"
    config.write_text("measures: [train_loss]\nfixed: {dataset: mnist, n_train: 4, batch_size: 2}\n")
    assert main(["fetch", str(config)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: STUDY_DATA: '{tmp_path / 'data'}': holds no MNIST (http://127.0.0.1:1/train-")
    assert "Connection refused" in error
    assert main(["run", str(config), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]) == 2
    assert "holds no MNIST" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists(), "before anything is trained"
    # What the line asks for: the archives, put there by hand.
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for name, content in server.files.items():
        (raw / name).write_bytes(content)
    assert main(["fetch", str(config)]) == 0
    assert capsys.readouterr().out == f"mnist     is in {tmp_path / 'data'}\n"
    assert server.asked == []


def test_a_server_that_says_nothing_is_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.1)
        monkeypatch.setattr(
            torchvision().datasets.MNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/", server.url]
        )
        assert len(fetch.part("MNIST", tmp_path, train=False)) == 4, "the second address has it"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (idx(np.zeros((4, 28, 28), np.uint8))[:-100], "has 3,052 of 3,152 bytes"),
        (b"<html>no such file</html>", "(25 bytes) is no IDX file"),
    ],
)
def test_a_broken_file_is_named_with_its_size(server: Server, tmp_path: Path, content: bytes, said: str) -> None:
    fetch.part("MNIST", tmp_path, train=True)
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(content)
    text = problem(lambda: fetch.part("MNIST", tmp_path, train=False))
    assert text.startswith(f"STUDY_DATA: '{tmp_path}': MNIST/raw/t10k-images-idx3-ubyte {said}; allowed: whole files: ")
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").unlink()  # as it says
    assert len(fetch.part("MNIST", tmp_path, train=False)) == 4


def test_a_folder_that_cannot_be_written_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "holds no MNIST (Not a directory)" in problem(
        lambda: fetch.part("MNIST", tmp_path / "file/data", train=True)
    )


def batch(names: str, n: int) -> bytes:
    return pickle.dumps({"data": np.zeros((n, 3072), np.uint8), names: list(range(n))})


def cifar(kind: Any, monkeypatch: pytest.MonkeyPatch) -> bytes:
    labels = "labels" if kind.__name__ == "CIFAR10" else "fine_labels"
    contents = {name: batch(labels, 2) for name, _ in [*kind.train_list, *kind.test_list]}
    contents[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: ["a", "b"]})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[name, md5(contents[name])] for name, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(contents[kind.meta["filename"]])})
    monkeypatch.setattr(kind, "tgz_md5", md5(buffer.getvalue()))
    return buffer.getvalue()


def emnist(kind: Any, monkeypatch: pytest.MonkeyPatch) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in mnist_files("emnist-balanced-", "train", "test").items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    monkeypatch.setattr(kind, "md5", md5(buffer.getvalue()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("CIFAR10", cifar, {"train": False}),
        ("CIFAR100", cifar, {"train": True}),
        ("EMNIST", emnist, {"split": "balanced", "train": True}),
    ],
)
def test_other_archives_are_unpacked_by_torchvision(
    name: str, make: Callable[[Any, pytest.MonkeyPatch], bytes], options: dict[str, Any], server: Server,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kind = getattr(torchvision().datasets, name)
    address = kind.url.rpartition("/")[2]
    server.files = {address: make(kind, monkeypatch)}
    monkeypatch.setattr(kind, "url", server.url + address)
    assert len(fetch.part(name, tmp_path, **options)) > 0
    assert len(fetch.part(name, tmp_path, **options)) > 0
    assert server.asked == [address] and left_over(tmp_path) == []
    broken = tmp_path / next(iter(files_of(kind, options).parts))
    broken.write_bytes(broken.read_bytes()[:-1])
    said = problem(lambda: fetch.part(name, tmp_path, **options))
    assert f"{broken.relative_to(tmp_path)} " in said and f"{broken.stat().st_size:,}" in said


def test_svhn_is_its_own_archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.arange(1, 6)[:, None]})
    server.files = {"test.mat": (content := buffer.getvalue())}
    listed = {"test": [f"{server.url}test.mat", "test.mat", md5(content)]}
    monkeypatch.setattr(torchvision().datasets.SVHN, "split_list", listed)
    assert len(fetch.part("SVHN", tmp_path, split="test")) == 5


def test_what_is_fetched_is_what_reads_files() -> None:
    assert fetch.fetch(["digits"]) == []
    assert {name for name, known in DATASETS.items() if known.downloaded} >= {"mnist", "fashion_mnist", "cifar10"}
