"""The formats that can be taken over. By itself, so that the command line starts without the readers."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    KUBE_EVENTS = "kube-events"
    """KubeSphere's `Rule` objects, of kube-events and of kube-auditing."""
    ELASTALERT = "elastalert"
    """Rule files of ElastAlert 2."""
    SIGMA = "sigma"
    """Sigma's rules and correlations."""
    FALCO = "falco"
    """Falco's rules over Kubernetes' audit events."""
