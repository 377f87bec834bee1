"""torchvision's data sets, downloaded once: under a lock, checked, and renamed into place when they are whole."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.data.dataset import DATASETS
from study.data.files import Archive, Files, files_of, md5_of
from study.storage import lease

TIMEOUT_SECONDS = 30.0  # without a byte from the server; ours
_AGENT = "pytorch/vision"  # as torchvision: some servers refuse Python's own
_ARCHIVES = (".gz", ".zip")  # not kept: what is in them is


def part(name: str, root: Path, **options: Any) -> Any:
    """torchvision's data set `name` with these options; its files are downloaded if they are not under `root`.

    Many processes may call it at once, on many machines: one downloads, the others wait. Raises ValueError, one line:
    a file that is not whole, with its size; or no data and no way to get it, with how to put it there.
    """
    from study.data.vision import torchvision

    kind = getattr(torchvision().datasets, name)
    files = files_of(kind, options)
    try:
        return kind(root=root, download=False, **options)
    except MemoryError:
        raise
    except Exception as error:  # not there, or one of many ways to fail on half a file
        reason = _words(error)
    if files.here(root):
        raise ValueError(f"STUDY_DATA: {str(root)!r}: {name} cannot be read ({reason}); allowed: torchvision's files")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lease.acquire(
            root, [f"fetch-{name}"], f"{socket.gethostname()}/{os.getpid()}", on_wait=_Wait(name)
        ) as held:
            if not files.here(root):
                _fetch(kind, files, root, options, held)
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # the last from torchvision and the lease
        raise ValueError(_absent(files, root, _words(error))) from None
    return kind(root=root, download=False, **options)


def fetch(datasets: Iterable[str]) -> list[str]:
    """Have the files of these data sets here, whole, before anything is trained; the names of those that have files.

    Raises ValueError as `part`. Cost: each is read once.
    """
    names = [name for name in dict.fromkeys(datasets) if DATASETS[name].downloaded]
    for name in names:
        try:
            DATASETS[name].load(1)
        except ModuleNotFoundError as error:
            needs = f"needs {error.name}, allowed: the packages of requirements.txt"
            raise ValueError(f"dataset: {name!r}: {needs}") from None
    return names


def _fetch(kind: Any, files: Files, root: Path, options: dict[str, Any], held: lease.Lease) -> None:
    """Download into a folder beside, let torchvision unpack and read it there, then rename file by file."""
    for left in root.glob(f".{files.name}.*.part"):  # of a process that was killed; the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{files.name}.", suffix=".part", dir=root))
    begin = time.monotonic()
    print(f"fetch     {files.name} into {root}, once", file=sys.stderr, flush=True)
    try:
        for archive in files.archives:
            target = made / archive.path
            target.parent.mkdir(parents=True, exist_ok=True)
            own = root / archive.path
            if own.exists() and md5_of(own) == archive.md5:  # put there by hand, on a machine without a network
                shutil.copyfile(own, target)
            else:
                _download(archive, target)
        kind(root=made, download=True, **options)
        held.check()
        for path in sorted(p for p in made.rglob("*") if p.is_file() and p.suffix not in _ARCHIVES):
            _place(path, root / path.relative_to(made))
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"fetch     {files.name} is there, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def _place(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(target)


def _download(archive: Archive, target: Path) -> None:
    """From the first address that has it. Raises OSError with what went wrong at each."""
    problems = []
    for url in archive.urls:
        try:
            n, of = _copy(url, target)
        except (OSError, http.client.HTTPException) as error:
            problems.append(f"{url}: {_words(error)}")
            continue
        if md5_of(target) == archive.md5:
            return
        problems.append(f"{url}: {n:,} of {of or n:,} bytes came, with another checksum than torchvision's")
    raise OSError("; ".join(problems))


def _copy(url: str, target: Path) -> tuple[int, int]:
    """Write what an address gives to a file. Bytes that came, and bytes that the server announced (0: none)."""
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:
        n, of, said = 0, int(answer.headers.get("Content-Length") or 0), time.monotonic()
        while piece := answer.read(1 << 16):
            n += file.write(piece)
            if time.monotonic() - said > (0.5 if sys.stderr.isatty() else 10):
                said = time.monotonic()
                _say(f"fetch     {target.name}: {n / 1e6:.1f}" + f" of {of / 1e6:.1f}" * bool(of) + " MB")
        if sys.stderr.isatty():
            _say("")
        return n, of


def _say(text: str) -> None:
    """One line of progress; on a terminal each in the place of the one before."""
    print(f"\r{text:<70}\r" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr,
          flush=True)  # fmt: skip


class _Wait:
    """Says once who downloads."""

    def __init__(self, name: str) -> None:
        self.name, self.said = name, False

    def __call__(self, owner: str) -> None:
        if not self.said:
            print(f"fetch     {self.name} is being downloaded by {owner}: waiting", file=sys.stderr, flush=True)
            self.said = True


def _absent(files: Files, root: Path, reason: str) -> str:
    lacking = [path for path in files.parts if not (root / path).exists()] or list(files.parts)
    there = f"a torchvision root that has {lacking[0]}" + f" and {len(lacking) - 1} more files" * (len(lacking) > 1)
    archives = ", ".join(archive.path for archive in files.archives)
    return (
        f"STUDY_DATA: {str(root)!r}: holds no {files.name} ({reason}); allowed: a network to download it, "
        f"STUDY_DATA={there}, or in it the archives {archives}"
    )


def _words(error: BaseException) -> str:
    """What an error says, in one line."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(f"{reason}".split())[:400] or type(error).__name__
