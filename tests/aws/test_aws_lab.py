# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lab on AWS: up, broken, healed, down; what it records, and where its account acts as AWS and not as moto."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import botocore.config
import botocore.exceptions
import botocore.session
import pytest
from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, Refused
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import load_services
from codeblue.drill.site import _machine_names, _read_inventory
from codeblue.lab.aws import AwsLab
from codeblue.lab.aws.blueprint import (
    API_NAME,
    CLUSTER,
    DATABASE,
    DATABASE_SECRET,
    DEPLOY_USER,
    FRONTEND,
    MARKED,
    MARKER,
    PRIMARY,
    REGIONS,
    SERVICES,
    SIGNING_SECRET,
    STANDBY,
    ZONE_NAME,
)
from codeblue.lab.aws.faults import aws_faults
from codeblue.lab.aws.fill_services import task_definition
from codeblue.lab.aws.outside import ASKED
from codeblue.lab.processes import is_running, processes_of
from regions import running_regions

pytestmark = pytest.mark.aws
AUTH = SERVICES["auth"]


def client(lab: AwsLab, service: str, region: str = PRIMARY, key: str = "AKIATEST", url: str | None = None) -> t.Any:
    """As a recovery has one: at the endpoint of its region."""
    return _client(service, region, key, url or lab.state.endpoint(region))


@functools.cache
def _client(service: str, region: str, key: str, url: str) -> t.Any:
    session = botocore.session.get_session()
    session.set_credentials(key, "secret")
    settings = botocore.config.Config(retries={"total_max_attempts": 1}, user_agent_extra="a-test")
    return session.create_client(service, region, endpoint_url=url, config=settings)


def calls(lab: AwsLab, agent: str = "a-test") -> list[dict[str, t.Any]]:
    lines = [json.loads(line) for line in lab.layout.calls.read_text(encoding="utf-8").splitlines()]
    return [each for each in lines if each["agent"].endswith(agent)]


def until(look: t.Callable[[], t.Any], seconds: float = 20.0) -> t.Any:
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        time.sleep(0.05)
    assert found
    return found


