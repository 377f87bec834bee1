"""Finished runs as offline wandb runs under results/<study>/wandb: no network, nothing to stall on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.tracking.environment import holding
from study.tracking.outbox import Outbox
from study.tracking.server import entity, project
from study.tracking.wandb_run import TrackingError, WandbRun


@dataclass(frozen=True)
class Mirrored:
    """What was done: runs written now, runs already there, and one line for each thing that went wrong."""

    written: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()


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
        with session(outbox):
            for run in todo:
                outbox.put(run.id, write_run(run, outbox), run.digest())
                written += 1
    except Exception as error:
        problem = f"wandb: {len(todo) - written} of {len(todo)} runs not mirrored: {type(error).__name__}: {error}"
        return Mirrored(written, skipped, (problem,))
    return Mirrored(written, skipped)


def write_run(run: WandbRun, outbox: Outbox, first_row: int = 0) -> str:
    """One offline wandb run, with its curve from `first_row` on; the name of its folder."""
    import wandb

    config = {**run.config, **run.origin}
    shown = wandb.init(
        project=project(), entity=entity(), id=run.id, name=run.name, group=config["study"], config=config,
        job_type=f"{config['dataset']}-{config['model']}", dir=outbox.results, mode="offline", reinit="create_new",
        tags=[config["study"], config["dataset"], config["model"]], settings=_lean(),
    )  # fmt: skip
    try:
        # Curves are drawn over the epoch: wandb's own step belongs to the transport.
        for axis in ("epoch", "step"):  # no panels of their own
            shown.define_metric(axis, summary="none", hidden=True)
        shown.define_metric("*", step_metric="epoch", summary="none")
        for step, row in enumerate(run.rows or []):
            if step >= first_row:
                shown.log({name: math.nan if value is None else value for name, value in row.items()}, step=step)
        shown.summary.update(dict(run.summary))
    finally:
        shown.finish()
    return _folder(shown, run, outbox)


def _folder(shown: Any, run: WandbRun, outbox: Outbox) -> str:
    """The name of a run's folder. Raises TrackingError where wandb wrote another run than was meant, or elsewhere."""
    folder = Path(shown.settings.sync_dir)
    data = outbox.folder / folder.name / f"run-{run.id}.wandb"
    if shown.id != run.id or shown.starting_step or not (data.exists() and data.stat().st_size):
        raise TrackingError(f"run {run.id} became {shown.id} from step {shown.starting_step} on, in {folder}")
    return folder.name


def _lean() -> Any:
    """Settings that leave out what the run's own files say better; they make a run five times cheaper to open."""
    import wandb

    return wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, symlink=False, save_code=False,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip


@contextmanager
def session(outbox: Outbox, own_settings: bool = True) -> Iterator[None]:
    """wandb with its files inside the outbox, and its service ended afterwards unless somebody has a run open.

    `own_settings=False` leaves the user's settings file (server, entity) in force.
    """
    outbox.folder.mkdir(parents=True, exist_ok=True)
    names = ("DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", *(["CONFIG_DIR"] if own_settings else []))
    places = {"DIR": str(outbox.results)} | dict.fromkeys(names, str(outbox.folder))
    os.environ.pop("WANDB_SERVICE", None)  # names a process: inherited through sbatch, or ours and ended before
    with holding({**places, "ERROR_REPORTING": "false"}):
        import wandb

        try:
            yield
        finally:
            if wandb.run is None:
                with suppress(Exception):
                    wandb.teardown()
                os.environ.pop("WANDB_SERVICE", None)
