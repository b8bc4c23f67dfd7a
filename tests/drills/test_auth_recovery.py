"""What recoveries of the login promise beyond a good drill: no change in check mode or a second time, no session ended
without need, no key or token left behind, causes that are not its own (about 150 s)."""

from __future__ import annotations

import http.client
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._certificates import shown_by
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests, new_pair
from clinic_site import Finished, Site
from codeblue.lab.gateway import LOGIN_PORT_NAME
from codeblue.lab.layout import APPLICATION_MACHINES, GATEWAY_UNIT, unit
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret

pytestmark = [pytest.mark.lab, pytest.mark.drill, pytest.mark.extended]

RUNBOOK = "authentication_system_down"
FAULTS = ("auth_signing_key_wrong", "auth_process_dead", "auth_certificate_expired")
UNITS = tuple(unit("auth", machine) for machine in APPLICATION_MACHINES)


def why(finished: Finished) -> str:
    return f"{finished.out}\n{finished.err}"


def key_files(site: Site, name: str = "token_*.pem") -> list[Path]:
    return sorted(site.lab.directory.glob(f"machines/app*/secrets/{name}"))


def files_of(site: Site) -> dict[str, bytes]:
    """Everything that a recovery of the login could change on the disk of the machines."""
    paths = [*key_files(site), site.lab.parts.layout.login_certificate]
    paths += site.lab.directory.glob("machines/app*/auth/history.jsonl")
    return {str(path): path.read_bytes() for path in paths}


def pids(site: Site) -> dict[str, Any]:
    return {name: each["pid"] for name, each in site.lab.status().processes.items()}


def serial(site: Site) -> str:
    found = shown_by("127.0.0.1", site.lab.state.ports[LOGIN_PORT_NAME], 2.0)
    assert found is not None
    return found.serial


