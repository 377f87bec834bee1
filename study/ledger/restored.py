"""The data that a ledger's networks are measured on, and each network as its checkpoint has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from study.choice import ConfigError, kind_of
from study.ledger.code import OwnFunction, own_function
from study.ledger.file import LedgerFile
from study.ledger.networks import Network
from study.storage.atomic import read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.data.dataset import Tensors

_WRAPPED = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the weights
_FILES = 2
_FORM = "allowed: train_x, train_y, test_x, test_y: float tensors (n, ...), and classes (n,) of integers"


class InitialMissing(LookupError):
    """A measure asked for a network's initial weights, and nobody said where they are."""


class _NoInitial(Mapping[str, Any]):
    """In place of initial weights; it is no ValueError, which would be recorded as a missing value."""

    def __getitem__(self, name: str) -> NoReturn:
        raise InitialMissing(name)

    __iter__ = __len__ = __getitem__  # type: ignore[assignment]


NO_INITIAL: Mapping[str, Any] = _NoInitial()


@dataclass(frozen=True)
class Restorer:
    """The data of a ledger, decoded, and what makes its networks; `data_hash` is of the tensors themselves."""

    file: LedgerFile
    data: Tensors
    data_hash: str
    build: OwnFunction

    @classmethod
    def of(cls, file: LedgerFile) -> Restorer:
        """Load the data and the person's code. Raises ConfigError, one line, where either is not as it has to be."""
        import torch

        build = own_function("build", file.build, file.path.parent)
        data = _data(file)
        digest = hashlib.sha256()
        for name, tensor in sorted((data.inputs() | data.labels()).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return cls(file, data, digest.hexdigest()[:12], build)

    def key(self, network: Network) -> str:
        """12 hex digits of all that can change a value: weights, hyperparameters, the code that builds, data, loss.

        And of the form of the files: since _FILES layers stand in the order of the network.
        """
        weights = [_digest(path) for path in (network.checkpoint, network.initial) if path]
        said = [_FILES, weights, dict(network.values), self.build.text, self.build.code, self.data_hash, self.file.loss]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def model(self, network: Network, device: str = "cpu") -> nn.Module:
        """A network with its weights, in eval mode. Raises ConfigError where the checkpoint does not fit, or the
        outputs do not."""
        import torch
        from torch import nn

        model = self.build(dict(network.values))
        if not isinstance(model, nn.Module):
            raise ConfigError("build", self.build.text, f"gives {kind_of(model)}, allowed: a torch.nn.Module")
        weights = _weights(network.checkpoint, "networks", network.name)
        _check_fit(model.state_dict(), weights, "networks", network.name)
        model.load_state_dict(weights)
        model = model.to(device).eval()
        with torch.no_grad():
            try:
                out = model(self.data.train_x[:2].to(device))
            except (RuntimeError, ValueError, TypeError) as error:
                said = " ".join(str(error).split())[:200]
                raise ConfigError("data", self.file.data, f"{network.name} cannot take it ({said}), {_FORM}") from None
        self._check_outputs(out, network)
        return model

    def initial(self, network: Network, device: str = "cpu") -> Mapping[str, Tensor]:
        """The weights before training, or `NO_INITIAL`."""
        if network.initial is None:
            return NO_INITIAL
        return {k: v.to(device) for k, v in _weights(network.initial, "initial", str(network.initial)).items()}

    def check_initial(self, network: Network, model: nn.Module) -> None:
        """Raises ConfigError where the weights before training cannot be read, or are not those of its `model`.

        Its parameters have to be there; statistics of norm layers need not.
        """
        if network.initial is None:
            return
        given, parameters = self.initial(network), dict(model.named_parameters())
        others = model.state_dict().keys() - parameters.keys()
        kept = {name: value for name, value in given.items() if name not in others}
        _check_fit(parameters, kept, "initial", str(network.initial))

    def _check_outputs(self, out: Any, network: Network) -> None:
        from study.loss import n_outputs

        n_classes = int(max(y.max() for y in self.data.labels().values())) + 1
        n, least = min(2, len(self.data.train_x)), n_outputs(self.file.loss, n_classes)
        is_one = n_outputs(self.file.loss, 2) == 1
        if is_one and n_classes > 2:
            said = f"has labels up to {n_classes - 1}, allowed with loss {self.file.loss}: classes 0 and 1"
            raise ConfigError("data", self.file.data, said)
        shape = tuple(out.shape) if hasattr(out, "shape") else type(out).__name__
        fits = isinstance(shape, tuple) and len(shape) == 2 and shape[0] == n
        if not fits or not (shape[1] == 1 if is_one else int(shape[1]) >= least):
            allowed = f"({n}, {least}{'' if is_one else ' or more'}) for {n_classes} classes and loss {self.file.loss}"
            said = f"{network.name} gives {shape} of {n} inputs, allowed: {allowed}"
            raise ConfigError("build", self.build.text, said)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def _data(file: LedgerFile) -> Tensors:
    if ".py:" not in file.data:
        from study.data.dataset import known, load
        from study.data.fetch import fetch

        fetch([file.data])
        if file.n_train > (most := known(file.data).n_train):
            raise ConfigError("n_train", file.n_train, f"{file.data} has {most} training inputs")
        return load(file.data, file.n_train)
    import torch

    from study.data.dataset import Tensors

    given = own_function("data", file.data, file.path.parent)()
    if not isinstance(given, tuple | list) or len(given) != 4:
        raise ConfigError("data", file.data, f"gives {kind_of(given)}, {_FORM}")
    try:
        parts = [torch.as_tensor(part).detach() for part in given]
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError("data", file.data, f"gives something that is no tensor, {_FORM}") from None
    for (x, y), name in zip(zip(parts[::2], parts[1::2], strict=True), ("train", "test"), strict=True):
        fits = x.is_floating_point() and not y.is_floating_point() and x.ndim >= 2 and y.shape == x.shape[:1]
        if not fits or not len(x) or y.min() < 0:
            said = f"gives {name}_x {x.dtype} {tuple(x.shape)} and {name}_y {y.dtype} {tuple(y.shape)}"
            raise ConfigError("data", file.data, f"{said}, {_FORM}")
    train_x, train_y, test_x, test_y = parts
    if train_x.shape[1:] != test_x.shape[1:]:
        said = f"gives train_x {tuple(train_x.shape)} and test_x {tuple(test_x.shape)}"
        raise ConfigError("data", file.data, f"{said}, allowed: inputs of one shape")
    if file.n_train > len(train_x):
        raise ConfigError("n_train", file.n_train, f"{file.data} gives {len(train_x)} training inputs")
    n = file.n_train or len(train_x)
    return Tensors(train_x[:n], train_y[:n].long(), test_x, test_y.long())


def _weights(path: Path, field: str, name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, read without running code that is in it."""
    import torch

    allowed = f"allowed: a state dict, alone or under {', '.join(_WRAPPED)}, which torch reads with weights_only"
    try:
        found = read_tensors(path)
    except OSError as error:
        raise ConfigError(field, name, f"cannot be read ({error.strerror}), {allowed}") from None
    except ValueError as error:
        said = str(error).removeprefix(f"{path}: ").split("; allowed")[0]
        raise ConfigError(field, name, f"{said}, {allowed}") from None
    inner = [found[key] for key in _WRAPPED if isinstance(found, dict) and isinstance(found.get(key), dict)]
    weights = inner[0] if inner else found
    if not isinstance(weights, dict) or not all(isinstance(v, torch.Tensor) for v in weights.values()) or not weights:
        raise ConfigError(field, name, f"holds no state dict, {allowed}")
    return dict(weights)


def _check_fit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], field: str, name: str) -> None:
    problems = [f"lacks {name}" for name in own if name not in weights]
    problems += [f"has {name}, which the network has not" for name in weights if name not in own]
    problems += [
        f"has {name} of shape {tuple(weights[name].shape)}, the network {tuple(own[name].shape)}"
        for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        allowed = "allowed: the weights of what build gives for its hyperparameters"
        raise ConfigError(field, name, f"{problems[0]}{more}, {allowed}")
