# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificates that a gateway shows for a service, and who issues them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._secret_reference import (
    SecretReference,
    parse_secret_reference,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

_DAY = 86400.0


@dataclass(frozen=True)
class Certificate:
    """One of `codeblue_host.certificates`: a PEM file with key and chain that HAProxy loads.

    :param names: host names and addresses that it is for.
    :param lifetime: seconds that a new one is valid.
    :param issuer_key: the private key of the site's own authority, on the controller.
    :param issuer_certificate: its certificate, on the controller.
    """

    name: str
    machine: str
    socket: str
    file: str
    names: tuple[str, ...]
    lifetime: float
    issuer_key: SecretReference
    issuer_certificate: SecretReference


def read_certificate(
    values: TypedMapping, name: str, known_machine: Callable[[TypedMapping, str, str], None]
) -> Certificate:
    """Read one; what is wrong goes to the problems of the mapping.

    :param known_machine: says when a machine is not in the inventory.
    """
    machine = values.text("machine")
    if machine:
        known_machine(values, "machine", machine)
    certificate = Certificate(
        name=name,
        machine=machine,
        socket=_path(values, "socket"),
        file=_path(values, "file"),
        names=values.texts("names", required=True),
        lifetime=values.duration("lifetime", default=90 * _DAY),
        issuer_key=_reference(values, "issuer_key_from"),
        issuer_certificate=_reference(values, "issuer_certificate_from"),
    )
    if "names" in values and not certificate.names:
        values.problem("names", "is empty, name what people type in to get there")
    values.finish()
    return certificate


def _path(values: TypedMapping, key: str) -> str:
    path = values.text(key)
    if path and not path.startswith("/"):
        values.problem(key, f"must be an absolute path, not {path!r}")
    return path


def _reference(values: TypedMapping, key: str) -> SecretReference:
    text = values.text(key)
    try:
        return parse_secret_reference(text, key)
    except BadInput as error:
        if text:
            values.problem(key, f"is no reference to a secret, {error.hint}")
        return SecretReference("file", "/nonexistent")
