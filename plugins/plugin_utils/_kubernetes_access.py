# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""By which account a cluster is reached, loaded by the official client.

That client keeps client certificates in temporary files until its process ends in the usual way. A worker of Ansible
never does, and would leave a key behind after every task. So the files are read into the TLS context and removed at
once. It knows them in one table for the whole process, so that checks, which run in threads, load one after the other.
"""

from __future__ import annotations

import os
import ssl
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

import urllib3
import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _kubernetes_official as official
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_credentials import (
    CredentialProgram,
    ProgramFailed,
    forget,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_errors import ApiUnavailable

official.kube_config.ExecProvider = CredentialProgram
_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_loading = threading.Lock()


def _unlock() -> None:
    """In a process that was just forked: whichever thread held the lock is not there."""
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_unlock)
_HINT = "look at codeblue_kubernetes.kubeconfig and .context, or set KUBECONFIG"


@dataclass(frozen=True)
class ClusterAccess:
    """Which account of which cluster.

    :param kubeconfig: None for `KUBECONFIG`, else the file in the home directory, else the account of the pod that this
        runs in.
    :param context: None for the current one.
    """

    kubeconfig: str | None = None
    context: str | None = None

    @property
    def file(self) -> str | None:
        """The file to read; None for the account of the pod."""
        named = self.kubeconfig or os.environ.get("KUBECONFIG")
        if named:
            return named
        default = Path("~/.kube/config").expanduser()
        return None if not default.exists() and os.environ.get(_IN_CLUSTER) else str(default)

    def connect(self, anew: bool = False) -> t.Any:
        """The official client with credentials that were read now.

        :param anew: also those that a program gave, and that should be good still.
        :raises BadInput: there are none, or they cannot be used.
        :raises ApiUnavailable: a program that is to give them does not.
        """
        with _loading:
            if anew:
                forget()
            return self._load()

    def _load(self) -> t.Any:
        settings = official.Configuration()
        file = self.file
        where = file or "the service account of this pod"
        try:
            if file is None:
                official.config.load_incluster_config(client_configuration=settings)
            else:
                official.config.load_kube_config(file, self.context, settings, persist_config=False)
            # Calls are repeated by their own rules, within their own time.
            settings.retries = False
            api = official.ApiClient(settings)
            pools = api.rest_client.pool_manager.connection_pool_kw
            if settings.host.startswith("https"):
                pools["ssl_context"] = _tls(settings)
                for key in ("ca_certs", "cert_file", "key_file"):
                    pools.pop(key, None)
            return api
        except ProgramFailed as failed:
            raise ApiUnavailable(f"{where}: {failed.message}", failed.hint) from None
        except official.config.ConfigException as error:
            raise BadInput(f"{where}: {_short(error)}", _HINT) from error
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise BadInput(f"{where}: cannot be used: {type(error).__name__}", _HINT) from error
        finally:
            official.kube_config._cleanup_temp_files()


def _tls(settings: t.Any) -> ssl.SSLContext:
    context = urllib3.util.ssl_.create_urllib3_context()
    if settings.verify_ssl:
        context.verify_mode = ssl.CERT_REQUIRED
        if settings.ssl_ca_cert:
            context.load_verify_locations(settings.ssl_ca_cert)
        else:
            context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