def asked(site: Site, front: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", site.lab.parts.gateway.front_port(front), timeout=5)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def log_in(site: Site) -> str:
    """A token. Processes that were just started are waited for."""
    site.lab.parts.wait_answering()
    account = {"username": PROBE_ACCOUNT, "password": read_secret(site.lab.parts.layout.secret(PROBE_ACCOUNT))}
    status, answer = asked(site, "auth", "POST", "/login", account)
    assert status == 200, answer
    return str(json.loads(answer)["token"])


def opens_records(site: Site, token: str) -> bool:
    status, _answer = asked(site, "records", "GET", "/records/1", token=token)
    assert status in (200, 401, 404), status
    return status != 401


def keys_fit(site: Site) -> bool:
    return len(set().union(*(key_digests(path.read_bytes()) for path in key_files(site)))) == 1


PLANNED = {
    "auth_signing_key_wrong": "would end all sessions by new keys on app1, app2",
    "auth_process_dead": "would",
    "auth_certificate_expired": "would renew the certificate of login",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_mode_names_the_way_and_changes_nothing(site: Site, fault: str) -> None:
    site.lab.break_(fault)
    before, processes, shown = files_of(site), pids(site), serial(site)
    planned = site.codeblue("plan", RUNBOOK, "-i", str(site.inventory), "--json")
    bare = site.playbook(f"codeblue.recovery.{RUNBOOK}", "--check", "--diff")
    said = " ".join(str(message.get("summary")) for message in planned.messages)
    assert PLANNED[fault] in said, why(planned)
    assert bare.code == 0, why(bare)
    assert files_of(site) == before and pids(site) == processes and serial(site) == shown
    assert not list(site.lab.directory.glob("machines/*/codeblue/receipts/auth/*"))
    assert site.runs() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_second_run_changes_nothing(site: Site, fault: str) -> None:
    site.lab.break_(fault)
    first = site.run(RUNBOOK)
    assert first.code == 0 and first.summary["outcome"] == "recovered", why(first)
    before, processes, shown = files_of(site), pids(site), serial(site)
    again = site.run(RUNBOOK)
    assert again.summary["outcome"] == "nothing_to_do" and again.summary["first_action_seconds"] is None, why(again)
    assert files_of(site) == before and pids(site) == processes and serial(site) == shown
    site.assert_no_step_twice(site.runs()[0].run_id)
    site.verify_record(site.runs()[1].run_id)


def test_new_keys_end_every_session_and_fit_everywhere(site: Site) -> None:
    session = log_in(site)
    assert opens_records(site, session)
    modes = {path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in key_files(site)}
    site.lab.break_("auth_signing_key_wrong")
    assert not opens_records(site, log_in(site)), "the fault is none"
    assert opens_records(site, session), "a session from before goes on until its key is taken away"
    ended = site.run(RUNBOOK)
    assert ended.code == 0 and "signing_key_wrong" in why(ended), why(ended)
    assert opens_records(site, log_in(site)) and not opens_records(site, session)
    assert keys_fit(site)
    assert {path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in key_files(site)} == modes


@pytest.mark.parametrize("fault", ["auth_process_dead", "auth_certificate_expired"])
def test_nothing_else_logs_anybody_out(site: Site, fault: str) -> None:
    session = log_in(site)
    keys = {path: path.read_bytes() for path in key_files(site)}
    site.lab.break_(fault)
    ended = site.run(RUNBOOK)
    assert ended.code == 0, why(ended)
    assert opens_records(site, session) and opens_records(site, log_in(site))
    assert {path: path.read_bytes() for path in key_files(site)} == keys


def test_the_gateway_keeps_running_and_a_restart_keeps_the_new_certificate(site: Site) -> None:
    site.lab.break_("auth_certificate_expired")
    expired, gateway = serial(site), pids(site)[GATEWAY_UNIT]
    ended = site.run(RUNBOOK)
    assert ended.code == 0 and "renewed the certificate of login" in why(ended), why(ended)
    new = serial(site)
    assert new != expired and pids(site)[GATEWAY_UNIT] == gateway
    site.lab.parts.supervisor.stop(GATEWAY_UNIT)
    site.lab.parts.supervisor.start(GATEWAY_UNIT)
    site.lab.parts.wait_answering()
    assert serial(site) == new
    assert not list(site.lab.parts.layout.login_certificate.parent.glob("*.*.*")), "a copy of a key is left"


def test_one_verifier_with_another_key_is_found(site: Site) -> None:
    """Every other token is refused, and no private key is wrong."""
    _private, public = new_pair()
    (path,) = site.lab.directory.glob("machines/app2/secrets/token_verification.pem")
    path.write_text(public)
    records = unit("records", "app2")
    site.lab.parts.supervisor.stop(records)
    site.lab.parts.supervisor.start(records)
    ended = site.run(RUNBOOK, "--because", "some logins are refused by records")
    assert ended.code == 0 and "signing_key_wrong" in why(ended), why(ended)
    assert keys_fit(site)
    token = log_in(site)
    assert all(opens_records(site, token) for _try in range(4))


def test_the_login_is_not_to_blame_for_its_database(site: Site) -> None:
    site.lab.break_("primary_dead")
    before = files_of(site)
    ended = site.run(RUNBOOK)
    assert ended.code == 1 and "dependency_down" in why(ended), why(ended)
    assert files_of(site) == before
    assert not site.store().bad_versions("auth", "release")


def test_an_authority_that_cannot_issue_changes_nothing(site: Site) -> None:
    place = "all/children/codeblue_services/children/codeblue_auth_services/hosts/auth/codeblue_host/certificates/login"
    site.inventory = site.overlay({f"{place}/issuer_key_from": "file:/nowhere/authority.key"})
    site.lab.break_("auth_certificate_expired")
    before, shown = files_of(site), serial(site)
    ended = site.run(RUNBOOK)
    assert ended.code in (1, 2) and "/nowhere/authority.key" in why(ended), why(ended)
    assert files_of(site) == before and serial(site) == shown
