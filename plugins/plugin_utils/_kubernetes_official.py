# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of the official client that are used: accounts and connections.

`import kubernetes` loads some 700 classes of objects, most of its 0.3 s, in every process that asks a cluster. Objects
are plain JSON here, so the packages around the parts are stood in for while these are loaded. Afterwards nothing of it
stays in the table of modules: whoever else imports the client in this process gets it whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import typing as t
from pathlib import Path

_PACKAGE = "kubernetes"
_CLIENT = f"{_PACKAGE}.client"


class _Parts(t.NamedTuple):
    """The modules of the client with these names."""

    configuration: t.Any
    api_client: t.Any
    exceptions: t.Any
    config: t.Any
    kube_config: t.Any


def _import_parts() -> _Parts:
    return _Parts(
        configuration=importlib.import_module(f"{_CLIENT}.configuration"),
        api_client=importlib.import_module(f"{_CLIENT}.api_client"),
        exceptions=importlib.import_module(f"{_CLIENT}.exceptions"),
        config=importlib.import_module(f"{_PACKAGE}.config"),
        kube_config=importlib.import_module(f"{_PACKAGE}.config.kube_config"),
    )


def _import_without_models(places: list[str]) -> _Parts:
    package, client = types.ModuleType(_PACKAGE), types.ModuleType(_CLIENT)
    package.__path__ = places
    client.__path__ = [str(Path(place) / "client") for place in places]
    models = types.ModuleType(f"{_CLIENT}.models")
    try:
        sys.modules.update({_PACKAGE: package, _CLIENT: client, models.__name__: models})
        package.__dict__["client"], client.__dict__["models"] = client, models
        # What the other parts take from the package itself.
        client.__dict__["Configuration"] = importlib.import_module(f"{_CLIENT}.configuration").Configuration
        client.__dict__["ApiClient"] = importlib.import_module(f"{_CLIENT}.api_client").ApiClient
        return _import_parts()
    finally:
        for name in [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]


def _load() -> _Parts:
    spec = None if _PACKAGE in sys.modules else importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        try:
            return _import_without_models(list(spec.submodule_search_locations))
        except (ImportError, AttributeError):
            # Another version is put together in another way. The whole of it takes longer and works the same.
            pass
    return _import_parts()


_parts = _load()
Configuration = _parts.configuration.Configuration
ApiClient = _parts.api_client.ApiClient
ApiException = _parts.exceptions.ApiException
config = _parts.config
kube_config = _parts.kube_config
