"""Offline runs to the server, each row once: what a killed upload has brought there is asked for first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from study.tracking.offline import session, write_run
from study.tracking.outbox import Outbox
from study.tracking.server import entity as own_entity
from study.tracking.server import project as own_project
from study.tracking.server import require_server
from study.tracking.upload import UploadReport, recover, upload
from study.tracking.wandb_run import WandbRun

ATTEMPTS = 3  # rounds of an upload, as long as a round sends anything. Ours


def deliver(
    runs: Sequence[WandbRun],
    results: Path,
    *,
    rate: float,
    parallel: int = 4,
    entity: str | None = None,
    project: str | None = None,
    progress: Callable[[int, int], None] = lambda sent, total: None,
) -> UploadReport:
    """Upload those of `runs` that are written under `results` and not on the server; each row arrives once.

    wandb's `sync` appends to the curve of a run that the server knows, so what a killed upload (or one from elsewhere)
    has brought there is asked for first, and only the rest is sent. `progress` is told runs sent and runs in all.
    Without an entity or a project those of the user's environment hold.
    Raises TrackingError where no server answers, wandb.Error where it answers with a refusal.
    """
    entity, project = entity or own_entity(), project or own_project()
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
        with session(outbox):
            for run in again:
                outbox.put(run.id, write_run(run, outbox, first_row=known[run.id]), run.digest())


def _rows_on_server(studies: Collection[str], outbox: Outbox, entity: str | None, project: str) -> dict[str, int]:
    """Run id -> rows of its curve that the server holds, for all runs of these studies. One request for 200 runs."""
    with session(outbox, own_settings=False):
        import wandb

        api = wandb.Api()
        path = f"{entity}/{project}" if entity else project
        try:
            found = api.runs(path, filters={"group": {"$in": sorted(studies)}}, per_page=200, lazy=True)
            return {run.id: int(run.history_line_count or 0) for run in found}
        except ValueError:  # wandb's answer where there is no such project yet
            return {}
