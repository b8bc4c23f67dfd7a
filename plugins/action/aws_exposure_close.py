# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Closes what everybody can read of a service on AWS: its buckets, and snapshots that are shared with all accounts."""

from __future__ import annotations

import functools
import json
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public import (
        BucketLook,
        PublicThings,
        SharedSnapshot,
        is_given_to_anybody,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_public_policy import BLOCKED
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_proof import until_proven

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_CALL_SECONDS = 120.0
# S3 follows a change of its settings within some seconds.
_KNOWN_SECONDS = 30.0
# As much text as one value of the record holds.
_CHUNK = 1900
_MOST_CHUNKS = 20


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_exposure_close.py."""

    STAGE = "contain"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "buckets": {"type": "list", "elements": "str"},
        "snapshots": {"type": "str", "choices": ["close", "leave"], "default": "close"},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        self.connect(service, _CALL_SECONDS)
        self._things = PublicThings(self._account)
        self._proof: dict[str, str] = {}
        given = arguments["buckets"]
        names = list(given if given is not None else self._place.security.private_buckets)
        looks = [self._things.look(name) for name in names]
        wanted = [each for each in looks if not each.is_closed]
        shared = self._things.shared_snapshots() if arguments["snapshots"] == "close" else []
        self._told += [each.said for each in wanted if each.is_public] + [each.said for each in shared]
        reason = arguments["reason"] or "asked for by a person"
        for each in wanted:
            after = {"block": dict(BLOCKED), "statements of everybody": 0}
            before = {"block": dict(each.blocked), "statements of everybody": len(each.public)}
            self.show(f"bucket {each.name}", before, after)
        if self.check_mode:
            self._planned += [step for each in wanted for step in _steps(each)]
            self._planned += [f"unshare_{each.id}" for each in shared]
        else:
            for each in wanted:
                self._close(each, reason)
            for snapshot in shared:
                self._unshare(snapshot, reason)
            for name in names:
                self._hold(name)
        return self.ended(
            {
                "closed": [each.name for each in wanted],
                "unshared": [each.id for each in shared],
                "proof": self._proof,
                "codeblue": {"summary": self._summary(wanted, shared)},
            }
        )

    def _close(self, look: BucketLook, reason: str) -> None:
        """The block first: it closes at once what policy and list let through. Then these, so that it can go again."""
        key = self._things.any_key(look.name)
        given = key is not None and self._given(look.name, key)
        kept = {"reason": reason, "before": _chunks({"block": dict(look.blocked)})}
        self.step(f"block_{look.name}", kept, functools.partial(self._things.block, look.name))
        if look.public:
            decision = {
                "reason": reason,
                # Whole, for whoever puts it back: put-bucket-policy.
                "before": _chunks(look.policy),
                "undo": f"aws s3api put-bucket-policy --bucket {look.name}, with the policy from before",
            }
            self.step(f"policy_{look.name}", decision, functools.partial(self._things.narrow_policy, look.name))
        if look.open_grants:
            decision = {
                "reason": reason,
                "before": _chunks({"Owner": look.owner, "Grants": look.grants}),
                "undo": f"aws s3api put-bucket-acl --bucket {look.name}, with the list from before",
            }
            self.step(f"list_{look.name}", decision, functools.partial(self._things.narrow_list, look.name))
        if key is not None and given:
            self._prove(look.name, key)

    def _prove(self, bucket: str, key: str) -> None:
        def problem() -> str:
            return f"bucket {bucket} still gives an object to everybody" if self._given(bucket, key) else ""

        # What simulates S3 may ask nobody who they are.
        lab = self.service().environment == "lab"
        hint = "look at the bucket in S3, and at its access points"
        try:
            until_proven(problem, self.target, hint, 2.0 if lab else _KNOWN_SECONDS)
        except CodeblueError as error:
            if not lab:
                raise
            self._told.append(f"{error.message}: that it ends is not proven in a lab")
            return
        self._proof[bucket] = "from_here"

    def _given(self, bucket: str, key: str) -> bool:
        access = AwsAccess(None, self._place.endpoints)
        return bool(is_given_to_anybody(access, self._place.region, bucket, key))

    def _unshare(self, snapshot: SharedSnapshot, reason: str) -> None:
        decision = {
            "reason": reason,
            "undo": "none is needed: whoever copied it has it already, and accounts that are named keep it",
        }
        self.step(f"unshare_{snapshot.id}", decision, functools.partial(self._things.unshare, snapshot))

    def _hold(self, bucket: str) -> None:
        """:raises CodeblueError: it is open still."""
        if not self._things.look(bucket).is_closed or self._things.says_public(bucket):
            raise CodeblueError(
                f"{self.target}: bucket {bucket} is open to everybody again", "find out who in CloudTrail, then resume"
            )
        self._proof.setdefault(bucket, "configuration")

    def _summary(self, wanted: list[BucketLook], shared: list[SharedSnapshot]) -> str:
        if not wanted and not shared:
            return f"nothing of {self.target} is open to everybody{self.afterwards()}"
        verb = "would close" if self.check_mode else "closed"
        parts = [f"bucket {each.name}" for each in wanted]
        parts += [f"snapshot {each.id} for all accounts" for each in shared]
        return f"{verb} {', '.join(parts)}{self.afterwards()}"


def _steps(look: BucketLook) -> list[str]:
    return [
        f"block_{look.name}",
        *([f"policy_{look.name}"] if look.public else []),
        *([f"list_{look.name}"] if look.open_grants else []),
    ]


def _chunks(value: t.Any) -> list[str]:
    text = json.dumps(value, sort_keys=True, default=str)
    return [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)][:_MOST_CHUNKS]
