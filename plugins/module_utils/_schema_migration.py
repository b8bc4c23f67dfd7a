# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes one migration of a database's schema back, or applies it, with the tool that made it.

The tool is a black box. It is bounded from outside and by the server, and what counts is never what it says of its
own success but which migrations its status has afterwards.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._atomic_file import write_file
from ansible_collections.codeblue.recovery.plugins.module_utils._deadline import Deadline
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.module_utils._host_module import StepContext, StepFailed, StepOutcome
from ansible_collections.codeblue.recovery.plugins.module_utils._run_command import CommandResult, run_command
from ansible_collections.codeblue.recovery.plugins.module_utils._schema_status import (
    DATA_LOSS,
    NONE,
    Migration,
    check_version,
    read_status,
)

# A lock that somebody else holds for a moment is worth another try; a change that waits for one holds up everybody.
_TRIES = 3
_STATUS_SECONDS = 8.0
_OUTPUT_BYTES = 64 * 1024
_OUTPUTS_KEPT = 20
_STATUS_BYTES = 8 * 1024 * 1024
# Words of PostgreSQL and of nobody's data.
_LOCK_TIMEOUT = "canceling statement due to lock timeout"
_STATEMENT_TIMEOUT = "canceling statement due to statement timeout"
#: Stands for the migration before the first one.
BASE = "base"


@dataclass(frozen=True)
class MigrationTool:
    """The commands of a migration tool on this machine.

    :param lock_timeout: seconds that a statement of it may wait for a lock.
    :param statement_timeout: seconds that one statement may take.
    """

    status_command: t.Sequence[str]
    down_command: t.Sequence[str]
    up_command: t.Sequence[str]
    os_user: t.Optional[str]
    unknown_way_back: str
    lock_timeout: float
    statement_timeout: float

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> MigrationTool:
        """From the options of the module `schema_migration`.

        :raises BadInput: a command is no absolute path.
        """
        for name in ("status_command", "down_command", "up_command"):
            argv = params.get(name) or ()
            if argv and not os.path.isabs(argv[0]):
                raise BadInput("%s: must begin with the absolute path of a program" % name)
        return cls(
            status_command=params["status_command"],
            down_command=params["down_command"] or (),
            up_command=params["up_command"] or (),
            os_user=params["os_user"],
            unknown_way_back=params["way_back"],
            lock_timeout=params["lock_timeout"],
            statement_timeout=params["statement_timeout"],
        )

    def status(self, deadline: Deadline) -> t.List[Migration]:
        """What is applied, oldest first.

        :raises CodeblueError: the tool fails, or prints something else.
        """
        done = run_command(
            self.status_command,
            deadline.within(_STATUS_SECONDS),
            user=self.os_user,
            environment=self._environment(),
            output_limit=_STATUS_BYTES,
        )
        if not done.ok or done.truncated:
            raise CodeblueError(
                "the status of the migrations cannot be had: %s" % _ending(done),
                "try on the machine: %s" % self.status_command[0],
            )
        return read_status(done.stdout, self.unknown_way_back)

    def run(
        self, command: t.Sequence[str], version: str, previous: str, deadline: Deadline, pass_fds: t.Sequence[int]
    ) -> CommandResult:
        """Run one of the commands with its placeholders filled in."""
        argv = [part.replace("{version}", version).replace("{previous}", previous) for part in command]
        return run_command(
            argv,
            deadline,
            user=self.os_user,
            environment=self._environment(),
            output_limit=_OUTPUT_BYTES,
            keep="tail",
            pass_fds=pass_fds,
        )

    def _environment(self) -> t.Dict[str, str]:
        """By libpq the server itself ends what takes too long, also after the tool was killed."""
        lock, statement = int(self.lock_timeout * 1000), int(self.statement_timeout * 1000)
        return {
            "PGOPTIONS": "-c lock_timeout=%d -c statement_timeout=%d" % (lock, statement),
            "PGCONNECT_TIMEOUT": "3",
            "CODEBLUE_LOCK_TIMEOUT_MS": str(lock),
            "CODEBLUE_STATEMENT_TIMEOUT_MS": str(statement),
        }


def migrate(params: t.Mapping[str, t.Any], context: StepContext) -> StepOutcome:
    """Take the newest migration back, or apply one.

    :raises Refused: it is not the newest one, or taking it back loses data and nobody has accepted that.
    :raises StepFailed: the tool ended, and the status is not what it should be.
    """
    tool, deadline = MigrationTool.from_params(params), Deadline(params["timeout"])
    found = tool.status(deadline)
    versions = [each.version for each in found]
    shown = {"applied": [each.as_dict() for each in reversed(found[-params["history_entries"] :])]}
    before = _state(versions)
    if params["mode"] == "status":
        return StepOutcome(False, before, before, shown)
    version, down = check_version(params["version"]), params["mode"] == "down"
    if (version in versions) != down:
        return StepOutcome(False, before, before, shown)
    if down:
        _refuse_down(tool, found, version, params["accept"])
        wanted = versions[:-1]
    else:
        _refuse_up(tool)
        wanted = [*versions, version]
    if context.check_mode:
        return StepOutcome(True, before, _state(wanted), shown)
    previous = versions[-2] if down and len(versions) > 1 else versions[-1] if not down and versions else BASE
    context.accept(before)
    done, tries = _run_until_the_lock_is_had(tool, params, version, previous, context, deadline)
    output = _keep_output(params, version, done)
    after = _versions_afterwards(tool, wanted, done)
    if sorted(after) != sorted(wanted):
        raise _failed(params["mode"], version, versions, after, done, output, tries)
    return StepOutcome(True, before, _state(after), {**shown, "tries": tries, "output": output})


