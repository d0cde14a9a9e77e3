"""`GET /api/openapi.json`: what FastAPI knows of the routes, completed by what holds for all of them.

How callers prove themselves, the one form of every error, and the bodies of routes that read them byte by byte.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

OPEN = frozenset({"/livez", "/readyz", "/metrics", "/api/v1/login"})
"""Without a token (of these, a setting closes `/metrics`)."""
SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A login's access token, or a machine's token."},
    "basic": {"type": "http", "scheme": "basic", "description": "A machine's token as the password of any user."},
    "github": {"type": "apiKey", "in": "header", "name": "X-Hub-Signature-256"},
    "gitlab": {"type": "apiKey", "in": "header", "name": "X-Gitlab-Token"},
    "webhook": {"type": "apiKey", "in": "header", "name": "webhook-signature", "description": "Standard Webhooks."},
}
CALLER: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}]
HOOKS = {
    "/hooks/github/{hook}": [{"github": []}],
    "/hooks/gitlab/{hook}": [{"gitlab": []}, {"webhook": []}],
    "/hooks/alertmanager/{hook}": CALLER,
    "/hooks/kube-audit/{hook}": CALLER,
}
PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457. Further members say more: `field`, `errors`, `indexes`, `scope`, `reason`.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "additionalProperties": True,
}
TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
NAMED = {"type": "object", "additionalProperties": TEXT}
ALERT = {
    "type": "object",
    "required": ["labels"],
    "properties": {
        "labels": NAMED,
        "annotations": NAMED,
        "startsAt": TIME,
        "endsAt": TIME,
        "generatorURL": TEXT,
    },
}
MATCHER = {
    "type": "object",
    "required": ["name", "value", "isRegex"],
    "properties": {"name": TEXT, "value": TEXT, "isRegex": {"type": "boolean"}, "isEqual": {"type": "boolean"}},
}
SILENCE = {
    "type": "object",
    "required": ["matchers", "startsAt", "endsAt", "createdBy", "comment"],
    "properties": {
        "id": TEXT,
        "matchers": {"type": "array", "minItems": 1, "items": MATCHER},
        "startsAt": TIME,
        "endsAt": TIME,
        "createdBy": TEXT,
        "comment": TEXT,
    },
}
HOOKED = ALERT | {"properties": ALERT["properties"] | {"status": {"enum": ["firing", "resolved"]}}}  # type: ignore[operator]
BODIES: dict[str, Any] = {
    "/api/v2/alerts": {"type": "array", "items": ALERT},
    "/api/v2/silences": SILENCE,
    "/hooks/alertmanager/{hook}": {
        "type": "object",
        "required": ["alerts"],
        "properties": {"alerts": {"type": "array", "items": HOOKED}},
    },
    "/hooks/github/{hook}": {"type": "object", "description": "GitHub's push event."},
    "/hooks/gitlab/{hook}": {"type": "object", "description": "GitLab's push event."},
    "/hooks/kube-audit/{hook}": {"type": "object", "description": "audit.k8s.io/v1 EventList."},
}
OTHER_TYPES = {"/metrics": "text/plain", "/api/v1/streams/{topic}": "text/event-stream"}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`."""
    out = app.openapi()
    components = out.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    components["securitySchemes"] = SCHEMES
    for path, operations in out["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    return out


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["security"] = [] if path in OPEN else HOOKS.get(path, CALLER)
    if method == "post" and path in BODIES and "requestBody" not in operation:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": BODIES[path]}}}
    responses = operation["responses"]
    responses.pop("422", None)
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses["default"] = {"description": "What is wrong", "content": problem}
    if path.startswith("/api/v2/"):
        problem["application/json"] = problem["application/problem+json"]
        said = {"application/json": {"schema": {"type": "string"}}}
        responses["400"] = {"description": "What is wrong, as Alertmanager says it", "content": said}
    if path in OTHER_TYPES:
        responses["200"]["content"] = {OTHER_TYPES[path]: {"schema": {"type": "string"}}}
