"""What the account of the lab holds, by name: a platform for personal medicine in a primary and a standby region."""

from __future__ import annotations

from dataclasses import dataclass

PRIMARY = "us-east-1"
STANDBY = "us-west-2"
REGIONS = (PRIMARY, STANDBY)
PLATFORM = "healthcare-platform"
#: A parameter with this name says, in every region, that the account may be broken.
MARKER = "/codeblue/lab"
MARKED = "may be broken"
#: The profile by which the inventory reaches the account.
PROFILE = "codeblue-lab"

CLUSTER = f"{PLATFORM}-production"
PORT = 8080
DATABASE_PORT = 5432
ZONE_NAME = f"{PLATFORM}.example"
API_NAME = f"api.{ZONE_NAME}"
WEB_NAME = f"www.{ZONE_NAME}"
PORTAL_NAME = f"portal.{ZONE_NAME}"

DATABASE = {PRIMARY: f"{PLATFORM}-prod", STANDBY: f"{PLATFORM}-dr"}
ANALYTICS = {PRIMARY: f"{PLATFORM}-analytics", STANDBY: f"{PLATFORM}-analytics-dr"}
GLOBAL_CLUSTER = f"{PLATFORM}-analytics-global"
BALANCER = {PRIMARY: f"{PLATFORM}-alb", STANDBY: f"{PLATFORM}-dr-alb"}
FRONTEND = {PRIMARY: f"{PLATFORM}-frontend", STANDBY: f"{PLATFORM}-dr"}
#: Before the keys of the frontend in each region.
FRONTEND_PREFIX = {PRIMARY: "", STANDBY: "frontend/"}
DATA_LAKE = {PRIMARY: f"{PLATFORM}-data-lake", STANDBY: f"{PLATFORM}-data-lake-dr"}
REPORTS = f"{PLATFORM}-reports"
EVIDENCE = f"{PLATFORM}-evidence"
TRAIL = f"{PLATFORM}-trail"

DATABASE_SECRET = f"{PLATFORM}/database"
AI_SECRET = f"{PLATFORM}/ai-api-key"
SIGNING_SECRET = f"{PLATFORM}/session-signing-key"
DATABASE_PARAMETER = f"/{PLATFORM}/database/endpoint"
SETTINGS_PARAMETER = f"/{PLATFORM}/api/settings"

RECOVERY_USER = "codeblue"
DEPLOY_USER = "deploy-bot"
TASK_ROLE = f"{PLATFORM}-task"
EXECUTION_ROLE = f"{PLATFORM}-execution"

ALARMS = (f"{PLATFORM}-api-5xx", f"{PLATFORM}-api-latency", f"{PLATFORM}-replica-lag")
PAGE = b"<!doctype html><title>Healthcare platform</title><p>Version 2.3.1\n"
MAINTENANCE_PAGE = b"<!doctype html><title>Maintenance</title><p>We will be back soon.\n"


@dataclass(frozen=True)
class EcsBlueprint:
    """One service of the cluster.

    :param name: in the inventory.
    :param path: under which the load balancer leads to it.
    :param versions: tags of its images that were rolled out, the newest last.
    :param tasks: in each region.
    :param secrets: name in its environment to what it is taken from: a secret, `secret:key` or a parameter.
    """

    name: str
    service: str
    family: str
    path: str
    priority: int
    versions: tuple[str, ...]
    tasks: dict[str, int]
    secrets: dict[str, str]

    @property
    def target_group(self) -> str:
        return f"hp-{self.name}"

    @property
    def log_group(self) -> str:
        return f"/ecs/{PLATFORM}/{self.service}"

    @property
    def repository(self) -> str:
        return f"{PLATFORM}/{self.name}"


_DATABASE = {"DATABASE_HOST": DATABASE_PARAMETER, "DATABASE_PASSWORD": f"{DATABASE_SECRET}:password"}
SERVICES: dict[str, EcsBlueprint] = {
    each.name: each
    for each in (
        EcsBlueprint(
            "records",
            "api-service",
            f"{PLATFORM}-api",
            "/records",
            10,
            ("2.3.0", "2.3.1"),
            {PRIMARY: 3, STANDBY: 1},
            {**_DATABASE, "SETTINGS": SETTINGS_PARAMETER},
        ),
        EcsBlueprint(
            "auth",
            "auth-service",
            f"{PLATFORM}-auth",
            "/auth",
            20,
            ("1.8.0", "1.8.1"),
            {PRIMARY: 2, STANDBY: 1},
            {**_DATABASE, "SIGNING_KEY": SIGNING_SECRET},
        ),
        EcsBlueprint(
            "ai",
            "ai-service",
            f"{PLATFORM}-ai",
            "/ai",
            30,
            ("0.9.0", "0.9.1"),
            {PRIMARY: 2, STANDBY: 1},
            {"API_KEY": AI_SECRET},
        ),
    )
}
