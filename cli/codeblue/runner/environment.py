"""What ansible-playbook gets of the environment: a list of names, and settings that do not depend on a machine.

ansible-runner writes the environment into a file (removed before the playbook starts, see `ansible.py`), and
every process of the run can read it: so only what is needed gets through.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput

# SUDO_USER and JOB_ID say whom the run is recorded for, KUBERNETES_SERVICE_HOST, AWX_HOST and TOWER_HOST that this
# may be a throw-away container; the rest is what shells, ssh, Kubernetes and AWS clients look at.
_ALLOWED = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TERM TZ TMPDIR SUDO_USER SSH_AUTH_SOCK KRB5CCNAME VIRTUAL_ENV
    KUBECONFIG KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT AWX_HOST TOWER_HOST JOB_ID
    AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ENDPOINT_URL AWS_CA_BUNDLE
    AWS_EC2_METADATA_DISABLED AWS_ROLE_ARN AWS_ROLE_SESSION_NAME AWS_WEB_IDENTITY_TOKEN_FILE
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
    SSL_CERT_FILE SSL_CERT_DIR
"""
_NAMES = frozenset(_ALLOWED.split())
_PREFIXES = ("LC_", "XDG_", "ANSIBLE_", "CODEBLUE_", "PYTHON")
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY|_PASS$|_AUTH$", re.IGNORECASE
)
# A name that ends like this holds the path of a secret, not the secret.
_REFERENCE_NAME = re.compile(r"_(FILE|FILES|FROM|LIST|PATH|DIR|SOCK)$", re.IGNORECASE)
_VALID_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")

# These would skip steps, stop for a question, or change what the output means, whoever set them.
_UNWANTED = """
    ANSIBLE_RUN_TAGS ANSIBLE_SKIP_TAGS ANSIBLE_TASK_TIMEOUT ANSIBLE_FORCE_COLOR ANSIBLE_DEBUG
    ANSIBLE_CACHE_PLUGIN_CONNECTION ANSIBLE_COLLECTIONS_PATHS
"""
_DROPPED = frozenset(_UNWANTED.split())
# The environment wins over every ansible.cfg, whose other settings (vault, ssh, inventory) stay in force.
_FIXED = {
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_STRATEGY": "ansible.builtin.linear",
    "ANSIBLE_STDOUT_CALLBACK": "default",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_CALLBACK_FORMAT_PRETTY": "False",
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "False",
    "ANSIBLE_DISPLAY_FAILED_STDERR": "False",
    "ANSIBLE_NOCOLOR": "True",
    "ANSIBLE_NOCOWS": "True",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    # No copy of results: not in a log, a cache, a retry file, the machine's syslog or left-over module files.
    "ANSIBLE_LOG_PATH": "/dev/null",
    "ANSIBLE_CACHE_PLUGIN": "memory",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_NO_TARGET_SYSLOG": "True",
    "ANSIBLE_KEEP_REMOTE_FILES": "False",
    # Nobody is there to answer.
    "ANSIBLE_ASK_PASS": "False",
    "ANSIBLE_BECOME_ASK_PASS": "False",
    "ANSIBLE_ASK_VAULT_PASS": "False",
    "ANSIBLE_ENABLE_TASK_DEBUGGER": "False",
}


def scrubbed_environment(given: Mapping[str, str], pass_names: Iterable[str] = ()) -> dict[str, str]:
    """The variables that get through.

    :param given: the environment of this process.
    :param pass_names: names that the operator lets through, secret or not.
    :raises BadInput: such a name is not set, or is none.
    """
    kept = {name: value for name, value in given.items() if _passes(name)}
    for name in pass_names:
        if not _VALID_NAME.match(name):
            raise BadInput(f"--pass-env: {name.partition('=')[0]!r} is no name of a variable", "give the name only")
        if name not in given:
            raise BadInput(f"--pass-env: {name} is not set in the environment")
        kept[name] = given[name]
    return kept


def looks_secret(name: str) -> bool:
    """Whether a variable of this name is taken for a secret."""
    return bool(_SECRET_NAME.search(name)) and not _REFERENCE_NAME.search(name)


def ansible_environment(
    given: Mapping[str, str], *, run_id: str, origin: str, collections: str, pass_names: Iterable[str] = ()
) -> dict[str, str]:
    """The environment of ansible-playbook, without what ansible-runner itself adds.

    :param run_id: marks every process of the run, so that orphans are found again.
    :param origin: `cli` or `drill`, for the record.
    :param collections: the value of ANSIBLE_COLLECTIONS_PATH.
    """
    environment = scrubbed_environment(given, pass_names)
    environment.update(_FIXED)
    environment["ANSIBLE_COLLECTIONS_PATH"] = collections
    environment["CODEBLUE_RUN_ID"] = run_id
    environment["CODEBLUE_ORIGIN"] = origin
    # Tools of the same environment are found also when the command was called by its full path.
    tools = str(Path(sys.executable).parent)
    places = [place for place in environment.get("PATH", os.defpath).split(os.pathsep) if place]
    if tools not in places:
        environment["PATH"] = os.pathsep.join([tools, *places])
    return environment


def _passes(name: str) -> bool:
    if name in _DROPPED:
        return False
    return name in _NAMES or (name.startswith(_PREFIXES) and not looks_secret(name))
