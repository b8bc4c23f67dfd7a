"""The database is well and its gateway is not: the cause is told from what the gateway itself says. About 15 s each."""

from __future__ import annotations

import pytest
from clinic_site import Site
from codeblue.lab.layout import GATEWAY_UNIT

pytestmark = [pytest.mark.lab, pytest.mark.drill]


def diagnosis(site: Site) -> dict[str, object]:
    records = site.ledger(site.runs()[0].run_id)
    return next(each["fields"] for each in records if each["kind"] == "diagnosis")


def test_a_primary_that_was_switched_off_at_the_gateway_is_switched_on_again(site: Site) -> None:
    site.lab.parts.gateway.set_state("patient_db", "db1", "maint")
    ended = site.run("database_connection_failure")
    assert ended.code == 0, ended.summary
    found = diagnosis(site)
    assert found["cause"] == "gateway_down"
    assert "the gateway has db1 in maint" in str(found["evidence"])
    assert site.lab.status().primary == "db1"
    assert site.lab.parts.gateway.server_states()["patient_db"]["db1"].startswith("UP")


@pytest.mark.extended
def test_a_gateway_that_is_gone_is_started_and_the_database_left_alone(site: Site) -> None:
    site.lab.parts.supervisor.stop(GATEWAY_UNIT)
    before = site.lab.parts.supervisor.pid("postgres-db1")
    ended = site.run("database_connection_failure")
    assert ended.code == 0, ended.summary
    found = diagnosis(site)
    assert found["cause"] == "gateway_down"
    assert "the gateway's own process does not answer" in str(found["evidence"])
    assert site.lab.parts.supervisor.pid("postgres-db1") == before
