"""An operator's account with services on a simulated AWS account, for the actions that contain a breach."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t
from pathlib import Path

from simulated_account import KEYS, REGION, SimulatedAccount
from sites import Keeper

RUNBOOK = "security_breach_response"


class AwsSite(Keeper):
    """Plays any action for `records`.

    :param settings: of `codeblue_aws`, beside region and address.
    """

    def __init__(self, root: Path, account: SimulatedAccount, environment: str = "lab", **settings: t.Any) -> None:
        self.keys = dict(KEYS)
        self._account = account
        variables = {
            "codeblue_environment": environment,
            "codeblue_platform": "aws",
            "codeblue_kind": "ai",
            "codeblue_objectives": {"rto": "15m", "rpo": "5m"},
            "codeblue_aws": {"region": REGION, "endpoints": {REGION: account.url}, **settings},
        }
        super().__init__(root, {"records": variables})

    def killed_after(self, name: str, action: str, **arguments: t.Any) -> str:
        """Begin an action and kill it when an operation is carried out, before it hears of it; returns the run."""
        running: list[int] = []

        def kill() -> None:
            (run,) = self.store().runs()
            os.kill(running[0], signal.SIGKILL)
            # Its worker is in a session of its own, and would go on.
            for step in self.store().open_intents(run.run_id):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(step.worker.pid, signal.SIGKILL)

        self._account.kill_after(name, kill)
        process = self.begin(action, **arguments)
        running.append(process.pid)
        killed = self.ended(process)
        self._account.then = None
        assert killed.code != 0, killed.out
        (run,) = self.store().runs()
        return str(run.run_id)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **super().environment,
            "AWS_ACCESS_KEY_ID": self.keys["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.keys["aws_secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }
