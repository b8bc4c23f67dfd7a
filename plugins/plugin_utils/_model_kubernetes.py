# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that runs on Kubernetes: where its workload is, and by which account it is reached."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_features import Feature, read_feature
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_isolation import read_networks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_database import (
    ClusterDatabase,
    read_database,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_kubernetes_secrets import (
    RotatedSecret,
    read_secrets,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping, quote

# Key in the inventory to the kind that the API knows.
WORKLOADS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
#: Kinds by which a service is reached from outside of its cluster.
WAYS_IN = ("Service", "Ingress")
# RFC 1123: a namespace or Service is a label, the name of a workload may have dots.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True)
class Workload:
    """What keeps the pods of a service.

    :param kind: Deployment, StatefulSet or DaemonSet.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class KubernetesPlatform:
    """What `codeblue_kubernetes` says.

    :param service: the Service by which it is reached; None when it has none.
    :param kubeconfig: on the controller; None for the account of the pod that Ansible runs in, else for `KUBECONFIG`
        or the file in the home directory.
    :param context: of the kubeconfig; None for its current one.
    :param features: what others use of this service, and can do without.
    :param replicas: how many pods it is to have when nothing later is known; None when the inventory does not say.
    :param ways_in: objects that may lead to it from outside, as `Kind/name`; None when the inventory does not say.
    :param management: networks of operators, which may come in while the service is in quarantine.
    :param secrets: that can be rotated.
    :param database: how Jobs work on the database that it is; None when it is none, or nobody is to.
    """

    namespace: str
    workload: Workload
    service: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    replicas: int | None = None
    ways_in: tuple[str, ...] | None = None
    management: tuple[str, ...] = ()
    features: Mapping[str, Feature] = field(default_factory=dict)
    secrets: tuple[RotatedSecret, ...] = ()
    database: ClusterDatabase | None = None

    def __str__(self) -> str:
        return f"{self.workload} in namespace {self.namespace}"


def read_kubernetes(values: TypedMapping, inventory_names: Collection[str]) -> KubernetesPlatform:
    """Read `codeblue_kubernetes`; what is wrong goes to the problems of the mapping."""
    namespace = _checked(values, "namespace", values.text("namespace"), _LABEL)
    database = values.optional_child("database")
    platform = KubernetesPlatform(
        namespace=namespace,
        workload=_workload(values),
        service=_optional_name(values, "service", _LABEL),
        kubeconfig=_kubeconfig(values),
        context=values.optional_text("context"),
        replicas=values.integer("replicas", default=0, least=1) or None,
        ways_in=_ways_in(values),
        management=read_networks(values, "management"),
        features={n: read_feature(item, n, inventory_names, namespace) for n, item in values.children("features")},
        secrets=read_secrets(values, "secrets"),
        database=read_database(database) if database is not None else None,
    )
    values.finish()
    return platform


def _workload(values: TypedMapping) -> Workload:
    names = {key: _optional_name(values, key, _SUBDOMAIN) for key in WORKLOADS}
    found = [Workload(WORKLOADS[key], name) for key, name in names.items() if name is not None]
    if len(found) == 1:
        return found[0]
    if values.names():
        given = [key for key, name in names.items() if name is not None]
        known = ", ".join(WORKLOADS)
        said = f"stands beside {given[0]}, name exactly one of {known}" if given else f"is missing, name one of {known}"
        values.problem(given[1] if given else "deployment", said)
    return Workload("Deployment", "")


def _optional_name(values: TypedMapping, key: str, form: re.Pattern[str]) -> str | None:
    text = values.optional_text(key)
    return _checked(values, key, text, form) if text is not None else None


def _checked(values: TypedMapping, key: str, text: str, form: re.Pattern[str]) -> str:
    if text and not form.fullmatch(text):
        values.problem(key, f"{quote(text)} is no name in Kubernetes, write small letters, digits and '-'")
    return text


def _ways_in(values: TypedMapping) -> tuple[str, ...] | None:
    if values.plain("ways_in") is None:
        return None
    found = values.texts("ways_in")
    for each in found:
        kind, slash, name = each.partition("/")
        if not slash or kind not in WAYS_IN or not _SUBDOMAIN.fullmatch(name):
            values.problem("ways_in", f"{quote(each)} is no way in, write Service/NAME or Ingress/NAME")
    return found


def _kubeconfig(values: TypedMapping) -> str | None:
    path = values.optional_text("kubeconfig")
    if path is not None and not path.startswith("/"):
        values.problem("kubeconfig", f"{quote(path)} is no absolute path")
    return path
