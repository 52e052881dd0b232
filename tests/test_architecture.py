"""The rooms: imports point one way, the mathematics stays pure, nothing is ever unpickled."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import preceptor

ROOT = Path(preceptor.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# What each room may import of the others. Everybody may import EVERYBODY's.
EVERYBODY = {"errors", "config", "randomness"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "randomness": set(),
    "functional": set(),
    "statistics": set(),
    "recipes": {"data"},
    "data": {"statistics"},
    "models": {"functional", "data"},
    "generation": {"functional", "data", "models"},
    "training": {"functional", "data", "models"},
    "stages": {"functional", "statistics", "data", "models", "generation", "training"},
    "miniature": {"functional", "statistics", "data", "generation"},
    "evaluation": {"functional", "statistics", "data", "models", "generation", "miniature"},
    "report": set(),
    "corpus": {"data", "models", "recipes", "statistics"},
    "store": {"data", "statistics"},
    "labeling": {"data", "store", "statistics"},
    "simulation": {"data", "evaluation", "store", "labeling"},
    "steps": {
        "recipes",
        "store",
        "labeling",
        "simulation",
        "statistics",
        "data",
        "models",
        "generation",
        "training",
        "stages",
        "miniature",
        "evaluation",
    },
    "pipeline": {
        "data",
        "models",
        "training",
        "stages",
        "evaluation",
        "report",
        "recipes",
        "steps",
    },
    "chat": {"data", "models", "generation", "recipes"},
    "label_store": {"store"},
    "label_people": {"label_store", "store", "labeling"},
    "label_erase": {"label_store", "store"},
    "label_results": {"label_store", "labeling"},
    "label_attention": {"label_store", "store"},
    "label_simulate": {"label_store", "labeling", "recipes", "simulation"},
    "label": {
        "data",
        "chat",
        "store",
        "steps",
        "label_people",
        "label_erase",
        "label_results",
        "label_attention",
        "label_simulate",
        "label_store",
    },
    "data_commands": {"data", "models", "recipes"},
    "corpus_command": {"corpus", "data", "models"},
    "cli": {"recipes", "pipeline", "chat", "label", "data_commands", "corpus_command"},
    "__main__": {"cli"},
}
# The one place where the sources come together, and the one where texts become tokens.
EXCEPTIONS = {
    ("data/sources.py", "miniature"),
    ("data/batching.py", "models"),
}
NARROW = {
    "functional": set(),
    "statistics": {"errors"},
    "report": {"errors"},
    "store": {"errors"},
    "labeling": {"errors"},
    "errors": set(),
}
OUTSIDE_OF_FUNCTIONAL = {"dataclasses", "torch", "jaxtyping", "math", "collections"}
OUTSIDE_OF_STATISTICS = {"numpy", "scipy"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # `from preceptor import steps` imports a room, not a name.
            names = [f"preceptor.{a.name}" for a in node.names] if module == "preceptor" else []
            yield from names or [module]


def own_rooms_of(path: Path) -> set[str]:
    modules = imports_of(ast.parse(path.read_text(encoding="utf-8")))
    return {m.split(".")[1] for m in modules if m.startswith("preceptor.")} - {"__version__"}


def outside_of(room: str) -> set[str]:
    found = set()
    for path in FILES:
        if room_of(path) == room:
            found |= {m.split(".")[0] for m in imports_of(ast.parse(path.read_text()))}
    return found - {"preceptor"}


def test_every_room_stands_in_the_table():
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(ALLOWED)


def test_imports_point_one_way():
    wrong = []
    for path in FILES:
        room = room_of(path)
        if room == "__init__":
            continue
        allowed = ALLOWED[room] | NARROW.get(room, EVERYBODY) | {room}
        wrong += [
            f"{name_of(path)} imports {other}"
            for other in sorted(own_rooms_of(path) - allowed)
            if (name_of(path), other) not in EXCEPTIONS
        ]
    assert not wrong, "\n".join(wrong)


def test_no_room_of_the_table_leads_back_to_itself():
    def reachable(room: str, seen: frozenset[str] = frozenset()) -> set[str]:
        assert room not in seen, f"{room} leads back to itself"
        below = ALLOWED[room] | NARROW.get(room, EVERYBODY - {room})
        below = set() if room in EVERYBODY else below
        return below.union(*(reachable(other, seen | {room}) for other in below))

    for room in ALLOWED:
        reachable(room)


def test_exceptions_are_still_needed():
    used = {(name_of(path), other) for path in FILES for other in own_rooms_of(path)}
    assert used >= EXCEPTIONS


def test_the_mathematics_imports_torch_and_nothing_else():
    assert outside_of("functional") <= OUTSIDE_OF_FUNCTIONAL


def test_statistics_import_no_torch():
    standard = set(sys.stdlib_module_names)
    assert outside_of("statistics") - standard <= OUTSIDE_OF_STATISTICS


def test_the_report_needs_no_torch():
    code = "import sys, preceptor.report; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_store_needs_no_torch_and_knows_no_web():
    found = outside_of("store") - set(sys.stdlib_module_names)
    assert found == {"sqlalchemy", "alembic", "pydantic", "yaml"}
    code = (
        "import sys, preceptor.store.export, preceptor.store.ingest\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_labeling_app_needs_no_torch():
    code = (
        "import sys, preceptor.labeling.app, preceptor.labeling.server\n"
        "assert not {'torch', 'transformers', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_simulated_labelers_need_no_torch_and_no_web_framework():
    code = (
        "import sys, preceptor.simulation.shift, preceptor.label_simulate\n"
        "assert not {'torch', 'transformers', 'fastapi', 'uvicorn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cli_imports_rooms_only_inside_its_commands():
    tree = ast.parse((ROOT / "cli.py").read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {m for node in top for m in imports_of(node) if m.startswith("preceptor")}
    # All but the first import errors only.
    commands = {"label", "data_commands", "corpus_command"}
    assert found == {"preceptor.errors", *(f"preceptor.{name}" for name in commands)}


def test_what_precision_means_is_asked_in_one_place():
    """`precision: auto` is neither word, so comparing with one of them forgets it."""
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            words = {side.value for side in sides if isinstance(side, ast.Constant)}
            if words & {"bf16", "fp32"}:
                wrong.append(name_of(path))
    assert set(wrong) == {"models/precision.py"}


def test_nothing_is_unpickled_and_no_text_is_run_as_code():
    wrong = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loaders = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
        wrong += [f"{name_of(path)}: {m}" for m in imports_of(tree) if m in loaders]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_unsafe(node):
                wrong.append(f"{name_of(path)}:{node.lineno}: {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


def is_unsafe(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    if function in {"eval", "exec", "compile", "torch.load", "torch.save", "os.system"}:
        return True
    if function in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}:
        return True
    flags = {k.arg for k in call.keywords if isinstance(k.value, ast.Constant) and k.value.value}
    return bool(flags & {"allow_pickle", "trust_remote_code", "shell"})


@pytest.mark.parametrize(
    "code",
    ["torch.load(p)", "yaml.load(f)", "eval(t)", "np.load(p, allow_pickle=True)", "exec(t)"],
)
def test_the_search_for_unsafe_calls_finds_them(code: str):
    [call] = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert is_unsafe(call)


# One is the command, the other runs inside alembic only (every test of the store runs it).
SCRIPTS = {"__main__.py", "store/migrations/env.py"}


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p) not in SCRIPTS], ids=name_of)
def test_every_module_can_be_imported(path: Path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    importlib.import_module(".".join(parts).removesuffix(".__init__"))
