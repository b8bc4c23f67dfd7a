# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the objects of a service's bucket back to what they were at a moment."""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Sequence

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_step import MISSING, AwsStepAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_aws_traffic import PRIMARY, STANDBY
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_object_versions import Restoration
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_objects import BucketHistory

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

_LARGEST = 100_000


class ActionModule(AwsStepAction):
    """See plugins/modules/aws_objects_restore.py."""

    STAGE = "objects"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "moment": {"type": "str", "required": True},
        "prefixes": {"type": "list", "elements": "str", "default": [""]},
        "side": {"type": "str", "choices": [PRIMARY, STANDBY], "default": PRIMARY},
        "new_objects": {"type": "str", "choices": ["keep", "remove"], "default": "keep"},
        "most": {"type": "int", "default": 10_000},
        "timeout": {"type": "float", "default": 1800.0},
        "reason": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        self.connect(self.service(), arguments["timeout"])
        moment = _moment(arguments["moment"])
        if not 1 <= arguments["most"] <= _LARGEST:
            raise BadInput(f"most: must be from 1 to {_LARGEST}, not {arguments['most']}")
        bucket, region = self._bucket(arguments["side"])
        self._history = BucketHistory(self._account, bucket, region)
        self._history.require_versions()
        self._arguments, self._remove = arguments, arguments["new_objects"] == "remove"
        found = self._differences(moment)
        chosen = [each for each in found if self._remove or not each.removes]
        if self.check_mode:
            self._planned.append(f"bring {len(chosen)} objects of {self._history.what} back")
            return self._result(moment, found, {"copied": len(chosen)} if chosen else {}, bool(chosen))
        counts: dict[str, t.Any] = {}
        if chosen:
            counts = self._restore(moment, arguments["reason"])
        return self._result(moment, found, counts, self._changed)

    def _bucket(self, side: str) -> tuple[str, str]:
        bucket = self._place.bucket
        if bucket is None:
            raise BadInput(f"{self.target}: codeblue_aws.bucket is missing", "name the bucket of the service")
        if side == PRIMARY:
            return bucket.name, self._place.region
        if bucket.copy is None or self._place.standby_region is None:
            raise BadInput(
                f"{self.target}: codeblue_aws.bucket.copy is missing", "name the bucket in the standby region"
            )
        return bucket.copy.name, self._place.standby_region

    def _differences(self, moment: datetime.datetime) -> list[Restoration]:
        """What is not as it was, in all prefixes together."""
        found: dict[str, Restoration] = {}
        renew = self.renew if not self.check_mode else _nothing
        for prefix in self._arguments["prefixes"]:
            most = self._arguments["most"]
            found |= {each.key: each for each in self._history.differences(prefix, moment, most, renew)}
        return list(found.values())

    def _restore(self, moment: datetime.datetime, reason: str) -> dict[str, t.Any]:
        began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        key = f"restore_{self._arguments['side']}_{moment:%Y%m%dT%H%M%S}"
        decision = {
            "to": moment.isoformat(),
            "reason": reason[:200],
            "undo": f"the same step with the moment {began}; all versions stay",
        }

        def work(_run: OpenRun) -> dict[str, t.Any]:
            done = self._history.restore(self._differences(moment), self._remove, self.renew)
            if done.failed:
                first = next(iter(done.failed.values()))
                raise CodeblueError(
                    f"{self._history.what}: {len(done.failed)} objects could not be brought back, {done.copied} were:"
                    f" {first}",
                    "mend that, then resume the run: what is right already is not copied again",
                )
            left = [each for each in self._differences(moment) if self._left(each)]
            if left:
                raise CodeblueError(
                    f"{self._history.what}: {len(left)} objects are not as they were, somebody writes meanwhile",
                    "stop writes first, then resume the run",
                )
            counts = {"copied": done.copied, "removed": done.removed, "count": done.copied + done.removed}
            return {"changed": bool(counts["count"]), **counts}

        done = self.local_change(key, decision, work)
        self._changed |= bool(done["changed"])
        return done

    def _left(self, each: Restoration) -> bool:
        return (self._remove or not each.removes) and not self._history.same_content(each)

    def _result(
        self, moment: datetime.datetime, found: Sequence[Restoration], counts: dict[str, t.Any], changed: bool
    ) -> dict[str, t.Any]:
        what = self._history.what
        later = sum(each.removes for each in found)
        kept = later if not self._remove else 0
        said = f"{what} is as it was at {moment.isoformat()} already"
        if counts:
            verb = "would bring back" if self.check_mode else "brought back"
            said = f"{verb} {counts.get('copied', 0)} objects of {what} to {moment.isoformat()}"
            if counts.get("removed"):
                said += f", took {counts['removed']} away that came later"
        if kept:
            said += f"; {kept} objects that came later stay"
        diff = {}
        if self._task.diff and found:
            # Keys can tell of patients.
            diff = {
                "diff": {
                    "before": f"{len(found) - later} objects changed or gone, {later} new\n",
                    "after": f"0 objects changed or gone, {kept} new\n",
                    "before_header": what,
                    "after_header": what,
                }
            }
        return {
            "changed": changed,
            "moment": moment.isoformat(),
            "copied": int(counts.get("copied", 0)),
            "removed": int(counts.get("removed", 0)),
            "new_kept": kept,
            "calls": self._account.calls,
            **diff,
            "codeblue": {"summary": said},
        }


def _nothing() -> None:
    """In check mode nobody holds a lease."""


def _moment(text: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"moment: {text!r} is no time", "write it like 2026-01-15T10:00:00Z") from None
    if found.tzinfo is None:
        raise BadInput(f"moment: {text!r} has no time zone", "write it like 2026-01-15T10:00:00Z")
    if found > datetime.datetime.now(datetime.UTC):
        raise BadInput(f"moment: {text!r} is in the future", "name a moment at which all was well")
    return found
