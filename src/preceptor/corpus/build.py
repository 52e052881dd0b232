"""Build a corpus in a folder of its own; interrupted at any instant, the same command goes on."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import preceptor
from preceptor.corpus.blocklist import Blocklist
from preceptor.corpus.card import summary
from preceptor.corpus.costs import write_timing
from preceptor.corpus.pieces import Piece, lines_of, plan_pieces
from preceptor.corpus.plan import Plan
from preceptor.corpus.recipe import CorpusRecipe, ExecutorName
from preceptor.corpus.texts import read_json, write_json
from preceptor.data.catalogue import text_set
from preceptor.data.folders import make_folder
from preceptor.data.hub import is_hub, require_hub
from preceptor.data.shards import CARD, PARTS, index_name, is_built, read_card, shard_name
from preceptor.errors import RecipeError

WORK = 2
"""What lies in work/ and how; what an older build left there half done begins anew."""
PARTIAL = re.compile(
    rf"(({'|'.join(PARTS)})-\d{{5,}}(\.index)?\.npy|(corpus|build|timing)\.json|corpus\.html"
    r"|ATTRIBUTION\.md|LICENSE-[\w.-]+)\.\d+\.partial"
)
"""What `whole_file` leaves of a file of ours beside the shards, where it was killed in it."""


def build(
    recipe: CorpusRecipe,
    out: Path,
    *,
    executor: ExecutorName = "local",
    workers: int | None = None,
    say: Callable[[str], None],
) -> Path:
    """Build the corpus, or go on with it; returns its card's page.

    Raises:
        RecipeError: the folder holds another corpus or what is not ours, a file is missing, or
            datatrove is.
        DataError: a broken row or an empty source, and `on_error` is "refuse"; or the folder cannot
            be made, or there is no such tokenizer.
    """
    try:
        from preceptor.corpus import executors
    except ImportError as error:
        raise RecipeError(
            f"corpora are built by datatrove, and {error.name} is not installed. Install it: pip "
            "install 'preceptor[corpus]'"
        ) from None
    _raise_limit_of_files()
    require(recipe)
    _require_outside(recipe, out)
    pieces, passed_over = plan_pieces(recipe)
    _require_no_own_file(pieces, out)
    plan = Plan(recipe, tuple(pieces), out, tuple(passed_over))
    key = key_of(recipe, pieces)
    if not os.path.isfile(out / CARD):  # one that is built may be read-only
        from preceptor.models.load import open_tokenizer  # transformers takes its time

        open_tokenizer(recipe.tokenizer)  # a wrong one is told now, not after hours
        make_folder(out)
    if is_built(out):
        _require_same(out, key)
        _tidy(plan)  # Slurm's jobs leave it to us
        say(f"corpus {recipe.name} is built, nothing to do")
        return out / "corpus.html"
    _refuse_foreign(out)
    for line in lines_of(passed_over):
        say(line)
    with alone_in(out):
        _begin(plan, key)
        seconds: dict[str, float] = {}
        count = workers or os.cpu_count() or 1
        executors.run_passes(plan, executor, count, say, seconds.__setitem__)
        if executor != "slurm":  # whose jobs go on when this has ended
            write_timing(plan, seconds, count)
            _tidy(plan)
            for line in summary(read_card(out)):
                say(line)
    return out / "corpus.html"


def _raise_limit_of_files() -> None:
    """As many open files as this user may have: a task has few, but a sort or a library may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # what was allowed stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def require(recipe: CorpusRecipe) -> None:
    """What the recipe names must be there, and be told before anything runs.

    Raises:
        RecipeError: a file is missing.
        DataError: a package is none that has text, or the library of the hub is missing.
    """
    named = [file for source in recipe.sources for file in source.files]
    named += recipe.decontaminate.files if recipe.decontaminate else []
    named += [*recipe.toxicity.files, *recipe.toxicity.harmless] if recipe.toxicity else []
    for file in filter(is_hub, named):
        require_hub(file)
    for source in recipe.sources:
        if source.package is not None:
            text_set(source.package)
    if recipe.blocklist is not None:
        Blocklist.read(recipe.blocklist.file)
    for key in ("files", "harmless") if recipe.toxicity else ():
        for path in getattr(recipe.toxicity, key):
            if not is_hub(path) and not Path(path).is_file():
                raise RecipeError(f"toxicity.{key}: {path}: no such file.")
    if recipe.personal is not None:
        from preceptor.data.personal import check_region

        check_region(recipe.personal.region)
    sections = [recipe.language, *(source.language for source in recipe.sources)]
    if codes := [code for section in sections if section is not None for code in section.keep]:
        from preceptor.data.languages import known_languages

        for code in codes:
            if code not in known_languages():
                raise RecipeError(
                    f"language.keep: no language {code}. Known: {', '.join(known_languages())}."
                )
    for path in recipe.decontaminate.files if recipe.decontaminate else ():
        if not is_hub(path) and not Path(path).is_file():
            raise RecipeError(f"decontaminate.files: {path}: no such file.")


