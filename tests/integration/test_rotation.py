"""Planned rotations on the running clinic: nobody notices, and the old secret is refused afterwards (about 30 s; 150 s
with the extended ones)."""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._session_tokens import key_digests, new_pair
from clinic_site import Finished, Site, finish
from codeblue.lab.prober import Prober
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret

pytestmark = pytest.mark.lab

# Up to ten restarts one after the other, each without traffic; half a minute on a machine that does nothing else.
MOST_SECONDS = 600.0


def why(finished: Finished) -> str:
    return f"{finished.out}\n{finished.err}"


def done(site: Site, verb: str, runbook: str, *options: str) -> Finished:
    return finish(site.start_codeblue(verb, runbook, "-i", str(site.inventory), "--json", *options), MOST_SECONDS)


def asked(
    site: Site, front: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", site.lab.parts.gateway.front_port(front), timeout=5)
    try:
        given = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def log_in(site: Site) -> str:
    account = {"username": PROBE_ACCOUNT, "password": read_secret(site.lab.parts.layout.secret(PROBE_ACCOUNT))}
    status, answer = asked(site, "auth", "POST", "/login", account)
    assert status == 200
    return str(answer["token"])


def read_with(site: Site, token: str) -> int:
    return asked(site, "records", "GET", "/records/1", headers={"Authorization": f"Bearer {token}"})[0]


def files(site: Site, name: str) -> list[str]:
    return [path.read_text() for path in sorted(site.lab.directory.glob(f"machines/app*/secrets/{name}"))]


def rotated(site: Site, tmp_path: Path, target: str, kinds: list[str], **more: str) -> Finished:
    """Rotate while a prober uses everything ten times a second; no answer may be missing."""
    options = [item for name, value in more.items() for item in ("-e", f"{name}={value}")]
    options += ["-e", json.dumps({"codeblue_secrets": kinds})]
    with Prober(site.lab, tmp_path / "samples.jsonl") as prober:
        finished = done(site, "run", "rotate_secrets", "--limit", target, *options)
        samples = prober.samples()
    assert finished.code == 0, why(finished)
    assert len(samples) > 100
    # A machine under load answers late whoever is asked. What a rotation can do wrong is refused, closed or an error.
    assert {(each.endpoint, each.detail) for each in samples if not each.ok and each.detail != "TimeoutError"} == set()
    return finished


def test_an_api_key_is_replaced_while_it_is_used(site: Site, tmp_path: Path) -> None:
    (old, _same) = files(site, "records_ai.key")
    rotated(site, tmp_path, "ai", ["api_keys"])
    new = set(files(site, "records_ai.key")) | set(files(site, "ai_accepts_records.keys"))
    assert len(new) == 1 and old not in new
    assert asked(site, "ai", "GET", "/caller", headers={"X-Api-Key": old.strip()})[0] == 401
    assert asked(site, "ai", "GET", "/caller", headers={"X-Api-Key": new.pop().strip()})[1] == {"caller": "records"}
    note = {"patient_ref": "synthetic-0002", "note": "severe chest pain"}
    made = asked(site, "records", "POST", "/records", note, {"Authorization": f"Bearer {log_in(site)}"})
    assert made[1]["triage"] == "urgent", "records calls ai with the new key"


@pytest.mark.extended
def test_passwords_go_from_one_login_to_the_other_and_back(site: Site, tmp_path: Path) -> None:
    before = files(site, "records_app.password")
    finished = rotated(site, tmp_path, "patient_db", ["database_passwords"], codeblue_secrets_watch="1s")
    after = files(site, "records_app.password")
    assert all(text.startswith("user=records_app_2 ") for text in after) and not set(before) & set(after)
    assert "records_app_2" in finished.out
    with site.lab.parts.postgresql.connect("db1") as connection:
        held = dict(connection.execute("select rolname, rolpassword is not null from pg_authid").fetchall())
    assert (held["records_app"], held["records_app_2"]) == (False, True)
    assert (held["auth_app"], held["auth_app_2"]) == (False, True)
    rotated(site, tmp_path, "patient_db", ["database_passwords"], codeblue_secrets_watch="1s")
    assert all(text.startswith("user=records_app ") for text in files(site, "records_app.password"))
    # In an emergency both logins lose what they had, whichever is in use.
    site.lab.break_("credentials_refused")
    recovered = done(site, "run", "database_connection_failure")
    assert recovered.code == 0, why(recovered)
    assert all(text.startswith("user=records_app ") for text in files(site, "records_app.password"))


@pytest.mark.extended
def test_keys_are_replaced_without_logging_anybody_out_before_the_overlap_ends(site: Site, tmp_path: Path) -> None:
    token = log_in(site)
    old = key_digests(files(site, "token_signing.pem")[0].encode())
    first = rotated(site, tmp_path, "auth", ["session_keys"], codeblue_secrets_overlap="1h")
    assert "run this again then" in first.out
    assert read_with(site, token) == 200, "it was signed with the old key"
    assert all(len(key_digests(text.encode())) == 2 for text in files(site, "token_verification.pem"))
    new = log_in(site)
    rotated(site, tmp_path, "auth", ["session_keys"], codeblue_secrets_overlap="0s")
    assert read_with(site, token) == 401 and read_with(site, new) == 200
    held = [key_digests(text.encode()) for text in files(site, "token_*.pem")]
    assert len({frozenset(each) for each in held}) == 1 and not held[0] & old


@pytest.mark.extended
def test_the_last_good_key_is_put_back_and_sessions_go_on(site: Site, tmp_path: Path) -> None:
    rotated(site, tmp_path, "auth", ["session_keys"], codeblue_secrets_overlap="0s")
    good, token = files(site, "token_signing.pem"), log_in(site)
    site.lab.break_("auth_signing_key_wrong")
    assert files(site, "token_signing.pem") != good
    planned = done(site, "plan", "authentication_system_down")
    assert "last good key" in planned.out and planned.code == 0, why(planned)
    recovered = done(site, "run", "authentication_system_down")
    assert recovered.code == 0, why(recovered)
    assert files(site, "token_signing.pem") == good
    assert read_with(site, token) == 200, "who was logged in stays so"
    assert "sessions go on" in recovered.out
    # A key that verifiers do not know is no good one, whoever kept it.
    for path in site.lab.directory.glob("machines/app*/codeblue/kept/auth/signing.pem"):
        path.write_text(new_pair()[0])
    site.lab.heal()
    site.lab.break_("auth_signing_key_wrong")
    recovered = done(site, "run", "authentication_system_down")
    assert recovered.code == 0, why(recovered)
    assert read_with(site, token) == 401 and read_with(site, log_in(site)) == 200
    shutil.rmtree(site.lab.directory / "machines" / "app1" / "codeblue" / "kept")


def test_a_consumer_that_is_not_named_stops_a_planned_rotation(site: Site) -> None:
    (path, _other) = sorted(site.lab.directory.glob("machines/app*/secrets/records_ai.key"))
    copy = path.with_name("report.ini")
    copy.write_text(f"[ai]\nkey = '{path.read_text().strip()}'\n")
    try:
        before = files(site, "*.key*")
        finished = done(site, "run", "rotate_secrets", "--limit", "ai", "-e", '{"codeblue_secrets": ["api_keys"]}')
        assert finished.code == 3 and "report.ini holds the API key records" in finished.out, why(finished)
        assert files(site, "*.key*") == before
        doctor = site.codeblue("doctor", "-i", str(site.inventory), "--reach", "--no-criteria")
        assert "report.ini holds the API key records, and no consumer of it says so" in doctor.out, why(doctor)
        assert path.read_text().strip() not in finished.out + finished.err + doctor.out + doctor.err
    finally:
        copy.unlink()
