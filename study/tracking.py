"""wandb as a mirror: replays finished runs from their files. Training never touches wandb; nothing is read back.

A run is first written as an offline wandb run under results/<study>/wandb: no network, nothing to stall on. Mode
`online` then uploads those folders. So there is one way to write a run, and an upload that failed leaves offline runs
behind, which `python -m analysis.wandb_upload` picks up later.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import RunConfig, run_key, stop_target
from study.outbox import Outbox
from study.paths import RunPaths, results_folder
from study.upload import upload

MODES = ("offline", "online", "off")
PROJECT = "relative-flatness-study"
FREE_RATE = 50.0  # API requests a minute that W&B allows a free account; 200 on a paid one
MISSING = "wandb is not installed: runs are not mirrored to it; everything else is complete"

Row = Mapping[str, str]  # of the records: one run and stop, cells as text


class TrackingError(ValueError):
    """wandb cannot be used in the way that was asked for."""


@dataclass(frozen=True)
class WandbRun:
    """One run as wandb shall show it: `rows` one an epoch (None: not known here); all values numbers, text or None."""

    id: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] | None
    summary: Mapping[str, Any]

    def digest(self) -> dict[str, str]:
        """Hashes of the curve and of the rest: whether what was written is still what the files say."""
        parts: dict[str, Any] = {"rest": [self.config, self.summary]}
        if self.rows is not None:
            parts["rows"] = self.rows
        return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


@dataclass(frozen=True)
class Mirrored:
    """What was done: runs written now, runs already there, and one line for each thing that went wrong."""

    written: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()


def check(mode: str) -> None:
    """Refuse a mode that cannot work, before anything is trained. Raises TrackingError; contacts no server."""
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode != "online":
        return
    if importlib.util.find_spec("wandb") is None:
        raise TrackingError("wandb: online: wandb is not installed; allowed without it: offline, off")
    import wandb
    from wandb.sdk.lib import wbauth  # what wandb.login() does first; login itself goes on to contact the server

    try:
        known = wbauth.authenticate_session(host=_url(), source="study", prompt=False, update_session=False)
    except wandb.Error as error:
        raise TrackingError(f"wandb: online: {error}") from error
    if known is None:
        raise TrackingError("wandb: online: no API key; run `wandb login` or set WANDB_API_KEY, or use offline")


def require_server() -> None:
    """Ask the server for any answer at all, since wandb would try for hours. Raises TrackingError without one."""
    url = _url()
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it is there, whatever it thinks of the question
    except OSError as error:
        raise TrackingError(f"wandb: {url} cannot be reached ({error}); runs are kept offline for later") from error


def _url() -> str:
    """The server of the user's environment and settings file."""
    from wandb.sdk import wandb_setup  # wandb.setup() gives the same, and starts a service for it

    return str(wandb_setup.singleton().settings.base_url)


def mirror(
    runs: Sequence[RunConfig],
    measures: Sequence[str],
    runs_root: str | Path,
    study_name: str,
    mode: str = "offline",
    results_root: str | Path | None = None,
    rate: float = FREE_RATE,
) -> Mirrored:
    """Show every finished run in wandb, once; a run that has new measures since is updated under the same id.

    Raises TrackingError for a mode that is not allowed and nothing else: every other problem is a line in the report.
    Cost on two cores: 1.5 s to start, 40 ms a run of 200 epochs; 2 ms a run that is already there. Mode `online` adds
    the upload, at `rate` API requests a minute: 6 s a run at 50.
    """
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode == "off":
        return Mirrored()
    if importlib.util.find_spec("wandb") is None:
        return Mirrored(problems=(MISSING,))
    try:
        results = results_folder(study_name, results_root)
        finished, problems = _finished(runs, measures, runs_root, study_name)
        done = write_offline(finished, results)
        problems += done.problems
        if mode == "online":
            require_server()
            report = upload(results, {run.id for run in finished}, rate=rate)
            problems += [f"wandb: not uploaded, kept offline: {line}" for line in report.failed]
        return Mirrored(done.written, done.skipped, tuple(problems))
    except Exception as error:  # a mirror never fails a run
        text = str(error) if isinstance(error, TrackingError) else f"wandb: {type(error).__name__}: {error}"
        return Mirrored(problems=(text,))


def _finished(
    runs: Sequence[RunConfig], measures: Sequence[str], runs_root: str | Path, study: str
) -> tuple[list[WandbRun], list[str]]:
    """The runs that are done, and a line for each whose files cannot be read."""
    from study.records import run_rows

    finished, problems = [], []
    for config in runs:
        try:
            if rows := run_rows(config, runs_root, measures):
                finished.append(wandb_run(study, rows, read_epochs(RunPaths(Path(runs_root), run_key(config)))))
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"wandb: run {run_key(config)} not mirrored: {type(error).__name__}: {error}")
    return finished, problems


# --- what wandb shall show -------------------------------------------------------------------------------------------


