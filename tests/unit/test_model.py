"""Inventory variables become typed services, and every mistake is named by its full key path."""

from __future__ import annotations

import copy
import typing as t

import pytest
import yaml
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput
from ansible_collections.codeblue.recovery.plugins.plugin_utils._checks import HttpCheck, PostgresqlCheck, SentinelCheck
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service, load_service, load_services

NAMES = {"patient_db", "records", "auth", "db1", "db2", "lb1", "app1", "app2"}

DATABASE: dict[str, t.Any] = yaml.safe_load("""
ansible_connection: local
group_names: [codeblue_databases]
codeblue_environment: lab
codeblue_lock_dir: /var/lib/codeblue
codeblue_platform: host
codeblue_kind: database
codeblue_tier: 0
codeblue_depends_on: []
codeblue_objectives: {rto: 5m, rpo: 5m}
codeblue_host:
  postgresql:
    bin_dir: /usr/lib/postgresql/18/bin
    os_user: postgres
    database: clinic
    admin_user: postgres
    admin_passfile: /etc/codeblue/admin.pgpass
    service_roles: [records_app, auth_app, sentinel]
    archive_dir: /var/lib/wal-archive
    replication_user: replicator
    write_paths: [gateway]
    members:
      db1: {role: primary, address: 127.0.0.1, port: 5432, data_dir: /pg/1,
            process: {manager: supervisor, socket: /run/s.sock, unit: postgres-db1}}
      db2: {role: standby, address: 127.0.0.1, port: 5433, data_dir: /pg/2,
            process: {manager: systemd, unit: postgresql@18-main}}
  gateway: {machine: lb1, socket: /run/haproxy.sock, state_file: /run/haproxy.state, backend: patient_db,
            servers: {db1: db1, db2: db2}}
  credentials:
    records_app:
      consumers:
        - {machine: app1, secret_file: /app1/records_app.password, reload: restart,
           process: {manager: systemd, unit: records}}
codeblue_checks:
  interval: 100ms
  consecutive: 3
  shallow:
    - {id: http, type: http, url: "http://127.0.0.1:18080/health", status: 200, timeout: 1s}
    - {id: tcp, type: tcp, address: 127.0.0.1, port: 18080, timeout: 1s}
  deep:
    - {id: write, type: postgresql, address: 127.0.0.1, port: 15432, database: clinic, user: sentinel,
       password_from: "file:/secrets/sentinel", query: "SELECT 1", writes: true, timeout: 2s}
    - {id: login, type: http, method: POST, url: "http://127.0.0.1:1/login", status: [200, 201], body_has: token,
       json: {user: probe, password: {secret_from: "env:PROBE_PASSWORD"}}}
    - {id: sentinel, type: sentinel, address: 127.0.0.1, port: 15432, database: clinic, user: sentinel,
       table: public.sentinels}
  comprehensive: []
  thresholds: {response: 500ms, error_rate: 0.001}
""")

SERVICE: dict[str, t.Any] = yaml.safe_load("""
codeblue_environment: lab
codeblue_platform: host
codeblue_kind: service
codeblue_tier: 2
codeblue_depends_on: [patient_db, auth]
codeblue_objectives: {rto: 15m, rpo: 0s}
codeblue_host:
  instances:
    app1: {address: 127.0.0.1, port: 18101, release_root: /app1/records, config_files: [/app1/c.yml],
           log_files: [/app1/log], process: {manager: systemd, unit: records}}
  gateway: {machine: lb1, socket: /run/h.sock, state_file: /run/h.state, backend: records, servers: {app1: app1}}
  flags_file: /flags.json
""")


def database(**changes: t.Any) -> dict[str, t.Any]:
    """The database's variables with values put at dotted paths; None takes the key out."""
    variables = copy.deepcopy(DATABASE)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = variables
        for key in outer:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return variables


def problems(variables: dict[str, t.Any]) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_service("patient_db", variables, NAMES)
    assert caught.value.exit_code == 2
    return caught.value.message.splitlines()


