"""What the fields of Falco's k8s_audit source are in records of kube.audit. Pure.

Source: github.com/falcosecurity/plugins, plugins/k8saudit/pkg/k8saudit (fields.go, extract.go).
"""

from __future__ import annotations

from typing import NamedTuple

from streams.rules.imports.conditions import path


class Field(NamedTuple):
    """`lists`: names of lists on the way, outermost first, each seen from an item of the one before; `last`: the value
    from the innermost item (empty: the item itself). No lists: `last` is the path."""

    last: str
    lists: tuple[str, ...] = ()
    number: bool = False
    flag: bool = False
    repository: bool = False
    """Of an image: without its tag and digest."""
    free: bool = False
    """Text, number or flag."""


_PLAIN = {
    "ka.auditid": "auditID", "ka.stage": "stage", "ka.user.name": "user.username",
    "ka.impuser.name": "impersonatedUser.username", "ka.verb": "verb", "ka.uri": "requestURI",
    "ka.target.name": "objectRef.name", "ka.target.namespace": "objectRef.namespace",
    "ka.target.resource": "objectRef.resource", "ka.target.subresource": "objectRef.subresource",
    "ka.req.binding.role": "requestObject.roleRef.name", "ka.req.configmap.name": "objectRef.name",
    "ka.req.service.type": "requestObject.spec.type", "ka.resp.name": "responseObject.metadata.name",
    "ka.response.reason": "responseStatus.reason", "ka.useragent": "userAgent",
}  # fmt: skip
_ANNOTATIONS = {
    "ka.auth.decision": "authorization.k8s.io/decision",
    "ka.auth.reason": "authorization.k8s.io/reason",
    "ka.auth.openshift.decision": "authentication.openshift.io/decision",
    "ka.auth.openshift.username": "authentication.openshift.io/username",
    "ka.validations.admission.policy.failure": "validation.policy.admission.k8s.io/validation_failure",
    "ka.security.pod.violations": "pod-security.kubernetes.io/audit-violations",
    "ka.cluster.name": "cluster_name",
}
_FLAGS = {
    "ka.req.pod.host_ipc": "requestObject.spec.hostIPC",
    "ka.req.pod.host_network": "requestObject.spec.hostNetwork",
    "ka.req.container.host_network": "requestObject.spec.hostNetwork",
    "ka.req.pod.host_pid": "requestObject.spec.hostPID",
}
_NUMBERS = {
    "ka.response.code": "responseStatus.code",
    "ka.req.pod.run_as_user": "requestObject.spec.securityContext.runAsUser",
    "ka.req.pod.run_as_group": "requestObject.spec.securityContext.runAsGroup",
    "ka.req.pod.fs_group": "requestObject.spec.securityContext.fsGroup",
}
_RULES = ("apiGroups", "nonResourceURLs", "verbs", "resources")
_LISTS = {
    "ka.user.groups": Field("", ("user.groups",)),
    "ka.sourceips": Field("", ("sourceIPs",)),
    "ka.req.pod.volumes.hostpath": Field("hostPath.path", ("requestObject.spec.volumes",)),
    "ka.req.pod.volumes.flexvolume_driver": Field("flexVolume.driver", ("requestObject.spec.volumes",)),
    "ka.req.pod.supplemental_groups": Field(
        "", ("requestObject.spec.securityContext.supplementalGroups",), number=True
    ),
    **{f"ka.req.role.rules.{name}": Field("", ("requestObject.rules", name)) for name in _RULES},
}
_OF_CONTAINERS = {
    "name": Field("name"),
    "image": Field("image"),
    "image.repository": Field("image", repository=True),
    "privileged": Field("securityContext.privileged", flag=True),
    "allow_privilege_escalation": Field("securityContext.allowPrivilegeEscalation", flag=True),
    "read_only_fs": Field("securityContext.readOnlyRootFilesystem", flag=True),
    "run_as_user": Field("securityContext.runAsUser", number=True),
    "run_as_group": Field("securityContext.runAsGroup", number=True),
    "proc_mount": Field("securityContext.procMount"),
}
KINDS = ("containers", "initContainers", "ephemeralContainers")
FIELDS: dict[str, Field] = {
    **{name: Field(each) for name, each in _PLAIN.items()},
    **{name: Field(path(["annotations", each])) for name, each in _ANNOTATIONS.items()},
    **{name: Field(each, flag=True) for name, each in _FLAGS.items()},
    **{name: Field(each, number=True) for name, each in _NUMBERS.items()},
    **_LISTS,
    **{
        f"ka.req.pod.{kind}.{name}": field._replace(lists=(f"requestObject.spec.{kind}", *field.lists))
        for kind in KINDS
        for name, field in _OF_CONTAINERS.items()
    },
}
WHOLE = ("ka.req.configmap.obj", "ka.req.role.rules", "ka.req.binding.subjects", "ka.req.service.ports", "jevt.obj")
"""Fields that are an object or a list written as one text."""


def pointed(pointer: str) -> Field | None:
    """`jevt.value[/stage]`: a JSON pointer, RFC 6901."""
    if not pointer.startswith("/") or len(pointer) < 2:
        return None
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]
    return Field(path([int(part) if part.isdigit() else part for part in parts]), free=True)
