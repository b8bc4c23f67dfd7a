# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Jobs that work on a database in a cluster: made by us, found again by a resumed run, waited for, read.

A Job runs once (`backoffLimit: 0`), ends at its deadline, and goes by itself a day later. The account comes from the
Secret into its environment, never into its command. What it says is in the state of its pod: names and numbers.

A Job made from the CronJob of the backup would take a backup, whatever its name: nothing of that one is used but the
volume that its dumps lie in.
"""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils import (
    _kubernetes_mongodb_scripts as mongodb,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils import (
    _kubernetes_postgresql_scripts as postgresql,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_client import (
    JOBS,
    PODS,
    KubernetesClient,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import Conflict, NotFound
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_look import IMAGE_REASONS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes import KubernetesPlatform
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_database import (
    POSTGRESQL,
    ClusterDatabase,
    Dumps,
)

RUN_LABEL, STEP_LABEL = "codeblue.recovery/run", "codeblue.recovery/step"
_KEPT_SECONDS = 24 * 3600
_MOST_ATTEMPTS = 9
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
# An image that waits so long is not on its way.
_HOPELESS_SECONDS = 20.0
_LONGEST_SCRIPT = 200_000
_DIRECTORY, _WORK = "/dumps", "/work"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}

Object = Mapping[str, t.Any]
Report = list[dict[str, t.Any]]


@dataclass(frozen=True)
class Scripts:
    """The scripts of an engine."""

    assess: Callable[..., str]
    read_only: Callable[[], str]
    dump: Callable[..., str]
    restore_beside: Callable[..., str]
    swap: Callable[..., str]
    writable: Callable[[], str]


def scripts_of(database: ClusterDatabase) -> Scripts:
    """Those of the engine of a database."""
    of = postgresql if database.engine == POSTGRESQL else mongodb
    return Scripts(of.assess, of.read_only, of.dump, of.restore_beside, of.swap, of.writable)


class DatabaseJobs:
    """The Jobs of one run on one database.

    :param meanwhile: called over and over while a Job is waited for.
    """

    def __init__(
        self,
        client: KubernetesClient,
        place: KubernetesPlatform,
        run_id: str,
        meanwhile: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if place.database is None:
            raise AssertionError("Jobs are for services with codeblue_kubernetes.database")
        self._client = client
        self._place = place
        self._database = place.database
        self._run_id = run_id.lower()
        self._meanwhile = meanwhile
        self._sleep = sleep

    def run(self, step: str, script: str, seconds: float) -> Report:
        """Have a script run, unless a Job of this run has done it or does it.

        :param step: names the Job; the same for the same work.
        :param seconds: its deadline.
        :returns: what it found.
        :raises CodeblueError: it failed, or cannot run; then it does not run any more either.
        """
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            name = f"codeblue-{step.replace('_', '-')}-{self._run_id[-10:]}-{attempt}"
            job = self._job(name)
            if job is None:
                job = self._make(name, step, script, seconds)
            elif _ended(job) == "Failed" or job["spec"].get("suspend"):
                # Of an earlier attempt of the run: what kept it from working may be mended since.
                continue
            return self._wait(job, seconds)
        raise CodeblueError(
            f"{self._place}: {_MOST_ATTEMPTS} Jobs of this run failed at {step}", "kubectl describe job; kubectl logs"
        )

    def _job(self, name: str) -> dict[str, t.Any] | None:
        try:
            return self._client.get(JOBS, name, self._place.namespace)
        except NotFound:
            return None

    def _make(self, name: str, step: str, script: str, seconds: float) -> dict[str, t.Any]:
        try:
            return self._client.create(JOBS, self._place.namespace, self.manifest(name, step, script, seconds))
        except Conflict:
            # With an answer that was lost on the way, it was this very call that made it.
            return self._client.get(JOBS, name, self._place.namespace)

    def manifest(self, name: str, step: str, script: str, seconds: float) -> dict[str, t.Any]:
        """The Job. Its script holds no secret; whoever may read Jobs may read it."""
        if len(script) > _LONGEST_SCRIPT:
            raise CodeblueError(f"{self._place}: the rules are longer than a Job takes", "write fewer or shorter ones")
        database = self._database
        labels = {RUN_LABEL: self._run_id, STEP_LABEL: step, "app.kubernetes.io/managed-by": "codeblue"}
        below = f"/{database.dumps.directory}" if database.dumps.directory else ""
        container = {
            "name": "work",
            "image": database.image,
            "command": ["sh", "-c", script],
            "env": self._environment(f"{_DIRECTORY}{below}"),
            "resources": _RESOURCES,
            "volumeMounts": [{"name": "dumps", "mountPath": _DIRECTORY}, {"name": "work", "mountPath": _WORK}],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        account = database.run_as
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": account,
                "runAsGroup": account,
                "fsGroup": account,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "dumps", **_volume(database.dumps)}, {"name": "work", "emptyDir": {}}],
        }
        notes = {"codeblue.recovery/rules": " ".join(rule.id for rule in database.integrity)}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": max(1, round(seconds)),
                "ttlSecondsAfterFinished": _KEPT_SECONDS,
                "template": {"metadata": {"labels": labels, "annotations": notes}, "spec": pod},
            },
        }

    def _environment(self, dumps: str) -> list[dict[str, t.Any]]:
        database = self._database
        of = postgresql if database.engine == POSTGRESQL else mongodb
        host = database.host or self._place.service or self._place.workload.name
        plain = {
            **of.environment(database.name, host, database.port),
            "DUMPS": dumps,
            "WORK": _WORK,
            "REPORT": "/dev/termination-log",
            "RUN": self._run_id,
        }
        keys = zip(of.ACCOUNT, (database.user, database.password), strict=True)
        return [{"name": name, "value": value} for name, value in plain.items()] + [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": database.secret, "key": key}}} for name, key in keys
        ]

    # -- waiting -----------------------------------------------------------------------------------------------

    def _wait(self, job: Object, seconds: float) -> Report:
        name, began, pause = str(job["metadata"]["name"]), time.monotonic(), _FIRST_PAUSE
        while not (end := _ended(job)):
            waited = time.monotonic() - began
            stuck = self._stuck(name) if waited >= _HOPELESS_SECONDS else ""
            if stuck or waited > seconds + _HOPELESS_SECONDS:
                # It must not begin later on, beside what somebody else does by then.
                self._client.merge(JOBS, name, self._place.namespace, {"spec": {"suspend": True}})
                raise CodeblueError(
                    f"{self._place}: Job {name} does not run: {stuck or 'its deadline passed'}; it is suspended",
                    "mend that, and resume the run",
                )
            self._meanwhile()
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            job = self._client.get(JOBS, name, self._place.namespace)
        report = self._report(name)
        if end == "Complete" and report:
            return report
        said = next((str(each["failed"]) for each in report if "failed" in each), "")
        why = said or _reason(job) or "it said nothing"
        raise CodeblueError(f"{self._place}: Job {name}: {why}"[:400], f"kubectl describe job {name}")

    def _stuck(self, name: str) -> str:
        """Why its pod does not begin; empty when it runs, or may still."""
        for pod in self._pods(name):
            status = pod.get("status") or {}
            for condition in status.get("conditions") or ():
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    return f"no node takes its pod: {str(condition.get('message'))[:150]}"
            for each in status.get("containerStatuses") or ():
                waiting = (each.get("state") or {}).get("waiting") or {}
                if waiting.get("reason") in IMAGE_REASONS or waiting.get("reason") == "CreateContainerConfigError":
                    return f"{waiting['reason']}: {str(waiting.get('message'))[:150]}"
        return ""

    def _report(self, name: str) -> Report:
        found: Report = []
        for pod in self._pods(name):
            for each in (pod.get("status") or {}).get("containerStatuses") or ():
                ended = (each.get("state") or {}).get("terminated") or {}
                found += _lines(str(ended.get("message") or ""))
        return found

    def _pods(self, name: str) -> Sequence[Object]:
        return self._client.list_all(PODS, self._place.namespace, labels=f"job-name={name}")


def _volume(dumps: Dumps) -> dict[str, t.Any]:
    if dumps.claim is not None:
        return {"persistentVolumeClaim": {"claimName": dumps.claim}}
    return {"nfs": {"server": dumps.server, "path": dumps.path}}


def _ended(job: Object) -> str:
    """`Complete` or `Failed`; empty while it goes on."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""


def _reason(job: Object) -> str:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((str(each.get("reason") or "") for each in conditions if each["type"] == "Failed"), "")


def _lines(message: str) -> Report:
    """What a Job wrote; a line that a kubelet cut is left out."""
    found: Report = []
    for line in message.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
