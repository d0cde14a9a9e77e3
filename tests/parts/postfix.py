"""A real Postfix of the test's own: STARTTLS, refused addresses, a maildir. Debian package postfix; as root.

Its configuration, queue and data folders are the test's; the machine's own Postfix is not touched. Login is by SASL's
own database where `saslpasswd2` (Debian package sasl2-bin) is installed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import trustme

from tests.parts.process import STOP_S, Missing, Process, folder, free_port, listens, program, run

MAIN = """
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = {commands}
daemon_directory = {daemons}
shlib_directory = {daemons_parent}
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/log/mail.log
maillog_file_prefixes = {base}
myhostname = mail.example.org
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:box/
virtual_mailbox_base = {base}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
  check_recipient_access inline:{{
    {{gone@example.org = 550 5.1.1 No such user}}, {{busy@example.org = 450 4.2.1 Mailbox busy}} }},
  permit_mynetworks, reject
smtpd_tls_security_level = {tls}
smtpd_tls_cert_file = {base}/server.pem
smtpd_tls_key_file = {base}/server.pem
smtpd_sasl_auth_enable = {sasl}
smtpd_sasl_local_domain = example.org
cyrus_sasl_config_path = {base}/config/sasl
smtputf8_enable = yes
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {base}/sasldb2
mech_list: PLAIN LOGIN
"""
DAEMONS = Path("/usr/lib/postfix/sbin")


@dataclass
class Postfix:
    port: int
    base: Path
    ca_file: Path
    login: bool
    """Whether `user` / `secret` can log in."""
    process: Process

    def mails(self) -> list[EmailMessage]:
        """What was delivered, oldest first."""
        out = []
        for file in sorted((self.base / "box" / "new").glob("*"), key=lambda each: each.stat().st_mtime_ns):
            message = BytesParser(policy=policy.default).parsebytes(file.read_bytes())
            assert isinstance(message, EmailMessage)
            out.append(message)
        return out


@contextmanager
def postfix(*, require_tls: bool = True) -> Iterator[Postfix]:
    """A listening Postfix. Raises Missing when it is not installed or this is not root."""
    command = program("postfix", package="postfix")
    if os.geteuid() != 0 or not DAEMONS.is_dir():
        raise Missing("Postfix needs root and its daemons (Debian package postfix)")
    with folder("postfix") as base:
        port = free_port()
        ca_file = _certificates(base)
        login = _login(base)
        _configure(base, port, "encrypt" if require_tls else "may", login)
        process = Process("postfix", [command, "-c", base / "config", "start-fg"], base / "start.log")
        process.start()
        try:
            process.wait_until(listens(port))
            yield Postfix(port, base, ca_file, login, process)
        finally:
            with suppress(RuntimeError):
                run([command, "-c", base / "config", "stop"], timeout_s=STOP_S)
            process.stop()


def _configure(base: Path, port: int, tls: str, login: bool) -> None:
    for name in ("config", "queue", "data", "log", "box"):
        (base / name).mkdir(exist_ok=True)
    shutil.chown(base / "data", "postfix")
    shutil.chown(base / "box", "nobody", "nogroup")
    import pwd

    nobody = pwd.getpwnam("nobody")
    text = MAIN.format(
        base=base,
        commands="/usr/sbin",
        daemons=DAEMONS,
        daemons_parent=DAEMONS.parent,
        uid=nobody.pw_uid,
        gid=nobody.pw_gid,
        tls=tls,
        sasl="yes" if login else "no",
    )
    (base / "config" / "main.cf").write_text(text)
    (base / "config" / "master.cf").write_text(MASTER.format(port=port))
    (base / "config" / "sasl").mkdir(exist_ok=True)
    (base / "config" / "sasl" / "smtpd.conf").write_text(SASL.format(base=base))


def _certificates(base: Path) -> Path:
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(base / "server.pem")
    (base / "server.pem").chmod(0o600)
    authority.cert_pem.write_to_path(base / "ca.pem")
    return base / "ca.pem"


def _login(base: Path) -> bool:
    tool = shutil.which("saslpasswd2", path="/usr/sbin:/usr/bin")
    if tool is None:
        return False
    import subprocess

    subprocess.run(
        [tool, "-c", "-p", "-f", base / "sasldb2", "-u", "example.org", "user"], input=b"secret", check=True, timeout=30
    )
    shutil.chown(base / "sasldb2", "postfix")
    return True
