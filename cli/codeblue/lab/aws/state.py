"""What a lab on AWS remembers of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.aws.layout import AwsLayout
from codeblue.lab.files import write_json
from codeblue.lab.processes import ProcessIdentity

FORMAT = 1


@dataclass
class AwsLabState:
    """aws-lab.json.

    :param boot_id: start times are counted from a boot.
    :param phase: `starting` until the account was filled, then `ready`.
    :param ports: `control`, `edge`, and for each region `aws-REGION` and `front-REGION`.
    :param server: its keeper; None for one that another lab started.
    :param host: where the server listens.
    :param facts: ids and ARNs of what the account was filled with, by region and name.
    """

    boot_id: str
    created_at: str
    phase: str = "starting"
    ports: dict[str, int] = field(default_factory=dict)
    server: ProcessIdentity | None = None
    host: str = "127.0.0.1"
    facts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seconds_to_ready: float | None = None
    format: int = FORMAT

    def endpoint(self, region: str) -> str:
        """The URL of a region's services."""
        return self.url(f"aws-{region}")

    def url(self, port: str) -> str:
        """The URL of one of its ports."""
        return f"http://{self.host}:{self.ports[port]}"

    def save(self, layout: AwsLayout) -> None:
        write_json(layout.state_file, asdict(self), 0o600)

    @staticmethod
    def load(layout: AwsLayout) -> AwsLabState | None:
        """None when there is no lab in the directory.

        :raises CodeblueError: the file is there and holds none.
        """
        hint = "clean up with: codeblue lab down --platform aws"
        try:
            value = json.loads(layout.state_file.read_text(encoding="utf-8"))
            server = value.pop("server")
            state = AwsLabState(**value, server=ProcessIdentity(**server) if server else None)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CodeblueError(f"{layout.state_file} is damaged: {error}", hint) from error
        if state.format != FORMAT:
            raise CodeblueError(f"{layout.state_file} was written by another version of codeblue", hint)
        return state
