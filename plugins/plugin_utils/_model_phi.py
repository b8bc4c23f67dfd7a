# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of a service that says which of its data is about patients, where it may lie, and whose duty that is."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._phi import PhiDetector
from ansible_collections.codeblue.recovery.plugins.plugin_utils._breach_clock import ENTITIES, zone_of
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Process
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host_reading import read_process
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

ACCESS_FORMATS = ("json", "combined")
ACCESS_FIELDS = ("time", "subject", "client", "method", "path", "status", "patients")


@dataclass(frozen=True)
class PhiPolicy:
    """What `codeblue_phi` says.

    :param identifiers: the site's own identifiers of patients: name -> regular expression.
    :param fields: field names in logs -> kind of data.
    :param ignore: expressions of values that are no patient's.
    :param refused_requests: paths that must be refused without a credential, on every instance and from outside.
    :param access_logs: machine -> files that say who was given what.
    :param access_containers: on Kubernetes: containers whose log says who was given what; other lines are searched.
    :param access_resource: for logs that name no patients: a regular expression with a group `resource` for what in a
        path tells one patient's data from another's.
    :param access_fields: our name of a field -> the log's own.
    :param log_shipping: machine -> the process that sends logs elsewhere; off while logs hold patients.
    :param blocked_paths_file: on the gateway's machine: paths that its frontend refuses, see the card.
    :param state: the State or jurisdiction where the patients live, when it is one.
    """

    identifiers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    refused_requests: tuple[str, ...] = ()
    access_logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    access_containers: tuple[str, ...] = ()
    access_format: str = "json"
    access_resource: str | None = None
    access_fields: Mapping[str, str] = field(default_factory=dict)
    log_shipping: Mapping[str, Process] = field(default_factory=dict)
    blocked_paths_file: str | None = None
    entity: str = "covered_entity"
    covered_entity: str | None = None
    organisation: str = ""
    contact: Mapping[str, str] = field(default_factory=dict)
    state: str | None = None
    time_zone: str = "UTC"

    def detection(self) -> dict[str, t.Any]:
        """What modules need to find patient data."""
        return {"identifiers": dict(self.identifiers), "fields": dict(self.fields), "ignore": list(self.ignore)}


def read_phi(values: TypedMapping, inventory_names: Collection[str]) -> PhiPolicy:
    """Read `codeblue_phi`; what is wrong goes to the problems of the mapping."""
    logs = values.optional_child("access_logs")
    policy = PhiPolicy(
        identifiers=_pairs(values, "identifiers"),
        fields=_pairs(values, "fields"),
        ignore=values.texts("ignore"),
        refused_requests=values.texts("refused_requests"),
        access_logs={name: logs.texts(name) for name in logs.names()} if logs is not None else {},
        access_containers=values.texts("access_containers"),
        access_format=values.choice("access_format", ACCESS_FORMATS, default="json"),
        access_resource=_resource(values),
        access_fields=_pairs(values, "access_fields"),
        log_shipping={machine: read_process(item) for machine, item in values.children("log_shipping")},
        blocked_paths_file=values.optional_text("blocked_paths_file"),
        entity=values.choice("entity", ENTITIES, default="covered_entity"),
        covered_entity=values.optional_text("covered_entity"),
        organisation=values.text("organisation", default=""),
        contact=_pairs(values, "contact"),
        state=values.optional_text("state"),
        time_zone=values.text("time_zone", default="UTC"),
    )
    for key, machines in (("access_logs", policy.access_logs), ("log_shipping", policy.log_shipping)):
        for machine in machines:
            if machine not in inventory_names:
                values.problem(f"{key}.{machine}", "is no machine of the inventory")
    for path in policy.refused_requests:
        if not path.startswith("/"):
            values.problem("refused_requests", f"must begin with /, not {path!r}")
    for name in policy.access_fields:
        if name not in ACCESS_FIELDS:
            values.problem(f"access_fields.{name}", f"is unknown, known are: {', '.join(ACCESS_FIELDS)}")
    if policy.entity == "business_associate" and policy.covered_entity is None:
        values.problem("covered_entity", "is missing: name whom the business associate has to tell")
    for check in (
        lambda: PhiDetector(policy.identifiers, policy.fields, policy.ignore),
        lambda: zone_of(policy.time_zone),
    ):
        try:
            check()
        except CodeblueError as error:
            values.problem("identifiers" if "pattern" in error.message else "time_zone", error.message)
    values.finish()
    return policy


def _pairs(values: TypedMapping, key: str) -> dict[str, str]:
    child = values.optional_child(key)
    return {name: child.text(name) for name in child.names()} if child is not None else {}


def _resource(values: TypedMapping) -> str | None:
    text = values.optional_text("access_resource")
    if text is not None:
        try:
            if "resource" not in re.compile(text).groupindex:
                values.problem(
                    "access_resource", "has no group of that name, write it like /records/(?P<resource>[0-9]+)"
                )
        except re.error as error:
            values.problem("access_resource", f"is no regular expression: {error}")
    return text