def _refuse_down(tool: MigrationTool, found: t.Sequence[Migration], version: str, accepted: t.Sequence[str]) -> None:
    if not tool.down_command:
        raise BadInput("down_command: is missing", "name the command that takes a migration back")
    newest = found[-1]
    if newest.version != version:
        raise Refused(
            "migration %s is not the newest one, that is %s" % (version, newest.version),
            "take the newer ones back first",
        )
    if newest.way_back == NONE:
        raise Refused(
            "migration %s cannot be taken back: its tool has no way back" % version,
            "a person decides: mend it by a further migration, or restore the database beside",
        )
    if newest.way_back == DATA_LOSS and DATA_LOSS not in accepted:
        raise Refused(
            "taking migration %s back loses data" % version,
            "look what its way back removes; to do it all the same: --accept %s" % DATA_LOSS,
        )


def _refuse_up(tool: MigrationTool) -> None:
    if not tool.up_command:
        raise BadInput("up_command: is missing", "name the command that applies a migration")


def _run_until_the_lock_is_had(
    tool: MigrationTool,
    params: t.Mapping[str, t.Any],
    version: str,
    previous: str,
    context: StepContext,
    deadline: Deadline,
) -> t.Tuple[CommandResult, int]:
    """A tool that got no lock has changed nothing, by PostgreSQL's transactions; every other end is looked at."""
    command = tool.down_command if params["mode"] == "down" else tool.up_command
    tries = 1
    done = tool.run(command, version, previous, deadline, context.lock_descriptors)
    while tries < _TRIES and not done.ok and not deadline.expired and _LOCK_TIMEOUT in done.stderr + done.stdout:
        tries += 1
        done = tool.run(command, version, previous, deadline, context.lock_descriptors)
    return done, tries


def _versions_afterwards(tool: MigrationTool, wanted: t.Sequence[str], done: CommandResult) -> t.List[str]:
    """What is applied now. A tool that had to be killed leaves its last statement to the server, which ends it."""
    found: t.List[str] = []

    def reached() -> bool:
        found[:] = [each.version for each in tool.status(Deadline(_STATUS_SECONDS))]
        return sorted(found) == sorted(wanted)

    Deadline(tool.statement_timeout if done.returncode is None else 0.0).wait_until(reached, 0.5)
    return found


def _keep_output(params: t.Mapping[str, t.Any], version: str, done: CommandResult) -> str:
    """What the tool printed may hold rows of patients and passwords: a file of this machine for its owner alone."""
    step = params["step"]
    directory = os.path.join(step["lock_dir"], "migrations")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_.@-]", "_", "%s.%s.%s.%s" % (step["target"], step["run_id"], params["mode"], version))
    path = os.path.join(directory, name + ".log")
    write_file(path, (done.stdout + done.stderr).encode(), 0o600)
    kept = sorted((os.path.join(directory, each) for each in os.listdir(directory)), key=os.path.getmtime)
    for old in kept[:-_OUTPUTS_KEPT]:
        os.unlink(old)
    return path


def _failed(
    mode: str,
    version: str,
    before: t.Sequence[str],
    after: t.Sequence[str],
    done: CommandResult,
    output: str,
    tries: int,
) -> StepFailed:
    details = {"after": _state(after), "output": output, "tries": tries}
    if sorted(before) == sorted(after):
        return StepFailed(
            "migration %s was not %s: %s" % (version, "taken back" if mode == "down" else "applied", _ending(done)),
            "see %s; %s"
            % (output, "find out who holds the lock" if _LOCK_TIMEOUT in done.stderr + done.stdout else "mend its way"),
            {"changed": False, **details},
        )
    others = sorted(set(before) ^ set(after) - {version})
    return StepFailed(
        "more than migration %s has changed: %s" % (version, ", ".join(others)[:300]),
        "see %s, and bring the schema in order by hand" % output,
        {"changed": True, **details},
        exit_code=5,
    )


def _ending(done: CommandResult) -> str:
    """How a tool ended, without a word of what it printed."""
    printed = done.stderr + done.stdout
    if _LOCK_TIMEOUT in printed:
        return "%s got no lock" % done.tool
    if _STATEMENT_TIMEOUT in printed:
        return "a statement of %s took too long" % done.tool
    if done.returncode is None:
        return "%s gave no answer within %.1f s" % (done.tool, done.seconds)
    if done.truncated:
        return "%s printed too much" % done.tool
    return "%s ended with status %s" % (done.tool, done.returncode)


def _state(versions: t.Sequence[str]) -> t.Dict[str, t.Any]:
    return {"current": versions[-1] if versions else None, "count": len(versions)}
