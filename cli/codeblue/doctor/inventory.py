"""An inventory as the actions will see it: Ansible itself resolves every variable, and nothing is touched."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

from codeblue.doctor.finding import Finding, failed, ok, warning
from codeblue.drill.schedule import VARIABLE
from codeblue.output.messages import Message
from codeblue.runner.ansible import Command, StoppedBeforeStart, Stopper, run_ansible
from codeblue.runner.collection import collections_path
from codeblue.runner.environment import ansible_environment
from codeblue.runner.events import EventReader
from codeblue.runner.failure import explain_start_failure
from codeblue.runner.options import new_run_id, process_started_at
from codeblue.runner.request import choose_forks
from codeblue.runner.workspace import Workspace

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service

_SERVICES = "codeblue_services"
_MACHINES = "codeblue_machines"
_LOOK = [
    {
        "name": "Read the services",
        "hosts": _SERVICES,
        "gather_facts": False,
        "tasks": [
            {
                "name": "Names",
                "ansible.builtin.debug": {
                    "msg": {
                        "all": "{{ groups['all'] }}",
                        "machines": "{{ groups['codeblue_machines'] | default([]) }}",
                        "snapshot_directories": "{{ dict(found | map(attribute='inventory_hostname')"
                        " | zip(found | map(attribute='codeblue_snapshot_directory'))) }}",
                    }
                },
                "vars": {
                    "found": "{{ groups['codeblue_machines'] | default([]) | map('extract', hostvars)"
                    " | selectattr('codeblue_snapshot_directory', 'defined') }}"
                },
                "run_once": True,
            },
            {
                "name": "Variables",
                "ansible.builtin.debug": {
                    "msg": {"variables": "{{ dict(names | zip(query('ansible.builtin.vars', *names))) }}"}
                },
                "vars": {"names": "{{ query('ansible.builtin.varnames', '^codeblue_') }}"},
            },
        ],
    }
]
_REACH = [
    {
        "name": "Reach the machines",
        "hosts": _MACHINES,
        "gather_facts": False,
        "tasks": [{"name": "Ping", "ansible.builtin.ping": {}, "ignore_unreachable": True, "ignore_errors": True}],
    }
]


_SECRETS = [
    {
        "name": "Find out who uses which secret",
        "hosts": _SERVICES,
        "gather_facts": False,
        "tasks": [{"name": "Look", "codeblue.recovery.secret_consumers": {}, "run_once": True, "register": "found"}],
    },
    {
        "name": "Say it",
        "hosts": _SERVICES,
        "gather_facts": False,
        "tasks": [{"name": "Usage", "ansible.builtin.debug": {"msg": "{{ found }}"}, "run_once": True}],
    },
]


class InventoryCheck:
    """All services load, with machines and dependencies that exist and without a circle.

    :param sources: as Ansible takes them.
    """

    def __init__(self, sources: tuple[str, ...], directory: Path) -> None:
        self._sources = sources
        self._directory = directory
        #: The services, once `findings` was gone through; empty when anything is wrong with them.
        self.services: dict[str, Service] = {}
        #: What its machines say about themselves, as far as a runbook needs it.
        self.machines: dict[str, dict[str, t.Any]] = {}
        #: All variables of the services that begin with `codeblue_`, as Ansible resolved them.
        self.variables: dict[str, dict[str, t.Any]] = {}

    @property
    def schedule(self) -> object:
        """The site's `codeblue_drill_schedule`; None when it has none."""
        return next((each[VARIABLE] for each in self.variables.values() if VARIABLE in each), None)

    def findings(self) -> Iterator[Finding]:
        """Look, and say what was found."""
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
        from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts

        results = _play(_LOOK, self._sources, self._directory)
        if results.problem:
            yield failed("inventory", results.problem, results.hint)
            return
        for host, problem in results.failed.items():
            yield failed("inventory", f"{host}: {problem}")
        names = results.values.get("", {}).get("all", [])
        variables = {host: value["variables"] for host, value in results.values.items() if "variables" in value}
        try:
            services = load_services(variables, set(names))
            waves = order_of_hosts(list(variables), variables)
        except BadInput as error:
            for line in error.message.splitlines():
                yield failed("inventory", line, error.hint)
            return
        self.variables = variables
        if not results.failed:
            self.services = dict(services)
            machines = results.values.get("", {}).get("machines", [])
            directories = results.values.get("", {}).get("snapshot_directories", {})
            self.machines = {name: {"codeblue_snapshot_directory": place} for name, place in directories.items()}
            yield ok("inventory", f"{len(variables)} services, {len(machines)} machines")
            yield ok("recovery order", " → ".join(", ".join(wave) for wave in waves))


