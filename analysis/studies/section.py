"""What a file of this folder may hold: checks that name the place, the value and what is allowed, as ValueError."""

from __future__ import annotations

from typing import Any

from study.names import Label


def mapping(place: str, entry: object, known: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, Any]:
    """A mapping of known fields, those needed among them."""
    content: dict[str, Any] = typed(place, entry, dict, ", ".join(known))
    for name in content:
        if name not in known:
            raise ValueError(f"{place}: {name}: allowed are {', '.join(known)}")
    for name in needed:
        if name not in content:
            raise ValueError(f"{place}: {name}: not given: needed are {', '.join(needed)}")
    return content


def labels(place: str, value: object) -> tuple[str, ...]:
    """A list of labels of measures."""
    for label in typed(place, value, list, "a list of measures"):
        try:
            Label.parse(str(label))
        except ValueError as error:
            raise ValueError(f"{place}: {str(error).removeprefix('label: ')}") from None
    return tuple(map(str, value))  # type: ignore[call-overload]


def typed(place: str, value: Any, kind: type, allowed: str) -> Any:
    """The value, which is of a type; `allowed` says so in words."""
    if not isinstance(value, kind):
        raise ValueError(f"{place}: {value!r}: allowed: {allowed}")
    return value
