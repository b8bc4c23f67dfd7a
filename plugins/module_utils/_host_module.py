# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one adapter between Ansible's way to run a module, or this collection's own, and the library for machines.

A module gives an argument specification and a function. Here are the guard, the receipts, the results' common
keys, and the only place where an error becomes `fail_json`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.codeblue.recovery.plugins.module_utils._argspec import step_argument, step_from
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers import (
    Declared,
    ReconcilerAtWork,
    Touched,
    Watch,
)
from ansible_collections.codeblue.recovery.plugins.module_utils._scrub import scrub, scrub_text
from ansible_collections.codeblue.recovery.plugins.module_utils._sent_module import SentModule, sent_arguments
from ansible_collections.codeblue.recovery.plugins.module_utils._target_guard import TargetGuard

Params = t.Dict[str, t.Any]
State = t.Dict[str, t.Any]


class Module(t.Protocol):
    """What this adapter needs of AnsibleModule, and what `SentModule` has as well."""

    params: Params
    check_mode: bool
    _diff: bool
    no_log_values: t.AbstractSet[str]

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """Answer, and end well."""

    def fail_json(self, msg: str, **result: t.Any) -> t.NoReturn:
        """Answer that it failed, and end so."""


@dataclass(frozen=True)
class StepOutcome:
    """What a changing function did, or in check mode would do.

    :param before: the state that was found; no secrets.
    :param after: the state that was reached and looked at, or would be.
    :param extra: further keys of the result.
    :param finished: False for a result that another attempt of the same step is to try again.
    """

    changed: bool
    before: State
    after: State
    extra: State = field(default_factory=dict)
    finished: bool = True


class StepFailed(CodeblueError):
    """The target was changed and did not get where it should be.

    :param details: further keys of the failed result, for whoever decides what comes next.
    """

    def __init__(self, message: str, hint: t.Optional[str], details: State, exit_code: t.Optional[int] = None) -> None:
        super().__init__(message, hint, exit_code)
        self.details = details


class StepContext:
    """What a changing function may ask for.

    :param guard: None in check mode, where nothing changes and no lock is taken.
    :param watch: who else keeps what is about to change.
    """

    def __init__(
        self, guard: t.Optional[TargetGuard], secrets: t.Tuple[str, ...] = (), watch: t.Optional[Watch] = None
    ) -> None:
        self._guard = guard
        self._secrets = secrets
        self._watch = watch or Watch()
        self._watched = False

    @property
    def check_mode(self) -> bool:
        """Only look."""
        return self._guard is None

    @property
    def before_first_attempt(self) -> t.Optional[State]:
        """The state that an earlier, unfinished attempt of this very step found."""
        return None if self._guard is None else self._guard.before_first_attempt

    @property
    def lock_descriptors(self) -> t.Tuple[int, ...]:
        """For `pass_fds` of tools that work long."""
        return () if self._guard is None else (self._guard.lock_descriptor,)

    def accept(self, before: t.Optional[State] = None) -> None:
        """Must be called right before the first change.

        :param before: the state that is about to change; it goes to disk.
        :raises CodeblueError: in check mode, where there is nothing to accept.
        :raises ReconcilerAtWork: somebody else keeps what is about to change.
        """
        if self._guard is None:
            raise CodeblueError("a change was attempted in check mode", "this is a defect of the module; report it")
        if not self._watched:
            self._watch.refuse_if_any()
            self._watched = True
        self._guard.accept(scrub(before, self._secrets))


Perform = t.Callable[[Params, StepContext], StepOutcome]
Look = t.Callable[[Params], State]


def run_step_module(
    arguments: Params,
    perform: Perform,
    only_looks: t.Callable[[Params], bool] = lambda _params: False,
    touches: t.Optional[t.Callable[[Params], Touched]] = None,
    leaves: t.Optional[t.Callable[[Params], t.List[State]]] = None,
    **module_options: t.Any,
) -> None:
    """Run a module that changes its target, as one step of a run.

    :param arguments: argument spec without `step`.
    :param perform: does it; called with the validated parameters and a `StepContext`.
    :param only_looks: whether these parameters ask for a look, which needs no step and takes no lock.
    :param touches: what these parameters change that somebody else may keep.
    :param leaves: called after a step that ended well: what it leaves behind, as `_left_behind` has it.
    :param module_options: for AnsibleModule: required_if, mutually_exclusive and so on.
    """
    module = _module({**arguments, **step_argument()}, module_options)
    guard: t.Optional[TargetGuard] = None
    try:
        if only_looks(module.params):
            result = _result(module, perform(module.params, StepContext(None)), None)
        elif module.check_mode:
            outcome = perform(module.params, StepContext(None))
            watch = _watch(module.params, touches)
            watch.told = watch.look() if outcome.changed else []
            result = _result(module, outcome, None, watch)
        else:
            guard = TargetGuard(step_from(module.params))
            with guard:
                result = _guarded(module, guard, perform, _watch(module.params, touches), leaves)
    except (CodeblueError, OSError) as error:
        _fail(module, error, guard.accepted_at if guard else None)
    else:
        module.exit_json(**result)


