"""The cluster of records that name none: the setting `cluster.name`, else the uid of the only cluster watched, else
`local`. Every process has to mean the same one, so it is found out before any starts and set from then on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from streams.errors import Failure
from streams.settings import Settings

log = structlog.get_logger(__name__)

ASK_S = 10.0
FILE = "cluster-uid"
"""Remembers the uid in the data directory, for starts while the cluster is away."""


def named(settings: Settings, folder: Path | None = None) -> Settings:
    """The settings with `cluster.name` filled in when one cluster is watched and answers, or did so once."""
    if settings.cluster.name or len(set(settings.kubeconfigs)) != 1:
        return settings
    uid = _uid(settings.kubeconfigs[0])
    file = folder / FILE if folder else None
    if file is not None and uid:
        file.write_text(uid, "ascii")
    elif file is not None and file.exists():
        uid = file.read_text("ascii").strip()
    if not uid:
        log.warning("the cluster does not answer: what names no cluster is called `local`; set cluster.name")
        return settings
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"name": uid})})


def _uid(kubeconfig: str) -> str:
    """Empty when the cluster does not answer in time."""
    # Loaded only where a cluster is watched: its client takes long to import.
    from streams.sources.kube_api import Api

    async def ask() -> str:
        api = Api(kubeconfig)
        try:
            async with asyncio.timeout(ASK_S):
                return await api.uid()
        finally:
            await api.close()

    try:
        return asyncio.run(ask())
    except (Failure, TimeoutError):
        return ""
