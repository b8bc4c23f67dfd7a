# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is sent to a machine to run one of this collection's modules there.

Ansible packs a module with all that `AnsibleModule` needs, and the machine imports that before it does anything: more
than half of the time that a short module takes. The modules here need the standard library and each other only, so
they are sent by themselves, with a reader for their arguments. Nothing is written to the machine's disk, and arguments
are on no command line. See docs/decisions/0033-modules-are-sent-without-ansible.md for what it saves.
"""

from __future__ import annotations

import functools
import importlib.machinery
import json
import types
import typing as t
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

_PLUGINS = "ansible_collections.codeblue.recovery.plugins"
_LIBRARY = f"{_PLUGINS}.module_utils"
_SENT = f"{_LIBRARY}._sent_module"
_FOLDER = Path(__file__).resolve().parent.parent

# Python reads a program on standard input line by line, and takes a quarter of a second for one long line; what it
# reads from there by itself takes none. The program ends at the first zero byte, what follows is for it.
START = "import sys; sent = sys.stdin.buffer.read(); exec(sent[:sent.index(0)])"
# Runs on Python 3.8 and later. What fails outside of a module's own errors says where and not what: the text of an
# exception may hold anything.
_PROGRAM = """\
import importlib, json, sys, zlib
from importlib.machinery import ModuleSpec
start = sent.index(0) + 1
sources = json.loads(zlib.decompress(sent[start : start + {length}]))
packages = {packages!r}
class Sent:
    def find_spec(self, name, path=None, target=None):
        if name in sources or name in packages:
            return ModuleSpec(name, self, is_package=name in packages)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__name__
        if name in sources:
            exec(compile(sources[name], name.rsplit(".", 1)[-1], "exec", dont_inherit=True), module.__dict__)
sys.meta_path.insert(0, Sent())
try:
    importlib.import_module({sent!r}).ARGUMENTS = json.loads(sent[start + {length} :])
    importlib.import_module({module!r}).main()
except SystemExit:
    raise
except BaseException as error:
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    where = "%s line %d" % (place.tb_frame.f_code.co_filename.rsplit("/", 1)[-1], place.tb_lineno)
    text = "the module ended by %s in %s: this is a defect, report it" % (type(error).__name__, where)
    print("\\n" + json.dumps(dict(failed=True, msg=text)))
    sys.exit(1)
"""


def program(module: str, arguments: Mapping[str, t.Any]) -> bytes:
    """What to give on standard input to a Python that was started with `-c START`; the module's answer is one line.

    :param module: its name without the collection.
    :param arguments: plain data; what Ansible adds, such as check mode, among it.
    """
    name = f"{_PLUGINS}.modules.{module}"
    data = _sources(name)
    parents = _PLUGINS.split(".")
    text = _PROGRAM.format(
        length=len(data),
        packages=[*(".".join(parents[:end]) for end in range(1, 5)), _LIBRARY, f"{_PLUGINS}.modules"],
        sent=_SENT,
        module=name,
    )
    return text.encode() + b"\0" + data + json.dumps(arguments).encode()


@functools.lru_cache(maxsize=8)
def _sources(name: str) -> bytes:
    sources = {each: _file_of(each).read_text(encoding="utf-8") for each in _needed_by(name)}
    return zlib.compress(json.dumps(sources).encode(), 6)


def _needed_by(name: str) -> Iterator[str]:
    """The module, and everything of the collection that it imports."""
    waiting, seen = [_SENT, name], {_SENT, name}
    while waiting:
        each = waiting.pop()
        yield each
        # Python keeps the bytecode beside its sources, so that nothing has to be parsed to find the imports.
        code = importlib.machinery.SourceFileLoader(each, str(_file_of(each))).get_code(each)
        if code is None:
            raise ImportError(f"{each} has no code", name=each)
        for imported in _imports(code):
            if imported not in seen:
                seen.add(imported)
                waiting.append(imported)


def _imports(code: types.CodeType) -> Iterator[str]:
    """The library's modules that the code imports, in functions too: an import names its module in full."""
    yield from (name for name in code.co_names if name.startswith(f"{_LIBRARY}."))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imports(constant)


def _file_of(name: str) -> Path:
    return _FOLDER.joinpath(*name.removeprefix(f"{_PLUGINS}.").split(".")).with_suffix(".py")