def test_database_is_read_whole() -> None:
    service = load_service("patient_db", DATABASE, NAMES)
    assert isinstance(service, Service)
    assert (service.kind, service.tier, service.objectives.rto) == ("database", 0, 300.0)
    host = service.require_host()
    assert host.postgresql is not None and host.gateway is not None
    assert host.postgresql.set_up_as_primary.machine == "db1"
    assert host.postgresql.members["db2"].process.as_arguments() == {"manager": "systemd", "unit": "postgresql@18-main"}
    assert host.postgresql.socket_dir is None
    assert host.machines() == ("db1", "db2", "lb1", "app1")
    assert host.credentials["records_app"].consumers[0].machine == "app1"
    write, login, sentinel = service.checks.deep
    assert isinstance(write, PostgresqlCheck) and write.writes and str(write.password) == "file:/secrets/sentinel"
    assert isinstance(login, HttpCheck) and login.status == (200, 201)
    assert str(login.json["password"]) == "env:PROBE_PASSWORD"
    assert isinstance(sentinel, SentinelCheck) and sentinel.table == "public.sentinels"
    assert service.checks.interval == pytest.approx(0.1)
    assert [(level, check.id) for level, check in service.checks.up_to("shallow")] == [
        ("shallow", "http"),
        ("shallow", "tcp"),
    ]


def test_several_gateways_are_one_with_the_others_beside_it() -> None:
    front = {**SERVICE["codeblue_host"]["gateway"]}
    host = {name: value for name, value in SERVICE["codeblue_host"].items() if name != "gateway"}
    pair = [front, {**front, "machine": "lb2", "backend": "other"}]
    variables = {**SERVICE, "codeblue_host": {**host, "gateways": pair}}
    platform = load_service("records", variables, [*NAMES, "lb2"]).require_host()
    assert platform.gateway is not None
    assert [(each.machine, each.backend) for each in platform.gateway.every] == [("lb1", "records"), ("lb2", "other")]
    assert {"lb1", "lb2"} <= set(platform.machines())


@pytest.mark.parametrize(
    ("gateway", "beside", "words"),
    [
        (True, {"machine": "lb2"}, "stands beside gateway"),
        (False, {}, "names a gateway twice"),
        (False, {"machine": "lb2", "servers": {}}, "the same members or instances"),
    ],
)
def test_gateways_that_do_not_fit_together_are_named(gateway: bool, beside: dict[str, t.Any], words: str) -> None:
    front = {**SERVICE["codeblue_host"]["gateway"]}
    host = {name: value for name, value in SERVICE["codeblue_host"].items() if gateway or name != "gateway"}
    variables = {**SERVICE, "codeblue_host": {**host, "gateways": [front, {**front, **beside}]}}
    with pytest.raises(BadInput, match=words) as caught:
        load_service("records", variables, [*NAMES, "lb2"])
    assert "codeblue_host.gateways" in caught.value.message


def test_service_with_instances_is_read_whole() -> None:
    service = load_service("records", SERVICE, NAMES)
    assert service.objectives.rpo == 0.0
    assert service.require_host().instances["app1"].config_files == ("/app1/c.yml",)
    assert service.checks.interval == 2.0 and service.checks.consecutive == 3


def test_another_platform_loads_and_says_that_it_is_another_one() -> None:
    variables = {**SERVICE, "codeblue_platform": "aws", "codeblue_aws": {"region": "eu-central-1"}}
    service = load_service("records", variables, NAMES)
    assert service.require_aws().region == "eu-central-1"
    with pytest.raises(BadInput, match="aws"):
        service.require_host()


