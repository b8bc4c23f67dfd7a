# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The history of changes of all services, of every kind: which one came last among those that may be to blame.

Kinds are releases, configuration, flags, and the schema of the databases that a service uses. They are told apart by
when they came, and by nothing else, with one exception: a migration is never taken away under a release that needs it.
That release goes back first, also where it is the older of the two, and whether the schema has to follow shows in the
checks: most migrations only add, and the release before works with them as well.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.codeblue.recovery.plugins.plugin_utils import _configuration_changes as configuration
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _flag_changes as flags
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _release_changes as releases
from ansible_collections.codeblue.recovery.plugins.plugin_utils import _schema_changes as schemas
from ansible_collections.codeblue.recovery.plugins.plugin_utils._machine_calls import MachineAnswer, MachineCall
from ansible_collections.codeblue.recovery.plugins.plugin_utils._model import Service
from ansible_collections.codeblue.recovery.plugins.plugin_utils._undo import Undo, WayBack, came_at

Look = Callable[[Sequence[MachineCall]], list[MachineAnswer]]
Marked = Callable[[str, str], set[str]]


@dataclass
class Found:
    """What was seen in one batch of looks.

    :param undos: by service, what could be taken back; the schema under each service that uses it.
    :param needs: of services, the migration that the running release needs; None where it does not say.
    :param silent: what could not be asked, for people.
    """

    undos: dict[str, list[Undo]] = field(default_factory=dict)
    needs: dict[str, str | None] = field(default_factory=dict)
    schemas: dict[str, schemas.Schema] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)

    def of_kind(self, service: str, kind: str) -> Undo | None:
        return next((each for each in self.undos.get(service, []) if each.kind == kind), None)


@dataclass(frozen=True)
class Choice:
    """What is taken back next.

    :param person: why a person has to decide; then nothing is taken back.
    :param silent: histories that nobody could be asked for.
    """

    undo: Undo | None = None
    person: str | None = None
    silent: tuple[str, ...] = ()


