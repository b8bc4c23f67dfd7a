# Copyright: codeblue.recovery contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which operations of AWS an action may come to, read off its code: no list beside the code can be forgotten.

From the functions of an action all functions are followed whose names are used there, in the modules that it imports.
Two of one name are not told apart, so that rather one operation too many is found than one too few. Nothing is
imported or carried out.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.codeblue.recovery.plugins.module_utils._errors import CodeblueError
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_actions import is_change
from ansible_collections.codeblue.recovery.plugins.plugin_utils._aws_parts import PARTS
from ansible_collections.codeblue.recovery.plugins.plugin_utils._run_opening import collection_root
from ansible_collections.codeblue.recovery.plugins.plugin_utils._runbook_diagnosis import DIAGNOSES

_PACKAGE = "ansible_collections.codeblue.recovery.plugins."
_ASKING = ("ask", "ask_all")
# The client itself hands operations on.
_CLIENT = "plugin_utils/_aws_client.py"
# What is imported by a name that stands in a table.
_TABLES: Mapping[str, tuple[str, ...]] = {
    "plugin_utils/_aws_parts.py": tuple(each.module for each in PARTS.values()),
    "plugin_utils/_runbook_diagnosis.py": tuple(DIAGNOSES.values()),
}


@dataclass(frozen=True, order=True)
class Operation:
    """An operation of a service, both as botocore names them: `ecs`, `update_service`."""

    service: str
    name: str


@dataclass(frozen=True)
class _Question:
    """One call of `ask`: its operation is a text, or an expression that becomes one."""

    service: str
    operation: ast.expr


@dataclass(frozen=True)
class _Function:
    """A function, a method, or what a module or a class does as it is read.

    :param uses: names that it uses.
    :param texts: texts that stand in it.
    :param made: texts that are made in it out of others.
    """

    name: str
    uses: frozenset[str]
    texts: frozenset[str]
    made: tuple[ast.JoinedStr, ...]
    questions: tuple[_Question, ...]


@dataclass(frozen=True)
class _Module:
    """A file.

    :param imports: files of the collection that it imports, as `plugin_utils/_x.py`.
    :param always: what happens as it is imported.
    """

    imports: frozenset[str]
    functions: tuple[_Function, ...]
    always: _Function
    texts: frozenset[str]


def operations_of(actions: Iterable[str]) -> list[Operation]:
    """What some actions may ask of AWS.

    :param actions: names without the collection's.
    :raises CodeblueError: the code asks for an operation in a way that cannot be read.
    """
    return sorted(_operations_of(tuple(sorted(set(actions)))))


@functools.cache
def _operations_of(actions: tuple[str, ...]) -> frozenset[Operation]:
    starts = [f"action/{action}.py" for action in actions]
    # What stands in the tables looks and judges, and is given an account that refuses to change anything.
    looks = frozenset(each for each in _reached(starts, _TABLES) if not is_change(each.name))
    return _reached(starts, {}) | looks


def _reached(starts: Sequence[str], tables: Mapping[str, Sequence[str]]) -> frozenset[Operation]:
    modules = _closure(starts, tables)
    by_name: dict[str, list[tuple[str, _Function]]] = {}
    for path, module in modules.items():
        for function in module.functions:
            by_name.setdefault(function.name, []).append((path, function))
    reached: dict[int, tuple[str, _Function]] = {}
    waiting = [(start, each) for start in starts for each in modules[start].functions]
    waiting += [(path, module.always) for path, module in modules.items()]
    while waiting:
        path, function = waiting.pop()
        if id(function) not in reached:
            reached[id(function)] = (path, function)
            waiting += [each for name in function.uses for each in by_name.get(name, ())]
    return frozenset(
        operation
        for path, function in reached.values()
        for question in function.questions
        for operation in _named(question, path, function, modules, reached.values())
    )


