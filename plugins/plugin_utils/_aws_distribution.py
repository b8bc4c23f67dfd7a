# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A distribution of CloudFront: from which origin it takes its content, and what it is to forget."""

from __future__ import annotations

import copy
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_errors import AwsError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import Distribution

# CloudFront takes some minutes for either.
_PAUSE = 10.0
_FIRST_PAUSE = 0.3
# Somebody else may change the distribution between the look and the change.
_MOST_CONFLICTS = 4
_DEPLOYED = "deployed"
_COMPLETED = "completed"
# CloudFront keeps the reference for ever and takes any text of this length.
_LONGEST_REFERENCE = 128

Config = Mapping[str, t.Any]


@dataclass(frozen=True)
class Behaviours:
    """Which origin each behaviour of a distribution has.

    :param origins: path pattern to origin or origin group; `*` is the default behaviour.
    """

    origins: Mapping[str, str]

    def text(self) -> str:
        """One line for each, for diffs."""
        return "".join(f"{path} {origin}\n" for path, origin in sorted(self.origins.items()))


@dataclass(frozen=True)
class Switched:
    """A change of origins.

    :param accepted_at: Unix time; None when it was so already.
    """

    accepted_at: float | None
    before: Behaviours
    after: Behaviours


class CdnDistribution:
    """One distribution.

    :param region: whose endpoint is asked; CloudFront is one service for all regions.
    """

    def __init__(self, account: AwsAccount, distribution: Distribution, region: str) -> None:
        self._account = account
        self._distribution = distribution
        self._region = region
        self.what = str(distribution)

    def look(self) -> tuple[dict[str, t.Any], str]:
        """The whole configuration, and the tag by which it can be changed."""
        answer = self._ask_cloudfront("get_distribution_config", Id=self._distribution.id)
        return answer["DistributionConfig"], str(answer["ETag"])

    def switch(self, origin: str, other: str) -> Switched:
        """Have every behaviour that takes its content from one origin take it from another.

        :param origin: to take it from.
        :param other: to take it from no more; behaviours with a third one are left alone.
        :raises BadInput: there is no such origin.
        :raises Refused: no behaviour has either of them, or somebody else changes it all the time.
        """
        sent = False
        for _conflict in range(_MOST_CONFLICTS):
            config, tag = self.look()
            before = behaviours_of(config)
            wanted = with_origin(config, origin, other, self.what)
            after = behaviours_of(wanted)
            if before == after:
                # With an answer that was lost on the way, it was this very call that did it.
                return Switched(time.time() if sent else None, before, after)
            try:
                self._ask_cloudfront(
                    "update_distribution", Id=self._distribution.id, IfMatch=tag, DistributionConfig=wanted
                )
                return Switched(time.time(), before, after)
            except AwsError as error:
                # The whole configuration is sent; with another tag it would undo what somebody else has done.
                if error.code not in ("PreconditionFailed", "InvalidIfMatchVersion"):
                    raise
                sent = True
        raise Refused(f"{self.what} is changed over and over by others, nothing was changed", "find out who keeps it")

    def deployed(self, seconds: float, renew: Callable[[], None]) -> float:
        """Wait until all places of CloudFront have the configuration.

        :returns: how long that took.
        :raises CodeblueError: not within that time.
        """
        return self._until(
            _DEPLOYED,
            lambda: str(self._ask_cloudfront("get_distribution", Id=self._distribution.id)["Distribution"]["Status"]),
            seconds,
            renew,
            f"{self.what} is not everywhere",
        )

    def invalidate(self, reference: str) -> tuple[str, float]:
        """Have CloudFront forget what it keeps of the paths.

        :param reference: names this invalidation; asked for twice with the same one it is made once.
        :returns: its id, and the Unix time at which it was accepted.
        """
        paths: Sequence[str] = self._distribution.paths
        answer = self._ask_cloudfront(
            "create_invalidation",
            DistributionId=self._distribution.id,
            InvalidationBatch={
                "Paths": {"Quantity": len(paths), "Items": list(paths)},
                "CallerReference": reference[:_LONGEST_REFERENCE],
            },
        )
        return str(answer["Invalidation"]["Id"]), time.time()

    def invalidated(self, invalidation: str, seconds: float, renew: Callable[[], None]) -> float:
        """Wait until all places of CloudFront have forgotten it.

        :returns: how long that took.
        :raises CodeblueError: not within that time.
        """

        def status() -> str:
            answer = self._ask_cloudfront("get_invalidation", DistributionId=self._distribution.id, Id=invalidation)
            return str(answer["Invalidation"]["Status"])

        return self._until(
            _COMPLETED, status, seconds, renew, f"invalidation {invalidation} of {self.what} is not done"
        )

    def _until(
        self, wanted: str, status: Callable[[], str], seconds: float, renew: Callable[[], None], late: str
    ) -> float:
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            # `Completed` in the words of AWS, `COMPLETED` in those of some stand-ins for it.
            if status().lower() == wanted:
                return time.monotonic() - began
            left = seconds - (time.monotonic() - began)
            if left <= 0:
                raise CodeblueError(f"{late} after {seconds:g} s", "it goes on by itself; codeblue resume waits on")
            renew()
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _PAUSE)

    def _ask_cloudfront(self, operation: str, **parameters: t.Any) -> dict[str, t.Any]:
        return self._account.ask("cloudfront", operation, self._region, self.what, **parameters)


def behaviours_of(config: Config) -> Behaviours:
    """Which origin each behaviour has."""
    found = {"*": str(config["DefaultCacheBehavior"]["TargetOriginId"])}
    for each in (config.get("CacheBehaviors") or {}).get("Items") or ():
        found[str(each["PathPattern"])] = str(each["TargetOriginId"])
    return Behaviours(found)


def with_origin(config: Config, origin: str, other: str, what: str) -> dict[str, t.Any]:
    """The whole configuration with one origin in place of another.

    :raises BadInput: it has no such origin.
    :raises Refused: no behaviour has either.
    """
    known = [str(each["Id"]) for each in (config.get("Origins") or {}).get("Items") or ()]
    known += [str(each["Id"]) for each in (config.get("OriginGroups") or {}).get("Items") or ()]
    if origin not in known:
        raise BadInput(f"{what} has no origin {origin!r}", f"known: {', '.join(known)}")
    changed = copy.deepcopy(dict(config))
    behaviours = [changed["DefaultCacheBehavior"], *((changed.get("CacheBehaviors") or {}).get("Items") or ())]
    if not any(each["TargetOriginId"] in (origin, other) for each in behaviours):
        raise Refused(
            f"no behaviour of {what} takes its content from {origin} or {other}: nothing was changed",
            "look whether codeblue_aws.distribution is right",
        )
    for each in behaviours:
        if each["TargetOriginId"] == other:
            each["TargetOriginId"] = origin
    return changed
