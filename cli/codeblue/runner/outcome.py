"""How a run ended: by its record, and only without one by what Ansible said."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from codeblue.output.messages import EXIT_CODES, OUTCOMES
from codeblue.runner.events import EventReader
from codeblue.runner.failure import explain_start_failure

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run

# 254: ended by a signal, as `run_ansible` says it. 99: SIGINT (ExitCode.KEYBOARD_INTERRUPT in ansible.errors).
_KILLED_OR_STOPPED = (254, 99)
# What the targets say that only end with the one that failed, see the rescue of the playbooks.
_CONSEQUENCE = "another target of this run failed"
_NO_HOSTS = (
    "no target matches: nothing was done",
    "look at --limit, and whether the targets are in the group codeblue_services",
)


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    :param targets: outcome per target.
    :param next_step: a command to go on with.
    """

    outcome: str
    exit_code: int
    targets: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    hint: str | None = None
    next_step: str | None = None


def outcome_of(
    code: int, reader: EventReader, run: Run | None, stopped: bool, run_id: str, in_doubt: int = 0
) -> Outcome:
    """Judge a run.

    :param code: the exit status of ansible-playbook.
    :param run: the record; None when none was made.
    :param stopped: whether this command stopped it.
    :param in_doubt: how many steps of the run were begun and have no result.
    """
    if run is None:
        return _without_record(code, reader, stopped)
    targets = {name: state.outcome or "open" for name, state in run.targets.items()}
    if run.status == "closed" and run.outcome is not None:
        exit_code = run.exit_code if run.exit_code is not None else EXIT_CODES[run.outcome]
        error, hint = _last_failure(reader) if exit_code else (None, None)
        return Outcome(run.outcome, exit_code, targets, error, hint, f"codeblue report {run_id}")
    resume = f"codeblue resume {run_id}"
    if stopped or code in _KILLED_OR_STOPPED:
        return Outcome(
            "interrupted", EXIT_CODES["interrupted"], targets, "the run was interrupted and is still open", None, resume
        )
    error, hint = _last_failure(reader)
    refusal = _refusal(reader)
    if refusal is not None and reader.first_accepted_at is None and not in_doubt:
        # It waits for an approval, or for what holds the target: this attempt changed nothing.
        return Outcome(OUTCOMES[refusal], refusal, targets, error, hint, resume)
    # Ansible has given up and nothing closed the run: nobody can say how its targets were left.
    return Outcome(
        "failed_unsafe",
        EXIT_CODES["failed_unsafe"],
        targets,
        error or "ansible-playbook ended while the run was open",
        hint or "a person has to look at the targets now",
        resume,
    )


def plan_outcome(code: int, reader: EventReader, stopped: bool) -> Outcome:
    """Judge a plan: it leaves no record."""
    return _without_record(code, reader, stopped)


def _without_record(code: int, reader: EventReader, stopped: bool) -> Outcome:
    if stopped:
        return Outcome("interrupted", EXIT_CODES["interrupted"], error="interrupted before a run was opened")
    if reader.failures:
        return _by_failures(code, reader)
    if code == 0 and reader.tasks_ended:
        return Outcome("nothing_to_do", 0)
    if reader.no_hosts_matched or (code == 0 and not reader.tasks_ended):
        return Outcome("bad_input", 2, error=_NO_HOSTS[0], hint=_NO_HOSTS[1])
    error, hint = explain_start_failure(reader.error_text)
    if "no hosts to target" in error:
        error, hint = _NO_HOSTS
    return Outcome("bad_input", 2, error=error, hint=hint)


def _by_failures(code: int, reader: EventReader) -> Outcome:
    # A failure that was rescued does not count against a play that ended well.
    if code == 0:
        return Outcome("nothing_to_do", 0)
    with_code = [failure for failure in reader.failures if failure.exit_code is not None]
    failure = with_code[-1] if with_code else reader.failures[-1]
    # No run was opened, so no action of the collection can have changed anything.
    exit_code = failure.exit_code if failure.exit_code is not None else 2
    return Outcome(OUTCOMES.get(exit_code, "failed_safe"), exit_code, error=failure.error, hint=failure.hint)


def _refusal(reader: EventReader) -> int | None:
    """The exit code of the last failure when it says that nothing was begun: bad input, or refused."""
    if not reader.failures:
        return None
    code = reader.failures[-1].exit_code
    return code if code in (EXIT_CODES["bad_input"], EXIT_CODES["refused"]) else None


def _last_failure(reader: EventReader) -> tuple[str | None, str | None]:
    if not reader.failures:
        return None, None
    own = [failure for failure in reader.failures if _CONSEQUENCE not in (failure.error or "")]
    last = (own or reader.failures)[-1]
    return last.error, last.hint
