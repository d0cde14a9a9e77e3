"""What a push of GitHub or GitLab says, as a CI event `change.merged`. Pure.

Payloads: docs.github.com/en/webhooks/webhook-events-and-payloads#push and
docs.gitlab.com/user/project/integrations/webhook_events/#push-events. Both list a bounded number of commits: when paths
are missing, `data.paths_complete` is false, and whoever filters by path must let the event pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from schemas.base import UNREADABLE, digest, parse_time
from schemas.cicd import CicdEvent

BRANCH = "refs/heads/"
NONE = "0" * 40
MAX_PATHS = 5_000
MAX_TEXT = 4_096
GITHUB_COMMITS = 2_048


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    message: str = ""
    timestamp: str = ""
    added: list[str] = []
    modified: list[str] = []
    removed: list[str] = []


class Named(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    login: str = ""


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    full_name: str = ""
    pushed_at: int | str = 0


class Project(msgspec.Struct, frozen=True, kw_only=True):
    path_with_namespace: str = ""


class GithubPush(msgspec.Struct, frozen=True, kw_only=True):
    ref: str
    before: str = NONE
    after: str
    deleted: bool = False
    compare: str = ""
    repository: Repository
    commits: list[Commit] = []
    head_commit: Commit | None = None
    pusher: Named = Named()
    sender: Named = Named()


class GitlabPush(msgspec.Struct, frozen=True, kw_only=True):
    ref: str
    before: str = NONE
    after: str
    user_username: str = ""
    user_name: str = ""
    project: Project
    commits: list[Commit] = []
    total_commits_count: int = 0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a payload came in: the hook, its tenant, and the sender's id of the delivery."""

    kind: str
    hook: str
    tenant: str
    delivery: str
    now_ms: int
    cluster: str = ""

    @property
    def event_id(self) -> str:
        """The same delivery is the same event, however often it comes."""
        return digest(self.kind, self.hook, self.delivery)


Parser = Callable[[bytes, str, Origin], CicdEvent | str]


def github(body: bytes, kind: str, origin: Origin) -> CicdEvent | str:
    """The event of a body of `X-GitHub-Event: kind`, or why there is none. Raises ValueError on a malformed one."""
    if kind != "push":
        return f"event {kind!r} is not used"
    push = _decoded(body, GithubPush)
    pushed = push.repository.pushed_at
    if refused := _no_branch(push.ref, push.after, push.repository.full_name, deleted=push.deleted):
        return refused
    head = push.head_commit or (push.commits[-1] if push.commits else Commit())
    return _event(
        origin,
        repository=push.repository.full_name,
        ref=push.ref,
        before=push.before,
        after=push.after,
        author=push.pusher.name or push.sender.login,
        message=head.message,
        commits=push.commits,
        complete=0 < len(push.commits) < GITHUB_COMMITS,
        time_ms=pushed * 1000 if isinstance(pushed, int) else _time(pushed),
        compare=push.compare,
    )


def gitlab(body: bytes, kind: str, origin: Origin) -> CicdEvent | str:
    """The event of a body of `X-Gitlab-Event: kind`, or why there is none. Raises ValueError on a malformed one."""
    if kind != "Push Hook":
        return f"event {kind!r} is not used"
    push = _decoded(body, GitlabPush)
    if refused := _no_branch(push.ref, push.after, push.project.path_with_namespace, deleted=False):
        return refused
    head = next((commit for commit in push.commits if commit.id == push.after), Commit())
    return _event(
        origin,
        repository=push.project.path_with_namespace,
        ref=push.ref,
        before=push.before,
        after=push.after,
        author=push.user_username or push.user_name,
        message=head.message,
        commits=push.commits,
        complete=len(push.commits) > 0 and push.total_commits_count <= len(push.commits),
        time_ms=0,
        compare="",
    )


def _no_branch(ref: str, after: str, repository: str, *, deleted: bool) -> str:
    if not repository:
        raise ValueError("the repository has no name")
    if not ref.startswith(BRANCH):
        return f"{ref[:200]!r} is not a branch"
    if deleted or after == NONE:
        return "the branch was deleted"
    return ""


def _event(
    origin: Origin,
    *,
    repository: str,
    ref: str,
    before: str,
    after: str,
    author: str,
    message: str,
    commits: Iterable[Commit],
    complete: bool,
    time_ms: int,
    compare: str,
) -> CicdEvent:
    branch = ref.removeprefix(BRANCH)
    paths = sorted({path for commit in commits for path in (*commit.added, *commit.modified, *commit.removed)})
    whole = complete and len(paths) <= MAX_PATHS
    return CicdEvent(
        id=origin.event_id,
        type="change.merged",
        source=f"{origin.kind}/{origin.hook}",
        subject_id=f"{repository}@{branch}"[:MAX_TEXT],
        time_ms=time_ms or origin.now_ms,
        tenant=origin.tenant,
        cluster=origin.cluster,
        repository=repository[:MAX_TEXT],
        branch=branch[:MAX_TEXT],
        commit=after[:128],
        author=author[:MAX_TEXT],
        message=message[:MAX_TEXT],
        paths=[path[:MAX_TEXT] for path in paths[:MAX_PATHS]],
        delivery=origin.delivery[:MAX_TEXT],
        data={"before": before[:128], "compare": compare[:MAX_TEXT], "paths_complete": whole},
    )


def _decoded(body: bytes, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=type_)
    except UNREADABLE as error:
        raise ValueError(f"not a push as documented: {error}") from None


def _time(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        return 0
