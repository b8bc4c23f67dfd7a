"""Both runbooks over SSH: an unprivileged user with become, and the system's bare Python; about 40 s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clinic_site import Site
from kill_and_resume import RUNBOOKS, settled_end_state
from loopback_ssh import LoopbackSsh, loopback_ssh, missing
from test_canary_keys import key_files, words_of

pytestmark = [pytest.mark.lab, pytest.mark.ssh, pytest.mark.alone]


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSsh]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with loopback_ssh(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def remote_site(site: Site, ssh: LoopbackSsh) -> Site:
    """The clinic, reached by nothing but SSH."""
    content = yaml.safe_load(site.lab.inventory_path.read_text())
    content["all"]["children"]["codeblue_machines"]["vars"] = ssh.variables
    site.inventory = Path(site.account / "ssh.yml")
    site.inventory.write_text(yaml.safe_dump(content))
    return site


@pytest.mark.parametrize("way", ["codeblue", "ansible-playbook"])
@pytest.mark.parametrize("fault", ["primary_dead", "complete_outage"])
def test_a_drill_over_ssh(remote_site: Site, fault: str, way: str) -> None:
    site = remote_site
    site.lab.break_(fault)
    if way == "codeblue":
        finished = site.run(RUNBOOKS[fault])
    else:
        finished = site.playbook(f"codeblue.recovery.{RUNBOOKS[fault]}")
    assert finished.code == 0, finished
    run = site.runs()[0]
    assert run.status == "closed" and run.outcome == "recovered"
    site.assert_no_step_twice(run.run_id)
    site.verify_record(run.run_id)
    state = settled_end_state(site)
    assert state["primary"] == ("db2" if fault == "primary_dead" else "db1"), state
    if way == "codeblue":
        print(f"{fault}: {finished.summary['seconds']} s, first change {finished.summary['first_action_seconds']} s")


def test_passwords_are_rotated_over_ssh_without_a_trace(remote_site: Site) -> None:
    site = remote_site
    site.lab.break_("credentials_refused")
    finished = site.codeblue("run", "database_connection_failure", "-i", str(site.inventory), "-vvvv")
    assert finished.code == 0, finished
    new = {path.read_text().strip() for path in site.lab.directory.glob("machines/*/secrets/*.password")}
    assert not [word for word in new if word in finished.out + finished.err]
    for path in Path("/var/tmp").glob("cbtest*/**/*"):
        assert not path.is_file() or not [word for word in new if word.encode() in path.read_bytes()], path


def test_keys_are_compared_and_rotated_over_ssh_without_a_trace(remote_site: Site) -> None:
    """Private keys are read to be compared; at -vvv the ssh plugin would show what came back."""
    site = remote_site
    site.lab.break_("auth_signing_key_wrong")
    words = words_of(key_files(site))
    finished = site.codeblue("run", "authentication_system_down", "-i", str(site.inventory), "-vvvv")
    assert finished.code == 0, finished
    words |= words_of(key_files(site))
    assert "ESTABLISH SSH CONNECTION" in finished.out + finished.err, "nothing was shown that could have told"
    assert not [word for word in words if word in finished.out + finished.err]
