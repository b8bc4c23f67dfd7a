"""Requests to services of a lab on a cluster, through the API server: the controller has no other way to the pods."""

from __future__ import annotations

import threading

import urllib3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._kubernetes_access import ClusterAccess

from codeblue.lab.kubernetes.manifests import SERVICE_NAMES

_PATH = "health"


class ServiceProxy:
    """Asks `/health` of services; each thread has a connection of its own."""

    def __init__(self, access: ClusterAccess, namespace: str) -> None:
        self._access = access
        self._namespace = namespace
        self._own = threading.local()

    def ask(self, service: str, seconds: float) -> str | None:
        """What is wrong, None when it answers well.

        :param service: of the inventory.
        :param seconds: for the whole answer.
        """
        from kubernetes.client.exceptions import ApiException

        if not hasattr(self._own, "api"):
            self._own.api = self._access.connect()
        try:
            answer = self._own.api.call_api(
                f"/api/v1/namespaces/{self._namespace}/services/{SERVICE_NAMES[service]}:http/proxy/{_PATH}",
                "GET",
                header_params={"Accept": "*/*"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=seconds,
            )
        except ApiException as error:
            return f"HTTP {error.status}"
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return type(error).__name__
        answer.release_conn()
        return None
