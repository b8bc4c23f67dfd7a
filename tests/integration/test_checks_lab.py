"""Detection and diagnosis against the lab: each fault fires the criteria of its card and is named by its cause.

Nothing in between is made up: the inventory is read by Ansible, members are looked at by the code of the module,
logins are tried with the consumers' own files. Takes about 20 s.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_member import Member
from ansible_collections.codeblue.recovery.plugins.module_utils._postgresql_status import look_at_member
from ansible_collections.codeblue.recovery.plugins.module_utils._process_manager import process_unit
from ansible_collections.codeblue.recovery.plugins.plugin_utils._cards import load_card
from ansible_collections.codeblue.recovery.plugins.plugin_utils._check_runner import Confirmation, confirm
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import CheckResult, PostgresqlCheck, plan_checks
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria import confirmation_profile
from ansible_collections.codeblue.recovery.plugins.plugin_utils._criteria_evaluation import evaluate, fires
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_looks import (
    Findings,
    LoginLook,
    MemberLook,
    member_look,
)
from ansible_collections.codeblue.recovery.plugins.plugin_utils._diagnosis_postgresql import Diagnosis, diagnose
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_services
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import HostDatabase
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model_host import Member as InventoryMember
from ansible_collections.codeblue.recovery.plugins.plugin_utils._observations import Observations
from ansible_collections.codeblue.recovery.plugins.plugin_utils._recovery_order import order_of_hosts
from ansible_collections.codeblue.recovery.plugins.plugin_utils._validation import validate
from codeblue.lab import Lab, processes

pytestmark = pytest.mark.lab

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
DATABASE_FAILURE = "database_connection_failure"
SYSTEM_OUTAGE = "complete_system_outage"
CARDS = {name: load_card(RUNBOOKS / name / "runbook.yml") for name in (DATABASE_FAILURE, SYSTEM_OUTAGE)}


@dataclass
class Clinic:
    """A running lab and its services as the inventory describes them."""

    lab: Lab
    services: dict[str, Service]

    @property
    def database(self) -> HostDatabase:
        found = self.services["patient_db"].require_host().postgresql
        assert found is not None
        return found

    def observe(self, runbook: str = "") -> Confirmation:
        """Confirm what fails, up to the point where a criterion of the runbook fires; all of it without one."""
        plan = plan_checks({name: service.checks for name, service in self.services.items()}, "deep")
        enough = (lambda seen: self.fires(runbook, seen)) if runbook else None
        return confirm(plan, enough=enough, deadline=20.0)

    def fires(self, runbook: str, seen: t.Sequence[CheckResult]) -> bool:
        card = CARDS[runbook]
        checks = self.services["patient_db"].checks
        profile = confirmation_profile(checks.interval, checks.consecutive)
        kinds = {name: service.kind for name, service in self.services.items()}
        return fires(evaluate(card.criteria, Observations(seen), time.time(), profile, kinds))

    def diagnose(self, found: Confirmation) -> Diagnosis:
        service = self.services["patient_db"]
        failed = [seen.at for seen in found.observations if not seen.ok]
        looks = self.looks()
        # Without a primary every login would wait for its timeout and say nothing.
        logins = self.logins() if any(look.is_primary for look in looks.values()) else ()
        findings = Findings(found.results, looks, None, logins, min(failed, default=None), time.time())
        credentials = service.require_host().credentials
        return diagnose(findings, self.database.set_up_as_primary.machine, service.objectives.rpo, credentials)

    def looks(self) -> dict[str, MemberLook]:
        standby = member_look("db2", self._status(self.database.members["db2"], None))
        after = f"0/{standby.received:X}" if standby.received else None
        return {"db1": member_look("db1", self._status(self.database.members["db1"], after)), "db2": standby}

    def _status(self, member: InventoryMember, after: str | None) -> Mapping[str, t.Any]:
        database = self.database
        process = {"socket": None, **member.process.as_arguments()}
        params = {
            **{name: getattr(database, name) for name in ("bin_dir", "os_user", "database", "socket_dir")},
            **{name: getattr(database, name) for name in ("admin_user", "admin_passfile")},
            **{name: getattr(member, name) for name in ("address", "port", "data_dir", "config_file")},
        }
        return look_at_member(
            Member.from_params(params), process_unit(process), list(database.service_roles), 3.0, after
        )

    def logins(self) -> list[LoginLook]:
        """Each consumer's credential, tried on the way that the consumer takes."""
        way = self.services["patient_db"].checks.deep[0]
        assert isinstance(way, PostgresqlCheck)
        found = []
        for role, credential in self.services["patient_db"].require_host().credentials.items():
            for consumer in credential.consumers:
                secret = Path(consumer.secret_file).read_text(encoding="utf-8").strip()
                try:
                    # The file holds the login and its password, as libpq reads them.
                    psycopg.connect(
                        secret, host=way.address, port=way.port, dbname=way.database, connect_timeout=2
                    ).close()
                    found.append(LoginLook(role, consumer.machine, True))
                except psycopg.OperationalError as error:
                    refused = "password authentication failed" in str(error)
                    found.append(LoginLook(role, consumer.machine, False if refused else None))
        return found


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    # A place that `nobody` can reach too, as PostgreSQL must when the tests run as root.
    parent = Path(tempfile.mkdtemp(prefix="cb-", dir="/var/tmp"))
    parent.chmod(0o755)
    lab = Lab(parent / "lab")
    try:
        lab.up()
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(lab.inventory_path)])
        variables = VariableManager(loader=loader, inventory=inventory)
        names = inventory.get_groups_dict()["codeblue_services"]
        hostvars = {name: variables.get_vars(host=inventory.get_host(name)) for name in names}
        services = load_services(hostvars, {host.name for host in inventory.get_hosts()})
        assert order_of_hosts(sorted(services), hostvars)[0] == ["gateway", "patient_db"]
        yield Clinic(lab, services)
        lab.down()
    finally:
        for process in processes.processes_of(parent / "lab"):
            processes.send(process, signal.SIGKILL)
        shutil.rmtree(parent)


