"""
What of a package others rely on, as plain data: names, parameters, commands, options, extras.

`python tests/release/surface.py FOLDER PACKAGE` prints it as JSON, of the package that lies in the
folder. It imports the package, and so sees what a reader of its text does not: signatures that
attrs makes, members of enumerations, keys of typed dictionaries, and the command line. It knows
nothing of this repository, since it is run on older versions of it, too.

A fact is a path and what is there. ``shop.Cart(size)`` is a parameter, which is required or
optional; ``shop.Cart(#0)`` is the name of the first that can be given by position;
``shop.Options[rate]`` is a key; ``$ shop buy --fast`` is an option.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import inspect
import json
import pathlib
import pkgutil
import sys
import tomllib
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

REQUIRED, OPTIONAL = "required", "optional"


def facts(folder: pathlib.Path, package: str) -> dict[str, str]:
    """Return all that is to be kept of a package and its project."""
    return {
        **dict(_project(folder / "pyproject.toml")),
        **dict(_modules(package)),
        **dict(_commands(package)),
    }


def _project(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    yield "requires-python", project["requires-python"]
    for name in project.get("optional-dependencies", {}):
        yield f"extra {name}", "extra"
    groups = {"scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    for group, points in groups.items():
        for name in points:
            yield f"{group} {name}", "entry point"


def _modules(package: str) -> Iterator[tuple[str, str]]:
    root = importlib.import_module(package)
    found = pkgutil.walk_packages(root.__path__, f"{package}.")
    names = [name for _, name, _ in found if "._" not in name]
    for name in (package, *names):
        module = importlib.import_module(name)
        yield name, "module"
        for public in _public_names(module):
            yield from _value(f"{name}.{public}", getattr(module, public))


def _public_names(module: types.ModuleType) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    # Without a list: what is defined there, rather than what was imported for it.
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        if inspect.isclass(value) or inspect.isfunction(value)
    ]


def _value(path: str, value: object) -> Iterator[tuple[str, str]]:
    if inspect.isclass(value):
        yield path, "class"
        # What is exported once more from a public module is told of there.
        home = value.__module__
        if home == path.rpartition(".")[0] or "._" in home or home == "builtins":
            yield from _class(path, value)
    elif callable(value) and not isinstance(value, type):
        yield path, "function"
        yield from _parameters(path, value)
    else:
        yield path, "value"


def _class(path: str, kind: type[Any]) -> Iterator[tuple[str, str]]:
    if issubclass(kind, enum.Enum):
        for member in kind:
            yield f"{path}.{member.name}", f"member {member.value!r}"
        return
    if typing.is_typeddict(kind):
        for name in (*kind.__required_keys__, *kind.__optional_keys__):
            yield f"{path}[{name}]", REQUIRED if name in kind.__required_keys__ else OPTIONAL
        return
    yield from _parameters(path, kind)
    for name, member in inspect.getmembers_static(kind):
        if not name.startswith("_"):
            plain = getattr(member, "__func__", member)  # of a class method or a static one
            if inspect.isfunction(plain):
                yield f"{path}.{name}", "method"
                yield from _parameters(f"{path}.{name}", getattr(kind, name))
            else:
                yield f"{path}.{name}", "attribute"


def _parameters(path: str, called: Any) -> Iterator[tuple[str, str]]:
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except ValueError:  # it is written in C
        return
    place = 0
    for parameter in parameters:
        if parameter.name in {"self", "cls"}:
            continue
        several = parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        needed = parameter.default is parameter.empty and not several
        yield f"{path}({parameter.name})", REQUIRED if needed else OPTIONAL
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            yield f"{path}(#{place})", parameter.name
            place += 1


def _commands(package: str) -> Iterator[tuple[str, str]]:
    if importlib.util.find_spec(f"{package}.cli") is not None:
        yield from _command("$", importlib.import_module(f"{package}.cli").cli)


def _command(path: str, command: Any) -> Iterator[tuple[str, str]]:
    yield path, "command"
    for status in getattr(command, "statuses", ()):
        yield f"{path} exits with {status}", "exit status"
    for param in command.params:
        told = param.to_info_dict()
        needed = REQUIRED if told["required"] else OPTIONAL
        if told["param_type_name"] == "argument":
            yield f"{path} {param.name.upper()}", needed
            continue
        for name in (*told["opts"], *told["secondary_opts"]):
            yield f"{path} {name}", needed
        first = f"{path} {told['opts'][0]}"
        yield f"{first}, by default", repr(told["default"])
        yield f"{first}, if given alone", repr(told["is_flag"])
        for choice in told["type"].get("choices", ()):
            yield f"{first}={choice}", "choice"
    for name, below in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", below)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    json.dump(facts(pathlib.Path(sys.argv[1]), sys.argv[2]), sys.stdout)
