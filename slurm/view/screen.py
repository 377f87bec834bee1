"""One screen about a study's jobs: totals, why shards have ended badly, then the shards that need attention."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable

from slurm.launch import Place
from slurm.view.overview import Overview
from slurm.view.status import ShardStatus
from study.display import duration

ATTENTION = ("failed", "held", "lost", "stopped", "unknown", "running", "pending", "new", "done")  # what is shown first
MOST_CAUSES = 3  # ours: a screen has room for them


def show(overview: Overview, lines: int = 0) -> None:
    """Print it, in at most `lines` lines (default: the terminal's height)."""
    total = overview.totals()
    lines = lines or shutil.get_terminal_size((120, 40)).lines
    shown = total["shards"]
    states = ", ".join(f"{n} {name}" for name, n in shown.items() if name != "total")
    left = total["seconds_left"]
    print(f"{overview.study}: {total['runs']['trained']} of {total['runs']['total']} runs trained")
    print(f"  shards    {shown['total']}: {states}")
    time_left = "unknown time" if left is None else duration(left)
    speed = f"{total['epochs_per_second']:.1f} epochs/s" if total["epochs_per_second"] else "nothing trains now"
    print(f"  speed     {speed}, {time_left} left")
    print(f"  requeues  {total['requeues']} by the scheduler, {total['resubmissions']} sent again")
    nothing = "; ".join(filter(None, ["nothing sent yet", overview.elsewhere]))
    print(f"  code      {', '.join(total['commits']) or nothing}")
    print(f"  folders   results {overview.results_folder}, runs {overview.runs_folder}")
    causes = _causes(overview)
    print("\n".join(causes), end="\n" * bool(causes))
    order = by_attention(overview.statuses)
    room = max(3, lines - 9 - len(causes))
    print(
        f"  {'shard':<12} {'state':<8} {'job':<14} {'runs':>9} {'epoch':>6} {'ep/s':>7} {'left':>8} {'req':>4}  cause"
    )
    for status in order[:room]:
        print("  " + _row(overview, status))
    if len(order) > room:
        print(f"  ... and {len(order) - room} more; --json has all")
    sys.stdout.flush()


def by_attention(statuses: Iterable[ShardStatus]) -> list[ShardStatus]:
    """The shards that somebody has to look at first."""
    return sorted(statuses, key=lambda s: ATTENTION.index(s.state))


def _causes(overview: Overview) -> list[str]:
    """Why shards have ended badly, each cause once with one of its logs: what is wrong everywhere is one cause."""
    groups: dict[tuple[str, str], list[ShardStatus]] = defaultdict(list)
    for status in overview.statuses:
        if status.log and status.state in ("failed", "lost"):
            groups[status.state, status.last_line or status.cause].append(status)
    lines = []
    for (state, cause), those in sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_CAUSES]:
        lines.append(f"  {state:<9} {len(those)} shard{'s' * (len(those) > 1)}: {cause}")
        lines.append(f"  log       {those[0].log}")
    return lines


def next_step(place: Place, overview: Overview) -> str:
    """The command that is due."""
    states = {s.state for s in overview.statuses}
    if not overview.is_over:
        return f"next      {place.command('watch')}"
    if states == {"done"}:
        return f"next      {place.command('collect')}"
    if states & {"failed", "lost"}:
        return f"next      {place.command('logs')} --failed\nthen      {place.command('retry')}"
    return f"next      {place.command('retry' if states & {'held'} else 'submit')}"


def _row(overview: Overview, s: ShardStatus) -> str:
    m, n, trained = s.marker, len(overview.runs[s.shard]), overview.trained[s.shard]
    live = m is not None and s.state == "running"
    epoch, rate = (f"{m.epoch}", f"{m.epochs_per_second:.1f}") if live and m else ("", "")
    left = duration(m.seconds / m.runs_now * (n - trained)) if live and m and m.runs_now else ""
    cause = s.why or (m.history[-1] if m and m.history and s.state != "done" else "")
    line = (
        f"{s.shard:<12} {s.state:<8} {s.job:<14} {trained:>4}/{n:<4} {epoch:>6} {rate:>7} {left:>8}"
        f" {s.requeues:>4}  {cause}"
    )
    return line[: max(60, shutil.get_terminal_size((160, 40)).columns - 3)] if sys.stdout.isatty() else line
