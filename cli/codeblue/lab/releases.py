"""The services' releases: a git repository with good and bad versions, and release directories filled from it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import BadInput, CodeblueError

from codeblue.lab.clinic import triage_model
from codeblue.lab.files import make_directory, write_text
from codeblue.lab.intrusion import IMPLANT_EDITS
from codeblue.lab.layout import APPLICATION_MACHINES, SERVICES, Layout
from codeblue.lab.migrations import BASE_SCHEMA, NEEDS_FILE, NEW_COLUMNS

# Not part of a release of the services.
_LEFT_OUT = {
    "__init__.py",
    "reporting.py",
    "monitor.py",
    "visitor.py",
    "collector.py",
    "intruder.py",
    "billing_export.py",
    "batch_report.py",
    "crawler.py",
    "migrate.py",
}


@dataclass(frozen=True)
class Version:
    """One release.

    :param edits: file, text and what stands there instead from this version on.
    :param base: the version that it is made from; None for the one before.
    :param schema: the newest migration that it needs.
    """

    number: str
    message: str
    edits: tuple[tuple[str, str, str], ...] = ()
    model_seed: int = 1
    base: str | None = None
    schema: str = BASE_SCHEMA


_REMOVE_IDENTITY = ('        return 201, {"id": row[0], "triage": triage}', '        return 201, {"id": row[0]}')
_LOOK = "            row = connection.execute(SELECT, (int"
_CHECK = "            connection.execute(SELECT, (0,))"
_WAIT = "            time.sleep(0.6)\n"
_IMPORT_OS = ("ai.py", "import json\n", "import json\nimport os\n")
_IMPORT_TIME = ("ai.py", "import json\n", "import json\nimport time\n")
GOOD_PREVIOUS, GOOD, BAD_ANSWERS, BAD_START = "1.0.0", "1.1.0", "1.2.0", "1.2.1"
BAD_INFERENCE, SLOW_INFERENCE = "1.3.0", "1.4.0"
SLOW_RECORDS = "1.6.0"
PHI_IN_LOG, PUBLIC_PATIENTS = "1.7.0", "1.8.0"
EXFILTRATING = "1.9.0"
_CREATED = "            row = connection.execute(INSERT, (patient, note, triage, username)).fetchone()\n"
_READ = '        request.audit["patients"] = [row[1]]\n'
_ROUTE = '        self.route("POST", "/records", self.create)\n'
_AUTHENTICATE = "    def authenticate(self, request: Request) -> str:\n"
_OVERVIEW = """\
    def overview(self, request: Request) -> Answer:
        with self.database.connection() as connection:
            rows = connection.execute(OVERVIEW).fetchall()
        request.audit["patients"] = [row[0] for row in rows]
        return 200, {"patients": [{"patient_ref": row[0], "note": row[1]} for row in rows]}

