"""The commands. Everything heavy is imported where it is used: `--help` needs no torch."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from preceptor.corpus_command import corpus_app
from preceptor.data_commands import data_app
from preceptor.errors import PreceptorError, RecipeError
from preceptor.label import label_app

if TYPE_CHECKING:
    from preceptor.config import Recipe


class Commands(TyperGroup):
    """All commands end alike: a message and status 2 for what a person can mend."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a bug keeps its traceback and exits with status 1."""
        try:
            return super().invoke(ctx)
        except PreceptorError as error:
            typer.echo(laid_out(f"error: {error}", columns()), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted. The same command continues.", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if not is_disk_full(error):
                raise
            told = f"error: {DISK_FULL}{_file_of(error)}"
            typer.echo(laid_out(told, columns()), err=True)
            raise typer.Exit(2) from None


def laid_out(text: str, width: int | None) -> str:
    """Long lines broken between words, but for those that begin with a blank: they are copied.

    Without a width nothing is broken: programs read whole lines.
    """
    if width is None:
        return text
    lines = []
    for line in text.splitlines():
        if line.startswith(" "):
            lines.append(line)
        else:
            lines += textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [
                ""
            ]
    return "\n".join(lines)


def columns() -> int | None:
    """How wide the terminal is that errors go to; None for a file or a pipe."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):  # no terminal, or no file at all
        return None


DISK_FULL = "No space left on the disk. Free some; then the same command continues."

PLAIN: dict[str, Any] = {  # no boxes and colors: the texts are for pipes and screen readers too
    "no_args_is_help": True,
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}
app = typer.Typer(
    help="Turns a language model that continues text into one that does what people ask.",
    cls=Commands,
    **PLAIN,
)
recipe_app = typer.Typer(help="List, show and check recipes.", **PLAIN)
app.add_typer(corpus_app, name="corpus")
app.add_typer(label_app, name="label")
app.add_typer(recipe_app, name="recipe")
app.add_typer(data_app, name="data")


RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A built-in recipe's name, or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key, such as ppo.kl_coef=0.05."),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The run folder.  [runs/NAME]")
]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    labels: Annotated[
        Literal["simulated", "store", "people"] | None,
        typer.Option("--labels", help="Who ranks, and where: as the recipe's key labels."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="PATH|URL", help="The label store: as the recipe's key label_store."
        ),
    ] = None,
) -> None:
    """Run a whole recipe, or continue it; what is done is skipped.

    With --labels store everything that is ranked goes through the labeling app, where simulated
    labelers sign in and work. With --labels people the run ends when people have to rank, says how
    many labels are missing, and goes on from there when it is started again.
    """
    more = {"labels": labels, "label_store": store}
    told = [f"{key}={value}" for key, value in more.items() if value is not None]
    resolved, folder = _resolve(recipe, [*(overrides or ()), *told], out)
    from preceptor.pipeline import run_pipeline  # slow: a wrong recipe is told before

    typer.echo(run_pipeline(resolved, folder))


@app.command()
def pretrain(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Train a new model to continue the corpus."""
    _run_stages(["pretrain"], recipe, overrides, out)


@app.command()
def sft(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Fine-tune the model on demonstrations."""
    _run_stages(["sft"], recipe, overrides, out)


@app.command()
def sample(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    best_of: Annotated[
        int | None,
        typer.Option("--best-of", metavar="N", min=1, help="The best of 1, 2, 4, .. N instead."),
    ] = None,
    model: Annotated[
        Literal["sft", "ppo_start", "ppo", "ppo_ptx"] | None,
        typer.Option("--model", help="Whose, with --best-of.  [sft]"),
    ] = None,
) -> None:
    """Sample responses for labelers to rank.

    Those of the SFT model; in later rounds of collection, of the policy so far.

    With --best-of: draw N responses to each test prompt, keep what the reward model likes best, and
    print what that is worth and what it costs in KL from the model, a line to hold PPO against.
    """
    if best_of is None:
        if model is not None:
            raise RecipeError(
                f"--model {model} goes with --best-of; the recipe says whose labelers rank."
            )
        _run_stages(["sample"], recipe, overrides, out)
        return
    resolved, folder = _resolve(recipe, overrides, out)
    from preceptor.pipeline import run_best_of_n

    rows = run_best_of_n(resolved, folder, model or "sft", best_of)
    typer.echo(f"{'n':>5}{'KL, nats':>10}{'score':>9}{'judge':>9}   95 % interval")
    for row in rows:
        judge = row["judge"]
        typer.echo(
            f"{row['n']:5}{row['kl']:10.2f}{row['score']['mean']:+9.2f}{judge['mean']:9.3f}"
            f"   {judge['low']:.3f} to {judge['high']:.3f}"
        )
    typer.echo(folder / "evaluation" / f"best_of_n-{model or 'sft'}.json")


@app.command()
def rank(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Let the simulated labelers rank the sampled responses."""
    _run_stages(["rank"], recipe, overrides, out)


@app.command()
def reward(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Train the reward model on the rankings."""
    _run_stages(["reward"], recipe, overrides, out)


@app.command()
def ppo(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    only: Annotated[
        Literal["ppo", "ppo_ptx"] | None,
        typer.Option("--only", help="One of the two.  [those that the recipe has]"),
    ] = None,
) -> None:
    """Improve the SFT model, or ppo_start's, by PPO and by PPO-ptx."""
    resolved, _ = _resolve(recipe, overrides, out)
    present = [name for name in ("ppo", "ppo_ptx") if getattr(resolved, name) is not None]
    if not present:
        raise RecipeError(f"{resolved.name}: it has neither a ppo nor a ppo_ptx section.")
    start = [] if resolved.ppo_start is None else ["ppo_start"]  # skipped when it is done
    _run_stages([*start, *([only] if only else present)], recipe, overrides, out)


@app.command()
def evaluate(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Compare the run's models on held-out prompts."""
    _run_stages(["evaluate"], recipe, overrides, out)


@app.command()
def report(recipe: RecipeName, overrides: Overrides = None, out: Out = None) -> None:
    """Write the report of a run as one HTML page."""
    _run_stages(["report"], recipe, overrides, out)


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    model: Annotated[
        str | None, typer.Option("--model", help="gpt, sft, ppo or ppo_ptx.  [the last trained]")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="0 takes the likeliest word.")
    ] = 0.7,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same answers.")] = 0,
) -> None:
    """Talk to a model of a run; /help lists what else it takes."""
    from preceptor.chat import chat as talk

    talk(run, model, temperature=temperature, seed=seed, input=sys.stdin, output=sys.stdout)


@app.command()
def bench(
    works: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORK", help="Which; a wrong name lists them.  [all]"),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that count.")] = 5,
    warm_up: Annotated[int, typer.Option("--warm-up", min=1, help="Turns before them.")] = 2,
    alone: Annotated[bool, typer.Option("--alone", help="Without the peers.")] = False,
    processor_time: Annotated[
        bool, typer.Option("--processor-time", help="By seconds of a core, not by the clock.")
    ] = False,
) -> None:
    """Measure speed and memory side by side with peers.

    Benchmarks belong to the repository and run from a checkout of it. There, `make bench-peers`
    installs the peers once, and `make bench-serving-peers` the engines that serve.
    """
    script = Path(__file__).parents[2] / "benchmarks" / "compare.py"
    if not script.is_file():
        raise RecipeError(f"{script} is missing: benchmarks are run from a checkout of the source.")
    options = [f"--rounds={rounds}", f"--warm-up={warm_up}"]
    options += ["--alone"] * alone + ["--processor-time"] * processor_time
    # A list, no shell: a script of this checkout with the words that its user typed.
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(script), *options, *(works or ())], check=False
    )
    if done.returncode:
        raise typer.Exit(done.returncode)


