"""The documents say what is: keys, commands, metrics, alarms, links and the paper map."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from packaging.requirements import Requirement
from packaging.version import Version
from pydantic import BaseModel
from typer.main import get_command

import preceptor.functional
from preceptor.cli import app
from preceptor.config import PPOConfig, PretrainConfig, Recipe, RewardConfig
from preceptor.data.records import Demonstration, Document, Prompt, Ranking, parse_record
from preceptor.evaluation.probes import PROBES
from preceptor.labeling.api import router as api_router
from preceptor.recipes import list_recipes, load_recipe
from preceptor.recipes.documentation import recipes_markdown
from preceptor.store import tables

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


README = read(ROOT / "README.md")


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from keys_of(option)


def commands_of(typer_app: Any, prefix: str = "preceptor") -> Iterator[str]:
    for command in typer_app.registered_commands:
        yield f"{prefix} {command.name or command.callback.__name__}"
    for group in typer_app.registered_groups:
        yield from commands_of(group.typer_instance, f"{prefix} {group.name}")


def test_recipes_md_is_what_the_configuration_says():
    assert read(DOCS / "recipes.md") == recipes_markdown(), "run `make docs`"


def test_every_recipe_key_is_documented_with_its_meaning():
    text = read(DOCS / "recipes.md")
    missing = [key for key in keys_of(Recipe) if f"| `{key}` |" not in text]
    assert not missing
    assert not re.findall(r"^\| `\w+` \|.*\|\s+\|$", text, re.MULTILINE), "keys without a meaning"


def test_every_command_is_in_the_readme():
    commands = list(commands_of(app))
    assert len(commands) > 10
    assert not [c for c in commands if not re.search(rf"{c}( |`)", README)]


def test_every_command_of_the_readme_exists():
    text = README + read(DOCS / "metrics.md")
    known = {c.split()[1] for c in commands_of(app)}
    named = set(re.findall(r"(?:`|^)preceptor ([a-z]+)", text, re.MULTILINE))
    assert named <= known
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_what_tests_of_real_records_need_is_said_and_given():
    """They are skipped without, and `make test-slow` takes them where the folder is named."""
    files = [read(path) for path in (ROOT / "tests").rglob("test_*.py")]
    asked = {name for text in files for name in re.findall(r'environ.get\("(PRECEPTOR_\w+)"', text)}
    assert asked == {"PRECEPTOR_REAL_DATA"}
    assert "`PRECEPTOR_REAL_DATA=FOLDER make test`" in README
    told = {}
    for folder in ("", "/real"):
        arguments = ["make", "-n", "-o", ".venv/installed", "test-slow"]
        given = os.environ | {"PRECEPTOR_REAL_DATA": folder}
        shown = subprocess.run(arguments, cwd=ROOT, env=given, capture_output=True, text=True)
        told[folder] = re.findall(r' -m "(.*)"', shown.stdout)
    assert told == {"": ["(slow) and not browser"], "/real": ["(slow or real) and not browser"]}


def test_the_readme_s_recipe_is_valid(tmp_path: Path):
    [block] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert recipe.name == "mine"
    assert len(block.splitlines()) == 3


@pytest.mark.parametrize("kind", [Document, Prompt, Demonstration, Ranking])
def test_the_record_formats_of_the_readme_have_the_keys_that_are_read(kind: Any):
    [line] = re.findall(rf"^{kind.__name__.lower()} +(\{{.*\}})$", README, re.MULTILINE)
    keys = set(re.findall(r'"(\w+)":', line))
    values = {"responses": ["a", "b"], "ranks": [1, 2]}
    record = parse_record({key: values.get(key, "x") for key in keys}, kind, "README.md")
    assert record.meta == {}, "these keys are not read"


def test_built_in_recipes_are_in_the_readme():
    assert not [name for name in list_recipes() if f"`{name}`" not in README]


def test_every_room_is_in_the_readme_and_every_room_of_the_readme_exists():
    package = ROOT / "src" / "preceptor"
    rooms = {p.name + "/" for p in package.iterdir() if (p / "__init__.py").is_file()}
    [tree] = re.findall(r"```\nsrc/preceptor/\n(.*?)```", README, re.DOTALL)
    named = set(re.findall(r"^  ([a-z_]+(?:/|\.py))", tree, re.MULTILINE))
    assert rooms - {"recipes/"} <= named  # recipes/ stands beside config.py
    assert not [name for name in named if not (package / name).exists()]


def test_links_inside_the_repository_resolve():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(page)):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_every_metric_is_documented():
    text = read(DOCS / "metrics.md")
    named = set()
    for path in sorted((ROOT / "src" / "preceptor" / "stages").glob("*.py")):
        named |= set(re.findall(r'"((?:pretrain|sft|reward|ppo)/[a-z][a-z0-9_]*)"', read(path)))
    assert len(named) > 20
    # Names that also name random streams, such as "ppo/sample", are not metrics.
    streams = {
        "pretrain/sample",
        "ppo/sample",
        "ppo/minibatch",
        "ppo/ptx",
        "sft/valid",
        "sft/ptx",
        "reward/head",
    }
    assert not sorted(name for name in named - streams if f"| `{name}` |" not in text)


def test_every_alarm_is_documented():
    tree = ast.parse(read(ROOT / "src" / "preceptor" / "training" / "alarms.py"))
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Alarm"
    ]
    names = [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]
    assert len(names) > 5
    assert not [name for name in names if f"| `{name}` |" not in read(DOCS / "metrics.md")]


def test_every_table_of_the_label_store_is_documented():
    text = read(DOCS / "labels.md")
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert named == set(tables.Base.metadata.tables)
    only_added = set(re.findall(r"^\| `(\w+)` \|.*; append-only \|", text, re.MULTILINE))
    assert only_added == set(tables.APPEND_ONLY)


def test_the_commands_of_the_label_page_are_taken_by_the_command_line():
    [block] = re.findall(r"```\n(preceptor label init .*?)```", read(DOCS / "labels.md"), re.DOTALL)
    for line in block.splitlines():
        _, *words = shlex.split(line, comments=True)
        command = get_command(app)
        context = command.make_context("preceptor", list(words), resilient_parsing=True)
        group = command.get_command(context, words[0])
        chosen = group.get_command(context, words[1])
        chosen.make_context(words[1], words[2:])


def test_the_interface_s_page_names_every_request_and_no_other():
    text = read(DOCS / "api.md")
    named = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", text, re.MULTILINE))
    bare = FastAPI(openapi_url=None)
    bare.include_router(api_router)
    known = {
        f"{method} {route.path}"
        for route in iter_route_contexts(bare.routes)
        for method in route.methods or ()
    }
    assert named == known


def test_every_probe_is_documented():
    assert not [name for name in PROBES if f"| `{name}` |" not in read(DOCS / "metrics.md")]


def defined_in(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(read(path))) if isinstance(node, kinds)}


def test_the_paper_map_names_what_exists():
    misses = []
    for place in re.findall(r"`((?:preceptor|tests)/[^`]+)`", read(DOCS / "paper-map.md")):
        name, _, function = place.partition(":")
        path = (ROOT / "src" if name.startswith("preceptor") else ROOT) / name
        if not path.is_file():
            misses.append(f"{place}: no such file")
        elif function and function not in defined_in(path):
            misses.append(f"{place}: no such function")
    assert not misses, "\n".join(misses)


def test_every_rule_of_the_checklist_stands_in_the_paper_map_with_code_and_test():
    rows = re.findall(r"^\| (\d+) \|(.*)$", read(DOCS / "paper-map.md"), re.MULTILINE)
    optional = {26}  # whitening of rewards: we have it not
    assert {int(number) for number, _ in rows} == set(range(1, 54)) - optional
    assert [n for n, row in rows if "`preceptor/" not in row or "`tests/" not in row] == []


def test_every_function_of_the_mathematics_stands_in_the_paper_map():
    text = read(DOCS / "paper-map.md")
    names = preceptor.functional.__all__
    assert not [name for name in names if f":{name}`" not in text]


def test_the_paper_s_values_are_the_defaults():
    ppo = PPOConfig()
    assert (ppo.kl_coef, ppo.clip_range, ppo.gamma, ppo.num_epochs) == (0.02, 0.2, 1.0, 1)
    assert (ppo.ema_decay, ppo.temperature, ppo.schedule) == (0.992, 1.0, "constant")
    assert (ppo.adam_eps, ppo.warmup_fraction, ppo.max_grad_norm) == (1e-5, 0.02, 1.0)
    assert (ppo.value_clip_range, ppo.whiten_advantages, ppo.gae_lambda) == (0.2, True, 0.95)
    assert (ppo.kl_target, ppo.scale_scores, ppo.score_clip, ppo.value_from) == (
        None,
        False,
        None,
        "reward",
    )
    assert (ppo.adam_eps, ppo.value_clip_range, ppo.max_grad_norm) == (1e-5, 0.2, 1.0)
    assert RewardConfig().num_epochs == 1
    assert (RewardConfig().schedule, RewardConfig().final_fraction) == ("cosine", 0.1)
    assert (PretrainConfig().adam_beta1, PretrainConfig().adam_beta2) == (0.9, 0.95)
    assert PretrainConfig().final_fraction == 0.1


def pins() -> dict[str, Version]:
    lines = [line for line in read(ROOT / "constraints.txt").splitlines() if line[:1] != "#"]
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[^+\s]+", line)]
    pairs = [line.split("==") for line in lines]
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def test_every_requirement_is_loose_in_pyproject_and_pinned_in_constraints():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["label"], *extras["dev"]]
    pinned = pins()
    for requirement in map(Requirement, wanted):
        if requirement.name == "preceptor":  # an extra of our own
            assert requirement.extras <= set(extras)
            continue
        assert pinned[requirement.name.lower()] in requirement.specifier
        assert "==" not in str(requirement)
    assert str(pinned["torch"]) == "2.13.0"


def test_libraries_of_the_installation_are_explained():
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    text = read(DOCS / "decisions.md")
    assert not [r for r in project["dependencies"] if f"| {Requirement(r).name} |" not in text]


def test_every_entry_of_the_log_stands_in_its_block_the_newest_first():
    before, example, preface, entries, after = re.split(
        r"^```\n", (DOCS / "log.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    dates = re.findall(r"^\d{4}-\d\d-\d\d", entries, re.MULTILINE)
    assert entries.startswith(dates[0])
    assert dates == sorted(dates, reverse=True)
    assert "Intervals are 95 %" in preface and "YYYY-MM-DD" in example
    assert not re.search(r"^\d{4}", before + preface + after, re.MULTILINE)


def test_no_index_or_mirror_is_named():
    for name in ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run"):
        assert "://" not in read(ROOT / name)
        assert "index-url" not in read(ROOT / name)
