"""The login on Kubernetes with a bad release, as runs are killed on it; every request of theirs is audited."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import typing as t
from pathlib import Path

from account import BIN
from ansible_collections.codeblue.recovery.plugins.plugin_utils._store import Run
from clinic_site import Finished, SeenStep, finish
from cluster import Cluster, Namespace
from runbook_site import RunbookSite, login

RUNBOOK = "authentication_system_down"
GOOD, BAD = "3.8", "crash"
_WRITES = frozenset(("create", "update", "patch", "delete", "deletecollection"))


class KillableLogin(RunbookSite):
    """A namespace of its own, whose login has a release that ends over and over.

    :param root: an empty directory.
    :param name: of the namespace; it is made here.
    """

    def __init__(self, cluster: Cluster, root: Path, name: str) -> None:
        self.namespace: Namespace = cluster.namespace(name)
        self._plane = cluster.own
        self._user = f"operator-{name}"
        login(self.namespace)
        service = self.namespace.variables("Deployment", "login", cluster.audited(self._user))
        service["codeblue_kind"] = "auth"
        service["codeblue_kubernetes"]["service"] = "login"
        super().__init__(root, {"login": service}, RUNBOOK)
        self.break_release(BAD)

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "CODEBLUE_ANCHORS": f"file:{self._heads}"}

    @property
    def database(self) -> Path:
        return self.root / "state" / "codeblue" / "state.sqlite"

    @property
    def _heads(self) -> Path:
        return self.root / "heads.jsonl"

    def break_release(self, tag: str) -> None:
        """Roll another bad release out."""
        self.namespace.set_image("Deployment", "login", tag)
        self.namespace.until_pods("login", {tag: [False, False]})

    # -- as `kill_and_resume` wants it -------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        return self.store().runs() if self.database.exists() else []

    def start_codeblue(self, *arguments: str) -> subprocess.Popen[str]:
        return self._start(sys.executable, "-m", "codeblue", *arguments)

    def start_playbook(self, playbook: str, *options: str) -> subprocess.Popen[str]:
        return self._start(str(BIN / "ansible-playbook"), "-i", str(self.inventory), playbook, *options)

    def command(self, *arguments: str) -> Finished:
        return finish(self.start_codeblue(*arguments))

    def playbook(self, playbook: str, *options: str) -> Finished:
        return finish(self.start_playbook(playbook, *options))

    def accepted(self, step: SeenStep) -> bool:
        began = dt.datetime.fromisoformat(step.started_at)
        return any(dt.datetime.fromisoformat(each["at"]) >= began for each in self.accepted_writes())

    def _start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    # -- proofs ------------------------------------------------------------------------------------------------

    def accepted_writes(self) -> list[dict[str, str]]:
        """What runs wrote and the API server took, by its own audit log."""
        return [
            each
            for each in self._plane.audited()
            if each["user"] == self._user and each["verb"] in _WRITES and each["code"].startswith("2")
        ]

    def end_state(self) -> dict[str, t.Any]:
        """What a recovery leaves, without what differs from one to the next."""
        return {
            "image": self.namespace.image("Deployment", "login"),
            "pods": self.namespace.pods("login"),
            "bad": [each.partition("+")[0] for each in self.bad_versions("login")],
            "writes": [
                f"{each['verb']} {'/'.join(each['uri'].partition('?')[0].split('/')[-2:])}"
                for each in self.accepted_writes()
            ],
        }

    def assert_no_step_twice(self, run_id: str) -> None:
        """By the journal and the record; that nothing was written twice is in `end_state`."""
        steps = self.store().steps(run_id)
        assert len({step.key for step in steps}) == len(steps)
        unfinished = [step.key for step in steps if step.finished_at is None]
        assert not unfinished, unfinished
        done: dict[str, int] = {}
        for record in self.store().ledger_records(run_id):
            fields = record["fields"]
            if record["kind"] == "step_result" and fields.get("outcome") == "ok":
                done[fields["key"]] = done.get(fields["key"], 0) + 1
        assert all(count == 1 for count in done.values()), done

    def verify_record(self, run_id: str) -> None:
        """Export the run's record and verify it against the pinned key and the copied heads."""
        export = self.root / f"{run_id}.export.jsonl"
        made = self.command("audit", "export", run_id, "-o", str(export))
        assert made.code == 0, made
        keys = (self.root / "state" / "codeblue" / "keys").rglob("*.pub")
        named = [option for key in keys for option in ("--public-key", str(key))]
        verified = self.command("audit", "verify", str(export), *named, "--head", str(self._heads))
        assert verified.code == 0, verified
