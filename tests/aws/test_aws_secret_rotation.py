"""Secrets and parameters get new values by stages, who uses them is found and deployed anew, no value is shown."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from security_site import AwsSite
from simulated_account import SimulatedAccount

ECS = {"cluster": "clinic", "service": "records"}
OLD = "canary-old-value-of-the-secret"
OLD_PARAMETER = "canary-old-value-of-the-parameter"
GIVEN = "canary-value-that-a-file-gives"


@dataclass(frozen=True)
class Clinic:
    account: SimulatedAccount
    arn: str
    version: str

    def stages(self) -> dict[str, list[str]]:
        found = self.account.client("secretsmanager").describe_secret(SecretId="clinic/records")
        return dict(found["VersionIdsToStages"])

    def value(self) -> dict[str, str]:
        found = self.account.client("secretsmanager").get_secret_value(
            SecretId="clinic/records", VersionStage="AWSCURRENT"
        )
        return dict(json.loads(found["SecretString"]))

    def parameter(self) -> dict[str, t.Any]:
        found = self.account.client("ssm").get_parameter(Name="/clinic/token", WithDecryption=True)
        return dict(found["Parameter"])


@pytest.fixture
def clinic(account: SimulatedAccount) -> Clinic:
    """Two services of which one uses the secret and the parameter, and nobody has to wait for tasks."""
    ecs = account.client("ecs")
    document = json.dumps({"JWT_SECRET": OLD, "API_KEY": OLD, "user": "records"})
    secret = account.client("secretsmanager").create_secret(Name="clinic/records", SecretString=document)
    account.client("ssm").put_parameter(Name="/clinic/token", Value=OLD_PARAMETER, Type="SecureString")
    ecs.create_cluster(clusterName="clinic")
    uses = [
        {"name": "JWT_SECRET", "valueFrom": f"{secret['ARN']}:JWT_SECRET::"},
        {"name": "TOKEN", "valueFrom": "/clinic/token"},
    ]
    for name, secrets in (("records", uses), ("other", [])):
        container = {"name": "main", "image": "records:1", "memory": 512, "secrets": secrets}
        ecs.register_task_definition(family=name, containerDefinitions=[container])
        ecs.create_service(cluster="clinic", serviceName=name, taskDefinition=name, desiredCount=1)
    account.asked.clear()
    return Clinic(account, secret["ARN"], secret["VersionId"])


def site(tmp_path: Path, clinic: Clinic) -> AwsSite:
    given = tmp_path / "api-key"
    given.write_text(f"{GIVEN}\n", encoding="utf-8")
    given.chmod(0o600)
    return AwsSite(
        tmp_path,
        clinic.account,
        ecs=ECS,
        secrets={"clinic/records": {"JWT_SECRET": "generated", "API_KEY": str(given)}},
        parameters={"/clinic/token": "generated"},
    )


def written(site: AwsSite) -> str:
    return "".join(
        path.read_bytes().decode("utf-8", "replace")
        for path in site.root.rglob("*")
        if path.is_file() and path.name not in ("identity", "api-key")
    )


def test_values_change_by_stages_and_who_uses_them_is_deployed(clinic: Clinic, tmp_path: Path) -> None:
    records = site(tmp_path, clinic)
    looked = records.act("aws_secret_rotate", "--check", reason="a test")
    assert looked.code == 0 and "would give clinic/records, /clinic/token new values" in looked.summary, looked.out
    assert not clinic.account.changes
    assert "get_secret_value" not in [each.name for each in clinic.account.asked]
    played = records.act("aws_secret_rotate", reason="a test")
    assert played.code == 0 and played.result["changed"], played.out
    value = clinic.value()
    assert value["user"] == "records" and value["API_KEY"] == GIVEN and value["JWT_SECRET"] not in ("", OLD)
    (new,) = [version for version, labels in clinic.stages().items() if "AWSCURRENT" in labels]
    assert clinic.stages() == {new: ["AWSCURRENT"], clinic.version: ["AWSPREVIOUS"]}
    parameter = clinic.parameter()
    assert (parameter["Version"], parameter["Type"]) == (2, "SecureString") and parameter["Value"] != OLD_PARAMETER
    history = clinic.account.client("ssm").get_parameter_history(Name="/clinic/token")["Parameters"]
    assert history[0]["Labels"] == ["codeblue-previous"]
    (consumer,) = played.result["consumers"]
    assert "ECS service records of cluster clinic" in consumer
    assert clinic.account.changes.count("update_service") == 1, "the other one uses none of them"
    # What the secret had is not looked for in the record: it never was there.
    shown = played.out + looked.out + written(records)
    for canary in (OLD, OLD_PARAMETER, GIVEN, value["JWT_SECRET"], parameter["Value"]):
        assert canary not in shown


@pytest.mark.parametrize("lost", ["put_secret_value", "update_secret_version_stage", "put_parameter", "update_service"])
def test_a_run_that_was_cut_makes_no_second_value(clinic: Clinic, tmp_path: Path, lost: str) -> None:
    records = site(tmp_path, clinic)
    run = records.killed_after(lost, "aws_secret_rotate", reason="a test")
    resumed = records.act("aws_secret_rotate", run_id=run, reason="a test")
    assert resumed.code == 0, resumed.out
    assert len(clinic.stages()) == 2 and clinic.parameter()["Version"] == 2
    assert sorted(clinic.stages().values()) == [["AWSCURRENT"], ["AWSPREVIOUS"]]
    for name in ("put_secret_value", "put_parameter"):
        assert clinic.account.changes.count(name) == 1


def test_what_others_can_read_is_refused_before_anything_changes(clinic: Clinic, tmp_path: Path) -> None:
    records = site(tmp_path, clinic)
    (tmp_path / "api-key").chmod(0o644)
    refused = records.act("aws_secret_rotate")
    assert refused.code != 0 and refused.said["exit_code"] == 2, refused.out
    assert "can be read by others" in refused.said["error"] and not clinic.account.changes
