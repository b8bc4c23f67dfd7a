"""An exposure of patients in a whole clinic: nobody's data is left behind, whatever happens to the run; about 4 min."""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from clinic_site import Finished, SeenStep, Site, finish, wait_for, watch_journal
from codeblue.lab.secrets import PROBE_ACCOUNT, read_secret

pytestmark = [pytest.mark.lab, pytest.mark.extended]

RUNBOOK = "hipaa_compliance_violation"
_LARGEST = 64 * 1024 * 1024


class Canary:
    """A patient who does not exist, with a note that stands nowhere else."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.patient = f"synthetic-9{secrets.randbelow(1000):03d}"
        self.note = f"canary-{secrets.token_hex(8)}"
        # Unlike the reference, four digits, the note can stand nowhere by chance.
        self.words = [self.note, self.patient]

    def enter_and_read(self) -> None:
        """As a nurse does."""
        password = read_secret(self._site.lab.parts.layout.secret(PROBE_ACCOUNT))
        account = {"username": PROBE_ACCOUNT, "password": password}
        token = str(self.ask("auth", "POST", "/login", account)[1].get("token"))
        entry = {"patient_ref": self.patient, "note": self.note}
        status, answer = self.ask("records", "POST", "/records", entry, token)
        assert status == 201, answer
        assert self.ask("records", "GET", f"/records/{answer['id']}", None, token)[0] == 200

    def ask(
        self, front: str, method: str, path: str, body: dict[str, str] | None = None, token: str = ""
    ) -> tuple[int, dict[str, object]]:
        port = self._site.lab.parts.gateway.front_port(front)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3.0)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            connection.request(method, path, json.dumps(body) if body else None, headers if token else {})
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content[:1] == b"{" else {}
        finally:
            connection.close()


def traces(site: Site, canary: Canary, *finished: Finished) -> list[str]:
    """Where the canary stands, but for the database, its log and the access log, where it belongs."""
    needles = [word.encode() for word in canary.words]
    found = [
        f"{stream} of the command"
        for each in finished
        for stream, text in (("stdout", each.out), ("stderr", each.err))
        if any(word in text for word in canary.words)
    ]
    for path in _files(site):
        try:
            content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        except OSError:
            # Gone again, or a socket.
            continue
        if any(needle in content for needle in needles):
            found.append(str(path))
    return found


def _files(site: Site) -> Iterator[Path]:
    database = {"data", "archive", "snapshots"}
    for root in (site.account, site.lab.directory, Path("/dev/shm")):
        for path in root.rglob("*"):
            belongs = database & set(path.parts) or path.name.startswith("records.access.jsonl")
            if path.is_file() and not path.is_symlink() and not belongs:
                yield path


def evidence(site: Site) -> bytes:
    """All that the recipient of the evidence can read, decrypted in memory."""
    lines = site.lab.parts.layout.identity.read_text().splitlines()
    identities = [pyrage.x25519.Identity.from_str(line) for line in lines if not line.startswith("#")]
    content = b""
    for path in sorted((site.state_dir / "evidence").rglob("*.age")):
        plain = pyrage.decrypt(path.read_bytes(), identities)
        content += plain
        if path.name.endswith("logs.tar.age"):
            with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
                assert archive.getnames()
    return content


def settled(site: Site) -> dict[str, Any]:
    """The fingerprint, once what was started counts as running."""
    wait_for(lambda: "STARTING" not in str(site.lab.status().processes), 10, "an end of starting")
    return site.fingerprint()


def blocks(site: Site) -> list[SeenStep]:
    """The steps that have a page refused."""
    return [step for step in watch_journal(site.database) if "block_pages" in step.name]


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
@pytest.mark.parametrize("fault", ["phi_in_log", "phi_public_endpoint"])
def test_a_patient_is_in_the_evidence_and_nowhere_else(site: Site, fault: str, way: str) -> None:
    site.lab.break_(fault)
    canary = Canary(site)
    canary.enter_and_read()
    if fault == "phi_in_log":
        assert traces(site, canary), "the fault has put the canary into a log"
        # 12 records were opened by the fault, of 12 patients.
        wanted = 13
    else:
        status, answer = canary.ask("records", "GET", "/patients")
        assert status == 200
        wanted = len(answer["patients"])  # type: ignore[arg-type]
    if way == "codeblue":
        finished = site.codeblue("run", RUNBOOK, "-i", str(site.inventory), "-vvvv")
    else:
        finished = site.playbook(f"codeblue.recovery.{RUNBOOK}", "--diff", "-vvvv")
    assert finished.code == 0, finished
    assert traces(site, canary, finished) == []
    assert canary.patient.encode() in evidence(site)
    run = site.runs()[0]
    breach = site.store().breaches()[0]
    assert breach.run_id == run.run_id and breach.status == "exercise" and breach.exposure_ended_at is not None
    assert breach.affected == wanted
    assert canary.ask("records", "GET", "/patients")[0] == 404
    site.verify_record(run.run_id)
    shown = site.codeblue("breach", "show", breach.breach_id)
    report = site.codeblue("report", run.run_id)
    assert traces(site, canary, shown, report) == []


def test_the_log_goes_on_and_keeps_its_lines(site: Site) -> None:
    site.lab.break_("phi_in_log")
    Canary(site).enter_and_read()
    assert site.run(RUNBOOK).code == 0
    logs = sorted(site.lab.directory.glob("machines/app*/log/records.jsonl*"))
    assert [path.name for path in logs] == ["records.jsonl", "records.jsonl.1"] * 2
    for path in logs:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines and path.stat().st_mode & 0o777 == 0o644
        if path.name == "records.jsonl":
            assert {each["version"] for each in lines} == {"1.1.0"}
        else:
            masked = [each for each in lines if each.get("patient_ref") == "[patient_ref]"]
            assert masked and all(each["note"] == "[clinical_text]" for each in masked)


def test_a_page_stays_refused_over_a_restart_of_the_gateway(site: Site) -> None:
    """The run is ended right after the page was closed; then HAProxy starts anew."""
    site.lab.break_("phi_public_endpoint")
    canary = Canary(site)
    assert canary.ask("records", "GET", "/patients")[0] == 200
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    wait_for(lambda: any(each.finished for each in blocks(site)), 60, "a refused page")
    os.kill(process.pid, signal.SIGINT)
    finish(process)
    assert canary.ask("records", "GET", "/patients")[0] in (403, 404)
    site.lab.parts.supervisor.stop("haproxy-lb1")
    site.lab.parts.supervisor.start("haproxy-lb1")
    site.lab.parts.gateway.wait_up({"records": ["app1"]}, 5.0)
    assert canary.ask("records", "GET", "/patients")[0] in (403, 404)
    resumed = site.codeblue("resume", site.runs()[0].run_id, "--json")
    assert resumed.code == 0, resumed


@pytest.mark.parametrize(("fault", "number"), [("phi_in_log", 0), ("phi_in_log", 3), ("phi_public_endpoint", 4)])
def test_a_killed_run_is_resumed_and_nobody_is_left_behind(site: Site, fault: str, number: int) -> None:
    site.lab.break_(fault)
    canary = Canary(site)
    canary.enter_and_read()
    process = site.start_codeblue("run", RUNBOOK, "-i", str(site.inventory), "--json")
    wait_for(lambda: len(watch_journal(site.database)) > number, 60, f"step {number}")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    resumed = site.codeblue("resume", site.runs()[0].run_id, "--json")
    assert resumed.code == 0, resumed
    run_id = site.runs()[0].run_id
    site.assert_no_step_twice(run_id)
    site.verify_record(run_id)
    assert len(site.store().breaches()) == 1
    assert traces(site, canary, resumed) == []
    assert canary.patient.encode() in evidence(site)


def test_a_second_run_changes_nothing_and_a_plan_neither(site: Site) -> None:
    site.lab.break_("phi_in_log")
    before = settled(site)
    planned = site.codeblue("plan", RUNBOOK, "-i", str(site.inventory), "--json")
    assert planned.code == 0 and site.fingerprint() == before
    assert not site.database.exists() or site.store().breaches() == []
    assert not (site.state_dir / "keys" / "phi-digest.key").exists()
    assert site.run(RUNBOOK).code == 0
    before = settled(site)
    again = site.run(RUNBOOK)
    assert again.code == 0 and again.summary["outcome"] == "nothing_to_do"
    assert site.fingerprint() == before and len(site.store().breaches()) == 1


def test_without_recipients_it_is_closed_and_nothing_is_removed(site: Site) -> None:
    site.lab.break_("phi_in_log")
    canary = Canary(site)
    canary.enter_and_read()
    overlay = site.overlay({"all/vars/codeblue_evidence_recipients": []})
    finished = site.codeblue("run", RUNBOOK, "-i", str(overlay), "--json")
    assert finished.code in (1, 2), finished
    assert "codeblue_evidence_recipients names nobody" in finished.out
    closed = list(site.lab.directory.glob("machines/app*/log/.codeblue-*/*records.jsonl"))
    assert len(closed) == 2 and all(path.parent.stat().st_mode & 0o777 == 0o700 for path in closed)
    assert canary.note.encode() in b"".join(path.read_bytes() for path in closed)
    open_logs = site.lab.directory.glob("machines/app*/log/records.jsonl*")
    assert not any(canary.note.encode() in path.read_bytes() for path in open_logs)


def test_logs_are_not_sent_anywhere_while_they_hold_patients(site: Site) -> None:
    """Any process stands for what ships logs: this one is stopped at once, and runs again at the end."""
    process = {"manager": "supervisor", "socket": str(site.lab.parts.layout.supervisor_socket), "unit": "ai-app2"}
    services = "all/children/codeblue_services/children/codeblue_application_services/hosts"
    overlay = site.overlay({f"{services}/records/codeblue_phi/log_shipping": {"app2": process}})
    site.lab.break_("phi_in_log")
    pid = site.lab.status().processes["ai-app2"]["pid"]
    finished = site.codeblue("run", RUNBOOK, "-i", str(overlay), "--json")
    assert finished.code == 0, finished
    names = [step.action for step in site.steps(site.runs()[0].run_id)]
    assert names.index("shipping_stopped_app2") < names.index("open_breach") < names.index("shipping_started_app2")
    shipping = site.lab.status().processes["ai-app2"]
    assert shipping["state"] in ("RUNNING", "STARTING") and shipping["pid"] != pid


def test_what_is_kept_can_be_read_by_who_it_was_encrypted_to(site: Site) -> None:
    site.lab.break_("phi_public_endpoint")
    canary = Canary(site)
    canary.enter_and_read()
    assert canary.ask("records", "GET", "/patients")[0] == 200
    assert site.run(RUNBOOK).code == 0
    content = evidence(site)
    assert b'"/patients"' in content and canary.patient.encode() in content
