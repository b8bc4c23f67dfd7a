# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Takes evidence of a service on AWS before anything changes, within a fixed time."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.codeblue.recovery.plugins.module_utils._duration import parse_duration
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_security_step import MISSING, AwsSecurityAction
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import OpenRun

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_access import AwsAccess
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_client import AwsAccount, Budget
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_evidence import (
        ACCOUNT,
        EvidenceCollector,
        window_since,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_evidence_copies import (
        LARGEST_COPY,
        EvidenceCopies,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_custody import CustodyEntry
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._evidence_store import (
        EvidenceStore,
        Piece,
        evidence_directory,
    )
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._recipients import Recipients

    _MISSING: ImportError | None = MISSING
except ImportError as error:
    _MISSING = error

# Snapshots are begun and not waited for; what is copied was read already.
_KEEPING_SECONDS = 30.0
# For one question: a service that does not answer does not use up the time box.
_CALL_SECONDS = 3.0


class ActionModule(AwsSecurityAction):
    """See plugins/modules/aws_evidence.py."""

    STAGE = "evidence"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "within": {"type": "str", "default": "10s"},
        "window": {"type": "str", "default": "24h"},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "directory": {"type": "path"},
        "bytes_per_log": {"type": "int", "default": 1048576},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        within = parse_duration(arguments["within"], "within")
        window = parse_duration(arguments["window"], "window")
        self.connect(self.service(), within + _KEEPING_SECONDS)
        instances = self._place.security.instances
        if self.check_mode:
            self._planned += [f"snapshot_volumes_{each}" for each in instances]
            summary = f"would take evidence of {self._place} for {within:g} s"
            return self.ended({"evidence": None, "copies": 0, "snapshots": [], "codeblue": {"summary": summary}})
        run = self.open_run()
        store = EvidenceStore(
            evidence_directory(arguments["directory"]),
            run.run_id,
            run.store,
            Recipients.parse(arguments["recipients"], "codeblue_evidence_recipients")
            if arguments["recipients"]
            else None,
        )
        entry = store.taken(self.target, ACCOUNT) or self._take(store, within, window, arguments["bytes_per_log"])
        copies = self._copy(run, store, entry)
        snapshots = [name for instance in instances for name in self._snapshots(run, instance)]
        said = f"evidence of {self._place}: {len(entry.pieces)} pieces"
        said += f", {copies} of them in bucket {self._bucket}" if copies else ""
        said += f", {len(snapshots)} snapshots of volumes" if snapshots else ""
        if not arguments["recipients"]:
            said += "; only hashes are kept, because codeblue_evidence_recipients names nobody to encrypt it to"
        return self.ended(
            {
                "evidence": {
                    "sha256": entry.sha256,
                    "size_bytes": entry.size_bytes,
                    "custody_sha256": entry.digest,
                    "pieces": [each.name for each in entry.pieces],
                },
                "copies": copies,
                "snapshots": snapshots,
                "codeblue": {"summary": said + self.afterwards()},
            }
        )

    @property
    def _bucket(self) -> str:
        locked = self._place.security.evidence_bucket
        return locked.bucket if locked is not None else ""

    def _take(self, store: EvidenceStore, within: float, window: float, most: int) -> CustodyEntry:
        access = AwsAccess(self._place.profile, self._place.endpoints)
        account = AwsAccount(access, self._place.region, Budget(within), patience=_CALL_SECONDS, read_only=True)
        found = EvidenceCollector(account, self._place, most, window_since(window)).collect()
        self._told += [f"left out: {each}" for each in found.left_out[:5]]
        left_out = f"; left out: {'; '.join(found.left_out[:5])}" if found.left_out else ""
        summary = f"{len(found.pieces)} pieces of {self._place}{left_out}"
        pieces = [Piece(name, content) for name, content in found.pieces.items()]
        return store.keep(self.target, ACCOUNT, pieces, f"AWS {self._place.region}", summary[:500])

    def _copy(self, run: OpenRun, store: EvidenceStore, entry: CustodyEntry) -> int:
        """Put what is encrypted into the locked bucket. That it cannot be is told: nothing waits for it."""
        locked = self._place.security.evidence_bucket
        if locked is None:
            return 0
        copies = EvidenceCopies(self._account)
        put = 0
        try:
            copies.check_bucket(locked)
            for piece in entry.pieces:
                if piece.file is None:
                    continue
                path = store.directory / piece.file
                if path.stat().st_size > LARGEST_COPY:
                    self._told.append(f"{piece.name} is larger than a copy may be, and stays on the controller")
                    continue
                key = f"codeblue/{run.run_id}/{piece.file}"
                decision = {"reason": "evidence that nobody can alter", "bucket": locked.bucket, "object": key}
                self.step(f"copy_{piece.name}", decision, functools.partial(copies.put, locked, key, path))
                put += 1
        except CodeblueError as error:
            self._told.append(f"no copies in bucket {locked.bucket}: {error.message}")
        return put

    def _snapshots(self, run: OpenRun, instance: str) -> list[str]:
        copies = EvidenceCopies(self._account)
        decision = {
            "reason": "what is on its volumes is evidence",
            "undo": f"aws ec2 delete-snapshot, for those with the tag codeblue:run={run.run_id}",
        }
        take = functools.partial(copies.snapshot_volumes, instance, run.run_id, self.target)
        try:
            self.step(f"snapshot_volumes_{instance}", decision, take)
            return copies.snapshots(instance, run.run_id)
        except CodeblueError as error:
            self._told.append(f"no snapshots of {instance}: {error.message}")
            return []
