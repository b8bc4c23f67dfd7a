"""A loopback sshd of a test's own, and a user on it who may become root: as machines are reached in production.

Needs root, Debian's openssh-server and sudo. All of it is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clinic_site import wait_for

SYSTEM_PYTHON = Path("/usr/bin/python3")
_SSHD = Path("/usr/sbin/sshd")
_SUDOERS = Path("/etc/sudoers.d")


@dataclass(frozen=True)
class LoopbackSsh:
    """How the machines are reached."""

    user: str
    port: int
    key: Path
    known_hosts: Path

    @property
    def variables(self) -> dict[str, t.Any]:
        """For the group codeblue_machines."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
            " -o IdentitiesOnly=yes",
            "ansible_become": True,
            "ansible_become_method": "sudo",
            "ansible_python_interpreter": str(SYSTEM_PYTHON),
        }


def missing() -> str | None:
    """Why the test cannot run here, or None."""
    if os.geteuid() != 0:
        return "making a user and becoming root over SSH needs root"
    if not _SSHD.is_file():
        return "there is no sshd: apt-get install openssh-server"
    if shutil.which("sudo") is None or not _SUDOERS.is_dir():
        return "there is no sudo: apt-get install sudo"
    if not SYSTEM_PYTHON.is_file():
        return f"there is no {SYSTEM_PYTHON}"
    return None


@contextlib.contextmanager
def loopback_ssh(directory: Path) -> Iterator[LoopbackSsh]:
    """Start it; the user, the rule for sudo and the server are removed when the block ends.

    :param directory: for keys and configuration; only root can enter it.
    """
    user = f"cbtest{secrets.token_hex(3)}"
    with contextlib.ExitStack() as stack:
        home = Path("/var/tmp") / user
        subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", user], check=True)
        stack.callback(_remove_user, user, home)
        # Without a password, as useradd leaves it, sshd takes the account for locked.
        subprocess.run(["usermod", "--password", "*", user], check=True)
        rule = _SUDOERS / user
        rule.touch(mode=0o440)
        stack.callback(rule.unlink)
        rule.write_text(f"{user} ALL=(root) NOPASSWD: ALL\n")
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        authorized = home / "authorized_keys"
        authorized.write_text((directory / "client.pub").read_text())
        shutil.chown(authorized, user)
        port = _free_port()
        known = directory / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
        config = directory / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {directory / 'host'}\nPidFile none\nUsePAM no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {authorized}\n"
            f"AllowUsers {user}\nMaxStartups 200\nMaxSessions 200\nStrictModes no\nLogLevel ERROR\n"
        )
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        server = subprocess.Popen([_SSHD, "-D", "-e", "-f", config], stderr=(directory / "sshd.log").open("wb"))
        stack.callback(_end, server)
        wait_for(lambda: _answers(port), 5.0, "sshd", pause=0.02)
        yield LoopbackSsh(user, port, directory / "client", known)


def _remove_user(user: str, home: Path) -> None:
    # Sessions that ssh keeps open for reuse still belong to the user.
    uid = home.stat().st_uid
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)
    subprocess.run(["userdel", "--force", user], check=True, stderr=subprocess.DEVNULL)
    shutil.rmtree(home)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
