"""Which folders a command reads: as it is told, else where its study was sent, else $STUDY_RUNS and $STUDY_RESULTS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from study.storage.paths import results_root, runs_folder
from study.storage.sent import recall


@dataclass(frozen=True)
class Folders:
    """The folder of all runs, and the one of all results."""

    runs: Path
    results: Path

    def words(self, study: str) -> str:
        """What a command reads of a study and writes, for its user to see."""
        return f"results {self.results / study}, runs {self.runs}"


def find_folders(study: str, runs: Path | None = None, results: Path | None = None) -> Folders:
    """The folders of a study; `runs` and `results` are what the command line says. Raises ValueError for no folder."""
    sent = recall(study)
    of_runs = runs or (Path(sent.runs) if sent else runs_folder())
    of_results = results or (Path(sent.results) if sent else results_root())
    return Folders(usable("--runs", of_runs), usable("--results", of_results))


def usable(option: str, folder: Path, *, write: bool = False) -> Path:
    """The folder, there or to be made. Raises ValueError where it cannot be, or not be written though it has to."""
    above = folder.absolute()
    while not os.path.lexists(above) and above != above.parent:  # exists() says no of what may not be looked at
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{option}: {folder}: {above} is not a folder, allowed is a folder, there or to be made")
    if write and not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{option}: {folder}: {above} cannot be written, allowed is a folder that can be written")
    return folder
