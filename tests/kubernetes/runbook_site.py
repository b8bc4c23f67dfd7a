"""Services on Kubernetes that whole runbooks run on, by the command."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from account import Account
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import SERVICES
from cluster import Namespace

_GROUPS = {
    "auth": "codeblue_auth_services",
    "ai": "codeblue_ai_services",
    "database": "codeblue_databases",
    "service": "codeblue_application_services",
}
Lines = list[dict[str, t.Any]]


class RunbookSite(Account):
    """An account with an inventory of services, each with its group.

    :param services: by name, the variables of each; its kind says in which groups it is.
    """

    def __init__(self, root: Path, services: dict[str, dict[str, t.Any]], runbook: str) -> None:
        super().__init__(root, services)
        self.runbook = runbook
        groups = yaml.safe_load(self.inventory.read_text(encoding="utf-8"))
        children: dict[str, t.Any] = {}
        for name, each in services.items():
            group = _GROUPS.get(each["codeblue_kind"])
            if group is not None:
                children.setdefault(group, {"hosts": {}})["hosts"][name] = None
        groups["all"]["children"]["codeblue_services"]["children"] = children
        self.inventory.write_text(yaml.safe_dump(groups), encoding="utf-8")

    def codeblue(self, command: str, *options: str) -> tuple[int, Lines]:
        """The exit code of the command and what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "codeblue", command, self.runbook, "-i", str(self.inventory), "--json", *options],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr
        return done.returncode, lines

    def resume(self, run_id: str) -> tuple[int, Lines]:
        """Take a run up again."""
        done = subprocess.run(
            [sys.executable, "-m", "codeblue", "resume", run_id, "-i", str(self.inventory), "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=420,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr
        return done.returncode, lines

    def steps(self, target: str) -> list[tuple[str, str]]:
        """What the last run did with a target after its diagnosis, with the outcome of each step."""
        run = max(self.store().runs(), key=lambda each: each.run_id)
        found = [each for each in self.store().steps(run.run_id) if each.target == target and each.stage != "diagnose"]
        return [(each.action, str(each.outcome)) for each in found]

    def decision(self, action: str) -> dict[str, t.Any]:
        """What the last run wrote down before a step."""
        run = max(self.store().runs(), key=lambda each: each.run_id)
        (found,) = [each.decision for each in self.store().steps(run.run_id) if each.action == action]
        return dict(found)


class Site(RunbookSite):
    """An account whose only service is the login.

    :param settings: of `codeblue_kubernetes`.
    """

    def __init__(self, root: Path, namespace: Namespace, kubeconfig: Path | None = None, **settings: t.Any) -> None:
        service = namespace.variables("Deployment", "login", kubeconfig)
        service["codeblue_kind"] = "auth"
        service["codeblue_kubernetes"] |= {"service": "login", **settings}
        super().__init__(root, {"login": service}, "authentication_system_down")


def service(namespace: Namespace, name: str) -> None:
    """A Service that leads to the pods of a workload."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    namespace.client.create(SERVICES, namespace.name, {"metadata": {"name": name}, "spec": spec})


def login(namespace: Namespace) -> None:
    """A login whose next version takes the place of this one at once, as one does that cannot run beside itself."""
    namespace.workload("Deployment", "login", "3.8", strategy={"type": "Recreate"})
    service(namespace, "login")
    namespace.serves("Deployment", "login", "3.8")
