"""The only module that knows a file name inside runs/ and results/, or a folder's root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from study.names import images_of


@dataclass(frozen=True)
class StopPaths:
    """Files of one stop of one run."""

    folder: Path

    @property
    def weights(self) -> Path:
        """Weights when the stop was met (or when training ended without meeting it)."""
        return self.folder / "weights.pt"

    @property
    def evaluation(self) -> Path:
        """Losses and errors on the training and test set."""
        return self.folder / "evaluation.json"

    def measure(self, label: str) -> Path:
        """One measure of these weights; one on some of the images has a folder for all that are on as many."""
        return self._measures(label) / f"{label}.json"

    def error(self, label: str) -> Path:
        """Why a measure failed; its value is then an explicit null."""
        return self._measures(label) / f"{label}.error.txt"

    def _measures(self, label: str) -> Path:
        images = images_of(label)
        return self.folder / f"images_{images}" if images else self.folder


@dataclass(frozen=True)
class RunPaths:
    """Files of one run: `root`/<first two digits>/<key>/, so that 100,000 runs stay 256 small folders."""

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return Path(self.root) / self.key[:2] / self.key

    @property
    def config(self) -> Path:
        """The whole resolved RunConfig."""
        return self.folder / "config.json"

    @property
    def init(self) -> Path:
        """Weights before the first step."""
        return self.folder / "init.pt"

    @property
    def population(self) -> Path:
        """Which population holds its state while it trains; gone once that has ended."""
        return self.folder / "population.json"

    @property
    def old_state(self) -> Path:
        """A checkpoint of its own, as written before populations had one file; read, and removed at the next save."""
        return self.folder / "state.pt"

    @property
    def epochs(self) -> Path:
        """One JSON line an epoch."""
        return self.folder / "epochs.jsonl"

    @property
    def outcome(self) -> Path:
        """How training ended: written last, so its presence means that training is done."""
        return self.folder / "outcome.json"

    def stop(self, stop: str) -> StopPaths:
        """Files of one stop."""
        return StopPaths(self.folder / "stops" / stop)

    def stops(self) -> list[StopPaths]:
        """Files of all stops that it has."""
        return [StopPaths(folder) for folder in sorted((self.folder / "stops").glob("*"))]


@dataclass(frozen=True)
class PopulationPaths:
    """Files of the networks that train together: `root`/.populations/<first two digits>/<id>/."""

    root: Path
    id: str

    @property
    def folder(self) -> Path:
        """The population's own folder."""
        return Path(self.root) / ".populations" / self.id[:2] / self.id

    def generation(self, number: int) -> Path:
        """The state of all its networks at one epoch end; a later one has a larger number."""
        return self.folder / f"{number:08d}.pt"

    def generations(self) -> list[int]:
        """The numbers that are there, the latest first."""
        return sorted((int(path.stem) for path in self.folder.glob("*.pt") if path.stem.isdigit()), reverse=True)


CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGS = CHECKOUT / "configs"  # what each study runs
SHOWN = CHECKOUT / "analysis/studies"  # what each study shows
PAPERS = SHOWN / "papers"  # tables of papers that every study is laid beside


def runs_folder() -> Path:
    """Where runs are kept: $STUDY_RUNS, else runs/; an empty variable is none, here and below."""
    return Path(os.environ.get("STUDY_RUNS") or "runs")


def results_root(root: str | Path | None = None) -> Path:
    """Where results of all studies go: `root`, else $STUDY_RESULTS, else results/."""
    return Path(root or os.environ.get("STUDY_RESULTS") or "results")


def data_folder() -> Path:
    """A torchvision root: $STUDY_DATA, else .data/."""
    return Path(os.environ.get("STUDY_DATA") or ".data")


def published_folder() -> Path:
    """The committed records of all studies: $STUDY_RECORDS, else analysis/records/ of this checkout.

    Unlike runs and results it belongs to the code, so the working directory does not matter.
    """
    return Path(os.environ.get("STUDY_RECORDS") or CHECKOUT / "analysis/records")


def results_folder(study: str, root: str | Path | None = None) -> Path:
    """Where a study's records, tables and figures go: <results root>/<study>."""
    return results_root(root) / study


def sent_file(study: str) -> Path:
    """The note of where a study was sent: in $STUDY_RESULTS, else in results/ of this checkout, whatever was asked."""
    return Path(os.environ.get("STUDY_RESULTS") or CHECKOUT / "results") / study / "sent.json"


def records_file(study: str, root: str | Path | None = None) -> Path:
    """The fresh records of a study."""
    return results_folder(study, root) / "records.csv"


def timings_file(study: str, root: str | Path | None = None) -> Path:
    """Wall-clock seconds, kept apart from the records so that those are the same bytes every time."""
    return results_folder(study, root) / "timings.csv"


def curves_file(study: str, root: str | Path | None = None) -> Path:
    """Training loss and error of every epoch of every run."""
    return results_folder(study, root) / "curves.csv"


def slices_file(study: str, root: str | Path | None = None) -> Path:
    """The loss along a direction, for one network before and after reparameterization."""
    return results_folder(study, root) / "slices.csv"


def audit_file(study: str, root: str | Path | None = None) -> Path:
    """Each measure before and after changes of the weights that leave the function, for some networks."""
    return results_folder(study, root) / "audit.csv"


def searches_file(study: str, root: str | Path | None = None) -> Path:
    """Each search with its steps and with twice as many, for some networks."""
    return results_folder(study, root) / "searches.csv"


def repeats_file(study: str, root: str | Path | None = None) -> Path:
    """Each measure as it was taken, and on other images with other noise."""
    return results_folder(study, root) / "repeats.csv"


def published_file(study: str, kind: str = "") -> Path:
    """The reviewed, committed copy of a study's records, or of a file beside them (`timings`, `audit`, ...)."""
    return published_folder() / (f"{study}.{kind}.csv" if kind else f"{study}.csv")


def published_studies() -> list[str]:
    """Names of the studies whose records are committed."""
    return sorted(path.stem for path in published_folder().glob("*.csv") if "." not in path.stem)


def ledger_file(name: str, root: str | Path | None = None) -> Path:
    """The ledger of anybody's networks; its values are kept in `ledger_network`."""
    return results_folder(name, root) / "ledger.csv"


def ledger_network(name: str, key: str, root: str | Path | None = None) -> StopPaths:
    """Files of one network of a ledger, as of one stop of a run; the weights stay where their owner has them."""
    return StopPaths(results_folder(name, root) / "networks" / key)
