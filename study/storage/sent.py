"""Where a study was last sent from this checkout: on which cluster, and which folders its runs and results are in.

Remembered outside those folders, which a cluster's yaml or the command line may have moved anywhere.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass

from study.storage.atomic import read_json, write_json
from study.storage.paths import sent_file


@dataclass(frozen=True)
class Sent:
    """The cluster by name or by its yaml's path, and folders, absolute."""

    cluster: str
    runs: str
    results: str


def remember(study: str, sent: Sent) -> None:
    """Keep where a study was sent. Raises OSError."""
    write_json(sent_file(study), asdict(sent))


def recall(study: str) -> Sent | None:
    """Where it was sent last; None where it never was, or the note cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Sent(**read_json(sent_file(study)))
    return None
