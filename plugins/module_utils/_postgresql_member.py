# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One PostgreSQL server as the inventory describes it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput


@dataclass(frozen=True)
class Login:
    """How psql logs in. A password comes from `passfile` or not at all.

    :param host: an address, or the directory of the unix socket.
    :param os_user: psql runs as this user when this process is root (peer authentication).
    """

    bin_dir: str
    os_user: t.Optional[str]
    host: str
    port: int
    user: str
    database: str
    passfile: t.Optional[str] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Login:
        """From the options of `_argspec.login_arguments`."""
        return cls(
            bin_dir=params["bin_dir"],
            os_user=params["os_user"],
            host=params["socket_dir"] or params["address"],
            port=params["port"],
            user=params["admin_user"],
            database=params["database"],
            passfile=params["admin_passfile"],
        )

    def to_database(self, database: str) -> Login:
        """The same login to another database."""
        return replace(self, database=database)

    def tool(self, name: str) -> str:
        """Path of a tool of this PostgreSQL version."""
        return os.path.join(self.bin_dir, name)

    def environment(self) -> t.Dict[str, str]:
        """For the tools of PostgreSQL: where and as whom, and never to ask for a password."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "PGAPPNAME": "codeblue",
            "PGCONNECT_TIMEOUT": "2",
            # Without a file of its own libpq would look into the home directory.
            "PGPASSFILE": self.passfile or "/nonexistent",
        }


@dataclass(frozen=True)
class Member:
    """A server with its files on this machine.

    :param config_file: only where postgresql.conf lies outside the data directory (Debian).
    """

    login: Login
    data_dir: str
    address: str
    port: int
    config_file: t.Optional[str] = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Member:
        """From the options of `_argspec.member_arguments`.

        :raises BadInput: data_dir is not an absolute path.
        """
        if not os.path.isabs(params["data_dir"]) or os.path.realpath(params["data_dir"]) == "/":
            raise BadInput("data_dir: %r is not the absolute path of a data directory" % params["data_dir"])
        return cls(
            login=Login.from_params(params),
            data_dir=params["data_dir"].rstrip("/"),
            address=params["address"],
            port=params["port"],
            config_file=params["config_file"],
        )

    def path(self, *parts: str) -> str:
        """A path inside the data directory."""
        return os.path.join(self.data_dir, *parts)

    @property
    def os_user(self) -> t.Optional[str]:
        """The user that the server runs as."""
        return self.login.os_user
