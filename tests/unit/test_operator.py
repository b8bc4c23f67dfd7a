"""Names that the operating system vouches for, and names that nobody does. Below 1 s."""

from __future__ import annotations

import os
import pwd

import pytest
from ansible_collections.codeblue.recovery.plugins.plugin_utils._operator import current_operator

_ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "JOB_ID", "AWX_HOST", "TOWER_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_the_account_that_runs_it() -> None:
    operator = current_operator()
    assert (operator.name, operator.source, operator.verified) == (_ME, "os", True)
    assert str(operator) == _ME


def test_login_names_in_the_environment_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "chief")
    assert current_operator().name == _ME


def test_sudo_is_believed_only_when_the_kernel_or_a_sudo_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "nobody")
    operator = current_operator()
    if os.getuid() == 0:
        assert (operator.name, operator.source, operator.verified) == ("nobody", "sudo", False)
        assert str(operator) == "nobody (unverified)"
    else:
        assert operator.name == _ME


def test_a_job_of_awx_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "42")
    monkeypatch.setenv("AWX_HOST", "https://awx.example.org\n")
    operator = current_operator()
    assert operator.source == "awx"
    assert not operator.verified
    assert "42" in operator.name
    assert "\n" not in operator.name
