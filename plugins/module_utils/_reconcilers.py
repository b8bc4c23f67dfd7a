# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who else keeps what a step is about to change: recognised on the machine, right before the first change.

Recognising reads files and the list of processes, and starts systemctl only where a unit or a timer is in question.
What is done about what was found is `docs/reconcilers.md`.
"""

from __future__ import annotations

import fnmatch
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.module_utils._proc import command_line, list_processes

if t.TYPE_CHECKING:
    from ansible_collections.codeblue.recovery.plugins.module_utils._reconciler_switches import Switch

State = t.Dict[str, t.Any]

# What is done about a reconciler.
SUSPEND, REFUSE, TELL = "suspend", "refuse", "tell"

_LARGEST = 256 * 1024


@dataclass(frozen=True)
class Touched:
    """What a step changes on this machine.

    :param files: absolute paths of files and links that it replaces.
    :param stopped_units: options of units (`_argspec.process_options`) that it stops and that are to stay so.
    :param data_dir: of a database server that it stops, starts, promotes or replaces; empty when it is not known here.
    """

    files: t.Tuple[str, ...] = ()
    stopped_units: t.Tuple[t.Mapping[str, t.Any], ...] = ()
    data_dir: t.Optional[str] = None


@dataclass(frozen=True)
class Reconciler:
    """Somebody else at work on the target.

    :param name: as people know it; with `codeblue_reconcilers` the name given there.
    :param treatment: SUSPEND, REFUSE or TELL.
    :param about: the files, units or data directories that it keeps.
    :param evidence: what was seen.
    :param undo: the command that gives it back, or None where nothing is suspended.
    :param advice: what a person does, where it is refused or told.
    """

    name: str
    treatment: str
    about: t.Tuple[str, ...]
    evidence: str
    undo: t.Optional[str] = None
    advice: t.Optional[str] = None

    def as_dict(self) -> State:
        """For results."""
        return {**vars(self), "about": list(self.about)[:20]}


@dataclass(frozen=True)
class ProgramSeen:
    """A process, by the names that tell what it is.

    :param names: the kernel's name, and of a script also that of its file.
    """

    pid: int
    names: t.FrozenSet[str]


class Machine:
    """This machine, as far as it tells who works on it.

    :param root: of the file system; another one in tests.
    :param programs: what runs; looked up when it is not given.
    """

    def __init__(self, root: str = "/", programs: t.Optional[t.Sequence[ProgramSeen]] = None) -> None:
        self.root = root
        self._programs = programs

    def path(self, absolute: str) -> str:
        """Where it really lies."""
        return os.path.join(self.root, absolute.lstrip("/"))

    def read(self, absolute: str, limit: int = _LARGEST) -> str:
        """The text of a file; empty when it cannot be read."""
        try:
            with open(self.path(absolute), encoding="utf-8", errors="replace") as stream:
                return stream.read(limit)
        except OSError:
            return ""

    def files_in(self, directory: str, most: int = 200) -> t.List[str]:
        """Absolute paths of the files of a directory, by name."""
        try:
            names = sorted(os.listdir(self.path(directory)))[:most]
        except OSError:
            return []
        return [os.path.join(directory, name) for name in names if os.path.isfile(self.path(directory + "/" + name))]

    def tool(self, places: t.Sequence[str]) -> t.Optional[str]:
        """The first of these programs that is there."""
        return next((self.path(place) for place in places if os.access(self.path(place), os.X_OK)), None)

    def runs(self, names: t.Container[str]) -> t.Optional[str]:
        """The name of a running program that is one of these."""
        for program in self.programs():
            for name in program.names:
                if name in names:
                    return name
        return None

    def programs(self) -> t.Sequence[ProgramSeen]:
        """Everything that runs, looked up once."""
        if self._programs is None:
            self._programs = [
                ProgramSeen(process.pid, frozenset([process.name, *_script(process.pid, process.name)]))
                for process in list_processes()
            ]
        return self._programs

    @property
    def has_systemd(self) -> bool:
        return os.path.isdir(self.path("/run/systemd/system"))


_INTERPRETERS = ("python", "ruby", "perl", "java", "cinc", "puppet", "chef")


def _script(pid: int, name: str) -> t.List[str]:
    """The script that an interpreter runs, by its file's name."""
    if not name.startswith(_INTERPRETERS):
        return []
    return [os.path.basename(argument) for argument in command_line(pid)[1:2]]


