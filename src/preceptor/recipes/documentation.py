"""docs/recipes.md, written from the configuration by `make docs`; a test holds it equal."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from preceptor.config import Recipe

INTRODUCTION = """\
# Recipe keys

Written by `make docs` from `src/preceptor/config.py`; change it there.

A recipe is a YAML file without logic. `extends: NAME` starts from a built-in recipe or another
file, `--set ppo.kl_coef=0.05` overrides one key, and `ppo_ptx` starts from the keys of `ppo`.
A recipe without a `name` is named after its file. Unknown keys and impossible values are refused
before anything runs. `preceptor recipe schema` prints the same as a JSON schema for editors.
"""


def recipes_markdown() -> str:
    """Every key of a recipe with its type, default and meaning."""
    parts = [INTRODUCTION, *key_table("The recipe", Recipe)]
    paths: dict[type[BaseModel], list[str]] = {}
    for path, section in _sections(Recipe, ""):
        paths.setdefault(section, []).append(f"`{path}`")
    for section, where in paths.items():
        parts += key_table(", ".join(where), section)
    return "\n".join(parts)


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        for option in _options(info.annotation):
            if isinstance(option, type) and issubclass(option, BaseModel):
                path = f"{prefix}{name}"
                yield path, option
                yield from _sections(option, path + ".")


def key_table(title: str, model: type[BaseModel]) -> list[str]:
    """The lines of a section's keys."""
    lines = [f"## {title}", "", (model.__doc__ or "").strip(), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        bounds = "".join(_bounds(info.metadata))
        kind = _type_name(info.annotation) + bounds
        meaning = (info.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {_default(info)} | {meaning} |")
    return [*lines, ""]


def _default(info: Any) -> str:
    if info.default_factory is not None:
        return "its own"
    if info.default is PydanticUndefined:
        return "needed"
    if info.default is None:
        return "null"
    is_flag = isinstance(info.default, bool)
    return f"`{str(info.default).lower() if is_flag else info.default}`"


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if annotation is NoneType:
        return "null"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    if get_origin(annotation) is dict:
        return "numbers by name"
    if get_origin(annotation) is list:
        [inner] = get_args(annotation)
        return f"list of {_type_name(inner)}"
    options = _options(annotation)
    if len(options) > 1:
        return " or ".join(_type_name(option) for option in options)
    return "section"


def _options(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for rule in metadata:
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(rule, attribute, None) is not None:
                yield f", {sign} {getattr(rule, attribute)}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(recipes_markdown(), encoding="utf-8")
