"""The grammar of labels and stops, and how a column is called in wandb. Nobody else cuts a label; no torch here.

label    measure[(option=value,...)][@transform][.layer]     sharpness_max(rho=0.05)@layerwise_1.fc3
stop     loss_<number> | error_<number> | epoch_<integer>    loss_0.01, error_0, epoch_20
column   measure.<label>                                     measure.relative_flatness.fc3
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

COLUMN = "measure."
SHIFTED = "gap.shift."
MEAN_SHIFT = f"{SHIFTED}mean."  # over all shifts and severities
_SHIFT = "shift"
STANDARD_ERROR = "se"  # `measure.<label>.se` stands where a layer's name would; no layer may be called so
STOP_ALLOWED = (
    "allowed: loss_<number > 0>, error_<0 <= number < 1> or epoch_<integer > 0>, e.g. loss_0.01, error_0, epoch_20"
)
_LABEL = re.compile(r"(?P<measure>[^@.()]*)(?:\((?P<options>[^()]*)\))?(?:@(?P<transform>[^@.]*))?(?:\.(?P<layer>.*))?")
_STOP = re.compile(r"(loss|error)_(\d+(?:\.\d+)?(?:e-?\d+)?)|(epoch)_(\d+)")
# In a wandb name: characters that the web app cannot sort or filter by, and what stands for them there.
_ESCAPES = {"@": "_AT_", "-": "_MINUS_", "(": "_OF_", ")": "_END_", "=": "_IS_", ",": "_AND_", ".": "__"}


@dataclass(frozen=True)
class Label:
    """What a value is of: measure, its options as text, transform of the network, layer; "" stands for none."""

    measure: str
    options: str = ""
    transform: str = ""
    layer: str = ""

    @classmethod
    def parse(cls, text: str) -> Label:
        """A label's parts; dots inside parentheses are options'. Raises ValueError where it is none.

        >>> Label.parse("sharpness_max(rho=0.05)@layerwise_1.conv.1")
        Label(measure='sharpness_max', options='rho=0.05', transform='layerwise_1', layer='conv.1')
        """
        match = _LABEL.fullmatch(text)
        if not match or not match["measure"] or "" in (match["transform"], match["layer"]):
            raise ValueError(f"label: {text!r}: allowed: measure(option=value)@transform.layer, the measure at least")
        return cls(**{part: value or "" for part, value in match.groupdict().items()})

    def __str__(self) -> str:
        transform = f"@{self.transform}" if self.transform else ""
        return self.name + transform + (f".{self.layer}" if self.layer else "")

    @property
    def name(self) -> str:
        """The measure with its options: what a study's yaml lists and the registry knows."""
        return f"{self.measure}({self.options})" if self.options else self.measure

    @property
    def column(self) -> str:
        """The records' column."""
        return COLUMN + str(self)

    def at(self, *, transform: str | None = None, layer: str | None = None) -> Label:
        """The same measure of another transform, or layer ("" is the whole network as trained)."""
        changes = {"transform": transform, "layer": layer}
        return replace(self, **{part: value for part, value in changes.items() if value is not None})


class OnFirst(str):
    """The label of a measure that is taken on the first `images` training images; everywhere else like any other."""

    images: int

    @classmethod
    def of(cls, label: str, images: int) -> OnFirst:
        """The same label, of what is taken on so many images."""
        made = cls(label)
        made.images = images
        return made


def images_of(label: str) -> int:
    """On how many training images a measure is taken, 0 for all that the network was trained on."""
    return getattr(label, "images", 0)


def pass_label(images: int) -> str:
    """Under what a stop keeps the seconds of one pass over the images that it is measured on, 0: over all.

    It stands beside the measures and is none: no function can be called so.
    """
    return OnFirst.of("pass", images)


def shift_label(name: str) -> str:
    """Under what a run keeps its gaps on a shifted test set: `shift(of=blur)`, beside its measures and none of them."""
    return str(Label(_SHIFT, f"of={name}"))


def shift_of(label: str) -> str:
    """The shift of a label of `shift_label`; "" of a measure's."""
    known = Label.parse(label)
    return known.options.removeprefix("of=") if known.measure == _SHIFT else ""


def shift_column(shift: str, severity: object, what: str) -> str:
    """The records' column of a gap, "loss" or "error", on the test set under a shift at one severity."""
    return f"{SHIFTED}{shift}_{severity}.{what}"


@functools.cache
def label_of(column: str) -> Label | None:
    """The label of a `measure.` column, None of any other column."""
    return Label.parse(column.removeprefix(COLUMN)) if column.startswith(COLUMN) else None


@dataclass(frozen=True)
class Stop:
    """Where a network is measured: when its training loss is first seen below a value, or at the end of an epoch.

    An error is one of the first epoch's end at which the training error is at most its value. `kind` is "loss", "error"
    or "epoch"; "" for what is none of them, such as the one stop of a ledger, whose value is 0.
    """

    text: str
    kind: str
    value: float

    @classmethod
    def read(cls, text: str) -> Stop:
        """A stop of a records file: any text, of kind "" where it is no stop that training knows."""
        match = _STOP.fullmatch(text)
        return cls(text, match[1] or match[3], float(match[2] or match[4])) if match else cls(text, "", 0.0)

    @classmethod
    def parse(cls, text: str) -> Stop:
        """A stop of a study. Raises ValueError for anything but `STOP_ALLOWED`."""
        stop = cls.read(text)
        if not stop.is_known:
            raise ValueError(f"stops: {text!r}: {STOP_ALLOWED}")
        return stop

    @property
    def canonical(self) -> str:
        """The one way to write it: loss_0.10 and loss_1e-1 are loss_0.1, and epoch_03 is epoch_3."""
        if self.kind == "epoch":
            return f"epoch_{int(self.value)}"
        value = repr(self.value).removesuffix(".0").replace("e+", "e")
        return f"{self.kind}_{value}" if self.kind else self.text

    @property
    def is_known(self) -> bool:
        """Whether training can meet it."""
        return 0 <= self.value < 1 if self.kind == "error" else 0 < self.value < math.inf

    @property
    def rank(self) -> float:
        """Grows along a training: losses and errors from high to low, epochs from early to late."""
        return -self.value if self.kind in ("loss", "error") else self.value

    @property
    def words(self) -> str:
        """For people: "training loss 0.1", "end of epoch 60"; the text itself of any other stop."""
        value = self.text.partition("_")[2]
        words = {"loss": f"training loss {value}", "error": f"training error {value}", "epoch": f"end of epoch {value}"}
        return words.get(self.kind, self.text)


def wandb_name(column: str) -> str:
    """A record's column as a name that the web app can sort and filter by; `column_name` is its inverse.

    Raises ValueError for a column with other characters than letters, digits and . _ @ - ( ) = and the comma.

    >>> wandb_name("measure.relative_flatness@layerwise_1.fc1")
    'measure__relative_flatness_AT_layerwise_1__fc1'
    """
    name = column
    for sign, word in _ESCAPES.items():
        name = name.replace(sign, word)
    if not re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name):
        raise ValueError(f"wandb: {column}: allowed in a name: letters, digits and . _ {' '.join(_ESCAPES)}")
    return name


def column_name(name: str) -> str:
    """The record's column that `wandb_name` turned into this name."""
    for sign, word in _ESCAPES.items():
        name = name.replace(word, sign)
    return name


def few(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
