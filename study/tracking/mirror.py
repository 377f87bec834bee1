"""wandb as a mirror: replays finished runs from their files. Training never touches wandb; nothing is read back.

A run is first written as an offline wandb run under results/<study>/wandb: no network, nothing to stall on. Mode
`online` then uploads those folders. So there is one way to write a run, and an upload that failed leaves offline runs
behind, which `python -m analysis.wandb_upload` picks up later.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.config import RunConfig
from study.hyperparameter import changed_seams, differing
from study.storage.paths import results_folder
from study.tracking.delivery import deliver
from study.tracking.offline import Mirrored, write_offline
from study.tracking.server import MODES
from study.tracking.wandb_run import TrackingError, finished_runs

FREE_RATE = 50.0  # API requests a minute that W&B allows a free account; 200 on a paid one
MISSING = "wandb is not installed: runs are not mirrored to it; everything else is complete"


def mirror(
    runs: Sequence[RunConfig],
    measures: Sequence[str],
    runs_root: str | Path,
    study_name: str,
    mode: str = "offline",
    results_root: str | Path | None = None,
    rate: float = FREE_RATE,
    seams: Collection[str] = (),
    varies: Collection[str] = (),
    origin: Mapping[str, Any] = MappingProxyType({}),
) -> Mirrored:
    """Show every finished run in wandb, once; a run that has new measures since is updated under the same id.

    A seam that some of these runs change is shown of each, and what varies between them makes their names; `seams` and
    `varies` are those of the study where `runs` are a part. `origin` is what is known of the job, for wandb's config.
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
        changed, own = changed_seams(runs).union(seams), varies or differing(runs)
        finished, problems = finished_runs(runs, measures, runs_root, study_name, changed, own, origin)
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
