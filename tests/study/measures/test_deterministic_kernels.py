"""No measure asks for an operation that torch refuses on a GPU where deterministic algorithms are wanted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from study.config import config_from_dict, run_key
from study.curvature.losses import loss_factor
from study.data.dataset import load
from study.measures import attempt
from study.measures.naming import sets
from study.measuring import context_at
from study.run import run_shard
from study.storage.paths import RunPaths
from tests.support.blobs import known_blobs
from tests.support.elsewhere import Elsewhere

# Named under "will throw a RuntimeError" by torch.use_deterministic_algorithms, some only in older versions; of floats.
REFUSED = {
    "cumsum", "kthvalue", "median", "histc", "bincount", "put_", "embedding_bag", "nll_loss2d_forward", "max_unpool2d",
    "grid_sampler_2d_backward", "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward",
    "max_pool3d_with_indices_backward", "upsample_bilinear2d_backward", "upsample_nearest2d_backward",
    "reflection_pad2d_backward", "replication_pad2d_backward",
}  # fmt: skip
HIDDEN = {"hidden": [64, 64]}  # the default: these models do not read it
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"dataset": "blobs_8", "hidden": [7]},
    "lenet5": {**HIDDEN, "model": "lenet5", "dataset": "blobs_28"},
    "nin": {**HIDDEN, "model": {"nin": {"depth": 1, "width": 4}}, "dataset": "blobs_28"},
}


class Refusing(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.met: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        of_floats = isinstance(args[0], torch.Tensor) and args[0].is_floating_point() if args else False
        histogram = of_floats and args[0].shape == (loss_factor.Sizes._N_BINS,)  # is on the CPU wherever the network is
        if (name := func.overloadpacket.__name__) in REFUSED and of_floats and not histogram:
            self.met.add(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module", autouse=True)
def data_sets() -> Iterator[None]:
    with known_blobs():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_measure_has_a_deterministic_kernel(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_from_dict({"batch_size": 10, "n_train": 40, "max_epochs": 2, "momentum": 0.9, "lr": 0.05,
                               "stops": ["epoch_2"], **NETWORKS[kind]})  # fmt: skip
    run_shard([config], [], runs_root=tmp_path)
    context = context_at(config, RunPaths(tmp_path, run_key(config)), "epoch_2", load(config.dataset, 40))
    as_on_a_gpu = loss_factor.running_sum
    monkeypatch.setattr(
        loss_factor, "running_sum", lambda x: as_on_a_gpu(x.as_subclass(Elsewhere)).as_subclass(torch.Tensor)
    )
    met = {}
    for label in sets()["library"]:
        with Refusing() as refusing:
            attempt(label, context)
        if refusing.met:
            met[label] = refusing.met
    assert met == {}