PG = "codeblue_host__postgresql__"


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"codeblue_environment": None}, "codeblue_environment", "is missing"),
        ({"codeblue_environment": "prod"}, "codeblue_environment", "must be one of lab, staging, production"),
        ({"codeblue_objectives": {"rto": "5 minutes", "rpo": "5m"}}, "codeblue_objectives.rto", "write it like"),
        ({"codeblue_objectives": {"rto": "5m"}}, "codeblue_objectives.rpo", "is missing"),
        ({"codeblue_depends_on": "auth"}, "codeblue_depends_on", "must be a list, not a text"),
        ({"codeblue_depends_on": ["auht"]}, "codeblue_depends_on", "did you mean auth?"),
        ({"codeblue_depends_on": ["patient_db"]}, "codeblue_depends_on", "names the service itself"),
        ({"codeblue_host": "db1"}, "codeblue_host", "must be a mapping, not a text"),
        ({"codeblue_host__postgresql": None}, "codeblue_host.postgresql", "is missing"),
        ({PG + "members__db1__port": "abc"}, "codeblue_host.postgresql.members.db1.port", "from 1 to 65535"),
        ({PG + "members__db1__port": 70000}, "codeblue_host.postgresql.members.db1.port", "not 70000"),
        ({PG + "members__db1__role": "standby"}, "codeblue_host.postgresql.members", "exactly one"),
        ({PG + "members__db1__data_dir": "pg/1"}, "codeblue_host.postgresql.members.db1.data_dir", "absolute path"),
        ({PG + "bin_dri": "/x"}, "codeblue_host.postgresql.bin_dri", "did you mean bin_dir?"),
        ({PG + "write_paths": ["proxy"]}, "codeblue_host.postgresql.write_paths[0]", "gateway, direct"),
        ({PG + "write_paths": None}, "codeblue_host.postgresql.write_paths", "is missing"),
        ({"codeblue_host__gateway__machine": "lb9"}, "codeblue_host.gateway.machine", "did you mean lb1?"),
        ({"codeblue_host__gateway__servers": {"db9": "x"}}, "codeblue_host.gateway.servers.db9", "no member"),
        ({PG + "members__db1__process__socket": None}, "members.db1.process.socket", "supervisord's unix socket"),
        ({PG + "members__db2__process__socket": "/s"}, "members.db2.process.socket", "leave it out"),
        ({"codeblue_checks__interval": "0s"}, "codeblue_checks.interval", "must be more than 0s"),
        ({"codeblue_checks__shallow": [{"id": "x", "type": "ping"}]}, "codeblue_checks.shallow[0].type", "must be one"),
        (
            {"codeblue_checks__shallow": [{"id": "x", "type": "http", "url": "localhost"}]},
            "codeblue_checks.shallow[0].url",
            "is no URL",
        ),
        (
            {"codeblue_checks__shallow": [{"id": "write", "type": "tcp", "address": "a", "port": 1}]},
            "codeblue_checks.deep[0].id",
            "names another check",
        ),
        ({"codeblue_dependson": []}, "codeblue_dependson", "is not a known variable"),
    ],
)
def test_each_mistake_is_one_line_with_host_path_and_advice(changes: dict[str, t.Any], path: str, words: str) -> None:
    if "codeblue_dependson" in changes:
        changes = {**changes, "codeblue_depends_on": None}
    (line,) = problems(database(**changes))
    assert line.startswith("patient_db: ")
    assert path in line and words in line


def test_all_problems_of_all_services_are_shown_and_bounded() -> None:
    with pytest.raises(BadInput) as caught:
        load_services(
            {"patient_db": {**DATABASE, "codeblue_tier": "x"}, "records": {"codeblue_kind": "service"}}, NAMES
        )
    lines = caught.value.message.splitlines()
    assert any(line.startswith("patient_db: codeblue_tier") for line in lines)
    assert any(line.startswith("records: codeblue_environment") for line in lines)
    many = database(codeblue_checks__shallow=[{"id": f"c{number}", "type": "ping"} for number in range(50)])
    assert problems(many)[-1] == "… and 30 more"


def test_a_pasted_secret_is_not_repeated() -> None:
    canary = "canary-Pa55word"
    check = {**DATABASE["codeblue_checks"]["deep"][0], "password_from": canary}
    (line,) = problems(database(codeblue_checks__deep=[check]))
    assert "password_from" in line and canary not in line
    url = {"id": "x", "type": "http", "url": f"http://user:{canary}@h/"}
    (line,) = problems(database(codeblue_checks__shallow=[url]))
    assert "holds credentials" in line and canary not in line


def test_a_host_that_is_no_service_is_told_so() -> None:
    lines = problems({"ansible_host": "db1"})
    assert "is this host" not in lines[0] and "no service" in lines[0]


def test_ansibles_tagged_values_are_taken() -> None:
    """Core 2.19 hands over tagged subclasses of str, int, dict and list."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    loader = DataLoader()
    variables = loader.load(trust_as_template(yaml.safe_dump(DATABASE)), file_name="/inventory.yml")
    templar = Templar(loader, variables=variables)
    lazy = templar.template(variables)
    assert type(lazy["codeblue_host"]["postgresql"]["database"]) is not str
    service = load_service("patient_db", lazy, NAMES)
    database_part = service.require_host().postgresql
    assert database_part is not None
    assert type(database_part.database) is str and type(database_part.members["db1"].port) is int
    assert type(service.checks.shallow[0].timeout) is float
