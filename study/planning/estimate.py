"""What runs and measures cost: the seconds that were recorded of them, of runs here or of published ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from study.config import run_key
from study.grid import Study
from study.hyperparameter import changed_seams, differing, hyperparameters, word
from study.measures import MEASURES
from study.names import Label, few, images_of, pass_label
from study.reference.definition import definition
from study.storage.atomic import read_json
from study.storage.paths import RunPaths, published_file
from study.storage.rows import read_table

MOST_RUNS = 100  # ours; read for an estimate, which more would not change


@dataclass(frozen=True)
class Timings:
    """Mean seconds of a whole run (None: of none), of each measure at one stop by label; whose they are, which runs."""

    run: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    keys: frozenset[str] = frozenset()

    def of_measures(self, labels: Iterable[str]) -> float | None:
        """Seconds to take measures of a trained network at one stop; None where one of them has no timing.

        Work that measures share is recorded under the one that was taken first, and done again for any of the others.
        """
        wanted = set(labels)
        if not wanted <= self.measures.keys():
            return None
        total, shared = 0.0, defaultdict(list)
        for label, seconds in self.measures.items():
            if label in wanted:
                total += seconds
            if kind := _shared(label):
                shared[kind].append((seconds, label in wanted))
        for parts in shared.values():
            taken = [seconds for seconds, is_wanted in parts if is_wanted]
            total += max(seconds for seconds, _ in parts) - max(taken) if taken else 0.0
        return total


def costs_of(
    study: Study,
    lacking: Mapping[str, Sequence[tuple[str, ...]] | None],
    done: Sequence[RunPaths],
    trained: Sequence[RunPaths],
) -> tuple[dict[str, float | None], str]:
    """Seconds of one core by key of a run, None where nothing tells; and by what, or until what they are unknown.

    `lacking`: the measures that a trained run lacks, an entry a stop, or None for a run that is to be trained; `done`
    and `trained` are runs whose files tell. First theirs are asked, then the study's yaml, then what is published.
    """
    if not lacking:
        return {}, ""
    here, published = of_runs(study.measures, done, trained), of_published(study)
    config = Timings(study.seconds_per_run, {}, "the config's seconds_per_run")
    new = [key for key, stops in lacking.items() if stops is None]
    known = next((timings for timings in (here, config, published) if timings.run is not None), Timings())
    taken = {
        labels: _first((timings.of_measures(labels), timings.source) for timings in (here, published))
        for labels in dict.fromkeys(labels for stops in lacking.values() for labels in stops or ())
    }
    costs: dict[str, float | None] = {}
    for key, stops in lacking.items():
        each = [known.run] if stops is None else [taken[labels][0] for labels in stops]
        costs[key] = None if None in each else sum(seconds for seconds in each if seconds is not None)
    if new and known.run is None:
        return costs, "the first run is finished (or seconds_per_run is set)"
    if unknown := {label for labels, (seconds, _) in taken.items() if seconds is None for label in labels}:
        untimed = [label for label in study.measures if label in unknown - here.measures.keys()]
        return costs, f"{few(untimed)} {'is' if len(untimed) == 1 else 'are'} taken of a network: its time is recorded"
    whole = [known.source + _but_for(study, known.keys, new)] if new else []
    others = [source for _, source in taken.values() if not new or source != known.source]
    return costs, " and ".join(dict.fromkeys(whole + others))


def _first(known: Iterable[tuple[float | None, str]]) -> tuple[float | None, str]:
    """The first that is known, and its source."""
    return next((one for one in known if one[0] is not None), (None, ""))


def _but_for(study: Study, timed: frozenset[str], new: Iterable[str]) -> str:
    """What runs to be trained have and none of the timed ones: their cost may be another."""
    seams = changed_seams(study.runs)
    columns = {run_key(config): hyperparameters(config, seams) for config in study.runs}
    there, wanted = ([columns[key] for key in keys if key in columns] for keys in (timed, new))
    unlike = []
    for name in differing(study.runs) if there else []:
        known = {one.get(name) for one in there}
        values = dict.fromkeys(one[name] for one in wanted if name in one and one[name] not in known)
        if values and name != "seed":
            unlike.append(f"{name} {'|'.join(map(word, values))}")
    return f" (of none with {few(unlike)}: these may take longer or less)" if unlike else ""


def of_runs(labels: Collection[str], done: Sequence[RunPaths], trained: Sequence[RunPaths] = ()) -> Timings:
    """What the files of runs say, of MOST_RUNS of each at most: of those that are done, the time of a whole run too.

    Of measures with these labels alone: studies share runs, and what another one took, or took on other images, is no
    cost of this one. Where work is shared with such a measure, and is recorded under it, it is missing here.
    """
    runs, measures = [], defaultdict(list)
    once = pass_label(max(map(images_of, labels), default=0))
    finished, others = _some(done), _some(trained)
    for paths in [*finished, *others]:
        total = float(read_json(paths.outcome).get("seconds", 0.0))
        for stop in paths.stops():
            total += sum(_seconds(file) or 0.0 for file in (stop.evaluation, stop.measure(once)))
            for label in labels:
                if (seconds := _seconds(stop.measure(label))) is not None:
                    measures[label].append(seconds)
                    total += seconds
        runs.append(total)
    found = {label: fmean(seconds) for label, seconds in measures.items()}
    n, kind = (len(finished), "finished") if finished else (len(others), "trained")
    whole = fmean(runs[:n]) if finished else None
    keys = frozenset(paths.key for paths in finished)
    return Timings(whole, found, f"{n} {kind} run{'s' * (n != 1)} here", keys)


def _seconds(file: Path) -> float | None:
    """What a file says of its making; None where it is not there."""
    return float(read_json(file).get("seconds", 0.0)) if file.exists() else None


def _some(runs: Sequence[RunPaths]) -> Sequence[RunPaths]:
    """MOST_RUNS of them at most, from all over the grid: they stand shape by shape."""
    return runs[:: -(-len(runs) // MOST_RUNS) or 1]


def of_published(study: Study) -> Timings:
    """What the published timings of a study say; nothing where there are none.

    They have one time for all measures of a reparameterized network: each of the study's gets an equal part of it.
    """
    by_item: dict[str, list[float]] = defaultdict(list)
    by_run: Counter[str] = Counter()
    for row in read_table(published_file(study.name, "timings")):
        by_item[row["item"]].append(seconds := float(row["seconds"]))
        by_run[row["key"]] += seconds  # type: ignore[assignment]
    if not by_run:
        return Timings()
    labels = [Label.parse(label) for label in study.measures]
    known = [label for label in labels if label.name in by_item]
    sharing = Counter(label.transform for label in known)
    found = {}
    for label in known:
        item = f"reparameterized: {label.transform}" if label.transform else label.name
        if item in by_item:
            found[str(label)] = fmean(by_item[item]) / (sharing[label.transform] if label.transform else 1)
    return Timings(
        fmean(by_run.values()), found, f"{len(by_run)} published run{'s' * (len(by_run) != 1)} on their machine",
        frozenset(by_run),
    )  # fmt: skip


def _shared(label: str) -> tuple[str, str] | None:
    """Which work a measure shares with which others, those of the same weights; None for none."""
    parsed = Label.parse(label)
    cost = definition(MEASURES[parsed.measure])["Cost"] if parsed.measure in MEASURES else ""
    what = "curvature" if "shared curvature" in cost else "outputs" if "shared" in cost else ""
    return (what, parsed.transform) if what else None
