"""Where things lie in the directory of a lab on AWS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codeblue.lab.layout import Layout, default_directory


def default_aws_directory() -> Path:
    """`CODEBLUE_LAB_DIR`, else beside the directory of the lab of hosts."""
    found = default_directory()
    return found if os.environ.get("CODEBLUE_LAB_DIR") else found.with_name(f"{found.name}-aws")


@dataclass(frozen=True)
class AwsLayout(Layout):
    """The paths of one lab on AWS."""

    @property
    def state_file(self) -> Path:
        # Another name than those of the other labs: none takes another's directory for its own.
        return self.root / "aws-lab.json"

    @property
    def server_log(self) -> Path:
        return self.root / "server.log"

    @property
    def calls(self) -> Path:
        """The record of all calls to the account, one JSON line each."""
        return self.root / "calls.jsonl"

    @property
    def aws_config(self) -> Path:
        """What `AWS_CONFIG_FILE` is to name."""
        return self.root / "aws" / "config"

    @property
    def aws_credentials(self) -> Path:
        """What `AWS_SHARED_CREDENTIALS_FILE` is to name."""
        return self.root / "aws" / "credentials"

    @property
    def environment(self) -> Path:
        """Both, for a shell to read."""
        return self.root / "environment"
