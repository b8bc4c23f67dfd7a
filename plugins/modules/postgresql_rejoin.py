#!/usr/bin/python
# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a PostgreSQL server a standby of the new primary."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_rejoin
short_description: Make a former primary a standby of the new one
version_added: 0.1.0
author: codeblue.recovery contributors (@codeblue-recovery)
description:
  - A member that was a standby merely follows the new primary where that works, and so does a former primary that was
    shut down in order when the new primary has all of its log. Otherwise a stopped member is brought back by
    C(pg_rewind), after replaying its own log when it had died, or by a full copy.
  - Keeps the member's own configuration files, and has it follow the new primary through a replication slot.
  - Starts it and waits until it streams. A fence of the member is settled then.
  - A member that streams from the new primary already is left alone. One that runs as a primary is refused.
  - With a full copy the old data directory is kept beside the new one until a person removes it.
options:
  strategy:
    description:
      - V(rewind) fails where C(pg_rewind) is not possible. V(copy) takes a full copy at once.
      - V(rewind_then_copy) takes a full copy when C(pg_rewind) is not possible.
    type: str
    choices: [rewind, copy, rewind_then_copy]
    required: true
  source:
    description: The new primary.
    type: dict
    required: true
    suboptions:
      address:
        description: Where it listens, seen from this machine.
        type: str
        required: true
      port:
        description: Its TCP port.
        type: int
        default: 5432
      admin_user:
        description: Role for C(pg_rewind) and for making the slot. It needs to be a superuser.
        type: str
        default: postgres
      admin_passfile:
        description: Password file on this machine for O(source.admin_user), readable by O(os_user).
        type: path
      database:
        description: Database of that login.
        type: str
        default: postgres
      replication_user:
        description: Role by which the member streams.
        type: str
        required: true
      replication_passfile:
        description: Password file on this machine for O(source.replication_user); O(source.admin_passfile) by default.
        type: path
  slot:
    description: Physical replication slot at the new primary. Made when it is missing.
    type: str
    required: true
  unneeded_slots:
    description:
      - Physical replication slots of this member that nobody needs while it is a standby. Those that it has and nobody
        streams by are dropped afterwards, because a slot keeps the log of a standby too.
    type: list
    elements: str
    default: []
  application_name:
    description: Name by which the primary knows this standby; O(slot) by default.
    type: str
  timeout:
    description: Seconds for everything together. A full copy of a large cluster needs more than the default.
    type: float
    default: 600.0
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
extends_documentation_fragment:
  - codeblue.recovery.attributes
  - codeblue.recovery.postgresql
  - codeblue.recovery.postgresql.member
  - codeblue.recovery.process.required
  - codeblue.recovery.step
"""

EXAMPLES = r"""
- name: See whether the old primary has to be rejoined
  codeblue.recovery.postgresql_rejoin:
    bin_dir: /usr/lib/postgresql/18/bin
    data_dir: /var/lib/postgresql/18/main
    process: {manager: systemd, unit: postgresql@18-main}
    strategy: rewind_then_copy
    slot: db1
    source: {address: 10.0.0.12, replication_user: replicator, admin_passfile: /etc/codeblue/admin.pgpass}
  check_mode: true
"""

RETURN = r"""
before:
  description: Whether the member ran, in which role, and from whom it streamed.
  returned: success
  type: dict
  sample: {running: false, in_recovery: null, streaming_from: null}
after:
  description: The same afterwards.
  returned: success
  type: dict
  sample: {running: true, in_recovery: true, streaming_from: "10.0.0.12:5432"}
method:
  description: How it was done, V(follow), V(rewind), V(copy) or V(none).
  returned: success
  type: str
rewind_error:
  description: Why C(pg_rewind) was not possible.
  returned: when a copy was taken instead
  type: str
kept_data_dir:
  description: Where the old data directory is.
  returned: when a copy was taken
  type: str
slots_dropped:
  description: Those of O(unneeded_slots) that were dropped.
  returned: success
  type: list
  elements: str
timeline:
  description: Timeline of the new primary.
  returned: when it was rejoined
  type: int
accepted_at:
  description: Unix time of the first changing call that the target accepted, V(null) when nothing was changed.
  returned: success
  type: float
  sample: 1795225858.2