@pytest.fixture
def break_it(clinic: Clinic) -> Iterator[t.Callable[[str], object]]:
    """Breaks the lab and heals it afterwards."""
    yield clinic.lab.break_
    clinic.lab.heal()


def test_a_healthy_clinic_fires_nothing(clinic: Clinic) -> None:
    found = clinic.observe()
    assert all(result.ok for result in found.results), found.results
    assert not clinic.fires(DATABASE_FAILURE, found.observations)
    assert not clinic.fires(SYSTEM_OUTAGE, found.observations)
    assert clinic.diagnose(found).cause == "healthy"
    thresholds = {name: service.checks.thresholds for name, service in clinic.services.items()}
    assert validate(found.results, thresholds, levels=("shallow", "deep")).outcome == "recovered"


@pytest.mark.parametrize(
    ("fault", "cause", "path"),
    [
        ("primary_dead", "primary_dead", "promote"),
        ("primary_crashed", "primary_dead", "promote"),
        ("primary_hung", "primary_dead", "start_primary"),
        ("pool_exhausted", "pool_exhausted", None),
        ("credentials_refused", "credentials_refused", None),
    ],
)
def test_each_fault_is_detected_and_named(
    clinic: Clinic, break_it: t.Callable[[str], object], fault: str, cause: str, path: str | None
) -> None:
    break_it(fault)
    found = clinic.observe(DATABASE_FAILURE)
    assert clinic.fires(DATABASE_FAILURE, found.observations)
    assert not clinic.fires(SYSTEM_OUTAGE, found.observations)
    diagnosis = clinic.diagnose(found)
    assert diagnosis.cause == cause, diagnosis
    assert (diagnosis.failover.path if diagnosis.failover else None) == path, diagnosis
    if fault == "primary_crashed":
        assert diagnosis.failover is not None and diagnosis.failover.loss_commits == 0
    if fault == "pool_exhausted":
        assert diagnosis.offender is not None and diagnosis.offender.user == "reporting"
    if fault == "credentials_refused":
        assert diagnosis.roles_refused == ("auth_app", "records_app")


def test_a_complete_outage_is_one(clinic: Clinic, break_it: t.Callable[[str], object]) -> None:
    break_it("complete_outage")
    found = clinic.observe(SYSTEM_OUTAGE)
    assert clinic.fires(SYSTEM_OUTAGE, found.observations)
    thresholds = {name: service.checks.thresholds for name, service in clinic.services.items()}
    assert validate(found.results, thresholds, levels=("shallow", "deep")).outcome == "failed"
