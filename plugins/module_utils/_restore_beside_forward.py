# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves a restored copy forward in the log, without a second restore.

A paused copy goes on from its last restart point when its target is replaced and its server started again. That
takes a few tenths of a second, whereas a restore copies the whole database. There is no way backward.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._base_backup import account_of
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_sql import PsqlSession, SqlUnavailable
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside import (
    Beside,
    RestoreRequest,
    describe,
    recover,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_config import RecoveryTarget
from ansible_collections.codeblue.recovery.plugins.module_utils._restore_beside_server import (
    BesidePlace,
    last_complaint,
    mark_ready,
    running_server,
    start_server,
    stop_server,
)

_TARGET_LINE = re.compile(r"^recovery_target\w* = .*\n", re.MULTILINE)
_START_SECONDS = 120.0


def move_forward(beside: Beside, request: RestoreRequest, target: RecoveryTarget, deadline: Deadline) -> Beside:
    """Replay on to a later target.

    :param request: the one that the copy was made for.
    :param target: behind the copy's own; one before it cannot be reached.
    :raises CodeblueError: the copy was promoted, or the target was not reached. The copy is stopped then.
    """
    if not beside.in_recovery:
        raise CodeblueError("the copy in %s was promoted: it cannot go on in the log" % beside.place.directory)
    with PsqlSession(beside.login, deadline) as session:
        # A restart point at the last checkpoint in the log, so that little is replayed twice.
        session.query("CHECKPOINT")
    stop_server(beside.place, at_once=True)
    place = replace(beside.place, target=target.as_dict(), ready=False)
    _write_target(place, target)
    started = deadline.elapsed()
    state = recover(replace(request, target=target), place, deadline)
    seconds = {"recover": round(deadline.elapsed() - started, 3)}
    return describe(mark_ready(place), request.login, state, seconds)


def ensure_running(place: BesidePlace, login: Login, deadline: Deadline) -> bool:
    """Start the server of a copy that has reached its target and went down since, such as with its machine.

    :return: whether it had to be started.
    :raises CodeblueError: the copy never reached its target, or does not come up.
    """
    if not place.ready:
        raise CodeblueError(
            "the copy in %s never reached its target" % place.directory, "remove it and restore again: state=absent"
        )
    if running_server(place) is not None:
        return False
    process = start_server(place, login)

    def answers() -> bool:
        if process.poll() is not None:
            raise CodeblueError("the copy in %s does not start: %s" % (place.directory, last_complaint(place)))
        try:
            with PsqlSession(place.login(login), deadline.within(2.0)):
                return True
        except SqlUnavailable:
            return False

    if not deadline.within(_START_SECONDS).wait_until(answers, 0.1):
        stop_server(place)
        raise CodeblueError("the copy in %s does not answer: %s" % (place.directory, last_complaint(place)))
    return True


def _write_target(place: BesidePlace, target: RecoveryTarget) -> None:
    with open(place.config_file, encoding="utf-8") as stream:
        text = _TARGET_LINE.sub("", stream.read())
    text += "".join("%s = '%s'\n" % (name, value.replace("'", "''")) for name, value in target.settings().items())
    # The directory's owner and mode stay: the file is replaced beside it.
    write_file(os.path.join(place.directory, "postgresql.conf"), text.encode(), 0o600, account_of(place.os_user))
