# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The arguments by which the PostgreSQL modules reach a member."""

from __future__ import annotations

import typing as t

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase, Member


def login_arguments(database: HostDatabase, member: Member) -> dict[str, t.Any]:
    """The administrative login on the member's own machine."""
    arguments: dict[str, t.Any] = {
        "bin_dir": database.bin_dir,
        "os_user": database.os_user,
        "address": member.address,
        "port": member.port,
        "database": database.database,
        "admin_user": database.admin_user,
    }
    if database.socket_dir is not None:
        arguments["socket_dir"] = database.socket_dir
    if database.admin_passfile is not None:
        arguments["admin_passfile"] = database.admin_passfile
    return arguments


def member_arguments(database: HostDatabase, member: Member) -> dict[str, t.Any]:
    """The same with its files and its process."""
    arguments = {
        **login_arguments(database, member),
        "data_dir": member.data_dir,
        "process": member.process.as_arguments(),
    }
    if member.config_file is not None:
        arguments["config_file"] = member.config_file
    return arguments
