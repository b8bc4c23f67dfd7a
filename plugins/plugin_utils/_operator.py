# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who runs this, as far as the operating system vouches for it.

Ansible variables take no part: anybody can set them with `-e`.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

# A user number that the audit system has not set (audit_getloginuid(3)).
_NO_LOGIN = 4294967295


@dataclass(frozen=True)
class Operator:
    """A person or account.

    :param name: the account's name.
    :param source: `os` (the process's own account), `sudo` or `awx`.
    :param verified: whether the operating system authenticated the name; False is recorded as `unverified`.
    """

    name: str
    source: str
    verified: bool

    def __str__(self) -> str:
        return self.name if self.verified else f"{self.name} (unverified)"


def current_operator() -> Operator:
    """Who runs this process.

    AWX hands the name of its user to a job in extra variables only, which anybody can set: a job is therefore
    recorded by its number, as unverified.
    """
    job = os.environ.get("JOB_ID")
    if job and ("AWX_HOST" in os.environ or "TOWER_HOST" in os.environ):
        host = os.environ.get("AWX_HOST") or os.environ["TOWER_HOST"]
        return Operator(_printable(f"job {job} at {host}"), "awx", verified=False)
    uid = os.getuid()
    if uid == 0 and os.environ.get("SUDO_USER"):
        return _sudo_operator(os.environ["SUDO_USER"])
    return Operator(_account_name(uid), "os", verified=True)


def _sudo_operator(name: str) -> Operator:
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        return Operator(_printable(name), "sudo", verified=False)
    # SUDO_USER is only a variable. The login user number is kept by the kernel; without the audit system, a
    # sudo process above this one has to stand for it.
    return Operator(_printable(name), "sudo", verified=_login_uid() == uid or _started_by_sudo())


def _login_uid() -> int | None:
    try:
        value = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if value == _NO_LOGIN else value


def _started_by_sudo() -> bool:
    pid = os.getppid()
    for _depth in range(64):
        if pid <= 1:
            return False
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        command, _bracket, rest = text.partition("(")[2].rpartition(")")
        if command == "sudo":
            return True
        pid = int(rest.split()[1])
    return False


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        # Containers often run under a number that has no entry.
        return f"uid {uid}"


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[:120]
