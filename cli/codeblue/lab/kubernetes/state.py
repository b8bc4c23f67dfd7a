"""What a lab on a cluster remembers of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError

from codeblue.lab.files import write_json
from codeblue.lab.kubernetes.layout import KubernetesLayout

FORMAT = 1


@dataclass
class KubernetesLabState:
    """kubernetes-lab.json.

    :param kubeconfig: None for the usual one.
    :param context: None where the account is that of a pod.
    :param namespace_uid: a namespace that was made anew under the same name is not the lab's.
    :param image: what comes before the name of each service in its image.
    :param phase: `starting` until every pod was ready once, then `ready`.
    :param digests: by object, of the state after `lab up`; what heals is held against them.
    :param unschedulable: nodes that were cordoned before; they are left so.
    :param monitor_port: of 127.0.0.1, where the site's monitoring answers.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str
    image: str
    created_at: str
    namespace_uid: str = ""
    phase: str = "starting"
    digests: dict[str, str] = field(default_factory=dict)
    unschedulable: list[str] = field(default_factory=list)
    monitor_port: int | None = None
    seconds_to_ready: float | None = None
    format: int = FORMAT

    @property
    def place(self) -> str:
        """For people."""
        return f"namespace {self.namespace}" + (f" of context {self.context}" if self.context else "")

    def save(self, layout: KubernetesLayout) -> None:
        # Digests of Secrets are among it.
        write_json(layout.state_file, asdict(self), 0o600)

    @staticmethod
    def load(layout: KubernetesLayout) -> KubernetesLabState | None:
        """None when there is no lab in the directory.

        :raises CodeblueError: the file is there and holds none.
        """
        hint = "delete the lab's namespace with kubectl, and this directory"
        try:
            state = KubernetesLabState(**json.loads(layout.state_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise CodeblueError(f"{layout.state_file} is damaged: {error}", hint) from error
        if state.format != FORMAT:
            raise CodeblueError(f"{layout.state_file} was written by another version of codeblue", hint)
        return state