@dataclass(frozen=True)
class Declared:
    """A reconciler of the site's own, one of the list `codeblue_reconcilers` of a machine.

    :param owns: patterns of paths that it keeps.
    :param restarts: units that it starts again.
    :param process: options of the unit that it runs as; stopping it suspends it.
    :param status_command: ends with 0 while it is at work. Needed with `suspend_command`.
    """

    name: str
    owns: t.Tuple[str, ...] = ()
    restarts: t.Tuple[str, ...] = ()
    process: t.Optional[t.Mapping[str, t.Any]] = None
    status_command: t.Tuple[str, ...] = ()
    suspend_command: t.Tuple[str, ...] = ()
    resume_command: t.Tuple[str, ...] = ()
    advice: t.Optional[str] = None

    @classmethod
    def from_params(cls, options: t.Mapping[str, t.Any]) -> Declared:
        """From the options of `_argspec.reconcilers_argument`."""
        lists = ("owns", "restarts", "status_command", "suspend_command", "resume_command")
        return cls(
            name=options["name"],
            process=options.get("process"),
            advice=options.get("advice"),
            **{name: tuple(options.get(name) or ()) for name in lists},
        )

    def about(self, touched: Touched) -> t.Tuple[str, ...]:
        """What of it this reconciler keeps."""
        files = [
            path
            for path in touched.files
            if any(fnmatch.fnmatchcase(path, each) for pattern in self.owns for each in (pattern, _below(pattern)))
        ]
        return (*files, *(unit["unit"] for unit in touched.stopped_units if unit["unit"] in self.restarts))


def _below(pattern: str) -> str:
    return pattern if pattern.endswith("*") else pattern.rstrip("/") + "/*"


def find_reconcilers(
    touched: Touched, declared: t.Sequence[Declared] = (), machine: t.Optional[Machine] = None
) -> t.List[Reconciler]:
    """Everybody who is at work on what is touched, right now. Who was suspended already is not.

    :raises BadInput: one of the site's own is described wrongly.
    """
    # Imported here: a step loads only what tells of its own kind of thing.
    seen = machine or Machine()
    found: t.List[Reconciler] = []
    if touched.data_dir is not None:
        from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_database import cluster_managers

        found += cluster_managers(touched.data_dir, seen)
    if touched.files:
        from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_configuration import (
            configuration_managers,
        )

        found += configuration_managers(touched.files, seen)
    if touched.stopped_units:
        from ansible_collections.codeblue.recovery.plugins.module_utils._reconcilers_units import restarters

        for unit in touched.stopped_units:
            found += restarters(str(unit["unit"]), str(unit["manager"]), seen)
    for each in declared:
        about = each.about(touched)
        if about:
            from ansible_collections.codeblue.recovery.plugins.module_utils._reconciler_switches import declared_switch

            found += _declared_found(each, about, declared_switch(each))
    return found


def _declared_found(declared: Declared, about: t.Tuple[str, ...], switch: t.Optional[Switch]) -> t.List[Reconciler]:
    advice = declared.advice or "stop %s by hand" % declared.name
    try:
        if switch is not None and not switch.at_work():
            return []
    except CodeblueError as error:
        # Nobody waits for a recovery because a manager is down that would have to bring it back.
        evidence = "whether it is at work cannot be told: %s" % error.message
        return [Reconciler(declared.name, TELL, about, evidence, advice=advice)]
    treatment, undo = (REFUSE, None) if switch is None else (SUSPEND, switch.undo)
    evidence = "the inventory names it" + ("" if switch is None else ", and it is at work")
    return [Reconciler(declared.name, treatment, about, evidence, undo, advice)]


class ReconcilerAtWork(CodeblueError):
    """Somebody else keeps what is about to change; nothing was changed.

    :param found: all that were found.
    """

    exit_code = 3

    def __init__(self, found: t.Sequence[Reconciler]) -> None:
        in_the_way = [each for each in found if each.treatment == REFUSE] or list(found)
        first = in_the_way[0]
        super().__init__(
            "%s keeps %s (%s): nothing was changed" % (first.name, ", ".join(first.about[:3]), first.evidence),
            first.advice or "suspend it, run again, and give it back: %s" % first.undo,
        )
        self.found = list(found)


@dataclass
class Watch:
    """Looks for reconcilers when a step is about to change something, and remembers whom it only tells of.

    :param touched: None for a step that nobody else competes with.
    """

    touched: t.Optional[Touched] = None
    declared: t.Tuple[Declared, ...] = ()
    told: t.List[Reconciler] = field(default_factory=list)

    def look(self) -> t.List[Reconciler]:
        """Everybody."""
        return find_reconcilers(self.touched, self.declared) if self.touched is not None else []

    def refuse_if_any(self) -> None:
        """:raises ReconcilerAtWork: somebody has to be suspended or asked first."""
        found = self.look()
        if any(each.treatment in (SUSPEND, REFUSE) for each in found):
            raise ReconcilerAtWork(found)
        self.told = found
