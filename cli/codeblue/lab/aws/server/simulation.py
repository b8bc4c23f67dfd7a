"""Goes on by itself while the server serves: tasks start and end, metrics are written, an intruder uses a key."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import typing as t

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.calls import Call, CallRecord
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.identities import Identities
from codeblue.lab.aws.server.metrics import Metrics
from codeblue.lab.aws.server.operations import Operation

_STEP_SECONDS = 0.1
_METRICS_SECONDS = 2.0
_INTRUDER_SECONDS = 1.0
#: From a network that is nobody's: RFC 5737.
INTRUDER_ADDRESS = "203.0.113.66"
_INTRUDER_AGENT = "aws-cli/2.0 unknown"
_INTRUDER_CALLS = (
    ("sts", "GetCallerIdentity"),
    ("s3", "ListBuckets"),
    ("secretsmanager", "ListSecrets"),
    ("iam", "ListUsers"),
    ("iam", "CreateAccessKey"),
)


class Simulation(threading.Thread):
    """The thread that does it, ten times a second."""

    def __init__(
        self, conditions: Conditions, record: CallRecord, identities: Identities, regions: t.Sequence[str]
    ) -> None:
        super().__init__(name="simulation", daemon=True)
        self._identities = identities
        self._conditions = conditions
        self._record = record
        self._regions = regions
        self._metrics = Metrics(conditions, regions)
        self._intrusions = 0

    def run(self) -> None:
        with self._conditions.world:
            self._metrics.begin()
        last_metrics = last_intrusion = 0.0
        while True:
            began = time.monotonic()
            with self._conditions.world:
                try:
                    step(self._regions)
                    if began - last_metrics >= _METRICS_SECONDS:
                        last_metrics = began
                        self._metrics.write()
                except Exception:
                    # A lab without its simulation would look healthy or broken for no reason: it ends, and says why.
                    traceback.print_exc()
                    sys.stderr.flush()
                    raise
            if self._conditions.intruder_key and began - last_intrusion >= _INTRUDER_SECONDS:
                last_intrusion = began
                self._intrude()
            time.sleep(max(0.0, began + _STEP_SECONDS - time.monotonic()))

    def _intrude(self) -> None:
        service, action = _INTRUDER_CALLS[self._intrusions % len(_INTRUDER_CALLS)]
        self._intrusions += 1
        operation = Operation(service, action, "us-east-1", self._conditions.intruder_key)
        with self._conditions.world:
            refused = self._identities.refuse(operation, {}, b"")
        status, error = (200, "") if refused is None else (refused[0], "InvalidClientTokenId")
        digest = f"intruder-{self._intrusions}"
        self._record.add(Call(time.time(), 0.0, operation, status, error, _INTRUDER_AGENT, INTRUDER_ADDRESS, digest))


def step(regions: t.Sequence[str]) -> None:
    """What happens within one step."""
    for region in regions:
        backend("ecs", region).proceed()


def settle(regions: t.Sequence[str], seconds: float) -> None:
    """Go on until every service is steady, or for so long."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        step(regions)
        services = [each for region in regions for each in backend("ecs", region).services.values()]
        if all(each.deployments[0]["rolloutState"] == "COMPLETED" for each in services):
            return
        time.sleep(_STEP_SECONDS)
