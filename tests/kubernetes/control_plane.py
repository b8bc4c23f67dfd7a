"""A Kubernetes control plane of real programs on loopback; what would be kubelets is simulated beside it.

The programs are found by the convention of envtest: `KUBEBUILDER_ASSETS`, else /usr/local/kubebuilder/bin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from certificates import Authority

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_DEFAULT_ASSETS = "/usr/local/kubebuilder/bin"
_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_SERVICE_RANGE = "10.96.0.0/16"
# Who asks for what, and for nothing else: the writes of the tests' own account are looked at.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["codeblue-audited"]}, {"level": "None"}],
}


def programs() -> Path | None:
    """The directory with all four programs; None when one is missing."""
    directory = Path(os.environ.get("KUBEBUILDER_ASSETS") or _DEFAULT_ASSETS)
    return directory if all(os.access(directory / name, os.X_OK) for name in PROGRAMS) else None


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ControlPlane:
    """One cluster in a directory of its own.

    :param directory: private, and removed by whoever made it.
    :param assets: where the programs are.
    """

    def __init__(self, directory: Path, assets: Path) -> None:
        self.directory = directory
        self._assets = assets
        self._pki = directory / "pki"
        self._pki.mkdir(mode=0o700)
        self._authority = Authority(self._pki)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd, self._etcd_peer, self.port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.audit_log = directory / "audit.log"
        self._server = self._authority.issue("server", "kube-apiserver", server=True)
        self._tokens = self._authority.signing_key()
        self.admin = self.kubeconfig("admin", "admin", "system:masters")

    @property
    def authority(self) -> Path:
        """The certificate by which the server is known."""
        return self._authority.certificate

    @property
    def server_certificate(self) -> tuple[Path, Path]:
        """For a proxy that stands in for the server."""
        return self._server

    def kubeconfig(self, file: str, user: str, group: str | None = None, url: str | None = None) -> Path:
        """A kubeconfig for a user.

        :param url: of a proxy in front of the server.
        """
        certificate, key = self._authority.issue(file, user, group)
        cluster = {"server": url or self.url, "certificate-authority": str(self.authority)}
        account = {"client-certificate-data": _data(certificate), "client-key-data": _data(key)}
        path = self.directory / f"{file}.kubeconfig"
        path.write_text(yaml.safe_dump(_config(cluster, account)), encoding="utf-8")
        path.chmod(0o600)
        return path

    def token_kubeconfig(self, file: str, token: str, url: str | None = None) -> Path:
        """A kubeconfig with a bearer token."""
        cluster = {"server": url or self.url, "certificate-authority": str(self.authority)}
        path = self.directory / f"{file}.kubeconfig"
        path.write_text(yaml.safe_dump(_config(cluster, {"token": token})), encoding="utf-8")
        path.chmod(0o600)
        return path

    def start(self) -> None:
        """Start all four; returns when the API server is ready."""
        self._run(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{self._etcd_peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._etcd_peer}",
            f"--initial-cluster=default=http://127.0.0.1:{self._etcd_peer}",
            "--unsafe-no-fsync",
        )
        self.start_server()
        for name, account in (
            ("kube-controller-manager", "system:kube-controller-manager"),
            ("kube-scheduler", "system:kube-scheduler"),
        ):
            config = self.kubeconfig(name, account)
            self._run(
                name,
                f"--kubeconfig={config}",
                f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                "--leader-elect=false",
                "--kube-api-qps=300",
                "--kube-api-burst=600",
                *(self._controllers() if name == "kube-controller-manager" else ()),
            )

    def start_server(self) -> None:
        """Start the API server alone, also again, and wait until it is ready."""
        policy = self.directory / "audit.yml"
        policy.write_text(yaml.safe_dump(_AUDIT_POLICY), encoding="utf-8")
        certificate, key = self._server
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={_SERVICE_RANGE}",
            "--authorization-mode=RBAC",
            f"--client-ca-file={self.authority}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={self._tokens}",
            f"--service-account-signing-key-file={self._tokens}",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
        )
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_ready():
            if self._processes["kube-apiserver"].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"kube-apiserver did not start: {self._log('kube-apiserver')[-800:]}")
            time.sleep(0.1)

    def stop_server(self) -> None:
        """Let the API server alone crash."""
        self._processes["kube-apiserver"].kill()
        self._processes.pop("kube-apiserver").wait(_STOP_SECONDS)

    def stop(self) -> None:
        """End all programs that were started here."""
        for name in reversed(list(self._processes)):
            self._end(name)

    def is_ready(self) -> bool:
        """Whether the API server says so."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def audited(self) -> list[dict[str, str]]:
        """What accounts of the group `codeblue-audited` asked for, in this order."""
        if not self.audit_log.exists():
            return []
        lines = self.audit_log.read_text(encoding="utf-8").splitlines()
        return [
            {
                "verb": said["verb"],
                "uri": said["requestURI"],
                "user": said["user"]["username"],
                "code": str((said.get("responseStatus") or {}).get("code", "")),
                "at": said["requestReceivedTimestamp"],
            }
            for said in map(json.loads, lines)
        ]

    def _controllers(self) -> tuple[str, ...]:
        return (
            "--use-service-account-credentials=true",
            # The simulated node never says again that it is alive.
            "--node-monitor-grace-period=3600s",
            f"--service-account-private-key-file={self._tokens}",
            f"--root-ca-file={self.authority}",
        )

    def _run(self, name: str, *options: str) -> None:
        with open(self.directory / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                [self._assets / name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return
        process.kill()
        process.wait(_STOP_SECONDS)

    def _log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")


def _data(path: Path) -> str:
    import base64

    return base64.b64encode(path.read_bytes()).decode("ascii")


def _config(cluster: dict[str, str], account: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": account}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
