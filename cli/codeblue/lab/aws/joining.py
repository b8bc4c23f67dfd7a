"""Use of an account that somebody else's lab keeps, named by `AWS_ENDPOINT_URL`."""

from __future__ import annotations

from urllib.parse import urlsplit

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused

from codeblue.lab.aws.account import LabAccount, ServerControl
from codeblue.lab.aws.state import AwsLabState


def join(state: AwsLabState, url: str) -> None:
    """Take up where the account is, and what it was filled with.

    Faults are only put into an account that can be put back within a second, which a real one cannot.

    :param url: of the control port of the server, as `AWS_ENDPOINT_URL` of that lab's `environment` says.
    :raises BadInput: it is no URL.
    :raises Refused: the account is not marked as a lab, or no lab's server keeps it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"AWS_ENDPOINT_URL is no URL: {url}", "unset it for a lab of one's own")
    LabAccount(url).require_lab()
    control = ServerControl(url)
    if not control.answers():
        raise Refused(
            f"the account at {url} is marked as a lab, and no server of a lab keeps it",
            "what is broken there could not be put back; unset AWS_ENDPOINT_URL for a lab of one's own",
        )
    said = control.state()
    state.host = parts.hostname
    state.ports = {str(name): int(port) for name, port in said["ports"].items()}
    state.facts = {str(name): str(value) for name, value in said["facts"].items()}