def code_of(error: pytest.ExceptionInfo[botocore.exceptions.ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def auth(lab: AwsLab) -> dict[str, t.Any]:
    found = client(lab, "ecs").describe_services(cluster=CLUSTER, services=[AUTH.service])["services"]
    return t.cast("dict[str, t.Any]", found[0])


def roll_out(lab: AwsLab, tag: str) -> None:
    if tag != "missing":
        lab.parts.push_image(PRIMARY, AUTH.repository, tag)
    made = client(lab, "ecs").register_task_definition(**task_definition(AUTH, tag, lab.state.facts, PRIMARY))
    arn = made["taskDefinition"]["taskDefinitionArn"]
    client(lab, "ecs").update_service(cluster=CLUSTER, service=AUTH.service, taskDefinition=arn)


# -- the lab as a whole ----------------------------------------------------------------------------------------------


def test_its_inventory_is_one_and_holds_no_secret(lab: AwsLab) -> None:
    variables = _read_inventory(lab.inventory_path)
    services = load_services(variables, [*variables, *_machine_names(variables)])
    assert set(services) == set(ASKED)
    assert {each.platform for each in services.values()} == {"aws"}
    text = lab.inventory_path.read_text(encoding="utf-8")
    secrets = [each.read_text(encoding="utf-8").strip() for each in lab.layout.secrets.iterdir()]
    assert secrets and not [each for each in secrets if each in text or each in lab.layout.state_file.read_text()]
    assert all(each.stat().st_mode & 0o077 == 0 for each in (*lab.layout.secrets.iterdir(), lab.layout.aws_credentials))


def test_a_second_up_leaves_it_as_it_is(lab: AwsLab) -> None:
    before = lab.state.server
    assert lab.up().already and lab.state.server == before


@pytest.mark.parametrize("fault", aws_faults())
def test_a_fault_is_seen_from_outside_and_healed(lab: AwsLab, fault: str) -> None:
    known = aws_faults()[fault]
    assert not lab.break_(fault).already and lab.break_(fault).already
    outside = lab.parts.outside
    if known.signals:
        assert all(outside.not_clear(each, known.hits[0]) for each in known.signals)
    else:
        assert {name for name in ASKED if outside.wrong(name)} >= set(known.hits)
    assert lab.status().active_faults == [fault]
    lab.heal()
    assert lab.active_faults() == [] and lab.deviations() == []


def test_a_fault_that_there_is_not_is_named(lab: AwsLab) -> None:
    with pytest.raises(BadInput, match="there is no fault 'primary_dead' on aws"):
        lab.break_("primary_dead")


def test_an_account_that_is_not_marked_is_not_broken(lab: AwsLab) -> None:
    client(lab, "ssm", STANDBY).delete_parameter(Name=MARKER)
    with pytest.raises(Refused, match="is not marked as a lab in us-west-2"):
        lab.break_("auth_scaled_to_zero")
    assert auth(lab)["desiredCount"] == AUTH.tasks[PRIMARY]


def test_what_is_left_of_a_killed_one_is_cleaned_up(tmp_path: Path) -> None:
    lab = AwsLab(tmp_path / "lab")
    command = [
        sys.executable,
        "-m",
        "codeblue",
        "lab",
        "up",
        "--platform",
        "aws",
        "--json",
        "--dir",
        str(lab.directory),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        keeper = lab.state.server
        assert keeper is not None and len(processes_of(lab.directory)) == 2
        os.kill(keeper.pid, signal.SIGKILL)
        # Its worker does not outlive it.
        until(lambda: not processes_of(lab.directory))
        assert not lab.status().running
        with pytest.raises(BadInput, match="is not up"):
            lab.break_("auth_scaled_to_zero")
        assert not lab.up().already and is_running(t.cast(t.Any, lab.state.server))
    finally:
        lab.down()
    assert not lab.directory.exists() and not processes_of(lab.directory)


# -- the record ------------------------------------------------------------------------------------------------------


def test_each_call_is_recorded_and_nothing_of_what_it_says(lab: AwsLab) -> None:
    before = len(calls(lab))
    secret = "a-value-that-nobody-is-to-read"
    client(lab, "secretsmanager").put_secret_value(SecretId=DATABASE_SECRET, SecretString=secret)
    client(lab, "secretsmanager").get_secret_value(SecretId=DATABASE_SECRET)
    client(lab, "s3").put_object(Bucket=FRONTEND[PRIMARY], Key="a/b", Body=b"1")
    for _twice in range(2):
        client(lab, "cloudwatch", STANDBY).describe_alarms()
    with pytest.raises(botocore.exceptions.ClientError):
        client(lab, "rds").describe_db_instances(DBInstanceIdentifier="nobody")
    found = calls(lab)[before:]
    assert [(each["service"], each["action"], each["region"], each["changes"]) for each in found] == [
        ("secretsmanager", "PutSecretValue", PRIMARY, True),
        ("secretsmanager", "GetSecretValue", PRIMARY, False),
        ("s3", "PutObject", PRIMARY, True),
        ("monitoring", "DescribeAlarms", STANDBY, False),
        ("monitoring", "DescribeAlarms", STANDBY, False),
        ("rds", "DescribeDBInstances", PRIMARY, False),
    ]
    assert found[3]["digest"] == found[4]["digest"] != found[5]["digest"]
    assert found[5]["error"] == "DBInstanceNotFound" and not any(each["error"] for each in found[:5])
    assert secret not in lab.layout.calls.read_text(encoding="utf-8")


def test_the_trail_tells_who_did_what(lab: AwsLab) -> None:
    key = lab.state.facts[f"key-{DEPLOY_USER}"]
    client(lab, "ecs", key=key).update_service(cluster=CLUSTER, service=AUTH.service, desiredCount=1)
    wanted = [{"AttributeKey": "Username", "AttributeValue": DEPLOY_USER}]
    events = client(lab, "cloudtrail").lookup_events(LookupAttributes=wanted)["Events"]
    assert [(each["EventName"], each["Username"]) for each in events] == [("UpdateService", DEPLOY_USER)]
    assert json.loads(events[0]["CloudTrailEvent"])["userIdentity"]["accessKeyId"] == key


# -- what goes wrong on demand ---------------------------------------------------------------------------------------


def test_nobody_listens_in_a_region_that_is_dead(lab: AwsLab) -> None:
    lab.break_("region_dead")
    # One that is just being closed ends a connection in place of refusing it.
    gone = (botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectionClosedError)
    with pytest.raises(gone):
        until(lambda: client(lab, "ecs").list_clusters() and None, 5)
    assert client(lab, "ecs", STANDBY).list_clusters()["clusterArns"]
    # Names have no region: they are asked for where somebody answers.
    assert client(lab, "route53", STANDBY).list_hosted_zones()["HostedZones"]
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        client(lab, "ecs", url=lab.parts.url).list_clusters()
    lab.heal()
    assert client(lab, "ecs").list_clusters()["clusterArns"]


def test_calls_can_be_throttled_refused_and_lost(lab: AwsLab) -> None:
    do = lab.parts.control.do
    do("interfere", service="ecs", action="UpdateService", error="ThrottlingException", times=1)
    do("interfere", service="monitoring", error="AccessDenied", status=403, times=1)
    do("interfere", service="ecs", action="UpdateService", lost=True, times=1)
    change = {"cluster": CLUSTER, "service": AUTH.service}
    with pytest.raises(botocore.exceptions.ClientError) as error:
        client(lab, "ecs").update_service(**change, desiredCount=4)
    assert code_of(error) == "ThrottlingException" and auth(lab)["desiredCount"] == 2
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        client(lab, "ecs").update_service(**change, desiredCount=4)
    assert auth(lab)["desiredCount"] == 4, "it was done, and only the answer is lost"
    with pytest.raises(botocore.exceptions.ClientError) as error:
        client(lab, "cloudwatch").list_metrics()
    assert code_of(error) == "AccessDenied"
    assert client(lab, "cloudwatch").list_metrics()["Metrics"]


def test_an_intruder_whose_key_is_deleted_is_refused(lab: AwsLab) -> None:
    key = lab.state.facts[f"key-{DEPLOY_USER}"]
    lab.break_("deploy_key_leaked")
    client(lab, "iam").delete_access_key(UserName=DEPLOY_USER, AccessKeyId=key)
    until(lambda: not lab.parts.outside.not_clear("foreign_key_use", "records"))
    foreign = [each for each in calls(lab, "unknown") if each["key"] == key]
    assert not foreign[0]["error"] and foreign[-1]["error"] == "InvalidClientTokenId"


def test_a_key_that_is_off_opens_nothing(lab: AwsLab) -> None:
    key = lab.state.facts[f"key-{DEPLOY_USER}"]
    assert client(lab, "s3", key=key).list_buckets()["Buckets"]
    client(lab, "iam").update_access_key(UserName=DEPLOY_USER, AccessKeyId=key, Status="Inactive")
    for service, code in (("s3", "InvalidAccessKeyId"), ("sts", "InvalidClientTokenId")):
        with pytest.raises(botocore.exceptions.ClientError) as error:
            ask = client(lab, service, key=key)
            ask.list_buckets() if service == "s3" else ask.get_caller_identity()
        assert code_of(error) == code


# -- where it acts as AWS --------------------------------------------------------------------------------------------


def test_a_deployment_goes_on_by_itself(lab: AwsLab) -> None:
    first = auth(lab)["deployments"][0]["id"]
    changed = time.monotonic()
    change = {"cluster": CLUSTER, "service": AUTH.service, "forceNewDeployment": True}
    found = client(lab, "ecs").update_service(**change)["service"]
    assert [each["status"] for each in found["deployments"]] == ["PRIMARY", "ACTIVE"]
    assert found["deployments"][0]["rolloutState"] == "IN_PROGRESS" and found["deployments"][1]["id"] == first
    steady = until(lambda: len(auth(lab)["deployments"]) == 1 and auth(lab), 10)
    assert steady["deployments"][0]["rolloutState"] == "COMPLETED" and steady["runningCount"] == 2
    assert "has reached a steady state" in steady["events"][0]["message"]
    assert time.monotonic() - changed < 10
    arns = client(lab, "ecs").list_tasks(cluster=CLUSTER, serviceName=AUTH.service)["taskArns"]
    tasks = client(lab, "ecs").describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"]
    assert {(each["lastStatus"], each["healthStatus"]) for each in tasks} == {("RUNNING", "HEALTHY")}
    group = lab.parts.fact(PRIMARY, "target-group-auth")
    health = client(lab, "elbv2").describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [each["TargetHealth"]["State"] for each in health] == ["healthy", "healthy"]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [("missing", "CannotPullContainerError"), ("crash", "Essential container in task exited")],
)
def test_a_bad_release_fails_again_and_again(lab: AwsLab, tag: str, reason: str) -> None:
    roll_out(lab, tag)
    found = until(lambda: auth(lab)["deployments"][0]["failedTasks"] >= 3 and auth(lab))
    assert found["runningCount"] == 0 and found["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    arns = client(lab, "ecs").list_tasks(cluster=CLUSTER, serviceName=AUTH.service, desiredStatus="STOPPED")["taskArns"]
    (first, *_others) = client(lab, "ecs").describe_tasks(cluster=CLUSTER, tasks=arns[-1:])["tasks"]
    assert reason in first["stoppedReason"]


def test_the_circuit_breaker_goes_back(lab: AwsLab) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    good = auth(lab)["taskDefinition"]
    client(lab, "ecs").update_service(cluster=CLUSTER, service=AUTH.service, deploymentConfiguration=breaker)
    roll_out(lab, "missing")
    found = until(lambda: auth(lab)["taskDefinition"] == good and auth(lab)["runningCount"] == 2 and auth(lab))
    assert any("deployment failed" in each["message"] for each in found["events"])


def test_a_task_starts_with_the_values_of_that_moment(lab: AwsLab) -> None:
    client(lab, "secretsmanager").delete_secret(SecretId=SIGNING_SECRET, RecoveryWindowInDays=7)
    assert auth(lab)["runningCount"] == 2, "those that run have it"
    lab.parts.stop_tasks(PRIMARY, "auth")
    until(lambda: auth(lab)["deployments"][0]["failedTasks"])
    client(lab, "secretsmanager").restore_secret(SecretId=SIGNING_SECRET)
    until(lambda: auth(lab)["runningCount"] == 2)


def test_a_name_is_simple_or_weighted_and_a_batch_is_whole(lab: AwsLab) -> None:
    zone, names = lab.state.facts["zone"], client(lab, "route53")

    def change(*changes: tuple[str, dict[str, t.Any]]) -> None:
        batch = [
            {"Action": action, "ResourceRecordSet": {"Type": "CNAME", "TTL": 60, **each}} for action, each in changes
        ]
        names.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": batch})

    def records() -> list[dict[str, t.Any]]:
        found = names.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return [each for each in found if each["Name"] == f"{API_NAME}."]

    to = {region: {"ResourceRecords": [{"Value": lab.parts.fact(region, "balancer-name")}]} for region in REGIONS}
    weighted = {"Name": API_NAME, "SetIdentifier": "primary", "Weight": 95, **to[PRIMARY]}
    other = {"Name": f"other.{ZONE_NAME}", **to[STANDBY]}
    with pytest.raises(botocore.exceptions.ClientError) as error:
        change(("CREATE", other), ("CREATE", weighted))
    assert code_of(error) == "InvalidChangeBatch"
    assert len(records()) == 1 and len(names.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]) == 6
    with pytest.raises(botocore.exceptions.ClientError):
        change(("DELETE", {"Name": API_NAME, **to[STANDBY]}))
    change(
        ("DELETE", {"Name": API_NAME, **to[PRIMARY]}),
        ("CREATE", {**weighted, "Weight": 0}),
        ("CREATE", {"Name": API_NAME, "SetIdentifier": "standby", "Weight": 100, **to[STANDBY]}),
    )
    assert {each["SetIdentifier"]: each["Weight"] for each in records()} == {"primary": 0, "standby": 100}
    assert b'"us-west-2"' in lab.parts.outside.get(API_NAME, "/auth/health").body


def test_the_cdn_keeps_a_page_until_it_is_invalidated(lab: AwsLab) -> None:
    assert lab.parts.outside.wrong("frontend") is None
    client(lab, "s3").put_object(Bucket=FRONTEND[PRIMARY], Key="index.html", Body=b"another")
    assert lab.parts.outside.wrong("frontend") is None
    paths = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": "a-test"}
    client(lab, "cloudfront").create_invalidation(
        DistributionId=lab.state.facts["distribution"], InvalidationBatch=paths
    )
    assert lab.parts.outside.wrong("frontend") == "another page"


def test_damaged_data_go_along_with_a_restore_unless_it_is_to_before(lab: AwsLab) -> None:
    rds, source = client(lab, "rds"), DATABASE[PRIMARY]
    before = time.time() - 60
    lab.break_("records_damaged")
    outside = lab.parts.outside

    def lead_to(instance: str) -> bool:
        rds.modify_db_instance(DBInstanceIdentifier=source, NewDBInstanceIdentifier="old", ApplyImmediately=True)
        rds.modify_db_instance(DBInstanceIdentifier=instance, NewDBInstanceIdentifier=source, ApplyImmediately=True)
        damaged = outside.not_clear("damaged_data", "patient_db")
        rds.modify_db_instance(DBInstanceIdentifier=source, NewDBInstanceIdentifier=instance, ApplyImmediately=True)
        rds.modify_db_instance(DBInstanceIdentifier="old", NewDBInstanceIdentifier=source, ApplyImmediately=True)
        return damaged

    for name, moment in (("late", {"UseLatestRestorableTime": True}), ("early", {"RestoreTime": before})):
        rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier=source, TargetDBInstanceIdentifier=name, **moment
        )
    assert lead_to("late") and not lead_to("early")


def test_a_promoted_replica_has_no_source_any_more(lab: AwsLab) -> None:
    rds = client(lab, "rds", STANDBY)
    rds.promote_read_replica(DBInstanceIdentifier=DATABASE[STANDBY])
    found = rds.describe_db_instances(DBInstanceIdentifier=DATABASE[STANDBY])["DBInstances"][0]
    assert not found.get("ReadReplicaSourceDBInstanceIdentifier")
    old = client(lab, "rds").describe_db_instances(DBInstanceIdentifier=DATABASE[PRIMARY])["DBInstances"][0]
    assert old["ReadReplicaDBInstanceIdentifiers"] == []


def test_another_directory_joins_a_lab_and_leaves_it(
    lab: AwsLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.parts.url)
    other = AwsLab(tmp_path / "other")
    assert not other.up().already and other.up().already
    assert other.state.endpoint(STANDBY) == lab.state.endpoint(STANDBY)
    other.break_("auth_scaled_to_zero")
    assert lab.parts.outside.wrong("auth") is not None
    other.heal()
    assert lab.deviations() == []
    assert other.down() and lab.status().running and not other.directory.exists()


def test_an_account_that_is_not_a_labs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_regions() as regions:
        monkeypatch.setenv("AWS_ENDPOINT_URL", regions.url)
        other = AwsLab(tmp_path / "other")
        with pytest.raises(Refused, match="is not marked as a lab in us-east-1"):
            other.up()
        for region in REGIONS:
            regions.client("ssm", region).put_parameter(Name=MARKER, Value=MARKED, Type="String")
        regions.forget()
        # Marked is not enough: nobody could put it back.
        with pytest.raises(Refused, match="no server of a lab keeps it"):
            other.up()
        assert regions.changes == [] and not other.directory.exists()


def test_the_history_of_deployments_tells_what_was_steady(lab: AwsLab) -> None:
    ecs = client(lab, "ecs")
    roll_out(lab, "missing")
    found = ecs.list_service_deployments(cluster=CLUSTER, service=AUTH.service, status=["SUCCESSFUL"])
    arns = [each["targetServiceRevisionArn"] for each in found["serviceDeployments"]]
    revisions = ecs.describe_service_revisions(serviceRevisionArns=arns)["serviceRevisions"]
    assert [each["taskDefinition"].rpartition(":")[2] for each in revisions] == ["2", "1"]
    definition = ecs.describe_task_definition(taskDefinition=auth(lab)["taskDefinition"])["taskDefinition"]
    assert definition["revision"] == 3 and definition["registeredAt"] > found["serviceDeployments"][0]["finishedAt"]
