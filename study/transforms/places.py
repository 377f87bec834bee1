"""Where the weights of a network may be changed without changing its function: found in its graph, not by its name.

A place is a layer, the norm layer behind it if there is one, and the layers that read it. The modules between them
decide what is exact there, whatever the architecture; what is not is kept with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

# In the words of the measures' docstrings, which say what each is invariant to.
LAYER, NEURON, PERMUTATION, NORM = "layer-wise", "neuron-wise", "permutation", "norm-layer"
AT_PLACES = (LAYER, NEURON, PERMUTATION, NORM)

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)
# f(a x) = a f(x) for a > 0, each channel by itself: ReLU, pooling, and what is nothing in eval mode.
HOMOGENEOUS = (
    nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_ELEMENTWISE = (nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.ELU)  # channels may be exchanged
_OUTPUTS = "its outputs are the network's"


@dataclass(frozen=True)
class Place:
    """Paths of a layer ("" where a norm layer reads something else), of its norm ("": none), of the layers behind.

    `refused` says of a transformation why it is not exact here; the others are.
    """

    layer: str
    norm: str
    readers: tuple[str, ...]
    refused: Mapping[str, str]

    @property
    def name(self) -> str:
        """`conv1-conv2`; several readers are joined by +; with none that may be changed, the layer and its norm."""
        return "-".join(filter(None, (self.layer or self.norm, "+".join(self.readers) or (self.layer and self.norm))))

    @property
    def first(self) -> str:
        """The path of what scales the place's channels last."""
        return self.norm or self.layer


class _Leaves(fx.Tracer):
    """A module without modules in it is a node of the graph, whoever wrote it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not list(m.children())


def find_places(model: nn.Module) -> list[Place]:
    """Every place of a network in its order; a layer that nothing but the outputs reads, and no norm, is none.

    Raises ValueError for a network whose forward asks what its numbers are: it has no graph. Cost: no pass.
    """
    try:
        graph = _Leaves().trace(model)
    except Exception as error:  # whatever a forward raises that is given no numbers
        raise ValueError(f"{type(model).__name__}: its forward cannot be traced: {error}") from error
    modules = dict(model.named_modules())
    shared = _shared(graph, model)
    found, norms = [], set()
    for node in graph.nodes:
        if node.op == "call_module" and node not in norms and isinstance(modules[str(node.target)], LAYERS + NORMS):
            norm = _norm_behind(node, modules)
            norms |= {norm} if norm else set()
            found.append(_place(node, norm, modules, shared))
    return [place for place in found if place.refused != dict.fromkeys(AT_PLACES, _OUTPUTS)]


def _shared(graph: fx.Graph, model: nn.Module) -> set[str]:
    """Paths of modules that are called more than once, or whose parameters another module has, too."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    parameters = list(model.named_parameters(remove_duplicate=False))
    owners = Counter(id(p) for _, p in parameters)
    twice = {name.rpartition(".")[0] for name, p in parameters if owners[id(p)] > 1}
    return twice | {path for path, n in calls.items() if n > 1}


def _norm_behind(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The norm layer that alone reads this layer; None where there is no such, or this is a norm itself."""
    (user, *others) = [*node.users, None]
    alone = user is not None and others == [None] and user.op == "call_module"
    is_norm = alone and user is not None and isinstance(modules[str(user.target)], NORMS)
    return user if is_norm and isinstance(modules[str(node.target)], LAYERS) else None


def _place(node: fx.Node, behind: fx.Node | None, modules: Mapping[str, nn.Module], shared: set[str]) -> Place:
    is_layer = isinstance(modules[str(node.target)], LAYERS)
    layer = str(node.target) if is_layer else ""
    norm = str(behind.target) if behind else "" if is_layer else str(node.target)
    readers, passed, obstacle = _readers(behind or node, modules)
    used = [path for path in (layer, norm, *readers) if path in shared]
    if used:
        return Place(layer, norm, readers, dict.fromkeys(AT_PLACES, f"{used[0]} is used more than once"))
    first = modules[norm or layer]
    bent = [path for path in passed if not isinstance(modules[path], HOMOGENEOUS)]
    scaling = obstacle or (f"{bent[0]} is not positively homogeneous" if bent else "")
    scaling = scaling or ("" if has_scale(first) else f"{norm} has no scale for each channel")
    said = {LAYER: scaling, NEURON: scaling}
    said[PERMUTATION] = obstacle or _no_permutation(modules.get(layer) if layer else None, modules.get(norm))
    said[NORM] = _no_norm(layer, modules.get(norm) if norm else None)
    if obstacle == _OUTPUTS and not norm:
        said[NORM] = _OUTPUTS
    return Place(layer, norm, () if obstacle else readers, {name: why for name, why in said.items() if why})


def _readers(start: fx.Node, modules: Mapping[str, nn.Module]) -> tuple[tuple[str, ...], list[str], str]:
    """The layers that read a node's channels, what lies between, and what is in the way ("": nothing)."""
    readers: list[str] = []
    passed: list[str] = []
    ahead = list(start.users)
    for node in ahead:
        path = str(node.target)
        module = modules[path] if node.op == "call_module" else None
        if isinstance(module, LAYERS):
            if getattr(module, "groups", 1) != 1:
                return (), passed, f"{path} reads it in groups"
            readers.append(path)
        elif isinstance(module, HOMOGENEOUS + _ELEMENTWISE):
            passed.append(path)
            ahead.extend(node.users)
        else:
            kind = f"{path} ({type(module).__name__})" if module else node.name
            return (), passed, _OUTPUTS if node.op == "output" else f"{kind} reads it"
    return tuple(dict.fromkeys(readers)), passed, ""


def has_scale(module: nn.Module) -> bool:
    """A layer's weights, or a norm's scale of one number a channel."""
    weight = getattr(module, "weight", None)
    return weight is not None and (isinstance(module, LAYERS) or weight.ndim == 1)


def _no_permutation(layer: nn.Module | None, norm: nn.Module | None) -> str:
    if layer is None:
        return "no layer before it has these channels alone"
    if getattr(layer, "groups", 1) != 1:
        return "the layer is one of groups"
    if isinstance(norm, nn.GroupNorm) and 1 < norm.num_groups < norm.num_channels:
        return "its norm is one of groups"
    return ""


def _no_norm(layer: str, norm: nn.Module | None) -> str:
    if norm is None or not layer:
        return "no norm layer behind it"
    if not isinstance(norm, _BATCH_NORMS) or norm.running_var is None or norm.weight is None:
        return f"{type(norm).__name__} has no running statistics, or no scale"
    return ""
