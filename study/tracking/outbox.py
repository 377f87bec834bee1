"""What has been written for wandb, and what of it is on the server: one small file a run under results/<study>/wandb.

The offline runs themselves are wandb's folders beside it. A mark is written after its run, and `sent` after its upload
is proven, so a kill at any instant leaves at most an offline folder that no mark names, which the next writer removes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from study.storage.atomic import read_json, write_json


@dataclass(frozen=True)
class Mark:
    """One run: its wandb id, the name of its offline folder, hashes of what is shown, and whether the server has it."""

    id: str
    folder: str
    digest: Mapping[str, str]
    sent: bool


class Outbox:
    """The marks and offline runs of one study; `results` is results/<study>."""

    def __init__(self, results: Path) -> None:
        self.results = Path(results).resolve()
        self.folder = self.results / "wandb"  # wandb puts its runs in a folder of this name, whatever it is told

    def mark(self, id: str) -> Mark | None:
        """What is known of a run; None if it was never written."""
        file = self._file(id)
        return Mark(**read_json(file)) if file.exists() else None

    def is_current(self, id: str, digest: Mapping[str, str]) -> bool:
        """Whether this very content, or one that is the same as far as `digest` goes, has been written already."""
        mark = self.mark(id)
        if mark is None or any(mark.digest.get(part) != value for part, value in digest.items()):
            return False
        return mark.sent or self.data(mark).exists()

    def is_sent(self, id: str, digest: Mapping[str, str]) -> bool:
        """Whether this very content is on the server."""
        mark = self.mark(id)
        return mark is not None and mark.sent and self.is_current(id, digest)

    def put(self, id: str, folder: str, digest: Mapping[str, str]) -> None:
        """Note that a run has been written, and is to be sent."""
        write_json(self._file(id), asdict(Mark(id, folder, dict(digest), sent=False)))

    def note_sent(self, id: str) -> None:
        """Note that the server has all that is written of a run."""
        mark = self.mark(id)
        if mark is not None:
            write_json(self._file(id), asdict(replace(mark, sent=True)))

    def waiting(self, ids: Collection[str] | None = None) -> list[Mark]:
        """Runs (of these ids, or all) that are written and not on the server, sorted by id."""
        marks = [Mark(**read_json(file)) for file in sorted((self.folder / "mirrored").glob("*.json"))]
        wanted = [mark for mark in marks if ids is None or mark.id in ids]
        return [mark for mark in wanted if not mark.sent and self.data(mark).exists()]

    def data(self, mark: Mark) -> Path:
        """wandb's transaction log of a run: the whole run in one file."""
        return self.folder / mark.folder / f"run-{mark.id}.wandb"

    def clear(self, ids: Collection[str]) -> None:
        """Remove the offline folders of these runs, those that a killed writer left included."""
        for path in self.folder.glob("offline-run-*"):
            match = re.fullmatch(r"offline-run-\d+_\d+-(.+)", path.name)
            if match and match[1] in ids:
                shutil.rmtree(path)

    def _file(self, id: str) -> Path:
        return self.folder / "mirrored" / f"{id}.json"