class ChangeHistory:
    """Asks the machines of some services for their histories.

    :param services: all that the run holds, by name.
    :param users: of databases, the services that use their schema, whether the run holds them or not.
    :param look: runs modules that only read.
    :param marked: the versions of a service and a kind that are marked bad.
    """

    def __init__(
        self, services: Mapping[str, Service], users: Mapping[str, Sequence[str]], look: Look, marked: Marked
    ) -> None:
        self._services = services
        self._users = users
        self._look = look
        self._marked = marked

    def newest(self, suspects: Sequence[str], failing: Collection[str], done: Collection[Undo]) -> Choice:
        """The newest change among those that may be to blame.

        :param suspects: services that fail although everything they depend on works.
        :param failing: all services that fail.
        :param done: what this run has taken back.
        """
        databases = self._databases(suspects, failing)
        users = [user for name in databases for user in self._users[name] if user in self._services]
        found = self._found(list(dict.fromkeys([*suspects, *users])), databases)
        passed = {(each.service, each.kind, each.good) for each in done}
        fresh = {
            (each.service, each.kind): each
            for name in suspects
            for each in found.undos.get(name, [])
            if (each.service, each.kind, each.good) not in passed
        }
        chosen = max(fresh.values(), key=lambda each: each.changed_at, default=None)
        choice = self._allowed(chosen, found, failing) if chosen and chosen.kind == schemas.KIND else Choice(chosen)
        return replace(choice, silent=tuple(found.silent))

    def _allowed(self, chosen: Undo, found: Found, failing: Collection[str]) -> Choice:
        """A migration goes when nothing needs it any more; what needs it goes first."""
        version, schema = chosen.ways[0].bad, found.schemas[chosen.service]
        last = f"migration {version} of {chosen.service} came last"
        if chosen.ways[0].details["way_back"] == "none":
            return Choice(person=f"{last} and has no way back")
        unseen = [name for name in chosen.restarts if name not in self._services]
        if unseen:
            return Choice(person=f"{last}, and {unseen[0]} uses it and is no target of this run")
        needing = [name for name in chosen.restarts if schema.needs_newest(found.needs.get(name))]
        working = [name for name in needing if name not in failing]
        if working:
            return Choice(person=f"{last}, and {working[0]} works and needs it")
        if not needing:
            return Choice(replace(chosen, restarts=tuple(name for name in chosen.restarts if name in failing)))
        back = [found.of_kind(name, releases.KIND) for name in needing]
        able = [each for each in back if each is not None]
        if len(able) < len(needing):
            stuck = next(name for name, each in zip(needing, back, strict=True) if each is None)
            return Choice(person=f"{stuck} needs migration {version} of {chosen.service} and has no earlier release")
        newest = max(able, key=lambda each: each.changed_at)
        return Choice(replace(newest, why=f"{last}, and this release needs it"))

    def _databases(self, suspects: Sequence[str], failing: Collection[str]) -> list[str]:
        """Databases that work, and whose schema one of the suspects uses."""
        return [
            name
            for name, service in self._services.items()
            if name not in failing
            and schemas.migrations_of(service) is not None
            and set(self._users.get(name, ())) & set(suspects)
        ]

    # -- looking -----------------------------------------------------------------------------------------------

    def _found(self, names: Sequence[str], databases: Sequence[str]) -> Found:
        """Everything is asked in one batch, then sorted."""
        found, batch = Found(), _Batch()
        for name in databases:
            tool = schemas.migrations_of(self._services[name])
            if tool is not None:
                batch.add(schemas.status_call(tool), self._schema_reader(name, found), f"migrations of {name}")
        needs_files = {
            user: tool.needs_file
            for name in databases
            if (tool := schemas.migrations_of(self._services[name])) is not None
            for user in self._users[name]
        }
        for name in names:
            service = self._services[name]
            for instance in releases.with_releases(service)[:1]:
                call = releases.list_call(instance, needs_files.get(name))
                batch.add(call, self._release_reader(service, databases, found), f"releases of {name}")
            ways: list[WayBack] = []
            for each in configuration.with_history(service):
                reader = self._configuration_reader(service, each, ways, found)
                batch.add(configuration.history_call(each), reader, f"configuration of {name}")
            own: list[WayBack] = []
            for number, place in enumerate(service.require_host().flags):
                if place.has_history:
                    reader = self._flags_reader(service, number, own, found)
                    batch.add(flags.flag_history_call(place), reader, f"flags of {name}")
        batch.ask(self._look, found.silent)
        return found

    def _schema_reader(self, name: str, found: Found) -> Callable[[Mapping[str, t.Any]], None]:
        def read(seen: Mapping[str, t.Any]) -> None:
            database, users = self._services[name], self._users[name]
            found.schemas[name] = schemas.schema_of(database, seen)
            undo = schemas.newest_migration(database, found.schemas[name], users)
            if undo is None and found.schemas[name].applied:
                found.silent.append(f"nobody knows when the newest migration of {name} came")
            for user in users if undo is not None else ():
                found.undos.setdefault(user, []).append(t.cast("Undo", undo))

        return read

    def _release_reader(
        self, service: Service, databases: Sequence[str], found: Found
    ) -> Callable[[Mapping[str, t.Any]], None]:
        def read(seen: Mapping[str, t.Any]) -> None:
            needs = dict(seen.get("needs") or {})
            # The status of the schema was asked before the releases, and is read before them.
            applied = [schema for name, schema in found.schemas.items() if name in databases]
            unusable = {
                version
                for version, need in needs.items()
                if applied and not any(schema.is_applied(need) for schema in applied)
            }
            marked = self._marked(service.name, releases.KIND)
            found.needs[service.name] = needs.get(str((seen.get("before") or {}).get("current")))
            candidate = releases.candidate_of(service.name, seen, marked | unusable)
            if candidate is None:
                return
            at = came_at(list(seen.get("history") or []), candidate.bad, "deployed_at")
            ways = tuple(
                WayBack(each.machine, candidate.bad, candidate.good, at) for each in releases.with_releases(service)
            )
            found.undos.setdefault(service.name, []).append(
                Undo(service.name, releases.KIND, at, ways, (service.name,))
            )

        return read

    def _configuration_reader(
        self, service: Service, instance: t.Any, ways: list[WayBack], found: Found
    ) -> Callable[[Mapping[str, t.Any]], None]:
        def read(seen: Mapping[str, t.Any]) -> None:
            step = configuration.step_back(instance, seen, self._marked(service.name, configuration.KIND))
            if step is None:
                return
            ways.append(step)
            rollout = configuration.newest_rollout(ways)
            _replace(found, Undo(service.name, configuration.KIND, "", tuple(rollout), (service.name,)))

        return read

    def _flags_reader(
        self, service: Service, number: int, ways: list[WayBack], found: Found
    ) -> Callable[[Mapping[str, t.Any]], None]:
        def read(seen: Mapping[str, t.Any]) -> None:
            place = service.require_host().flags[number]
            way = flags.flags_back(number, place, seen, self._marked(service.name, flags.KIND))
            if way is None:
                return
            ways.append(way)
            rollout = configuration.newest_rollout(ways)
            _replace(found, Undo(service.name, flags.KIND, "", tuple(rollout), (service.name,)))

        return read


def _replace(found: Found, undo: Undo) -> None:
    """One change of a kind: that of all its places so far."""
    others = [each for each in found.undos.get(undo.service, []) if each.kind != undo.kind]
    newest = max(way.changed_at for way in undo.ways)
    found.undos[undo.service] = [*others, replace(undo, changed_at=newest)]


class _Batch:
    """Calls, and for each what is to be done with its answer."""

    def __init__(self) -> None:
        self._asked: list[tuple[MachineCall, Callable[[Mapping[str, t.Any]], None], str]] = []

    def add(self, call: MachineCall, read: Callable[[Mapping[str, t.Any]], None], what: str) -> None:
        self._asked.append((call, read, what))

    def ask(self, look: Look, silent: list[str]) -> None:
        """Ask all at once, and read the answers in the order of the questions."""
        answers = look([call for call, _read, _what in self._asked]) if self._asked else []
        for (call, read, what), answer in zip(self._asked, answers, strict=True):
            if answer.result is not None:
                read(answer.result)
            else:
                why = answer.unreachable or answer.failure
                silent.append(f"the {what} could not be asked on {call.machine}: {why}")
