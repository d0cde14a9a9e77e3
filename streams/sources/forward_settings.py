"""What has to hold of the forward server's settings, its address and its certificate."""

from __future__ import annotations

import ipaddress
import ssl

from streams.settings import Forward, WrongSettings


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(settings: Forward, error: OSError) -> WrongSettings:
    where = f"{settings.host}:{settings.port}"
    return WrongSettings(
        f"EVENTSPHERE_FORWARD__PORT (forward.port): cannot listen on {where}: {error.strerror or error}"
    )


def check(settings: Forward) -> None:
    """Raises WrongSettings when anyone on the network could write, or TLS is half set up."""
    if settings.client_ca_file and not settings.certificate_file:
        raise WrongSettings(
            "EVENTSPHERE_FORWARD__CLIENT_CA_FILE (forward.client_ca_file): needs certificate_file and key_file too"
        )
    if settings.key_file and not settings.certificate_file:
        raise WrongSettings("EVENTSPHERE_FORWARD__KEY_FILE (forward.key_file): needs certificate_file too")
    if settings.username and not settings.shared_key.get_secret_value():
        raise WrongSettings(
            "EVENTSPHERE_FORWARD__USERNAME (forward.username): the protocol knows users beside a shared key only: set "
            "EVENTSPHERE_FORWARD__SHARED_KEY too"
        )
    protected = settings.shared_key.get_secret_value() or settings.client_ca_file
    if not protected and not loopback(settings.host):
        raise WrongSettings(
            f"EVENTSPHERE_FORWARD__HOST (forward.host): {settings.host} is reachable from the network: set "
            "EVENTSPHERE_FORWARD__SHARED_KEY or EVENTSPHERE_FORWARD__CLIENT_CA_FILE, or listen on 127.0.0.1"
        )


def loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls(settings: Forward) -> ssl.SSLContext | None:
    """Raises WrongSettings when a file cannot be used."""
    if not settings.certificate_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file or None)
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise WrongSettings(f"EVENTSPHERE_FORWARD__CERTIFICATE_FILE (forward.certificate_file): {error}") from None
    return context
