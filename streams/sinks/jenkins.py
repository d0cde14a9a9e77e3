"""Jenkins's remote access API: start a build with parameters, and find out what became of it.

jenkins.io/doc/book/using/remote-access-api (builds, `tree`), jenkins.io/doc/book/security/csrf-protection (crumbs).
Starting a build cannot be made idempotent in Jenkins, so each is started with `RUN_ID` as a parameter, by which `find`
recognises it in the queue and among the builds. Jenkins drops parameters a job does not declare: the job must.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from streams.errors import Invalid, Retryable
from streams.settings import Jenkins as Settings

RUN_ID = "EVENTSPHERE_RUN_ID"
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
MAX_REPLY = 8 << 20
BUILDS = 100
"""Latest builds of a job that are looked through for a run."""
_QUEUE_ID = re.compile(r"/queue/item/(\d+)/?$")
_PARAMETERS = "actions[parameters[name,value]]"


class Queued(msgspec.Struct, frozen=True):
    """An item of the queue, by its id; `build` is its build's number once it has left the queue (0 before)."""

    id: int
    build: int = 0
    url: str = ""
    cancelled: bool = False


class Build(msgspec.Struct, frozen=True):
    number: int
    url: str
    building: bool
    result: str
    """`SUCCESS`, `UNSTABLE`, `FAILURE`, `NOT_BUILT`, `ABORTED`, or empty while it runs."""


class Jenkins:
    """Raises Retryable while Jenkins is away or refuses who we are, Invalid for what it will never do."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.url.rstrip("/")
        self._auth = aiohttp.encode_basic_auth(settings.username, settings.token.get_secret_value())
        self._session: aiohttp.ClientSession | None = None
        self._crumb: dict[str, str] | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def declared(self, job: str) -> set[str]:
        """Names of the parameters the job declares. Raises Invalid when there is no such job."""
        reply = await self._get(f"{path(job)}/api/json", tree="property[parameterDefinitions[name]]")
        properties = [each for each in reply.get("property") or [] if isinstance(each, dict)]
        return {str(item.get("name")) for each in properties for item in each.get("parameterDefinitions") or []}

    async def check(self, job: str) -> None:
        """Raises Invalid when the job could not be followed: Jenkins would drop the run's id."""
        if RUN_ID not in await self.declared(job):
            how = f"This project is parameterised, String Parameter; in a Jenkinsfile string(name: '{RUN_ID}')"
            raise Invalid(
                "jenkins_parameter",
                f"job {job} does not declare the parameter {RUN_ID}: add a string parameter of that name to the job "
                f"({how}), run it once where it is a Jenkinsfile's, and send the dead letter round again",
            )

    async def start(self, job: str, parameters: Mapping[str, str]) -> int:
        """Ask for a build; returns the id of its queue item (0: Jenkins did not say)."""
        for fresh in (False, True):
            headers = await self._crumb_header(fresh=fresh)
            status, location, said = await self._post(f"{path(job)}/buildWithParameters", parameters, headers)
            if status == 403 and "crumb" in said.lower() and not fresh:
                continue  # it was of a session that is over
            break
        if failure := _failure(status, said):
            raise failure
        match = _QUEUE_ID.search(urlsplit(location).path)
        return int(match[1]) if match else 0

    async def find(self, job: str, run_id: str) -> Queued | None:
        """The queue item or build that was started for a run, if any. The queue first: things leave it for a build."""
        queue = await self._get("/queue/api/json", tree=f"items[id,url,{_PARAMETERS}]")
        for item in queue.get("items") or []:
            if _has(item, run_id):
                return Queued(int(item["id"]))
        builds = await self._get(
            f"{path(job)}/api/json", tree=f"builds[number,url,queueId,{_PARAMETERS}]{{0,{BUILDS}}}"
        )
        for build in builds.get("builds") or []:
            if _has(build, run_id):
                return Queued(int(build.get("queueId") or 0), int(build["number"]), str(build.get("url", "")))
        return None

    async def queued(self, item: int) -> Queued | None:
        """None: Jenkins has forgotten the item (it keeps them for some minutes after they left the queue)."""
        try:
            reply = await self._get(f"/queue/item/{item}/api/json", tree="id,cancelled,executable[number,url]")
        except Invalid:
            return None
        build = reply.get("executable") or {}
        return Queued(
            item, int(build.get("number") or 0), str(build.get("url", "")), cancelled=bool(reply.get("cancelled"))
        )

    async def build(self, job: str, number: int) -> Build:
        reply = await self._get(f"{path(job)}/{number}/api/json", tree="number,url,building,result")
        return Build(number, str(reply.get("url", "")), bool(reply.get("building")), str(reply.get("result") or ""))

    async def _crumb_header(self, *, fresh: bool) -> dict[str, str]:
        """The header against request forgery, or none where the issuer is off."""
        if self._crumb is None or fresh:
            try:
                reply = await self._get("/crumbIssuer/api/json")
                self._crumb = {str(reply["crumbRequestField"]): str(reply["crumb"])}
            except (Invalid, KeyError):
                self._crumb = {}
        return self._crumb

    async def _get(self, path_: str, **query: str) -> dict[str, Any]:
        status, _, body = await self._call("GET", path_, params=query)
        if failure := _failure(status, body.decode("utf-8", "replace")):
            raise failure
        try:
            reply = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise Retryable("jenkins_reply", f"{path_}: not JSON") from error
        if not isinstance(reply, dict):
            raise Retryable("jenkins_reply", f"{path_}: not an object")
        return reply

    async def _post(self, path_: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, str, str]:
        status, location, body = await self._call("POST", path_, data=dict(form), headers=dict(headers))
        return status, location, body.decode("utf-8", "replace")

    async def _call(self, method: str, path_: str, **more: Any) -> tuple[int, str, bytes]:
        if self._session is None:
            # Cookies are kept: a crumb is valid within the session it was given in.
            self._session = aiohttp.ClientSession(
                timeout=TIMEOUT,
                headers={"Authorization": self._auth},
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                trust_env=False,
            )
        try:
            async with self._session.request(method, self._base + path_, allow_redirects=False, **more) as reply:
                body = await reply.content.read(MAX_REPLY)
                return reply.status, reply.headers.get("Location", ""), body
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Retryable("jenkins_away", type(error).__name__) from error


def path(job: str) -> str:
    """`folder/name` -> `/job/folder/job/name`."""
    return "".join(f"/job/{quote(part, safe='')}" for part in job.split("/") if part)


def _has(thing: Mapping[str, Any], run_id: str) -> bool:
    actions = [action for action in thing.get("actions") or [] if isinstance(action, dict)]
    parameters = [item for action in actions for item in action.get("parameters") or []]
    return any(item.get("name") == RUN_ID and item.get("value") == run_id for item in parameters)


def _failure(status: int, said: str) -> Invalid | Retryable | None:
    if 200 <= status < 300:
        return None
    if status in (401, 403):
        return Retryable(f"jenkins_{status}", "Jenkins refuses this user or token")
    if status >= 500 or status in (408, 429):
        return Retryable(f"jenkins_{status}")
    if 300 <= status < 400:
        return Retryable(f"jenkins_{status}", "a redirect, is EVENTSPHERE_JENKINS__URL its address?")
    return Invalid(f"jenkins_{status}", " ".join(re.sub(r"<[^>]*>", " ", said).split())[:200])
