"""A server of this machine with a small MNIST, in the place of torchvision's addresses and checksums."""

import contextlib
import functools
import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from study.data.vision import torchvision


def idx(values: np.ndarray) -> bytes:
    """An array in MNIST's own format."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape) + values.tobytes()


def mnist_files(prefix: str = "", train: str = "train", test: str = "t10k") -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    made = {}
    for name, n in ((train, 6), (test, 4)):
        made[f"{prefix}{name}-images-idx3-ubyte"] = idx(rng.integers(256, size=(n, 28, 28), dtype=np.uint8))
        made[f"{prefix}{name}-labels-idx1-ubyte"] = idx(rng.integers(10, size=n, dtype=np.uint8))
    return made


class Server:
    """Serves what is in `files`, truncated where `keep` says so; counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.keep: dict[str, int] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                if name not in outer.files:
                    self.send_error(404)
                    return
                content = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: outer.keep.get(name)])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        thread = threading.Thread(target=functools.partial(self.http.serve_forever, poll_interval=0.05), daemon=True)
        thread.start()
        yield self
        self.http.shutdown()
        self.http.server_close()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@contextlib.contextmanager
def mnist_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A small MNIST on a server of this machine, in the place of torchvision's addresses and checksums."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server()
    found.files = {f"{name}.gz": gzip.compress(content) for name, content in mnist_files().items()}
    kind = torchvision().datasets.MNIST
    monkeypatch.setattr(kind, "mirrors", [found.url])
    monkeypatch.setattr(kind, "resources", [(name, md5(content)) for name, content in found.files.items()])
    with found.running():
        yield found
