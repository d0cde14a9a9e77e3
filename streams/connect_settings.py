"""Settings of the Kafka Connect cluster whose connectors the gateway manages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ConnectCluster(BaseModel):
    """Its REST API, which does everything for whoever reaches it: let only the gateway reach it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field("", pattern=r"^$|^https?://[^/]+")
    """Such as https://connect:8083. Empty: connectors are not managed."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    timeout_s: float = Field(20.0, gt=0, le=120)