def key_of(recipe: CorpusRecipe, pieces: list[Piece]) -> str:
    """A hash of all that the corpus is made of; files count by path, size and time of change."""
    named = [path for piece in pieces for path in piece.paths]
    named += [recipe.blocklist.file] if recipe.blocklist else []
    named += recipe.decontaminate.files if recipe.decontaminate else []
    named += [*recipe.toxicity.files, *recipe.toxicity.harmless] if recipe.toxicity else []
    tokenizer = Path(recipe.tokenizer)
    if tokenizer.is_dir():
        kinds = (".json", ".txt", ".model", ".jinja")
        named += [str(path) for path in sorted(tokenizer.iterdir()) if path.suffix in kinds]
    files = {}
    for path in named:
        if not is_hub(path):
            facts = Path(path).stat()
            files[path] = [facts.st_size, facts.st_mtime_ns]
    values: dict[str, Any] = {
        "version": preceptor.__version__,
        "recipe": recipe.model_dump(mode="json"),
        "pieces": [[piece.source.name, *piece.paths] for piece in pieces],
        "files": files,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _require_outside(recipe: CorpusRecipe, out: Path) -> None:
    """A folder that is read as a source would have what is built in it as documents."""
    for source in recipe.sources:
        for pattern in source.files:
            inside = not is_hub(pattern) and Path(pattern).is_dir()
            if inside and out.resolve().is_relative_to(Path(pattern).resolve()):
                raise RecipeError(
                    f"{out}: inside {pattern}, which source {source.name} reads; the corpus's own "
                    "files would be read as documents. Give another --out."
                )


def _require_no_own_file(pieces: list[Piece], out: Path) -> None:
    """The same where a glob names files: none of them may lie in the folder."""
    for piece in pieces:
        for path in piece.paths:
            if not is_hub(path) and Path(path).resolve().is_relative_to(out.resolve()):
                raise RecipeError(
                    f"{out}: {path} of source {piece.source.name} lies in it, and a source is "
                    "never where the corpus is built. Give another --out."
                )


def _refuse_foreign(out: Path) -> None:
    """What lies in a folder without our build.json is not ours to overwrite or delete."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    others = {name for name in names if name != ".lock" and not name.startswith("build.json")}
    if others and _key_in(out) is None:
        raise RecipeError(
            f"{out}: not empty ({min(others)}), and no build of a corpus began there. Nothing was "
            "touched. Give another --out."
        )


def _key_in(out: Path) -> str | None:
    """What the build that began there is made of; None where none did."""
    try:
        key = read_json(out / "build.json")["key"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return key if isinstance(key, str) else None


def _begin(plan: Plan, key: str) -> None:
    """The work folder of this very build; what another one left there goes."""
    started, wanted = plan.work / "plan.json", {"key": key, "work": WORK}
    if not started.is_file() or read_json(started) != wanted:
        # First, so that the folder is known as ours whenever this is interrupted.
        write_json(plan.out / "build.json", {"key": key, "name": plan.recipe.name})
        if plan.work.is_dir():
            shutil.rmtree(plan.work)
        for part in PARTS:
            for old in plan.out.glob(f"{part}-*.npy"):
                number = old.name.removeprefix(f"{part}-").split(".")[0]
                if number.isdecimal() and old.name in (
                    shard_name(part, int(number)),
                    index_name(part, int(number)),
                ):
                    old.unlink()
        plan.write_pieces()
        write_json(started, wanted)


def _require_same(out: Path, key: str) -> None:
    if _key_in(out) != key:
        name = read_card(out).get("name")
        raise RecipeError(
            f"{out}: the corpus {name} is built there, of another recipe or of files that have "
            f"changed since. Give another --out, or remove {out / CARD} to build it anew."
        )


def _tidy(plan: Plan) -> None:
    """Leave the corpus alone in its folder: no work, and nothing half written by what was killed.

    One that is built may be read-only, and is none the worse for it.
    """
    shutil.rmtree(plan.work, ignore_errors=True)
    for path in plan.out.glob("*.partial"):
        if PARTIAL.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """The folder for this process alone, as long as it lives.

    Raises:
        RecipeError: another build is at work in it.
    """
    make_folder(folder)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(
                f"{folder}: another build is at work there. Wait for it, or give another --out."
            ) from None
        yield
