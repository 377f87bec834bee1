"""wandb as a mirror: replays finished runs from their files. Training never touches wandb; nothing is read back.

A run is first written as an offline wandb run under results/<study>/wandb: no network, nothing to stall on. Mode
`online` then uploads those folders. So there is one way to write a run, and an upload that failed leaves offline runs
behind, which `python -m analysis.wandb_upload` picks up later.
"""

from __future__ import annotations

import importlib.util
import math
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from study.config import RunConfig
from study.storage.paths import results_folder
from study.tracking.outbox import Outbox
from study.tracking.upload import UploadReport, recover, upload
from study.tracking.wandb_run import TrackingError, WandbRun, finished_runs

MODES = ("offline", "online", "off")
PROJECT = "relative-flatness-study"
ATTEMPTS = 3  # rounds of an upload, as long as a round sends anything. Ours
FREE_RATE = 50.0  # API requests a minute that W&B allows a free account; 200 on a paid one
MISSING = "wandb is not installed: runs are not mirrored to it; everything else is complete"


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
    Cost on two cores: 1 s to start, then 15 ms a run and 0.25 ms an epoch; next to nothing for a run that is there.
    Mode `online` adds the upload, at `rate` API requests a minute: 6.7 s a run at 50.
    """
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode == "off":
        return Mirrored()
    if importlib.util.find_spec("wandb") is None:
        return Mirrored(problems=(MISSING,))
    problems: list[str] = []
    done = Mirrored()
    try:
        results = results_folder(study_name, results_root)
        finished, problems = finished_runs(runs, measures, runs_root, study_name)
        done = write_offline(finished, results)
        problems += done.problems
        if mode == "online":
            failed = deliver(finished, results, rate=rate).failed
            problems += [f"wandb: not uploaded, kept offline: {line}" for line in failed]
    except TrackingError as error:
        problems.append(str(error))
    except Exception as error:  # a mirror never fails a run
        problems.append(f"wandb: {type(error).__name__}: {' '.join(str(error).split())}")
    return replace(done, problems=tuple(problems))


# --- sending ---------------------------------------------------------------------------------------------------------


def deliver(
    runs: Sequence[WandbRun],
    results: Path,
    *,
    rate: float,
    parallel: int = 4,
    entity: str | None = None,
    project: str = PROJECT,
    progress: Callable[[int, int], None] = lambda sent, total: None,
) -> UploadReport:
    """Upload those of `runs` that are written under `results` and not on the server; each row arrives once.

    wandb's `sync` appends to the curve of a run that the server knows, so what a killed upload (or one from elsewhere)
    has brought there is asked for first, and only the rest is sent. `progress` is told runs sent and runs in all.
    Raises TrackingError where no server answers, wandb.Error where it answers with a refusal.
    """
    report, outbox = UploadReport(), Outbox(results)
    total = len(outbox.waiting({run.id for run in runs}))
    for _ in range(ATTEMPTS if total else 0):
        require_server()
        _leave_out_what_is_there(runs, outbox, entity, project)
        waiting = {mark.id for mark in outbox.waiting({run.id for run in runs})}
        if not waiting:
            break
        before = len(report.sent)
        part = upload(
            results, waiting, rate=rate, parallel=parallel, entity=entity, project=project,
            progress=partial(_shifted, progress, before, total),
        )  # fmt: skip
        report.sent += part.sent
        report.failed, report.n_refused = part.failed, report.n_refused + part.n_refused
        if not part.failed or not part.sent:
            break
    return report


def _shifted(progress: Callable[[int, int], None], before: int, total: int, sent: int) -> None:
    progress(before + sent, total)


def _leave_out_what_is_there(runs: Sequence[WandbRun], outbox: Outbox, entity: str | None, project: str) -> None:
    """Write the waiting runs that the server has rows of again, without those rows."""
    recover(outbox)
    waiting = {mark.id for mark in outbox.waiting({run.id for run in runs})}
    chosen = [run for run in runs if run.id in waiting]
    if not chosen:
        return
    known = _rows_on_server({str(run.config["study"]) for run in chosen}, outbox, entity, project)
    again = [run for run in chosen if known.get(run.id)]
    if again:
        outbox.clear({run.id for run in again})
        with _session(outbox):
            for run in again:
                outbox.put(run.id, _write_run(run, outbox, first_row=known[run.id]), run.digest())


def _rows_on_server(studies: Collection[str], outbox: Outbox, entity: str | None, project: str) -> dict[str, int]:
    """Run id -> rows of its curve that the server holds, for all runs of these studies. One request for 200 runs."""
    with _session(outbox, own_settings=False):
        import wandb

        api = wandb.Api()
        path = f"{entity}/{project}" if entity else project
        try:
            found = api.runs(path, filters={"group": {"$in": sorted(studies)}}, per_page=200, lazy=True)
            return {run.id: int(run.history_line_count or 0) for run in found}
        except ValueError:  # wandb's answer where there is no such project yet
            return {}


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
                outbox.put(run.id, _write_run(run, outbox), run.digest())
                written += 1
    except Exception as error:
        problem = f"wandb: {len(todo) - written} of {len(todo)} runs not mirrored: {type(error).__name__}: {error}"
        return Mirrored(written, skipped, (problem,))
    return Mirrored(written, skipped)


def _write_run(run: WandbRun, outbox: Outbox, first_row: int = 0) -> str:
    """One offline wandb run, with its curve from `first_row` on; the name of its folder."""
    import wandb

    config = dict(run.config)
    shown = wandb.init(
        project=PROJECT, id=run.id, name=config["key"], group=config["study"], config=config, dir=outbox.results,
        job_type=f"{config['dataset']}-{config['model']}", mode="offline", reinit="create_new", settings=_lean(),
    )  # fmt: skip
    try:
        # Curves are drawn over the epoch: wandb's own step belongs to the transport.
        shown.define_metric("epoch", summary="none")
        shown.define_metric("*", step_metric="epoch", summary="none")
        for step, row in enumerate(run.rows or []):
            if step >= first_row:
                shown.log({name: math.nan if value is None else value for name, value in row.items()}, step=step)
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
def _session(outbox: Outbox, own_settings: bool = True) -> Iterator[None]:
    """wandb with its files inside the outbox, and its service ended afterwards unless somebody has a run open.

    `own_settings=False` leaves the user's settings file (server, entity) in force.
    """
    outbox.folder.mkdir(parents=True, exist_ok=True)
    names = ("DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", *(["CONFIG_DIR"] if own_settings else []))
    places = {"DIR": str(outbox.results)} | dict.fromkeys(names, str(outbox.folder))
    os.environ.pop("WANDB_SERVICE", None)  # names a process: inherited through sbatch, or ours and ended before
    stale = dict.fromkeys(("MODE", "RUN_ID", "RESUME", "DISABLED"))  # these would overrule what is asked for here
    with _environment({**places, **stale, "ERROR_REPORTING": "false"}):
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
