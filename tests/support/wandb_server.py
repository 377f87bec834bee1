"""A W&B server on the loopback interface, enough of one for the real client to upload to, be refused by and read from.

It keeps what it was sent, counts every request and, with a `limit`, answers 429 to all beyond it in a window of time;
an operation called `forbid` gets a 403.
Written from the requests that wandb 0.31 makes; one that it does not know gets an HTTP 400 and a place in `unknown`.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import wandb

API_KEY = "0123456789" * 4  # any 40 characters are a key


@dataclass
class ServerRun:
    """One run as the server has it."""

    name: str
    project: str = ""
    group: str | None = None
    job_type: str | None = None
    display_name: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # line number -> row
    lines_received: int = 0  # more than len(history) if a line was sent twice
    uploads: list[str] = field(default_factory=list)
    complete: int = 0  # how often the client said that it was through

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history in order."""
        return [self.history[i] for i in sorted(self.history)]


class WandbServer:
    """`with WandbServer() as server:` and point the client at `server.environment`."""

    def __init__(self, limit: int | None = None, window: float = 60.0, forbid: str | None = None) -> None:
        self.limit, self.window, self.forbid = limit, window, forbid
        self.delay = 0.0  # seconds before each answer
        self.lose_answers = False  # take rows of a curve, and answer 403 nonetheless
        self.runs: dict[str, ServerRun] = {}
        self.projects: set[str] = set()
        self.views: dict[str, dict[str, Any]] = {}  # reports
        self.requests: list[tuple[float, str, int]] = []  # monotonic time, operation, HTTP status; uploads not counted
        self.unknown: list[str] = []
        self._lock = threading.Lock()
        self._accepted: list[float] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.environment = {
            "WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY, "WANDB_ENTITY": "me",
            "WANDB_ERROR_REPORTING": "false",
        }  # fmt: skip

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def count(self, status: int = 200) -> int:
        """Requests answered with this status."""
        return sum(1 for _, _, s in self.requests if s == status)

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON body for one POST."""
        if self.delay:
            time.sleep(self.delay)
        with self._lock:
            query = json.loads(body) if body else {}
            match = re.search(r"(?:query|mutation)\s+(\w+)", query.get("query", ""))
            operation = match[1] if match else path.rsplit("/", 1)[-1]
            now = time.monotonic()
            if not self._admit(now):
                self.requests.append((now, operation, 429))
                return 429, {"error": "rate limit exceeded"}
            if operation == self.forbid:
                self.requests.append((now, operation, 403))
                return 403, {"error": "forbidden"}
            self.requests.append((now, operation, 200))
            if path == "/graphql":
                answer = getattr(self, f"_on_{operation}", None)
                if answer is None:
                    self.unknown.append(operation)
                    return 400, {"errors": [{"message": f"unknown operation {operation}"}]}
                return 200, {"data": answer(query.get("variables") or {}, query["query"])}
            if match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
                self._file_stream(self._run(match[1]), query)
                lost = self.lose_answers and "wandb-history.jsonl" in (query.get("files") or {})
                return (403 if lost else 200), {}
            self.unknown.append(path)
            return 404, {}

    def _admit(self, now: float) -> bool:
        if self.limit is None:
            return True
        self._accepted = [t for t in self._accepted if now - t < self.window]
        if len(self._accepted) >= self.limit:
            return False
        self._accepted.append(now)
        return True

    def _run(self, name: str) -> ServerRun:
        return self.runs.setdefault(name, ServerRun(name))

    def _file_stream(self, run: ServerRun, body: dict[str, Any]) -> None:
        files = body.get("files") or {}
        history = files.get("wandb-history.jsonl")
        if history:
            for i, line in enumerate(history["content"], start=history["offset"]):
                run.history[i] = json.loads(line)
                run.lines_received += 1
        if "wandb-summary.json" in files:
            run.summary = json.loads(files["wandb-summary.json"]["content"][-1])
        run.complete += bool(body.get("complete"))

    def upload(self, path: str) -> None:
        """A file that was PUT: storage, not the API, so it is outside the rate limit."""
        with self._lock:
            _, _, run, name = path.split("/", 3)
            self._run(run).uploads.append(name)

    # --- GraphQL operations ------------------------------------------------------------------------------------------

    def _on_Viewer(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"viewer": {"id": "user", "entity": "me", "username": "me", "email": None, "flags": "{}", "admin": False,
                           "teams": {"edges": []}, "apiKeys": {"edges": []}}}  # fmt: skip

    def _on_UpsertBucket(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        run = self._run(v["name"])
        inserted = not run.project
        run.project = v.get("project") or run.project
        run.group, run.job_type = v.get("groupName") or run.group, v.get("jobType") or run.job_type
        run.display_name = v.get("displayName") or run.display_name
        run.tags = v.get("tags") or run.tags
        run.config |= {name: item["value"] for name, item in json.loads(v.get("config") or "{}").items()}
        bucket = {
            "id": f"id-{run.name}", "name": run.name, "displayName": run.display_name, "description": "",
            "config": "{}", "sweepName": None, "historyLineCount": len(run.history),
            "project": {"id": "project", "name": run.project, "entity": {"id": "entity", "name": "me"}},
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_CreateRunFiles(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{v['run']}/{name}"} for name in v["files"]]
        return {"createRunFiles": {"runID": f"id-{v['run']}", "uploadHeaders": [], "files": files}}

    def _on_Runs(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        groups = json.loads(v.get("filters") or "{}").get("group", {"$in": [run.group for run in self.runs.values()]})
        found = [run for run in self.runs.values() if run.project == v["project"] and run.group in groups["$in"]]
        if not any(run.project == v["project"] for run in self.runs.values()):
            return {"project": None}
        start = int(v.get("cursor") or 0)
        page = found[start : start + v["perPage"]]
        edges = [{"node": self._node(run), "cursor": str(start + i + 1)} for i, run in enumerate(page)]
        info = {"endCursor": str(start + len(page)), "hasNextPage": start + len(page) < len(found)}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False,
                            "runs": {"edges": edges, "pageInfo": info}}}  # fmt: skip

    def _on_RunFullHistory(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        return {"project": {"run": {"history": [json.dumps(row) for row in self.runs[v["name"]].rows]}}}

    def _node(self, run: ServerRun) -> dict[str, Any]:
        return {
            "id": f"id-{run.name}", "projectId": "1", "tags": [], "name": run.name, "displayName": run.display_name,
            "sweepName": None, "state": "finished", "group": run.group, "jobType": run.job_type, "commit": None,
            "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary), "systemMetrics": "{}", "historyLineCount": len(run.history),
            "historyKeys": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00", "heartbeatAt": None,
            "description": None, "notes": None, "user": {"name": "me", "username": "me"},
        }  # fmt: skip

    def _on_GetProjects(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        edges = [
            {"node": {"__typename": "Project", "id": name, "name": name, "entityName": "me", "createdAt": "2026-01-01",
                      "isBenchmark": False, "user": None}} for name in sorted(self.projects)
        ]  # fmt: skip
        info = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": info, "edges": edges}}

    def _on_CreateProject(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        name = v["input"]["name"]
        self.projects.add(name)
        project = {"id": name, "name": name, "entityName": "me", "description": None, "access": None, "views": None}
        return {"result": {"project": project, "model": project, "inserted": True}}

    def _on_upsertView(self, v: dict[str, Any], query: str) -> dict[str, Any]:
        id = v.get("id") or f"view{len(self.views)}"
        self.views[id] = v
        view = {"id": id, "type": v.get("type"), "name": v.get("name"), "spec": v["spec"],
                "displayName": v.get("displayName"), "description": v.get("description"), "updatedAt": None,
                "project": {"id": "project", "name": v["projectName"], "entityName": v["entityName"]}}  # fmt: skip
        return {"upsertView": {"view": view, "inserted": True}}


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            if status == 429:
                self.send_header("RateLimit-Reset", "1")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            status, answer = server.answer(self.path, self._body())
            self._send(status, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            self._body()
            server.upload(self.path)
            self._send(200, b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: the tests look at what arrived, not at a log."""

    return Handler


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no account of whoever runs the tests is used, and stray files show."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in [n for n in os.environ if n.startswith("WANDB_") or n.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()  # its settings and key outlive a test otherwise
    return folder


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