"""
_OVERVIEW_QUERY = (
    "OVERVIEW = (\n"
    '    "select distinct on (patient_ref) patient_ref, note from records "\n'
    "    \"where patient_ref like 'synthetic-%' order by patient_ref, id desc limit 1000\"\n"
    ")\n"
)
VERSIONS = (
    Version(GOOD_PREVIOUS, "Clinic services", (("records.py", *_REMOVE_IDENTITY),)),
    Version(GOOD, "records: answer with the triage, retrained model", (("records.py", *_REMOVE_IDENTITY[::-1]),), 2),
    # Bad: deployed ahead of a migration that never ran.
    Version(
        BAD_ANSWERS,
        "Use the new columns note_text and password_digest",
        (
            ("records.py", "select id, patient_ref, note,", "select id, patient_ref, note_text,"),
            ("records.py", "(patient_ref, note, triage,", "(patient_ref, note_text, triage,"),
            ("auth.py", "select username, password_hash", "select username, password_digest"),
        ),
        2,
        schema=NEW_COLUMNS,
    ),
    # Bad: a module that is not on the machines.
    Version(
        BAD_START,
        "Measure requests",
        (("clinic_service.py", "import json\n", "import json\n\nimport clinic_metrics  # noqa: F401\n"),),
        2,
        schema=NEW_COLUMNS,
    ),
    # Bad: the process starts, looks healthy, and ends with the first inference, as a native library does that faults.
    Version(
        BAD_INFERENCE,
        "ai: inference by a native library",
        (
            ("ai.py", "        urgent = probability(", "        os._exit(139)\n        urgent = probability("),
            _IMPORT_OS,
        ),
        2,
        base=GOOD,
    ),
    # Bad: right answers, later than anybody can wait for.
    Version(
        SLOW_INFERENCE,
        "ai: ask a second opinion over the network",
        (
            ("ai.py", "        urgent = probability(", "        time.sleep(1.5)\n        urgent = probability("),
            _IMPORT_TIME,
        ),
        2,
        base=GOOD,
    ),
    # Bad: every look at the records first waits for another service, one after the other.
    Version(
        SLOW_RECORDS,
        "records: ask the archive before each look at a record",
        (
            ("records.py", _LOOK, _WAIT + _LOOK),
            ("records.py", _CHECK, _WAIT + _CHECK),
            ("records.py", "import json\n", "import json\nimport time\n"),
        ),
        2,
        base=GOOD,
    ),
    # Bad: whoever can read the log can read the records.
    Version(
        PHI_IN_LOG,
        "records: more detail in the log for support",
        (
            (
                "records.py",
                _CREATED,
                _CREATED
                + '        detail = {"patient_ref": patient, "note": note}\n'
                + '        self.log.info("record created", extra={"fields": detail})\n',
            ),
            (
                "records.py",
                _READ,
                _READ
                + '        detail = {"patient_ref": row[1], "note": row[2]}\n'
                + '        self.log.info("record read", extra={"fields": detail})\n',
            ),
        ),
        2,
        base=GOOD,
    ),
    # Bad: a page for a screen on the ward, and nobody is asked who is looking.
    Version(
        PUBLIC_PATIENTS,
        "records: overview of patients for the ward's screen",
        (
            ("records.py", "SELECT = ", _OVERVIEW_QUERY + "SELECT = "),
            ("records.py", _ROUTE, _ROUTE + '        self.route("GET", "/patients", self.overview)\n'),
            ("records.py", _AUTHENTICATE, _OVERVIEW + _AUTHENTICATE),
        ),
        2,
        base=GOOD,
    ),
    # Bad: somebody got into the supply chain. It does its work, and sends data outside beside it.
    Version(EXFILTRATING, "records: statistics of use", IMPLANT_EDITS, 2, base=GOOD),
)


class Releases:
    """The repository and the release directories of one lab."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def make_repository(self) -> None:
        """One commit and one tag for each version, with fixed dates."""
        repository = self.layout.repository
        make_directory(repository)
        self._git("init", "--quiet", "--initial-branch=main")
        sources = {
            path.name: path.read_text(encoding="utf-8")
            for path in (Path(__file__).parent / "clinic").glob("*.py")
            if path.name not in _LEFT_OUT and not path.name.startswith("signal_")
        }
        trees: dict[str, dict[str, str]] = {}
        for day, version in enumerate(VERSIONS, start=1):
            sources = dict(trees[version.base] if version.base else sources)
            trees[version.number] = sources
            for name, old, new in version.edits:
                if old not in sources[name]:
                    raise CodeblueError(f"release {version.number}: {name} does not hold {old!r}", "a fault of the lab")
                sources[name] = sources[name].replace(old, new, 1)
            model = json.dumps({"weights": triage_model.train(version.model_seed)}, indent=1) + "\n"
            digest = hashlib.sha256(model.encode()).hexdigest()
            files = {
                **sources,
                "VERSION": version.number + "\n",
                NEEDS_FILE: version.schema + "\n",
                "model.json": model,
                "model.json.sha256": f"{digest}  model.json\n",
            }
            files["MANIFEST.sha256"] = "".join(
                f"{hashlib.sha256(content.encode()).hexdigest()}  {name}\n" for name, content in sorted(files.items())
            )
            for name, content in files.items():
                write_text(repository / name, content)
            self._git("add", "--all")
            self._git("commit", "--quiet", "--message", version.message, date=f"2026-01-{day:02d}T09:00:00+00:00")
            self._git("tag", f"v{version.number}")

    def deploy(self, service: str, machine: str, version: str, by: str = "lab") -> None:
        """Fill the version's directory, point `current` at it and write that down. Restarting is up to the caller."""
        if version not in {each.number for each in VERSIONS}:
            raise BadInput(f"there is no release {version}", f"choose one of {', '.join(v.number for v in VERSIONS)}")
        root = self.layout.release_root(machine, service)
        directory = root / "releases" / version
        if not directory.exists():
            self._export(version, directory)
        artifact = self.layout.artifacts(machine) / version
        if not artifact.exists():
            make_directory(artifact.parent)
            self._export(version, artifact)
        self.point_current_at(service, machine, version)
        entry = {
            "version": version,
            "commit": self.commit(version),
            "deployed_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "by": by,
        }
        with _appending(root / "history.jsonl") as stream:
            stream.write(json.dumps(entry) + "\n")

    def deploy_all(self, version: str) -> None:
        for service in SERVICES:
            for machine in APPLICATION_MACHINES:
                self.deploy(service, machine, version)

    def point_current_at(self, service: str, machine: str, version: str) -> None:
        """Switch the link atomically."""
        root = self.layout.release_root(machine, service)
        temporary = root / ".current.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(f"releases/{version}")
        temporary.replace(root / "current")

    def current(self, service: str, machine: str) -> str | None:
        link = self.layout.release_root(machine, service) / "current"
        return link.readlink().name if link.is_symlink() else None

    def keep_as_base(self) -> None:
        """Remember the histories as they are now; `restore_base` goes back to them."""
        for service, machine in _placements():
            root = self.layout.release_root(machine, service)
            shutil.copyfile(root / "history.jsonl", self.layout.faults / f"history-{service}-{machine}.jsonl")

    def restore_base(self) -> list[tuple[str, str]]:
        """Back to the good release everywhere; returns service and machine of those that must restart."""
        changed: list[tuple[str, str]] = []
        for service, machine in _placements():
            root = self.layout.release_root(machine, service)
            if self.current(service, machine) != GOOD:
                changed.append((service, machine))
            directory = root / "releases" / GOOD
            if not directory.exists():
                self._export(GOOD, directory)
            self.point_current_at(service, machine, GOOD)
            base = self.layout.faults / f"history-{service}-{machine}.jsonl"
            write_text(root / "history.jsonl", base.read_text(encoding="utf-8"))
        return changed

    def mend(self, service: str, machine: str, version: str) -> None:
        """Put a version's directory back as it was released, in place, for whoever runs from it."""
        directory = self.layout.release_root(machine, service) / "releases" / version
        for path in self.layout.artifacts(machine).joinpath(version).iterdir():
            if path.is_file() and (directory / path.name).read_bytes() != path.read_bytes():
                shutil.copyfile(path, directory / path.name)

    def commit(self, version: str) -> str:
        return self._git("rev-list", "-1", f"v{version}").decode("ascii").strip()

    def _export(self, version: str, directory: Path) -> None:
        """Unpack beside and rename, so that a release directory is whole or not there."""
        unpacked = directory.with_name(f".{version}.new")
        shutil.rmtree(unpacked, ignore_errors=True)
        make_directory(unpacked)
        # Zip, because tarfile's filter against paths that lead outside came with Python 3.11.4.
        with zipfile.ZipFile(io.BytesIO(self._git("archive", "--format=zip", f"v{version}"))) as archive:
            archive.extractall(unpacked)
        unpacked.rename(directory)

    def _git(self, *arguments: str, date: str | None = None) -> bytes:
        """git with an identity of its own and nothing of the user's configuration."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Clinic",
            "GIT_AUTHOR_EMAIL": "clinic@lab.invalid",
            "GIT_COMMITTER_NAME": "Clinic",
            "GIT_COMMITTER_EMAIL": "clinic@lab.invalid",
        }
        if date:
            environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        command = ["git", "-C", str(self.layout.repository), "-c", "core.hooksPath=/dev/null", *arguments]
        try:
            return subprocess.run(command, env=environment, capture_output=True, timeout=30, check=True).stdout
        except FileNotFoundError:
            raise CodeblueError("git is not installed", "install git") from None
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip().splitlines()
            raise CodeblueError(f"git {arguments[0]}: {said[-1] if said else error.returncode}", None) from error
        except subprocess.TimeoutExpired as error:
            raise CodeblueError(f"git {arguments[0]} did not end within 30 s", "is the disk slow?") from error


def _placements() -> Iterator[tuple[str, str]]:
    return ((service, machine) for service in SERVICES for machine in APPLICATION_MACHINES)


@contextmanager
def _appending(path: Path) -> Iterator[io.TextIOWrapper]:
    with open(path, "a", encoding="utf-8") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
