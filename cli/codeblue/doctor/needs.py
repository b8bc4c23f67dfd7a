"""Which keys an inventory lacks for which runbook or operation, in findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.codeblue.recovery.plugins.plugin_utils._inventory_needs import NEEDED, Lack

from codeblue.doctor.finding import Finding, note, ok, warning


def needs_findings(lacks: Sequence[Lack], services: int) -> Iterator[Finding]:
    """One line for each key that a runbook or an operation lacks.

    What one can do nothing without is a warning; what only takes a way from it is a note and leaves the exit code.

    :param services: how many services the inventory has.
    """
    if not lacks:
        yield ok("needs", f"the {services} services have every key that a runbook or an operation asks for")
        return
    for lack in lacks:
        said = warning if lack.need.severity == NEEDED else note
        yield said("needs", f"{lack.wanted_by}: {lack.sentence()}", f"see docs/{lack.need.page}")
