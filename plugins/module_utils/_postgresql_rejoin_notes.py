# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a rejoin must still know after it was cut off: the member's own configuration, and how far it came.

pg_rewind and pg_basebackup bring the primary's configuration along. Were the member's own kept in memory only, an
attempt that is cut off would leave the member with the primary's port, and the next attempt would take that for the
member's own.
"""

from __future__ import annotations

import base64
import json
import os
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import sync_directory, write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import own_config, restore_config
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member

_LARGEST_NOTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class RejoinNotes:
    """Kept beside the receipts while a rejoin is under way.

    :param config: files of `own_config` that are not back in place yet; None when they are.
    :param rewinding: pg_rewind was started and has not been seen to end well.
    :param boot_id: of the machine then; after a crash of the machine what pg_rewind wrote may not be on disk.
    """

    path: str
    config: t.Optional[t.Dict[str, bytes]] = None
    rewinding: bool = False
    boot_id: str = ""

    @classmethod
    def read(cls, lock_dir: str, target: str, port: int) -> RejoinNotes:
        """Those of an earlier attempt, or empty ones.

        :raises CodeblueError: they are damaged.
        """
        path = os.path.join(lock_dir, "%s.%d.rejoin.json" % (target, port))
        try:
            with open(path, encoding="ascii") as stream:
                kept = json.loads(stream.read(_LARGEST_NOTES))
            config = kept["config"]
            return cls(
                path=path,
                config=None if config is None else {name: base64.b64decode(text) for name, text in config.items()},
                rewinding=bool(kept["rewinding"]),
                boot_id=str(kept["boot_id"]),
            )
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CodeblueError(
                "%s is damaged" % path, "look whether the member's configuration is its own, then remove the file"
            ) from error

    def keep_config(self, member: Member) -> RejoinNotes:
        """Put the member's own configuration on disk, unless an earlier attempt has done so."""
        if self.config is not None or not os.path.isdir(member.data_dir):
            return self
        return self._write(config=own_config(member))

    def put_config_back(self, member: Member) -> RejoinNotes:
        """The member has its own configuration again."""
        if self.config is None:
            return self
        restore_config(member, self.config)
        return self._write(config=None)

    def mark_rewinding(self, rewinding: bool) -> RejoinNotes:
        """pg_rewind starts, or has ended well."""
        return self._write(rewinding=rewinding, boot_id=_boot_id())

    @property
    def same_boot(self) -> bool:
        """The machine has not restarted since `mark_rewinding`."""
        return self.boot_id == _boot_id()

    def forget(self) -> None:
        """The rejoin is finished."""
        if os.path.exists(self.path):
            os.unlink(self.path)
            sync_directory(os.path.dirname(self.path))

    def _write(self, **changes: t.Any) -> RejoinNotes:
        notes = replace(self, **changes)
        config = notes.config
        content = {
            "config": None
            if config is None
            else {name: base64.b64encode(text).decode() for name, text in config.items()},
            "rewinding": notes.rewinding,
            "boot_id": notes.boot_id,
        }
        # Mode 0600: a configuration may hold passwords.
        write_file(notes.path, json.dumps(content, sort_keys=True).encode())
        return notes


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read(64).strip()
