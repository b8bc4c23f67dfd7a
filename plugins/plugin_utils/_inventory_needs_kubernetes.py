# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runbooks and operations need of the inventory for a service on Kubernetes; see `_inventory_needs`.

`docs/kubernetes.md` has the same keys, held together by a test.
"""

from __future__ import annotations

from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs import NARROWS, NEEDED, Need

_PAGE = "kubernetes.md"
_WORKLOADS = ("gateway", "service", "auth", "ai", "storage")
_EVERY = ("database", *_WORKLOADS)
_MADE_AGAIN = (
    Need(
        "codeblue_snapshot_recipients",
        _EVERY,
        NARROWS,
        "no objects are kept from which what is missing could be made again",
        _PAGE,
    ),
    Need(
        "codeblue_snapshot_identity",
        _EVERY,
        NARROWS,
        "what is missing is left to a person, no snapshot can be read",
        _PAGE,
        only_with="codeblue_snapshot_recipients",
    ),
)
_FEATURES = Need(
    "codeblue_kubernetes.features", ("ai",), NARROWS, "what uses it is not switched to go on without", _PAGE
)
_SECRETS = Need("codeblue_kubernetes.secrets", _WORKLOADS, NARROWS, "Secrets that an intruder knows stay", _PAGE)
_MANAGEMENT = Need(
    "codeblue_kubernetes.management",
    _WORKLOADS,
    NARROWS,
    "in a quarantine operators do not reach it",
    _PAGE,
)
_EVIDENCE = Need("codeblue_evidence_recipients", _EVERY, NARROWS, "of its evidence only hashes are kept", _PAGE)


def _signals(topic: str, kinds: tuple[str, ...] = _WORKLOADS) -> Need:
    without = "no criterion can fire, it runs with --because only"
    return Need(f"codeblue_checks.signals[topic={topic}]", kinds, NARROWS, without, _PAGE)


#: By runbook and operation; one that is not here asks for nothing beyond what the model itself wants.
KUBERNETES_NEEDS: dict[str, tuple[Need, ...]] = {
    "complete_system_outage": _MADE_AGAIN,
    "database_connection_failure": _MADE_AGAIN,
    "ai_service_unavailable": (_FEATURES, *_MADE_AGAIN),
    "authentication_system_down": _MADE_AGAIN,
    "security_breach_response": (_SECRETS, _MANAGEMENT, _EVIDENCE, _signals("intrusion")),
    "performance_degradation": (_signals("performance"),),
    "hipaa_compliance_violation": (
        Need("codeblue_phi", ("service",), NARROWS, "it counts as one that holds no patients' data", _PAGE),
        Need(
            "codeblue_kubernetes.ways_in",
            ("service",),
            NARROWS,
            "nobody can tell a way in that is meant from one that is not",
            _PAGE,
            only_with="codeblue_phi",
        ),
    ),
    "data_corruption_detected": (
        Need("codeblue_kubernetes.database", ("database",), NARROWS, "damaged data are left to a person", _PAGE),
        _signals("integrity", ("database",)),
    ),
    "feature_switch": (_FEATURES,),
    "quarantine_service": (_MANAGEMENT,),
    "rotate_secrets": (_SECRETS,),
    "snapshot_services": (Need("codeblue_snapshot_recipients", _EVERY, NEEDED, "no snapshot is taken", _PAGE),),
}