already_done:
  description: This very step was finished here before; its result is returned again.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import member_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import (
    StepContext,
    StepOutcome,
    run_step_module,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_config import Upstream
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_fence import (
    FenceRecord,
    settle_after_rejoin,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_follow import (
    Rejoin,
    drop_slots,
    follows,
    look_at_follower,
    prepare_source,
    require_stopped,
    start_following,
    unused_slots,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Login, Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_rejoin import (
    COPY,
    FOLLOW,
    NONE,
    REWIND,
    RewindImpossible,
    check_cluster,
    copy,
    may_follow,
    rewind,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_rejoin_notes import RejoinNotes
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_start import stop_and_wait
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import Touched

_STOP_SECONDS = 15.0
_START_SECONDS = 10.0


def perform(params: t.Dict[str, t.Any], context: StepContext) -> StepOutcome:
    """Rejoin unless it follows already."""
    deadline = Deadline(params["timeout"])
    job = _job(params, context)
    before = _settled(job, deadline)
    if follows(before, job.upstream):
        dropped = unused_slots(job.member, params["unneeded_slots"], deadline)
        if not context.check_mode:
            if dropped:
                context.accept(before)
                drop_slots(job.member, dropped, deadline)
            _finish(job, params, deadline)
        return StepOutcome(bool(dropped), before, before, {"method": NONE, "slots_dropped": dropped})
    if before["running"] and before["in_recovery"] is not True:
        raise Refused(
            "the member at port %d runs and is no standby" % job.member.port, "fence it with postgresql_fence first"
        )
    if context.check_mode:
        wished = {"running": True, "in_recovery": True, "streaming_from": "%(address)s:%(port)d" % params["source"]}
        method = COPY if params["strategy"] == COPY else REWIND
        return StepOutcome(True, before, wished, {"method": method, "slots_dropped": []})
    context.accept(before)
    source = prepare_source(job, deadline)
    _stop(job, before["running"], deadline)
    after, extra = _bring_back(job, params, source, deadline)
    dropped = unused_slots(job.member, params["unneeded_slots"], deadline)
    drop_slots(job.member, dropped, deadline)
    _finish(job, params, deadline)
    return StepOutcome(True, before, after, {**extra, "timeline": source["timeline"], "slots_dropped": dropped})


def _settled(job: Rejoin, deadline: Deadline) -> t.Dict[str, t.Any]:
    """What the member is. One that was just started, as by an attempt that was killed, does not answer for a moment."""
    seen: t.Dict[str, t.Any] = {}

    def answers() -> bool:
        seen.clear()
        seen.update(look_at_follower(job.member, deadline))
        return not seen["running"] or seen["in_recovery"] is not None

    deadline.within(_START_SECONDS).wait_until(answers, 0.1)
    return seen


def _bring_back(
    job: Rejoin, params: t.Dict[str, t.Any], source: t.Dict[str, t.Any], deadline: Deadline
) -> t.Tuple[t.Dict[str, t.Any], t.Dict[str, t.Any]]:
    """The cheapest way that works: follow as it is, rewind, copy."""
    member, strategy = job.member, params["strategy"]
    notes = _notes(job, params)
    control = check_cluster(member, source, deadline)
    if strategy != COPY and may_follow(control, source, notes, member):
        notes = notes.put_config_back(member)
        try:
            return start_following(job, deadline), {"method": FOLLOW}
        except CodeblueError:
            # Its history has parted from the primary's, or a part of the log is gone. What follows tells which.
            _stop(job, True, deadline)
            control = check_cluster(member, source, deadline)
    extra: t.Dict[str, t.Any] = {"method": REWIND}
    if strategy != COPY:
        try:
            rewind(job, control, notes, deadline)
            return start_following(job, deadline), extra
        except RewindImpossible as error:
            if strategy == REWIND:
                raise CodeblueError(error.message, "a full copy can do it: strategy rewind_then_copy") from error
            extra["rewind_error"] = error.message
    extra["method"] = COPY
    _notes_after, extra["kept_data_dir"] = copy(job, source, _notes(job, params), params["step"]["run_id"], deadline)
    return start_following(job, deadline), extra


def _stop(job: Rejoin, running: bool, deadline: Deadline) -> None:
    if running:
        stop_and_wait(job.member, job.unit, deadline.within(_STOP_SECONDS))
    require_stopped(job.member, deadline)


def _notes(job: Rejoin, params: t.Dict[str, t.Any]) -> RejoinNotes:
    return RejoinNotes.read(params["step"]["lock_dir"], params["step"]["target"], job.member.port)


def _finish(job: Rejoin, params: t.Dict[str, t.Any], deadline: Deadline) -> None:
    """What an earlier fence and the rejoin itself had put aside is settled."""
    step = params["step"]
    settle_after_rejoin(job.unit, FenceRecord.path(step["lock_dir"], step["target"], job.member.port), deadline)
    _notes(job, params).forget()


def _job(params: t.Dict[str, t.Any], context: StepContext) -> Rejoin:
    source = params["source"]
    return Rejoin(
        member=Member.from_params(params),
        unit=process_unit(params["process"]),
        source=Login(
            bin_dir=params["bin_dir"],
            os_user=params["os_user"],
            host=source["address"],
            port=source["port"],
            user=source["admin_user"],
            database=source["database"],
            passfile=source["admin_passfile"],
        ),
        upstream=Upstream(
            address=source["address"],
            port=source["port"],
            user=source["replication_user"],
            passfile=source["replication_passfile"] or source["admin_passfile"],
            slot=params["slot"],
            application_name=params["application_name"] or params["slot"],
        ),
        pass_fds=context.lock_descriptors,
    )


def main() -> None:
    """Entry point."""
    run_step_module(
        {
            **member_arguments(),
            "strategy": {"type": "str", "required": True, "choices": ["rewind", "copy", "rewind_then_copy"]},
            "source": {
                "type": "dict",
                "required": True,
                "options": {
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 5432},
                    "admin_user": {"type": "str", "default": "postgres"},
                    "admin_passfile": {"type": "path", "no_log": False},
                    "database": {"type": "str", "default": "postgres"},
                    "replication_user": {"type": "str", "required": True},
                    "replication_passfile": {"type": "path", "no_log": False},
                },
            },
            "slot": {"type": "str", "required": True},
            "unneeded_slots": {"type": "list", "elements": "str", "default": []},
            "application_name": {"type": "str"},
            "timeout": {"type": "float", "default": 600.0},
        },
        perform,
        touches=lambda params: Touched(data_dir=params["data_dir"]),
    )


if __name__ == "__main__":
    main()