def run_look_module(arguments: Params, look: Look, verbatim: t.Container[str] = (), **module_options: t.Any) -> None:
    """Run a module that only looks; it never reports a change.

    :param verbatim: keys of the result that are encoded already and would be spoilt by scrubbing.
    """
    module = _module(arguments, module_options)
    secrets = _secrets(module)
    try:
        result = {
            key: value if key in verbatim else scrub(value, secrets) for key, value in look(module.params).items()
        }
    except (CodeblueError, OSError) as error:
        _fail(module, error, None)
    else:
        module.exit_json(changed=False, **result)


def _module(arguments: Params, module_options: Params) -> Module:
    """What holds the arguments and takes the answer, whoever runs this module."""
    given = sent_arguments()
    if given is not None:
        return SentModule(given, arguments, module_options)
    # Imported here: it takes longer than most modules work.
    from ansible.module_utils.basic import AnsibleModule

    return t.cast(Module, AnsibleModule(arguments, supports_check_mode=True, **module_options))


def _watch(params: Params, touches: t.Optional[t.Callable[[Params], Touched]]) -> Watch:
    if touches is None:
        return Watch()
    return Watch(touches(params), tuple(Declared.from_params(each) for each in params["reconcilers"]))


def _guarded(
    module: Module,
    guard: TargetGuard,
    perform: Perform,
    watch: Watch,
    leaves: t.Optional[t.Callable[[Params], t.List[State]]],
) -> Params:
    if guard.finished is not None:
        return {**guard.finished, "changed": False, "already_done": True}
    outcome = perform(module.params, StepContext(guard, _secrets(module), watch))
    earlier = guard.before_first_attempt
    if earlier is not None:
        # The earlier attempt may have changed things before it was cut off: what counts for undoing is what it found.
        changed = outcome.changed or earlier != outcome.after
        outcome = replace(outcome, changed=changed, before=earlier)
    if leaves is not None:
        outcome = replace(outcome, extra={**outcome.extra, "left": leaves(module.params)})
    result = _result(module, outcome, guard.accepted_at, watch)
    if outcome.finished:
        guard.done({key: value for key, value in result.items() if key != "diff"})
    return result


def _result(
    module: Module,
    outcome: StepOutcome,
    accepted_at: t.Optional[float],
    watch: t.Optional[Watch] = None,
) -> Params:
    result: Params = {
        **outcome.extra,
        **({"reconcilers": [each.as_dict() for each in watch.told]} if watch is not None and watch.told else {}),
        "changed": outcome.changed,
        "accepted_at": accepted_at,
        "already_done": False,
        "before": outcome.before,
        "after": outcome.after,
    }
    if module._diff:
        result["diff"] = {"before": outcome.before, "after": outcome.after}
    return t.cast(Params, scrub(result, _secrets(module)))


def _secrets(module: Module) -> t.Tuple[str, ...]:
    return tuple(str(value) for value in module.no_log_values)


def _fail(module: Module, raised: t.Union[CodeblueError, OSError], accepted_at: t.Optional[float]) -> None:
    secrets = _secrets(module)
    error = raised if isinstance(raised, CodeblueError) else CodeblueError(_os_error_text(raised))
    details = scrub(error.details, secrets) if isinstance(error, StepFailed) else {}
    if isinstance(error, ReconcilerAtWork):
        details = {"reconcilers": [each.as_dict() for each in error.found], "nothing_changed": accepted_at is None}
    module.fail_json(
        **details,
        msg=scrub_text(error.message, secrets),
        hint=scrub_text(error.hint, secrets) if error.hint else None,
        exit_code=error.exit_code,
        accepted_at=accepted_at,
    )


def _os_error_text(error: OSError) -> str:
    return "%s: %s" % (error.filename, error.strerror) if error.filename else str(error)
