"""Read recipes: built-in names or YAML files, `extends`, `--set`, and errors that help."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from preceptor.config import Recipe
from preceptor.errors import RecipeError

BUILT_IN = Path(__file__).parent


def list_recipes() -> dict[str, str]:
    """Built-in recipes with the first line of their comment."""
    found = {}
    for path in sorted(BUILT_IN.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        found[path.stem] = first.lstrip("# ").strip()
    return found


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Resolve a recipe and validate it; every problem is in the one `RecipeError`."""
    label, values = _read(name_or_path, seen=())
    before = values
    values = dict(values)
    for override in overrides:
        set_value(values, override)
    values = _without_ppo(values, before)
    return validate_recipe(values, label)


def validate_recipe(values: dict[str, Any], label: str) -> Recipe:
    """Check raw values; `ppo_ptx` starts from the keys of `ppo`, `ppo_start` from `sft`'s."""
    values = dict(values)
    if isinstance(values.get("sft"), dict) and isinstance(values.get("ppo_start"), dict):
        own = ("num_epochs", "ptx_fraction")  # the paper's differ from SFT's
        shared = {key: value for key, value in values["sft"].items() if key not in own}
        values["ppo_start"] = _merge(shared, values["ppo_start"])
    if isinstance(values.get("ppo"), dict) and isinstance(values.get("ppo_ptx"), dict):
        values["ppo_ptx"] = _merge(values["ppo"], values["ppo_ptx"])
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems: list[dict[str, Any]] = [dict(problem) for problem in error.errors()]
        # A mapping for `model` is an architecture: that it is no text either helps nobody.
        no_text = (("model", "str"), ("tokenizer", "str"))
        helpful = [p for p in problems if not (p["loc"] in no_text and len(problems) > 1)]
        # What one section took over from another is wrong once, not twice.
        for giver, taker in (("ppo", "ppo_ptx"), ("sft", "ppo_start")):
            told = {(p["loc"][1:], p["msg"]) for p in helpful if p["loc"][:1] == (giver,)}
            helpful = [
                p
                for p in helpful
                if p["loc"][:1] != (taker,) or (p["loc"][1:], p["msg"]) not in told
            ]
        lines = [explain(label, problem) for problem in helpful]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML that loads to the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of a YAML file, as they stand there.

    Raises:
        RecipeError: it is no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text. A recipe is a YAML file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise RecipeError(f"{path}{where}: not YAML: {problem}.") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a list of `key: value` lines.")
    return values


def _read(name_or_path: str, seen: tuple[Path, ...]) -> tuple[str, dict[str, Any]]:
    built_in = BUILT_IN / f"{name_or_path}.yaml"
    path = built_in if built_in.is_file() else Path(name_or_path)
    if not path.is_file():
        names = list(list_recipes())
        near = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" Built-in recipes: {', '.join(names)}."
        raise RecipeError(f"{name_or_path}: no such recipe or file.{hint}")
    if path.resolve() in seen:
        raise RecipeError(f"{path}: it extends itself, by way of {seen[-1].name}.")
    label = path.name
    values = read_yaml(path)
    if "sources" in values:
        raise RecipeError(
            f"{path}: a recipe of a corpus, it has sources. `preceptor corpus build {path}` builds "
            "it."
        )
    # A recipe without a name is named after its file, never after the recipe that it extends:
    # two recipes must not share a run folder by accident.
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")
    values.setdefault("name", stem or "run")
    base = values.pop("extends", None)
    if base is not None:
        beside = path.parent / str(base)
        _, parent = _read(str(beside if beside.is_file() else base), (*seen, path.resolve()))
        if "demonstrations" in values:  # one's own demonstrations bring their own prompts
            parent.pop("prompts", None)
        values = _without_ppo(_merge(parent, values), parent)
    return label, values


def _without_ppo(values: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Where `ppo: null` takes plain PPO out, PPO-ptx keeps the keys that it took from there."""
    ppo, ppo_ptx = before.get("ppo"), values.get("ppo_ptx")
    dropped = "ppo" in values and values["ppo"] is None
    if dropped and isinstance(ppo, dict) and isinstance(ppo_ptx, dict):
        return values | {"ppo_ptx": _merge(ppo, ppo_ptx)}
    return values


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Keys of `over` win; sections are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def set_value(values: dict[str, Any], override: str) -> None:
    """Set one key of raw values as `--set KEY=VALUE` says."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {override}: write it as key=value, such as ppo.kl_coef=0.05.")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: {text!r} is not a YAML value.") from None
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        value = float(value)  # YAML 1.1 reads 1e-5 as text
    *sections, last = key.strip().split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            if section == "ppo" and isinstance(values.get("ppo_ptx"), dict):
                raise RecipeError(
                    f"--set {override}: this recipe has no ppo section, and one key would add the "
                    f"whole stage. Set ppo_ptx.{last}, or give ppo in a file."
                )
            values[section] = {}
        values[section] = dict(values[section])
        values = values[section]
    values[last] = value


def explain(label: str, problem: dict[str, Any], model: type[BaseModel] = Recipe) -> str:
    """One of pydantic's problems as a line that names the key, the rule and the way out."""
    parts = [str(part) for part in problem["loc"]]
    inner = ("str", "Architecture", "TokenizerConfig", "[key]")  # pydantic's own words
    location = [p for p in parts if p not in inner and "function-after" not in p]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        named = _nearest_key(location, model)
        hint = f"Did you mean {named}?" if named else "`preceptor recipe schema` lists them."
        return f"{label}: {key}: no such key. {hint}"
    if problem["type"] == "missing":
        return f"{label}: {key} is missing. It needs a value."
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{label}: {key + ': ' if key else ''}{message}."
    return f"{label}: {key} is {problem['input']!r}: {message[0].lower()}{message[1:]}."


def _nearest_key(location: Sequence[str], model: type[BaseModel]) -> str | None:
    """The valid key nearest to a wrong one: in its section, or the same name in another one."""
    *section, last = location
    near = difflib.get_close_matches(last, _fields_at(section, model), n=1, cutoff=0.6)
    if near:
        return ".".join([*section, near[0]])
    named = [name for name in model.model_fields if last in _fields_at([name], model)]
    return " or ".join(f"{name}.{last}" for name in named) or None


def _fields_at(location: Sequence[str], model: type[BaseModel]) -> list[str]:
    """Valid keys of the section at `location`; numbers are places in a list of sections."""
    section: type[BaseModel] | None = model
    for part in location:
        if part.isdigit():
            continue
        field = section.model_fields.get(part) if section else None
        section = _section_of(field.annotation) if field else None
    return list(section.model_fields) if section else []


def _section_of(annotation: Any) -> type[BaseModel] | None:
    options = (annotation, *get_args(annotation))
    found = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
    return found[0] if found else None
