# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Features that others make of a service and can do without, and the flags by which they are told so."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping

# A kubelet brings a change of a ConfigMap to the files of its pods within its sync period and the age of its cache.
_REFRESHED_SECONDS = 90.0
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
_PARAMETER = re.compile(r"[-.\w/]{1,1011}", re.ASCII)
_CONSUMER = re.compile(r"(deployment|statefulset|daemonset)/(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True)
class ConfigMapPlace:
    """A ConfigMap that holds flags.

    :param key: holds one JSON object; None when each flag is a key of its own.
    :param restarts: the workload that reads it only when it starts, as `deployment/records`; None when none does.
    :param refreshed_within: seconds until pods that are not restarted see a change.
    """

    namespace: str
    name: str
    key: str | None = None
    restarts: str | None = None
    refreshed_within: float = _REFRESHED_SECONDS

    def __str__(self) -> str:
        return f"ConfigMap {self.name} in namespace {self.namespace}"


@dataclass(frozen=True)
class ParameterPlace:
    """A parameter of AWS Systems Manager that holds flags, as one JSON object.

    :param refreshed_within: seconds until whoever uses it sees a change.
    """

    region: str
    name: str
    refreshed_within: float = _REFRESHED_SECONDS

    def __str__(self) -> str:
        return f"parameter {self.name} in {self.region}"


@dataclass(frozen=True)
class FlagPlace:
    """One place that holds the flags of whoever uses the feature: a file, two commands, a ConfigMap or a parameter.

    :param machine: the inventory name; empty for a ConfigMap or a parameter.
    :param config_map: None for any other place.
    :param parameter: None for any other place.
    :param file: holds one JSON object.
    :param read_command: prints one JSON object.
    :param write_command: takes a JSON object of changes on its standard input.
    :param history_file: keeps the states of the flags, one JSON object a line.
    :param history_command: prints the states of the flags.
    :param history_work_tree: of the git repository that keeps `file`.
    :param history_git_dir: that repository, when it is not `.git` in the work tree.
    """

    machine: str
    file: str | None = None
    read_command: tuple[str, ...] = ()
    write_command: tuple[str, ...] = ()
    history_file: str | None = None
    history_command: tuple[str, ...] = ()
    history_work_tree: str | None = None
    history_git_dir: str | None = None
    config_map: ConfigMapPlace | None = None
    parameter: ParameterPlace | None = None

    @property
    def behind_api(self) -> ConfigMapPlace | ParameterPlace | None:
        """The place that is reached through an API; None for one on a machine."""
        return self.config_map or self.parameter

    @property
    def has_history(self) -> bool:
        """Somebody keeps which states the flags had."""
        return bool(self.history_file or self.history_command or self.history_work_tree)

    def as_arguments(self) -> dict[str, t.Any]:
        """As the module `feature_flag` takes it."""
        arguments: dict[str, t.Any] = {}
        if self.file is not None:
            arguments["path"] = self.file
        else:
            arguments |= {"read_command": list(self.read_command), "write_command": list(self.write_command)}
        history = {
            "history_file": self.history_file,
            "history_command": list(self.history_command),
            "work_tree": self.history_work_tree,
            "git_dir": self.history_git_dir,
        }
        return {**arguments, **{name: value for name, value in history.items() if value}}


@dataclass(frozen=True)
class Feature:
    """What a service uses of this one, with a fallback for when it is off.

    :param used_by: the service that goes on without it.
    :param enabled: the flag that switches it: true or false.
    :param share: the flag that says how many of a hundred requests use it; None when it is on or off only.
    :param places: every place that holds the flags; all of them are switched.
    """

    name: str
    used_by: str
    enabled: str
    share: str | None
    places: tuple[FlagPlace, ...]


def read_feature(
    values: TypedMapping,
    name: str,
    inventory_names: Collection[str],
    namespace: str | None = None,
    region: str | None = None,
) -> Feature:
    """Read one of `features`; what is wrong goes to the problems of the mapping.

    :param namespace: where ConfigMaps are that name none; None where there are no ConfigMaps.
    :param region: of parameters that name none; None where there are no parameters.
    """
    used_by = _known(values, "used_by", inventory_names)
    feature = Feature(
        name=name,
        used_by=used_by,
        enabled=values.text("enabled"),
        share=values.optional_text("share"),
        places=tuple(_place(item, inventory_names, namespace, region) for item in values.listed("places")),
    )
    if not feature.places:
        values.problem("places", "is missing, name every place that holds the flags")
    values.finish()
    return feature


def read_flag_places(values: Iterable[TypedMapping], inventory_names: Collection[str]) -> tuple[FlagPlace, ...]:
    """Read `codeblue_host.flags`: every place that holds flags of the service itself."""
    return tuple(_read_place(item, inventory_names) for item in values)


def _place(
    values: TypedMapping, inventory_names: Collection[str], namespace: str | None, region: str | None
) -> FlagPlace:
    if region is not None and "parameter" in values:
        return _parameter(values, region)
    if namespace is None or "config_map" not in values:
        return _read_place(values, inventory_names)
    place = ConfigMapPlace(
        namespace=values.optional_text("namespace") or namespace,
        name=values.text("config_map"),
        key=values.optional_text("key"),
        restarts=values.optional_text("restarts"),
        refreshed_within=values.number("refreshed_within", default=_REFRESHED_SECONDS),
    )
    if place.name and not _NAME.fullmatch(place.name):
        values.problem("config_map", f"{place.name!r} is no name in Kubernetes, write small letters, digits and '-'")
    if place.restarts is not None and not _CONSUMER.fullmatch(place.restarts):
        values.problem("restarts", f"{place.restarts!r} is no workload, write it like deployment/records")
    values.finish()
    return FlagPlace("", config_map=place)


def _parameter(values: TypedMapping, region: str) -> FlagPlace:
    place = ParameterPlace(
        region=values.optional_text("region") or region,
        name=values.text("parameter"),
        refreshed_within=values.number("refreshed_within", default=_REFRESHED_SECONDS),
    )
    if place.name and not _PARAMETER.fullmatch(place.name):
        values.problem("parameter", f"{place.name!r} is no name of a parameter, write it like /clinic/records/flags")
    values.finish()
    return FlagPlace("", parameter=place)


def _read_place(values: TypedMapping, inventory_names: Collection[str]) -> FlagPlace:
    history = values.optional_child("history")
    place = FlagPlace(
        machine=_known(values, "machine", inventory_names),
        file=values.optional_text("file"),
        read_command=values.texts("read_command"),
        write_command=values.texts("write_command"),
        history_file=history.optional_text("file") if history is not None else None,
        history_command=history.texts("command") if history is not None else (),
        history_work_tree=history.optional_text("work_tree") if history is not None else None,
        history_git_dir=history.optional_text("git_dir") if history is not None else None,
    )
    by_command = bool(place.read_command or place.write_command)
    if (place.file is None) != by_command:
        values.problem("file", "or read_command and write_command must be given, one of the two ways")
    if by_command and not (place.read_command and place.write_command):
        values.problem("write_command", "and read_command belong together")
    _absolute(values, ("file", place.file), ("read_command", _program(place.read_command)))
    _absolute(values, ("write_command", _program(place.write_command)))
    if history is not None:
        _read_history(history, place)
    values.finish()
    return place


def _read_history(values: TypedMapping, place: FlagPlace) -> None:
    ways = (place.history_file, place.history_command, place.history_work_tree)
    if sum(bool(way) for way in ways) != 1:
        values.problem("file", "or command or work_tree must be given, one of the three ways")
    if place.history_work_tree is not None and place.file is None:
        values.problem("work_tree", "keeps the history of a file, give command")
    _absolute(values, ("file", place.history_file), ("command", _program(place.history_command)))
    _absolute(values, ("work_tree", place.history_work_tree), ("git_dir", place.history_git_dir))
    values.finish()


def _known(values: TypedMapping, key: str, inventory_names: Collection[str]) -> str:
    told = values.text(key)
    if told and told not in inventory_names:
        values.problem(key, f"{told!r} is not in the inventory")
    return told


def _program(command: tuple[str, ...]) -> str | None:
    return next(iter(command), None)


def _absolute(values: TypedMapping, *paths: tuple[str, str | None]) -> None:
    for key, path in paths:
        if path is not None and not path.startswith("/"):
            values.problem(key, f"must be an absolute path, not {path!r}")
