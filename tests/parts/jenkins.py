"""A contract server for Jenkins's remote access API: what the documentation says, and what its clients rely on.

Followed, page by page:
- jenkins.io/doc/book/using/remote-access-api: `api/json`, `tree` (with ranges), `X-Jenkins`, submitting jobs
- jenkins.io/doc/book/security/csrf-protection: crumbs, `crumbIssuer/api/json`; API tokens are exempt
- javadoc.jenkins.io hudson/model/Queue.html: an item waits (quiet period), is buildable, then left with an executable
- javadoc.jenkins.io hudson/model/Computer.html: executors and what they run
- javadoc.jenkins.io hudson/model/ParametersAction.html: parameters a job does not declare are dropped (SECURITY-170)

tests/trigger/test_contract.py holds it to two foreign clients, python-jenkins and api4jenkins.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.parts.process import free_port

USER, TOKEN, PASSWORD = "robot", "11aa22bb33cc44dd55ee66ff77aa88bb99", "password"
VERSION = "2.479.1"


@dataclass
class Item:
    id: int
    job: str
    parameters: dict[str, str]
    since: float
    cancelled: bool = False
    build: int = 0


@dataclass
class Build:
    number: int
    job: str
    queue_id: int
    parameters: dict[str, str]
    since: float
    result: str | None = None


@dataclass
class State:
    """`jobs`: declared parameters by job. `quiet_s`: how long an item waits. `build_s`: how long a build takes."""

    jobs: dict[str, list[str]] = field(default_factory=dict)
    quiet_s: float = 0.2
    build_s: float = 0.2
    result: str = "SUCCESS"
    broken: int = 0
    """Status of every answer while it is not 0."""
    hang_up_after_start: bool = False
    """Start the build and close the connection without an answer, once."""
    items: list[Item] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    crumbs: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def settle(self) -> None:
        """Let time pass: items leave the queue for builds, builds end."""
        now = time.monotonic()
        for item in self.items:
            if not item.build and not item.cancelled and now - item.since >= self.quiet_s:
                item.build = 1 + sum(build.job == item.job for build in self.builds)
                self.builds.append(Build(item.build, item.job, item.id, item.parameters, now))
        for build in self.builds:
            if build.result is None and now - build.since >= self.build_s:
                build.result = self.result

    def started(self, job: str) -> list[dict[str, str]]:
        """Parameters of everything that was started for a job, in order."""
        with self.lock:
            return [item.parameters for item in self.items if item.job == job]


class Jenkins:
    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.state = State()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        state, url = self.state, self.url

        class Bound(Handler):
            jenkins = state
            root = url

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Bound)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="jenkins", daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def jenkins() -> Iterator[Jenkins]:
    server = Jenkins(free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Handler(BaseHTTPRequestHandler):
    jenkins: State
    root: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self.jenkins.lock:
            self._guarded(self._read)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        with self.jenkins.lock:
            self._guarded(self._start)

    def _guarded(self, answer: Any) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length).decode()
        self.jenkins.settle()
        if self.jenkins.broken:
            self._reply(self.jenkins.broken, "<html>starting</html>")
            return
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if not given:
            self._reply(403, "<html>Authentication required</html>")
            return
        if given not in (_basic(USER, TOKEN), _basic(USER, PASSWORD)):
            self._reply(401, "<html>Invalid password/token for user</html>")
            return
        answer(urlsplit(self.path), by_token=given == _basic(USER, TOKEN))

    def _read(self, url: Any, *, by_token: bool) -> None:
        path = url.path.rstrip("/")
        if not path.endswith("api/json"):
            self._reply(200, "<html>Jenkins</html>")
            return
        found = self._object(path.removesuffix("api/json").strip("/"))
        if found is None:
            self._reply(404, "<html><h2>Not Found</h2></html>")
            return
        tree = parse_qs(url.query).get("tree", [""])[0]
        headers = {}
        if "crumb" in found:
            session = secrets.token_hex(8)
            self.jenkins.crumbs[session] = found["crumb"]
            headers["Set-Cookie"] = f"JSESSIONID={session}; Path=/; HttpOnly"
        self._reply(200, json.dumps(pruned(found, tree) if tree else found), "application/json", headers)

    def _object(self, path: str) -> dict[str, Any] | None:
        state = self.jenkins
        if path == "":
            jobs = [self._job(name, brief=True) for name in state.jobs]
            return {"_class": "hudson.model.Hudson", "mode": "NORMAL", "jobs": jobs, "url": self.root + "/"}
        if path == "me":
            return {"_class": "hudson.model.User", "id": USER, "fullName": USER}
        if path == "crumbIssuer":
            kind = "hudson.security.csrf.DefaultCrumbIssuer"
            return {"_class": kind, "crumb": secrets.token_hex(16), "crumbRequestField": "Jenkins-Crumb"}
        if path == "computer":
            return self._computers()
        if path == "queue":
            waiting = [item for item in state.items if not item.build and not item.cancelled]
            return {"_class": "hudson.model.Queue", "items": [self._item(item) for item in waiting]}
        if path == "computer":
            return {"_class": "hudson.model.ComputerSet", "computer": [self._computer()]}
        if match := re.fullmatch(r"queue/item/(\d+)", path):
            item = next((each for each in state.items if each.id == int(match[1])), None)
            return self._item(item) if item else None
        if match := re.fullmatch(r"job/((?:[^/]+)(?:/job/[^/]+)*?)(?:/(\d+|lastBuild))?", path):
            job = match[1].replace("/job/", "/")
            if job not in state.jobs:
                return None
            if not match[2]:
                return self._job(job)
            builds = [each for each in state.builds if each.job == job]
            wanted = [each for each in builds if match[2] in ("lastBuild", str(each.number))]
            return self._build(wanted[-1]) if wanted else None
        return None

    def _computers(self) -> dict[str, Any]:
        """`/computer/api/json`: the built-in node, an executor for each build under way."""
        kind = "hudson.model.FreeStyleBuild"
        under_way = [b for b in self.jenkins.builds if b.result is None]
        running: list[Any] = [{"_class": kind, "url": self._build_url(build)} for build in under_way]
        node = {
            "_class": "hudson.model.Hudson$MasterComputer",
            "displayName": "Built-In Node",
            "executors": [{"currentExecutable": each} for each in (running or [None])],
            "oneOffExecutors": [],
        }
        return {"_class": "hudson.model.ComputerSet", "computer": [node]}

    def _start(self, url: Any, *, by_token: bool) -> None:
        match = re.fullmatch(r"/job/((?:[^/]+)(?:/job/[^/]+)*?)/(build|buildWithParameters)", url.path)
        job = match[1].replace("/job/", "/") if match else ""
        if match is None or job not in self.jenkins.jobs:
            self._reply(404, "<html><h2>Not Found</h2></html>")
            return
        if not by_token and not self._crumb_holds():
            self._reply(403, "<html>No valid crumb was included in the request</html>")
            return
        given = {name: values[-1] for text in (url.query, self.body) for name, values in parse_qs(text).items()}
        declared = self.jenkins.jobs[job]
        item = Item(
            id=len(self.jenkins.items) + 1,
            job=job,
            parameters={name: given.get(name, "") for name in declared},
            since=time.monotonic(),
        )
        self.jenkins.items.append(item)
        if self.jenkins.hang_up_after_start:
            self.jenkins.hang_up_after_start = False
            self.close_connection = True
            self.connection.close()
            return
        self._reply(201, "", headers={"Location": f"{self.root}/queue/item/{item.id}/"})

    def _crumb_holds(self) -> bool:
        match = re.search(r"JSESSIONID=(\w+)", self.headers.get("Cookie", ""))
        crumb = self.jenkins.crumbs.get(match[1]) if match else None
        return crumb is not None and self.headers.get("Jenkins-Crumb") == crumb

    def _job(self, name: str, *, brief: bool = False) -> dict[str, Any]:
        path = "/job/".join(name.split("/"))
        kind = "hudson.model.FreeStyleProject"
        out = {
            "_class": kind,
            "name": name.rsplit("/", maxsplit=1)[-1],
            "url": f"{self.root}/job/{path}/",
            "color": "blue",
        }
        if brief:
            return out
        definition = "hudson.model.StringParameterDefinition"
        declared = [
            {"_class": definition, "name": each, "type": "StringParameterDefinition"}
            for each in self.jenkins.jobs[name]
        ]
        property_ = {"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": declared}
        builds = [self._build(each) for each in reversed(self.jenkins.builds) if each.job == name]
        return out | {
            "fullName": name,
            "buildable": True,
            "inQueue": False,
            "nextBuildNumber": len(builds) + 1,
            "property": [property_] if declared else [],
            "builds": builds,
            "lastBuild": builds[0] if builds else None,
        }

    def _computer(self) -> dict[str, Any]:
        """The built-in node: an executor for each build that runs, and one that is idle."""
        kind = "hudson.model.FreeStyleBuild"
        running = [build for build in self.jenkins.builds if build.result is None]
        busy: list[Any] = [{"_class": kind, "number": build.number, "url": self._build_url(build)} for build in running]
        executors = [{"currentExecutable": each} for each in [*busy, None]]
        name = "Built-In Node"
        return {"_class": "hudson.model.Hudson$MasterComputer", "displayName": name} | {
            "executors": executors,
            "oneOffExecutors": [],
        }

    def _item(self, item: Item) -> dict[str, Any]:
        build = next((b for b in self.jenkins.builds if b.queue_id == item.id), None)
        kind = "LeftItem" if build or item.cancelled else "WaitingItem"
        out: dict[str, Any] = {
            "_class": f"hudson.model.Queue${kind}",
            "actions": _actions(item.parameters),
            "id": item.id,
            "inQueueSince": 0,
            "task": self._job(item.job, brief=True),
            "url": f"queue/item/{item.id}/",
            "why": None if build else "In the quiet period. Expires in 0.2 sec",
        }
        if kind == "LeftItem":
            out["cancelled"] = item.cancelled
            if build:
                brief = {"_class": "hudson.model.FreeStyleBuild", "number": build.number, "url": self._build_url(build)}
                out["executable"] = brief
        return out

    def _build(self, build: Build) -> dict[str, Any]:
        return {
            "_class": "hudson.model.FreeStyleBuild",
            "actions": _actions(build.parameters),
            "building": build.result is None,
            "number": build.number,
            "queueId": build.queue_id,
            "result": build.result,
            "url": self._build_url(build),
            "fullDisplayName": f"{build.job} #{build.number}",
        }

    def _build_url(self, build: Build) -> str:
        return f"{self.root}/job/{'/job/'.join(build.job.split('/'))}/{build.number}/"

    def _reply(self, status: int, text: str, kind: str = "text/html", headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "X-Jenkins": VERSION, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _actions(parameters: dict[str, str]) -> list[dict[str, Any]]:
    kind = "hudson.model.StringParameterValue"
    values = [{"_class": kind, "name": name, "value": value} for name, value in parameters.items()]
    return [{"_class": "hudson.model.ParametersAction", "parameters": values}, {}]


def _basic(user: str, secret: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def pruned(value: Any, tree: str) -> Any:
    """What `tree` asks for of an object: `a,b[c],d[e]{0,10}`; `_class` comes along always, as in Jenkins."""
    fields = _parsed(tree)

    def walk(value: Any, fields: dict[str, Any]) -> Any:
        if isinstance(value, list):
            return [walk(each, fields) for each in value]
        if not isinstance(value, dict):
            return value
        out = {"_class": value["_class"]} if "_class" in value else {}
        for name, (inner, stop) in fields.items():
            if name in value:
                found = value[name]
                found = found[:stop] if stop is not None and isinstance(found, list) else found
                out[name] = walk(found, inner) if inner else found
        return out

    return walk(value, fields)


def _parsed(tree: str) -> dict[str, Any]:
    """`{name: (fields inside, end of range or None)}`. Raises ValueError for what Jenkins would refuse."""
    position = 0

    def fields() -> dict[str, Any]:
        nonlocal position
        out: dict[str, Any] = {}
        while True:
            match = re.compile(r"[A-Za-z_]\w*").match(tree, position)
            if match is None:
                raise ValueError(f"a name is expected at {position} of {tree!r}")
            position = match.end()
            inner: dict[str, Any] = {}
            stop = None
            if tree.startswith("[", position):
                position += 1
                inner = fields()
                if not tree.startswith("]", position):
                    raise ValueError(f"] is expected at {position} of {tree!r}")
                position += 1
            if range_ := re.compile(r"\{(\d*),(\d+)\}").match(tree, position):
                stop, position = int(range_[2]), range_.end()
            out[match[0]] = (inner, stop)
            if not tree.startswith(",", position):
                return out
            position += 1

    out = fields()
    if position != len(tree):
        raise ValueError(f"left over at {position} of {tree!r}")
    return out
