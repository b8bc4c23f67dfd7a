"""Services that answer from a script, held against the models of botocore: for what moto does otherwise than AWS."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

import boto3
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
from botocore.stub import Stubber
from simulated_account import KEYS, REGION


class _Access(AwsAccess):
    def session(self) -> boto3.session.Session:
        return boto3.session.Session(**KEYS)


class StubbedAccount(AwsAccount):
    """Each service answers what is said, in that order, and refuses anything else."""

    def __init__(self, read_only: bool = False) -> None:
        super().__init__(_Access(), REGION, Budget(30.0), read_only=read_only, sleep=lambda _seconds: None)
        self._stubs: dict[tuple[str, str], Stubber] = {}

    def expect(
        self, service: str, operation: str, asked: Mapping[str, t.Any], answer: Mapping[str, t.Any] | str, **more: t.Any
    ) -> None:
        """What is asked next of a service.

        :param answer: the answer, or the code of an error.
        """
        stub = self._stub(service, more.get("region", REGION))
        if isinstance(answer, str):
            stub.add_client_error(operation, answer, "no", http_status_code=400, expected_params=dict(asked))
        else:
            stub.add_response(operation, dict(answer), dict(asked))

    def done(self) -> None:
        """All that was expected was asked."""
        for stub in self._stubs.values():
            stub.assert_no_pending_responses()

    def _stub(self, service: str, region: str) -> Stubber:
        if (service, region) not in self._stubs:
            stub = Stubber(self._client(service, region))
            stub.activate()
            self._stubs[service, region] = stub
        return self._stubs[service, region]
