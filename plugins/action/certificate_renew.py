# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Issues new certificates for a service and has its gateway show them."""

from __future__ import annotations

import re
import typing as t
from datetime import UTC, datetime

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._step_action import Change, OpenRun, StepAction

try:
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import Issued, issue
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_certificates import Certificate
    from ansible_collections.codeblue.recovery.plugins.plugin_utils._usable import wait_until_usable

    _MISSING: ImportError | None = None
except ImportError as error:
    _MISSING = error


class ActionModule(StepAction):
    """See plugins/modules/certificate_renew.py."""

    STAGE = "rotate_secrets"
    MISSING_IMPORT = _MISSING
    ARGUMENTS: t.ClassVar[dict[str, t.Any]] = {
        "names": {"type": "list", "elements": "str", "default": []},
        "reason": {"type": "str", "default": ""},
        "usable_within": {"type": "float", "default": 15.0},
    }

    def act(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        service = self.service()
        known = service.require_host().certificates
        names = arguments["names"] or list(known)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise BadInput(
                f"{self.target}: codeblue_host.certificates has no {', '.join(unknown) or 'certificate'}",
                "name there the file, the names and who issues it",
            )
        renewed = []
        for name in names:
            # Issued in check mode too: that the authority cannot issue is better known before.
            renewed.append(self._renew(known[name], arguments["reason"]))
        if not self.check_mode:
            wait_until_usable(service, arguments["usable_within"], "does the gateway show the new certificate?")
        verb = "would renew" if self.check_mode else "renewed"
        until = min(each["expires_at"] for each in renewed)
        said = f"{verb} the certificate of {', '.join(names)}, valid until {until}"
        return {"changed": True, "renewed": renewed, "codeblue": {"summary": said}}

    def _renew(self, certificate: Certificate, reason: str) -> dict[str, t.Any]:
        """The whole renewal is one step: a key that was lost with its process is replaced by another."""
        if self.check_mode:
            return _told(certificate, issue(certificate))
        run = self.open_run()
        prefix = f"certificate_{certificate.name}_"
        earlier = [
            step
            for step in run.store.steps(run.run_id)
            # Only digits: the name of another certificate may begin with this one's.
            if (step.target, step.stage) == (self.target, self.STAGE)
            and re.fullmatch(re.escape(prefix) + r"[0-9]+", step.action)
        ]
        for step in earlier:
            if step.finished_at is None:
                lost = {"error": "its key is lost, the next attempt issues another certificate"}
                run.store.finish_step(step, "failed", lost, changed=True)

        def work(_run: OpenRun) -> dict[str, t.Any]:
            issued = issue(certificate)
            self._secrets.add(issued.bundle)
            self.change(
                Change(
                    action=f"{prefix}{len(earlier) + 1}",
                    machine=certificate.machine,
                    module="haproxy_certificate",
                    arguments={
                        "socket": certificate.socket,
                        "file": certificate.file,
                        "bundle": issued.bundle,
                        "serial": issued.serial,
                    },
                    decision={"file": certificate.file, "serial": issued.serial, "reason": reason[:200]},
                )
            ).checked()
            return {"changed": True, **_told(certificate, issued)}

        decision = {"file": certificate.file, "reason": reason[:200]}
        kept = self.local_change(f"renew_{certificate.name}", decision, work)
        return {name: kept.get(name) for name in ("name", "file", "serial", "expires_at")}


def _told(certificate: Certificate, issued: Issued) -> dict[str, t.Any]:
    until = datetime.fromtimestamp(issued.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": certificate.name, "file": certificate.file, "serial": issued.serial, "expires_at": until}