def check_reach(sources: tuple[str, ...], directory: Path) -> Iterator[Finding]:
    """Every machine answers, with a Python that works."""
    results = _play(_REACH, sources, directory)
    if results.problem:
        yield failed("machines", results.problem, results.hint)
        return
    for host, problem in results.failed.items():
        yield failed("machines", f"{host}: {problem}", "try: ansible -i INVENTORY -m ping " + host)
    reached = len(results.values)
    if reached:
        yield ok("machines", f"{reached} reached")


def check_secrets(sources: tuple[str, ...], directory: Path) -> Iterator[Finding]:
    """Nobody uses a secret whom the inventory does not name as its consumer."""
    results = _play(_SECRETS, sources, directory)
    problem = results.problem or next(iter(results.failed.values()), None)
    if problem:
        yield warning("secrets", f"who uses them could not be found out: {problem}", results.hint)
        return
    found = next(iter(results.values.values()), {})
    for line in found.get("missing", []):
        yield warning("secrets", line, "name it in the inventory: a rotation would lock it out")
    for line in found.get("unseen", []):
        yield warning("secrets", f"not seen: {line}", "a consumer there would be locked out by a rotation")
    if found and not found["missing"] and not found["unseen"]:
        yield ok("secrets", f"{found['secrets']} secrets in {found['files']} files, all of consumers that are named")


class _Results:
    """What a play said per host; `""` holds what was said once for all."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, t.Any]] = {}
        self.failed: dict[str, str] = {}
        self.problem: str | None = None
        self.hint: str | None = None


def _play(plays: list[dict[str, t.Any]], sources: tuple[str, ...], directory: Path) -> _Results:
    results = _Results()
    run_id = new_run_id()

    def drop(_message: Message) -> None:
        return

    reader = EventReader(drop, process_started_at())

    def on_event(event: dict[str, t.Any]) -> None:
        reader.read(event)
        if event.get("event") == "runner_on_ok":
            data = event["event_data"]
            message = data["res"].get("msg", {})
            host = "" if isinstance(message, dict) and "all" in message else str(data["host"])
            results.values[host] = message if isinstance(message, dict) else {}

    stopper = Stopper(run_id, lambda: None)
    with Workspace(run_id) as workspace, stopper:
        playbook = workspace.path / "look.json"
        playbook.write_text(json.dumps(plays), encoding="utf-8")
        command = Command(
            run_id=run_id,
            playbook=str(playbook),
            inventory=sources,
            limit=None,
            arguments=[],
            forks=choose_forks(None),
            verbosity=0,
            directory=directory,
            environment=ansible_environment(
                os.environ, run_id=run_id, origin="cli", collections=collections_path(os.environ, directory)
            ),
        )
        try:
            run_ansible(command, workspace.path, on_event, stopper)
        except StoppedBeforeStart as error:
            raise KeyboardInterrupt from error
        if stopper.requested:
            raise KeyboardInterrupt
    for failure in reader.failures + reader.ignored:
        results.failed[failure.target or "?"] = failure.error
    if reader.no_hosts_matched or not (reader.tasks_ended or reader.failures):
        problem, hint = explain_start_failure(reader.error_text)
        if reader.no_hosts_matched or "no hosts" in problem:
            problem, hint = f"no host is in the group {plays[0]['hosts']}", "see docs/architecture.md, The inventory"
        results.problem, results.hint = problem, hint
    return results
