# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Features that others make of a service and can do without, and the flags by which they are told so."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ansible_collections.codeblue.recovery.plugins.plugin_utils._typed_mapping import TypedMapping


@dataclass(frozen=True)
class FlagPlace:
    """One place that holds the flags of whoever uses the feature: a file, or two commands.

    :param machine: the inventory name.
    :param file: holds one JSON object.
    :param read_command: prints one JSON object.
    :param write_command: takes a JSON object of changes on its standard input.
    """

    machine: str
    file: str | None = None
    read_command: tuple[str, ...] = ()
    write_command: tuple[str, ...] = ()

    def as_arguments(self) -> dict[str, t.Any]:
        """As the module `feature_flag` takes it."""
        if self.file is not None:
            return {"path": self.file}
        return {"read_command": list(self.read_command), "write_command": list(self.write_command)}


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


def read_feature(values: TypedMapping, name: str, inventory_names: Collection[str]) -> Feature:
    """Read one of `codeblue_host.features`; what is wrong goes to the problems of the mapping."""

    def known(item: TypedMapping, key: str, told: str) -> str:
        if told and told not in inventory_names:
            item.problem(key, f"{told!r} is not in the inventory")
        return told

    used_by = known(values, "used_by", values.text("used_by"))
    feature = Feature(
        name=name,
        used_by=used_by,
        enabled=values.text("enabled"),
        share=values.optional_text("share"),
        places=tuple(_read_place(item, known) for item in values.listed("places")),
    )
    if not feature.places:
        values.problem("places", "is missing, name every place that holds the flags")
    values.finish()
    return feature


def _read_place(values: TypedMapping, known: Callable[[TypedMapping, str, str], str]) -> FlagPlace:
    place = FlagPlace(
        machine=known(values, "machine", values.text("machine")),
        file=values.optional_text("file"),
        read_command=values.texts("read_command"),
        write_command=values.texts("write_command"),
    )
    by_command = bool(place.read_command or place.write_command)
    if (place.file is None) != by_command:
        values.problem("file", "or read_command and write_command must be given, one of the two ways")
    if by_command and not (place.read_command and place.write_command):
        values.problem("write_command", "and read_command belong together")
    for key, path in (
        ("file", place.file),
        ("read_command", next(iter(place.read_command), None)),
        ("write_command", next(iter(place.write_command), None)),
    ):
        if path is not None and not path.startswith("/"):
            values.problem(key, f"must be an absolute path, not {path!r}")
    values.finish()
    return place
