"""Files written beside their places: two writers of one file do not share what is half written."""

from pathlib import Path
from typing import BinaryIO

import pytest

from study.storage.atomic import write_by, write_bytes


def test_two_hosts_with_one_process_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = iter(["here", "there"])
    monkeypatch.setattr("socket.gethostname", lambda: next(hosts))
    path = tmp_path / "file.txt"

    def fill(file: BinaryIO) -> None:
        file.write(b"of the first, ")
        write_bytes(path, b"of the second")
        assert path.read_bytes() == b"of the second"
        file.write(b"whole")

    write_by(path, fill)
    assert path.read_bytes() == b"of the first, whole"
    assert list(tmp_path.iterdir()) == [path]