@recipe_app.command("list")
def list_built_in() -> None:
    """List the built-in recipes."""
    from preceptor.recipes import list_recipes

    for name, description in list_recipes().items():
        typer.echo(f"{name:<15}{description}")


@recipe_app.command()
def show(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Print a recipe with everything that it leaves to the defaults."""
    from preceptor.recipes import dump_recipe, load_recipe

    typer.echo(dump_recipe(load_recipe(recipe, overrides or ())), nl=False)


@recipe_app.command()
def check(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Say what a recipe would do, or everything that is wrong with it."""
    from preceptor.recipes import load_recipe
    from preceptor.recipes.files import require_files
    from preceptor.recipes.summary import summary_lines

    resolved = load_recipe(recipe, overrides or ())
    require_files(resolved)
    typer.echo("\n".join(summary_lines(resolved)))


@recipe_app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from preceptor.config import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def main() -> None:
    """The `preceptor` command."""
    # A command's own path is where the command lies; a user's reward function lies here. It comes
    # last, so that a file here never stands in for a library.
    sys.path.append(os.getcwd())
    app(prog_name="preceptor")


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk was full; safetensors tells it in words only."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return "No space left on device" in str(error)


def _file_of(error: Exception) -> str:
    return f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""


def _resolve(
    recipe: str, overrides: Sequence[str] | None, out: Path | None
) -> tuple["Recipe", Path]:
    from preceptor.recipes import load_recipe

    resolved = load_recipe(recipe, overrides or ())
    return resolved, out or Path("runs") / resolved.name


def _run_stages(
    stages: list[str], recipe: str, overrides: Sequence[str] | None, out: Path | None
) -> None:
    """Run these stages alone; their data are made when needed. Prints where the results are."""
    resolved, folder = _resolve(recipe, overrides, out)
    from preceptor.pipeline import run_pipeline  # slow: a wrong recipe is told before

    made = [] if stages == ["report"] else ["data"]
    finished = run_pipeline(resolved, folder, only=[*made, *stages])
    places = {"sample": "data", "rank": "data", "evaluate": "evaluation"}
    for stage in stages:
        typer.echo(finished if stage == "report" else folder / places.get(stage, stage))
