# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks the services of AWS, in any region, within one time budget.

A client of a service and region is made once. What was throttled or met trouble of the service is asked again until
the budget ends. What is repeated must be safe to repeat: an answer that was lost may stand for something that was done,
and the second asking then meets a `Conflict`, or what a client token makes of it. For what is not safe there is
`repeat=False`.
"""

from __future__ import annotations

import copy
import random
import threading
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import botocore.exceptions
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import CONNECTIONS, AwsAccess
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import iam_action, is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import (
    THROTTLED,
    TRANSIENT,
    AwsUnavailable,
    BadCredentials,
    Call,
    error_of,
)

# How long one call goes on against a service that throttles, or does not answer.
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_MOST_PAGES = 1000
_FORM_HINT = "look at codeblue_aws in the inventory"

Item = t.TypeVar("Item")
Answer = t.TypeVar("Answer")


class Budget:
    """The time that something has in all.

    :param seconds: from now.
    :param clock: of seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds, 0 when it is over."""
        return max(0.0, self._ends - self._clock())


class AwsAccount:
    """One identity in one account, for one task. Several threads may ask at once.

    :param region: that is asked when a call names none.
    :param budget: for all calls together.
    :param patience: seconds that a single call is repeated for.
    :param read_only: refuse to change anything; for check mode.
    :param sleep: how to wait.
    """

    def __init__(
        self,
        access: AwsAccess,
        region: str,
        budget: Budget,
        patience: float = PATIENCE_SECONDS,
        read_only: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._access = access
        self.region = region
        self._budget = budget
        self._patience = patience
        self._read_only = read_only
        self._sleep = sleep
        self._session = access.session()
        self._clients: dict[tuple[str, str], t.Any] = {}
        # Making clients is not safe in threads, using them is; counting is neither.
        self._lock = threading.Lock()
        #: How often services were asked, repetitions among them; and how often to change something.
        self.calls = 0
        self.writes = 0

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self._budget.left

    def within(self, seconds: float) -> AwsAccount:
        """The same with another budget, by the connections of this one.

        :param seconds: for all calls together, and for each.
        """
        other = copy.copy(self)
        other._budget, other._patience = Budget(seconds), seconds
        other.calls = other.writes = 0
        return other

    def ask(
        self,
        api: str,
        operation: str,
        /,
        region: str | None = None,
        about: str = "",
        patience: float | None = None,
        repeat: bool = True,
        **parameters: t.Any,
    ) -> dict[str, t.Any]:
        """Carry out one operation.

        :param api: the service, as botocore names it, as `ecs`.
        :param operation: as botocore names it, as `update_service`.
        :param about: what it is about, for people; never a value that could be a secret.
        :param patience: seconds that this call is repeated for; None for those of the account.
        :param repeat: False for what must not be done twice: it is repeated only while the service says that it did
            not do it.
        :returns: the answer without its metadata.
        :raises NotFound: it is not there.
        :raises Conflict: it is in no state for that.
        :raises AwsUnavailable: no answer came in time; its `sent` says whether it may be done all the same.
        :raises AwsError: it was refused.
        """
        changes = is_change(operation)
        where = region or self.region
        client = self._client(api, where)
        signed = client.meta.service_model.signing_name
        call = Call(iam_action(signed, client.meta.method_to_api_mapping[operation]), where, about)
        if changes and self._read_only:
            raise AssertionError(f"{call}: was asked for in check mode")
        ends = Budget(min(self._patience if patience is None else patience, self._budget.left))
        pause, renewed, last, sent = _FIRST_PAUSE, False, "no time is left", False
        while ends.left > 0:
            self._count(changes)
            try:
                answer = getattr(client, operation)(**parameters)
                answer.pop("ResponseMetadata", None)
                return t.cast("dict[str, t.Any]", answer)
            except botocore.exceptions.ClientError as error:
                code = str(error.response.get("Error", {}).get("Code") or "")
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
                refusal = error_of(call, code, str(error.response["Error"].get("Message") or ""), self._access.who)
                if isinstance(refusal, BadCredentials) and not renewed:
                    # A session of a role ends after an hour; a long recovery may see that.
                    renewed, client = True, self._renewed(api, where)
                    continue
                busy = code in THROTTLED
                if not busy and code not in TRANSIENT and status < 500:
                    raise refusal from None
                last, sent = code or f"HTTP {status}", sent or not busy
                if not repeat and not busy:
                    break
            except botocore.exceptions.ParamValidationError:
                # What it says repeats the values, and a secret may be among them.
                raise BadInput(f"{call}: a value is not of the form that AWS takes", _FORM_HINT) from None
            except (botocore.exceptions.ConnectTimeoutError, botocore.exceptions.EndpointConnectionError) as error:
                last = type(error).__name__
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.BotoCoreError) as error:
                last, sent = type(error).__name__, True
                if not repeat:
                    break
            # Of the whole pause, so that several controllers do not ask in step.
            self._sleep(min(random.uniform(pause / 2, pause), ends.left))
            pause = min(pause * 2, _LONGEST_PAUSE)
        late = AwsUnavailable(
            f"AWS gave no answer to {call} in time: {last}", "look at the AWS health page and the network to the region"
        )
        late.sent = sent and changes
        raise late

    def ask_all(
        self,
        api: str,
        operation: str,
        key: str,
        /,
        region: str | None = None,
        about: str = "",
        patience: float | None = None,
        **parameters: t.Any,
    ) -> list[t.Any]:
        """The items of all pages of a list.

        :param key: of the items in the answer, as `services`.
        :raises AwsError: they cannot be read.
        """
        return list(self._items(api, operation, key, region, about, patience, parameters))

    def _items(
        self,
        service: str,
        operation: str,
        key: str,
        region: str | None,
        about: str,
        patience: float | None,
        parameters: Mapping[str, t.Any],
    ) -> Iterator[t.Any]:
        tokens = self._tokens(service, operation, region or self.region)
        onward: dict[str, t.Any] = {}
        for _page in range(_MOST_PAGES):
            answer = self.ask(service, operation, region, about, patience, **{**parameters, **onward})
            yield from answer.get(key) or []
            onward = {given: answer[found] for given, found in tokens if answer.get(found)}
            if not onward:
                return

    def _tokens(self, service: str, operation: str, region: str) -> list[tuple[str, str]]:
        """Which fields of an answer go into which of the next question, as botocore's paginators know."""
        client = self._client(service, region)
        if not client.can_paginate(operation):
            return []
        settings = client.get_paginator(operation)._pagination_cfg
        given, found = settings["input_token"], settings["output_token"]
        given, found = ([each] if isinstance(each, str) else each for each in (given, found))
        # `NextMarker || Contents[-1].Key` of S3 is an expression; its first name is set when a page follows.
        return [(one, two.split(" ")[0]) for one, two in zip(given, found, strict=True)]

    def batches(
        self, items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Sequence[Answer]]
    ) -> list[Answer]:
        """Ask about many things at once, so many in a call as the service takes.

        :param size: most items in one call.
        :param work: asks about one batch.
        :raises AwsError: one of the calls failed; the others are waited for.
        """
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        return [each for found in self.side_by_side(parts, work) for each in found]

    @staticmethod
    def side_by_side(items: Sequence[Item], work: Callable[[Item], Answer]) -> list[Answer]:
        """Do the same for several things at once, in threads; the answers stay in order."""
        if len(items) <= 1:
            return [work(item) for item in items]
        with ThreadPoolExecutor(max_workers=min(CONNECTIONS, len(items))) as pool:
            return list(pool.map(work, items))

    # -- clients -----------------------------------------------------------------------------------------------

    def _client(self, service: str, region: str) -> t.Any:
        with self._lock:
            known = self._clients.get((service, region))
            if known is None:
                known = self._clients[service, region] = self._access.client(self._session, service, region)
            return known

    def _renewed(self, service: str, region: str) -> t.Any:
        with self._lock:
            self._session = self._access.session()
            self._clients.clear()
        return self._client(service, region)

    def _count(self, changes: bool) -> None:
        with self._lock:
            self.calls += 1
            self.writes += changes

    def close(self) -> None:
        """End the connections."""
        with self._lock:
            for client in self._clients.values():
                with suppress(AttributeError):
                    client.close()
            self._clients.clear()
