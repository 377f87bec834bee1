"""Files of a folder as one tar: the same bytes for the same files, each with its SHA-256 in a manifest in front.

Restored, all is checked before anything is written: names, sizes, checksums, and that no other file is in the way.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from study.storage.atomic import write_by, write_bytes

MANIFEST = "manifest.json"
FORMAT = 1


class ArchiveError(ValueError):
    """An archive that cannot be made or restored, in one line."""


@dataclass(frozen=True)
class Manifest:
    """What an archive holds: `about` is free, `files` maps a name to {"bytes", "sha256"}."""

    about: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]


def pack(root: Path, files: Iterable[Path], target: Path, about: Mapping[str, Any]) -> Manifest:
    """Write `target`, atomic; the manifest's names are relative to `root`, sorted. Each file is read twice.

    Raises ArchiveError where a file changes meanwhile, and OSError.
    """
    there = {path.relative_to(root).as_posix(): path for path in files}
    listed = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in sorted(there.items())}
    manifest = Manifest(about, listed)

    def fill(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps({"format": FORMAT, **about, "files": listed}, indent=1, sort_keys=True) + "\n"
            _add(tar, MANIFEST, text.encode())
            for name in listed:
                content = there[name].read_bytes()
                if hashlib.sha256(content).hexdigest() != listed[name]["sha256"]:
                    raise ArchiveError(f"{there[name]}: changed while it was archived; allowed: runs that are trained")
                _add(tar, name, content)

    write_by(target, fill)
    return manifest


def contents(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, the manifest first, each of them checked. Raises ArchiveError, and OSError.

    All that the manifest names is there, once and whole, and nothing else.
    """
    try:
        with tarfile.open(archive, mode="r:") as tar:
            members = iter(tar)
            first = next(members, None)
            text = _content(archive, tar, first) if first is not None and first.name == MANIFEST else b""
            files = dict(_manifest(archive, text).files)
            yield MANIFEST, text
            for member in members:
                wanted, content = files.pop(member.name, None), _content(archive, tar, member)
                if wanted is None:
                    raise ArchiveError(f"{archive}: {member.name}: is not in its manifest, or there twice")
                if len(content) != wanted["bytes"] or hashlib.sha256(content).hexdigest() != wanted["sha256"]:
                    raise ArchiveError(f"{archive}: {member.name}: is damaged: its SHA-256 is not the manifest's")
                yield member.name, content
    except FileNotFoundError:
        raise ArchiveError(f"{archive}: is not there, allowed: a file that `study archive` wrote") from None
    except IsADirectoryError:
        raise ArchiveError(f"{archive}: is a folder, allowed: a file that `study archive` wrote") from None
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{archive}: is cut short, damaged or no archive of `study archive`: {error}") from error
    if files:
        raise ArchiveError(f"{archive}: is cut short: {len(files)} files are missing, the first: {min(files)}")


def check(archive: Path, root: Path, allowed: Callable[[str, bytes], bool]) -> Manifest:
    """Read all of it, and compare with what stands under `root`; writes nothing.

    Raises ArchiveError: damaged; a name that `allowed(name, content)` refuses; files that are there and differ.
    """
    conflicts, manifest = [], Manifest({}, {})
    for name, content in contents(archive):
        if name == MANIFEST:
            manifest = _manifest(archive, content)
            continue
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not allowed(name, content):
            raise ArchiveError(f"{archive}: {name}: allowed: files of runs, as `study archive` names them")
        if _differs(root / name, content):
            conflicts.append(root / name)
    if conflicts:
        more = f", as do {len(conflicts) - 1} more files" * (len(conflicts) > 1)
        raise ArchiveError(f"{conflicts[0]}: differs from that of {archive}{more}; allowed: the same, or none")
    return manifest


def unpack(archive: Path, root: Path, last: Callable[[str], bool], guard: Callable[[], None]) -> int:
    """Write what `root` has not got, those that are `last` after the others; how many. To be called after `check`."""
    n = 0
    for late in (False, True):
        for name, content in contents(archive):
            if name == MANIFEST or last(name) != late:
                continue
            if _differs(root / name, content):
                raise ArchiveError(f"{root / name}: was written meanwhile, and differs from that of {archive}")
            if not (root / name).exists():
                guard()
                write_bytes(root / name, content)
                n += 1
    return n


def sha256(path: Path) -> str:
    """The checksum of a file, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member with nothing of this machine or hour in it."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _content(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise ArchiveError(f"{archive}: {member.name}: is no plain file, allowed: archives of `study archive`")
    content = file.read()
    if len(content) < member.size:
        raise ArchiveError(f"{archive}: {member.name}: is cut short")
    return content


def _manifest(archive: Path, text: bytes) -> Manifest:
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ArchiveError(f"{archive}: format: {found['format']!r}: allowed: {FORMAT}")
        about = {name: value for name, value in found.items() if name not in ("format", "files")}
        files = {name: {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in found["files"].items()}
        return Manifest(about, files)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise ArchiveError(f"{archive}: has no {MANIFEST} first, allowed: archives of `study archive`") from None