def wandb_run(study: str, stops: Sequence[Row], epochs: Sequence[Mapping[str, Any]] | None) -> WandbRun:
    """A run from its records, one row a stop, and its epochs.

    Hyperparameters and provenance become the config, all else that has a value the summary: the last stop's columns
    under their own names, an earlier stop's prefixed, e.g. `at__loss_0__1__gap__loss`; `column_name` leads back.
    """
    stops = sorted(stops, key=lambda row: _stop_order(row["stop"]))
    last = stops[-1]
    fields = {name.removeprefix("hp."): value for name, value in last.items() if name.startswith(("hp.", "prov."))}
    # All seeds of one configuration share `configuration`: group by it in the web app to average over seeds.
    shared = sorted((name, value) for name, value in last.items() if name.startswith("hp.") and name != "hp.seed")
    identity = {
        "study": study, "key": last["key"], "stop": last["stop"], "stops": " ".join(row["stop"] for row in stops),
        "configuration": hashlib.sha256(json.dumps(shared).encode()).hexdigest()[:12],
    }  # fmt: skip
    results = {
        name if row is last else f"at.{row['stop']}.{name}": text
        for row in stops
        for name, text in row.items()
        if text != "" and name not in ("key", "stop") and not name.startswith(("hp.", "prov."))
    }
    return WandbRun(
        id=f"{study}-{last['key']}",
        config=identity
        | {wandb_name(n): text if n.startswith("prov.") else _value(text) for n, text in fields.items()},
        rows=None if epochs is None else [{wandb_name(name): v for name, v in row.items()} for row in epochs],
        summary={wandb_name(name): _value(text) for name, text in results.items()},
    )


def _stop_order(stop: str) -> tuple[str, float]:
    kind, value = stop_target(stop)
    return kind, -value if kind == "loss" else value


def read_epochs(paths: RunPaths) -> list[dict[str, Any]] | None:
    """The run's curve, one dict an epoch; None where its file is not here. Raises ValueError where it is broken."""
    if not paths.epochs.exists():
        return None
    return [json.loads(line) for line in paths.epochs.read_text().splitlines()]


def wandb_name(column: str) -> str:
    """A record's column as a name that the web app can sort and filter by; `column_name` is its inverse.

    >>> wandb_name("measure.relative_flatness@layerwise_1.fc1")
    'measure__relative_flatness_AT_layerwise_1__fc1'
    """
    name = column.replace(".", "__").replace("@", "_AT_").replace("-", "_MINUS_")
    if not re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name):
        raise TrackingError(f"wandb: {column}: allowed in a name: letters, digits and . @ - _")
    return name


def column_name(name: str) -> str:
    """The record's column that `wandb_name` turned into this name."""
    return name.replace("_MINUS_", "-").replace("_AT_", "@").replace("__", ".")


def _value(text: str) -> float | bool | str:
    """A cell of the records as a value: wandb can plot a number, not its text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


# --- writing ---------------------------------------------------------------------------------------------------------


def write_offline(runs: Sequence[WandbRun], results: Path) -> Mirrored:
    """Write the runs that results/<study>/wandb does not hold yet, or holds differently, as offline wandb runs.

    Ends at wandb's first failure: the next run would meet it too, and each may take a minute to fail.
    """
    outbox = Outbox(results)
    todo = [run for run in runs if not outbox.is_current(run.id, run.digest())]
    skipped = len(runs) - len(todo)
    if not todo:
        return Mirrored(skipped=skipped)
    written = 0
    try:
        outbox.clear({run.id for run in todo})
        with _session(outbox):
            for run in todo:
                # A curve that the server has is not sent twice: only what else is new about the run follows it.
                rows = None if outbox.has_curve(run.id, run.digest()) else run.rows
                outbox.put(run.id, _write_run(run, rows or [], outbox), run.digest())
                written += 1
    except Exception as error:
        problem = f"wandb: {len(todo) - written} of {len(todo)} runs not mirrored: {type(error).__name__}: {error}"
        return Mirrored(written, skipped, (problem,))
    return Mirrored(written, skipped)


def _write_run(run: WandbRun, rows: Sequence[Mapping[str, Any]], outbox: Outbox) -> str:
    """One offline wandb run from first to last; the name of its folder."""
    import wandb

    config = dict(run.config)
    shown = wandb.init(
        project=PROJECT, id=run.id, name=config["key"], group=config["study"], config=config, dir=outbox.results,
        job_type=f"{config['dataset']}-{config['model']}", mode="offline", reinit="create_new", settings=_lean(),
    )  # fmt: skip
    try:
        # wandb's own step is shifted when a run is uploaded, so curves are drawn over the epoch.
        shown.define_metric("epoch", summary="none")
        shown.define_metric("*", step_metric="epoch", summary="none")
        for row in rows:
            shown.log({name: math.nan if value is None else value for name, value in row.items()})
        shown.summary.update(dict(run.summary))
    finally:
        shown.finish()
    return Path(shown.settings.sync_dir).name


def _lean() -> Any:
    """Settings that leave out what the run's own files say better; they make a run five times cheaper to open."""
    import wandb

    return wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, symlink=False, save_code=False,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip


@contextmanager
def _session(outbox: Outbox) -> Iterator[None]:
    """wandb with all its files inside the outbox, and its service ended afterwards unless somebody has a run open."""
    outbox.folder.mkdir(parents=True, exist_ok=True)
    places = dict.fromkeys(("DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", "CONFIG_DIR"), str(outbox.folder))
    os.environ.pop("WANDB_SERVICE", None)  # names a process: inherited through sbatch, or ours and ended before
    stale = dict.fromkeys(("MODE", "RUN_ID", "RESUME", "DISABLED"))  # these would overrule what is asked for here
    with _environment({"DIR": str(outbox.results), **places, **stale}):
        import wandb

        try:
            yield
        finally:
            if wandb.run is None:
                with suppress(Exception):
                    wandb.teardown()
                os.environ.pop("WANDB_SERVICE", None)


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """The environment with some WANDB_* variables set, or unset where None; afterwards as before."""
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    for name, value in changes.items():
        os.environ.pop(f"WANDB_{name}", None)
        if value is not None:
            os.environ[f"WANDB_{name}"] = value
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(f"WANDB_{name}", None)
        os.environ |= before
