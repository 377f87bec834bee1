"""Leases on a shared file system: two processes never write one run at a time, wherever they run.

A holder is one process, a folder `<root>/.leases/holders/<id>` with a counter that it raises every few seconds. A claim
is a symbolic link `<root>/.leases/claims/<xx>/<key>/<token>` to its holder; the highest token counts and is never
removed, and making a link that exists fails everywhere, on NFS too. Whoever wants a claimed key waits until its holder
has left, and takes it over with the next token when the holder is dead: its process is gone from this very machine, or
its counter has stood still for `expiry_seconds` of the observer's own monotonic clock, which begin anew when the
observer was itself held up, as by a file server that hangs. No two machines' clocks are compared, and no file is
locked.

A holder that is given up is fenced: its `token` file is overwritten, which it reads before each write (`check`), so
that a process that comes back from a lost node stops before it writes.

What is left open: a holder that freezes between `check` and the end of that one write for longer than the expiry. Runs
are deterministic, so its late write holds what its successor computes too, or an earlier checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

BEAT_SECONDS = 5.0  # ours: a small write in place; 500 jobs make 100 a second
EXPIRY_SECONDS = 60.0  # ours: twelve beats, more than a file server's hiccup


class LeaseLost(RuntimeError):
    """This process may not write any more: somebody else has taken over."""


class Lease:
    """What `acquire` returns. Call `check` before each write, `release` at the end; usable as a context manager."""

    def __init__(self, root: Path, owner: str, beat_seconds: float, expiry_seconds: float) -> None:
        self.root, self.id, self.owner = Path(root) / ".leases", uuid.uuid4().hex, owner
        self.tokens: dict[str, int] = {}
        self._gone: set[str] = set()  # holders found dead, so that one is waited for once, not once a key
        self._beat_seconds, self._expiry_seconds = beat_seconds, expiry_seconds
        self._folder = self.root / "holders" / self.id
        self._folder.mkdir(parents=True)
        (self._folder / "who").write_text(json.dumps({"owner": owner, "host": socket.gethostname(), **_process()}))
        (self._folder / "token").write_text("held")
        self._count, self._last, self._left = 0, time.monotonic(), threading.Event()
        self._beat()
        threading.Thread(target=self._keep_beating, daemon=True).start()

    def check(self) -> None:
        """Raise LeaseLost unless this process still holds everything. Cost: one small read."""
        try:
            word = (self._folder / "token").read_text()
        except OSError as error:
            raise LeaseLost(f"the lease of {self.owner} cannot be read: {error}") from error
        if word != "held":
            raise LeaseLost(f"the lease of {self.owner} was {word}")
        if time.monotonic() - self._last > self._expiry_seconds / 2:  # stopped, or the disk was away: show a sign first
            try:
                self._beat()
            except OSError as error:
                raise LeaseLost(f"the lease of {self.owner} cannot be kept up: {error}") from error

    def release(self) -> None:
        """Leave: the keys are free at once. To be called when no write is under way any more."""
        self._left.set()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat(self) -> None:
        self._count += 1
        _overwrite(self._folder / "alive", f"{self._count:012d}")
        self._last = time.monotonic()

    def _keep_beating(self) -> None:
        while not self._left.wait(self._beat_seconds):
            with contextlib.suppress(OSError):
                self._beat()


def acquire(
    root: Path, keys: Iterable[str], owner: str, *, supersede: Callable[[str], bool] = lambda owner: False,
    on_wait: Callable[[str], None] = lambda owner: None, beat_seconds: float = BEAT_SECONDS,
    expiry_seconds: float = EXPIRY_SECONDS, poll_seconds: float = 0.5,
) -> Lease:  # fmt: skip
    """Hold all `keys` under `root`, waiting for live holders; keys are taken in order, so that no two wait in a circle.

    `supersede(owner)` tells whether a live holder is to be pushed out (an earlier start of the same job): it is fenced
    and then waited for, until it has left or gone silent. `on_wait(owner)` is called at each look at a live holder;
    what it raises ends the attempt. Cost: two small files a key.
    """
    lease = Lease(Path(root), owner, beat_seconds, expiry_seconds)
    try:
        for key in sorted(set(keys)):
            lease.tokens[key] = _claim(lease, key, supersede, on_wait, poll_seconds)
    except BaseException:
        lease.release()
        raise
    return lease


def alive(root: Path, holder: str) -> bool:
    """Whether a holder has not left, and is not known to be dead: its process gone from this machine, or this machine
    started anew. A quick look: `acquire` itself gives no key up before its holder is silent."""
    folder = Path(root) / ".leases" / "holders" / holder
    if not holder or _text(folder / "token") != "held" or _process_is_gone(folder):
        return False
    who, me = _who(folder), _process()
    boots = [str(known.get("machine", "")).partition(" ")[0] for known in (who, me)]
    return not (who.get("host") == socket.gethostname() and all(boots) and boots[0] != boots[1])


def _claim(
    lease: Lease, key: str, supersede: Callable[[str], bool], on_wait: Callable[[str], None], poll_seconds: float
) -> int:
    folder = lease.root / "claims" / key[:2] / key
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        found = sorted(int(name) for name in os.listdir(folder))  # noqa: PTH208 - names are enough
        if found:
            try:
                holder = (folder / str(found[-1])).readlink().name
            except FileNotFoundError:
                continue
            _wait_until_gone(lease, lease.root / "holders" / holder, supersede, on_wait, poll_seconds)
        token = found[-1] + 1 if found else 1
        try:
            (folder / str(token)).symlink_to(lease.id)
        except FileExistsError:
            continue  # somebody was quicker: look again
        if max(int(name) for name in os.listdir(folder)) > token:  # noqa: PTH208
            (folder / str(token)).unlink(missing_ok=True)  # of the past: since our look others have come and gone
            continue
        for old in found:
            (folder / str(old)).unlink(missing_ok=True)
        return token


def _wait_until_gone(
    lease: Lease, holder: Path, supersede: Callable[[str], bool], on_wait: Callable[[str], None], poll_seconds: float
) -> None:
    seen, fenced = "", False
    since = looked = time.monotonic()
    while holder.name not in lease._gone and (word := _text(holder / "token")) is not None:
        owner = str(_who(holder).get("owner", "?"))
        count = _text(holder / "alive") or ""
        last, looked = looked, time.monotonic()
        blocked = looked - last > poll_seconds + lease._expiry_seconds / 2  # so may the holder have been: wait anew
        if count != seen or blocked:
            seen, since = count, looked
        silent = looked - since > lease._expiry_seconds
        gone = _process_is_gone(holder)
        if gone or silent or (not fenced and word == "held" and supersede(owner)):
            with contextlib.suppress(FileNotFoundError):
                _overwrite(holder / "token", f"taken over by {lease.owner}", create=False)
            fenced = True
        if gone or silent:
            lease._gone.add(holder.name)
            if gone:
                shutil.rmtree(holder, ignore_errors=True)  # nobody is left to read it
            return
        on_wait(owner)
        time.sleep(poll_seconds)


def _text(path: Path) -> str | None:
    """A file's content; None where it is gone, which for a holder means that it has left."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _who(holder: Path) -> dict[str, object]:
    try:
        return dict(json.loads((holder / "who").read_text()))
    except (OSError, ValueError):
        return {}


def _overwrite(path: Path, text: str, create: bool = True) -> None:
    """Write in place, so that a full disk does not stop it and an open on another NFS client sees it."""
    descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT if create else 0), 0o644)
    try:
        os.pwrite(descriptor, text.encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _process(pid: int | str = "self") -> dict[str, str]:
    """What tells a process from all others, ever and anywhere; empty where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        state, start = stat.rpartition(")")[2].split()[0], stat.rpartition(")")[2].split()[19]
        if state in "ZX":
            return {}
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        machine = f"{boot} {Path('/proc/self/ns/pid').readlink()}"  # processes of another container are not seen
        return {"pid": stat.split()[0], "start": start, "machine": machine}
    except OSError:
        return {}


def _process_is_gone(holder: Path) -> bool:
    who, me = _who(holder), _process()
    if not me or who.get("machine") != me["machine"]:
        return False
    return _process(str(who["pid"])).get("start") != who["start"]