def _named(
    question: _Question,
    path: str,
    function: _Function,
    modules: Mapping[str, _Module],
    reached: Collection[tuple[str, _Function]],
) -> Iterator[Operation]:
    """The operations that an expression may stand for."""
    known = api_names(question.service)
    for expression in _branches(question.operation):
        if isinstance(expression, ast.Constant):
            found = {str(expression.value)} & set(known)
        elif isinstance(expression, ast.JoinedStr):
            # Its parts are texts that stand in the same file.
            found = {name for name in known if _is_made(name, expression, modules[path].texts)}
        else:
            # It is given by whoever calls the function.
            callers = [(where, each) for where, each in reached if each is function or function.name in each.uses]
            found = {name for name in known for _where, each in callers if name in each.texts}
            found |= {
                name
                for where, each in callers
                for made in each.made
                for name in known
                if _is_made(name, made, modules[where].texts)
            }
        if not found:
            raise CodeblueError(
                f"{function.name} asks {question.service} for something that cannot be read: {ast.unparse(expression)}",
                "write the operation as a text",
            )
        yield from (Operation(question.service, name) for name in found)


def _branches(expression: ast.expr) -> list[ast.expr]:
    if isinstance(expression, ast.IfExp):
        return [*_branches(expression.body), *_branches(expression.orelse)]
    return [expression]


def _is_made(name: str, expression: ast.JoinedStr, texts: frozenset[str]) -> bool:
    pattern = "".join(
        re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)" for part in expression.values
    )
    found = re.fullmatch(pattern, name)
    return found is not None and all(part in texts for part in found.groups())


@functools.cache
def api_names(service: str) -> Mapping[str, str]:
    """Operations of a service: how botocore names them, and how the service does.

    :raises CodeblueError: there is no such service.
    """
    import botocore.exceptions
    import botocore.session
    from botocore import xform_name

    try:
        model = botocore.session.Session().get_service_model(service)
    except botocore.exceptions.UnknownServiceError as error:
        raise CodeblueError(f"botocore knows no service {service!r}") from error
    return {xform_name(name): name for name in model.operation_names}


@functools.cache
def signing_name(service: str) -> str:
    """By which name requests to a service are signed."""
    import botocore.session

    return str(botocore.session.Session().get_service_model(service).signing_name)


# -- reading ---------------------------------------------------------------------------------------------------


def _closure(starts: Iterable[str], tables: Mapping[str, Sequence[str]]) -> dict[str, _Module]:
    found: dict[str, _Module] = {}
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = _read(path)
            waiting += found[path].imports
            waiting += [f"plugin_utils/{each}.py" for each in tables.get(path, ())]
    return found


@functools.cache
def _read(path: str) -> _Module:
    tree = ast.parse((collection_root() / "plugins" / path).read_text(encoding="utf-8"))
    functions = [each for each in ast.walk(tree) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    always = _function("", (node for node in ast.walk(tree) if id(node) not in inner), path)
    return _Module(
        imports=frozenset(_imports(tree)),
        functions=tuple(_function(each.name, ast.walk(each), path) for each in functions),
        always=always,
        texts=frozenset(_texts(ast.walk(tree))),
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(_PACKAGE):
            continue
        inside = (node.module or "").removeprefix(_PACKAGE).replace(".", "/")
        names = [inside] if "/" in inside else [f"{inside}/{each.name}" for each in node.names]
        for name in names:
            if (collection_root() / "plugins" / f"{name}.py").is_file():
                yield f"{name}.py"


def _function(name: str, nodes: Iterable[ast.AST], path: str) -> _Function:
    uses: set[str] = set()
    own: set[str] = set()
    attributes: set[str] = set()
    questions: list[_Question] = []
    every = list(nodes)
    for node in every:
        if isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Name):
            (uses if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.Attribute):
            attributes.add(node.attr)
        elif isinstance(node, ast.Call) and path != _CLIENT:
            questions += _question(node)
    made = tuple(node for node in every if isinstance(node, ast.JoinedStr))
    # A variable is no function elsewhere; making an object calls what its class does then.
    return _Function(
        name, frozenset((uses - own) | attributes | _MAKING), frozenset(_texts(every)), made, tuple(questions)
    )


_MAKING = {"__init__", "__enter__", "__post_init__"}


def _question(call: ast.Call) -> list[_Question]:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _ASKING or len(call.args) < 2:
        return []
    service, operation = call.args[:2]
    # Others are asked as well, such as machines; they are given no name of a service.
    if not isinstance(service, ast.Constant) or not isinstance(service.value, str):
        return []
    return [_Question(service.value, operation)]


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def every_action() -> list[str]:
    """The names of all actions of the collection."""
    return sorted(path.stem for path in Path(collection_root() / "plugins" / "action").glob("*.py"))
