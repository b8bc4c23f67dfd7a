"""The services' configuration files, with their history in a git repository on each application machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.files import write_json
from codeblue.lab.layout import APPLICATION_MACHINES, SERVICES, Layout

_BASE = "base"


class Configuration:
    """The configuration repositories of one lab."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def keep_as_base(self) -> None:
        """Begin the history with what `up` has written; `restore_base` goes back to it."""
        for machine in APPLICATION_MACHINES:
            self._git(machine, "init", "--quiet", "--initial-branch=main")
            self._git(machine, "add", "--", *self._files(machine))
            self._git(machine, "commit", "--quiet", "--message", "Configuration of the clinic")
            self._git(machine, "tag", _BASE)

    def roll_out(self, service: str, changes: dict[str, Any], message: str) -> None:
        """Change keys of a service's configuration on every machine, as a deployment does. Restarting is up to others.

        :param changes: key to value; a dict is merged into the one that is there.
        """
        for machine in APPLICATION_MACHINES:
            path = self.layout.service_config(machine, service)
            content = json.loads(path.read_text(encoding="utf-8"))
            for key, value in changes.items():
                content[key] = {**content[key], **value} if isinstance(value, dict) else value
            write_json(path, content)
            self._git(machine, "commit", "--quiet", "--all", "--message", message)

    def restore_base(self) -> list[tuple[str, str]]:
        """Back to the first state; returns service and machine of those whose configuration differed."""
        changed: list[tuple[str, str]] = []
        for machine in APPLICATION_MACHINES:
            names = {self._file(machine, service): service for service in SERVICES}
            differing = self._git(machine, "diff", "--name-only", _BASE, "--").splitlines()
            changed += [(names[name], machine) for name in differing if name in names]
            if differing or self._git(machine, "rev-parse", "HEAD") != self._git(machine, "rev-parse", _BASE):
                self._git(machine, "reset", "--quiet", "--hard", _BASE)
        return changed

    def repository(self, machine: str) -> dict[str, str]:
        """As the inventory names it."""
        return {"work_tree": str(self.layout.machine(machine)), "git_dir": str(self._git_dir(machine))}

    def _git_dir(self, machine: str) -> Path:
        return self.layout.machine(machine) / "configuration.git"

    def _files(self, machine: str) -> list[str]:
        return [self._file(machine, service) for service in SERVICES]

    def _file(self, machine: str, service: str) -> str:
        return str(self.layout.service_config(machine, service).relative_to(self.layout.machine(machine)))

    def _git(self, machine: str, *arguments: str) -> str:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Clinic",
            "GIT_AUTHOR_EMAIL": "clinic@lab.invalid",
            "GIT_COMMITTER_NAME": "Clinic",
            "GIT_COMMITTER_EMAIL": "clinic@lab.invalid",
        }
        command = [
            "git",
            f"--git-dir={self._git_dir(machine)}",
            f"--work-tree={self.layout.machine(machine)}",
            "-c",
            "core.hooksPath=/dev/null",
            *arguments,
        ]
        try:
            ended = subprocess.run(
                command,
                env=environment,
                cwd=self.layout.machine(machine),
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines()
            raise CodeblueError(f"git {arguments[0]} on {machine}: {said[-1] if said else error.returncode}") from error
        except subprocess.TimeoutExpired as error:
            raise CodeblueError(f"git did not end within 30 s on {machine}", "is the disk slow?") from error
        return ended.stdout
