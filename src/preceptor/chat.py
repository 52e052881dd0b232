"""Talk to a model of a run in the terminal: one line is one turn, the answer streams."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from preceptor.errors import DataError, PreceptorError, RecipeError

if TYPE_CHECKING:
    from preceptor.config import Recipe
    from preceptor.data.records import Messages

HELP = """\
/models        the models of this run
/model NAME    talk to another one; the conversation starts anew
/new           start a new conversation
/help          this list
/quit          leave (so does the end of input)"""


@dataclass
class Conversation:
    """The model that answers, and the turns so far."""

    name: str
    model: Any
    tokenizer: Any
    messages: "Messages" = field(default_factory=list)
    num_answers: int = 0


def chat(
    run_folder: Path,
    model: str | None,
    *,
    temperature: float,
    seed: int,
    input: TextIO,
    output: TextIO,
) -> None:
    """Answer line by line until the input ends; a run of pretraining alone goes on with the lines.

    Raises:
        PreceptorError: the folder is no run, or has no such model.
    """
    recipe = read_run(run_folder)
    models = models_of(run_folder, recipe)
    only_goes_on = recipe.demonstrations is None
    talk = _open(models, model or list(models)[-1], only_goes_on)
    on_terminal = input.isatty()
    if on_terminal:
        print(f"Talking to {talk.name}. /help lists commands.", file=output)
    for line in _lines(input, output, on_terminal):
        command, _, argument = line.partition(" ")
        if command == "/quit":
            return
        if command == "/help":
            print(HELP, file=output)
        elif command == "/models":
            print("  ".join(models), file=output)
        elif command == "/new":
            talk.messages.clear()
        elif command == "/model":
            try:
                talk = _open(models, argument.strip(), only_goes_on)
                print(f"Talking to {talk.name}.", file=output)
            except PreceptorError as error:
                print(error, file=output)
        elif command.startswith("/"):
            print(f"{command}: no such command. /help lists them.", file=output)
        elif line:
            _answer(talk, line, recipe.max_response_tokens, temperature, seed, output)


def read_run(run_folder: Path) -> "Recipe":
    """The resolved recipe of a run folder."""
    from preceptor.recipes import load_recipe

    path = run_folder / "recipe.yaml"
    if path.is_file():
        return load_recipe(str(path))
    beside = run_folder if run_folder.is_dir() else run_folder.parent
    runs = sorted(p.parent.name for p in beside.glob("*/recipe.yaml")) if beside.is_dir() else []
    hint = f"{beside} has {', '.join(runs)}" if runs else "`preceptor run RECIPE` makes one"
    raise RecipeError(f"{run_folder}: not a run folder, it has no recipe.yaml; {hint}.")


def models_of(run_folder: Path, recipe: "Recipe") -> dict[str, Path | str]:
    """The run's finished models by name, from the first stage to the last.

    The policy that an earlier round of collection ended with is `round-1`, and so on.
    """
    from preceptor.recipes.rounds import kind_of, policy_of, step_name

    models: dict[str, Path | str] = {}
    if recipe.pretrain is None and isinstance(recipe.model, str):
        models["gpt"] = recipe.model
    steps = {"gpt": "pretrain", "sft": "sft", "ppo_start": "ppo_start"}
    if kind := policy_of(recipe):
        steps |= {f"round-{n}": step_name(recipe, n, kind) for n in range(1, recipe.rounds)}
    for name, step in (steps | {"ppo": "ppo", "ppo_ptx": "ppo_ptx"}).items():
        if getattr(recipe, kind_of(step)) is None:
            continue  # what another recipe has left there
        # Only done.json tells that the model beside it is whole.
        if (run_folder / step / "done.json").is_file():
            models[name] = run_folder / step / "model"
    if not models:
        raise DataError(f"{run_folder}: no finished model yet. The run's first stage comes first.")
    return models


def _open(models: dict[str, Path | str], name: str, only_goes_on: bool) -> Conversation:
    from preceptor.models import load_policy
    from preceptor.models.tokenizers import TEXT_ITSELF

    if name not in models:
        raise DataError(f"{name or '(none)'}: no such model. This run has {', '.join(models)}.")
    path = models[name]
    if path == "smollm2":
        from preceptor.models.gguf import smollm2_folder

        path = smollm2_folder()
    policy, tokenizer = load_policy(path)
    if only_goes_on:
        tokenizer.chat_template = TEXT_ITSELF
    return Conversation(name, policy, tokenizer)


def _lines(input: TextIO, output: TextIO, on_terminal: bool) -> Iterator[str]:
    """Stripped lines; a terminal shows a prompt, and Ctrl-C or Ctrl-D there ends the input."""
    while True:
        if on_terminal:
            print("> ", end="", file=output, flush=True)
        try:
            line = input.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            if on_terminal:
                print(file=output)
            return
        yield line.strip()


def _answer(
    talk: Conversation, text: str, max_tokens: int, temperature: float, seed: int, output: TextIO
) -> None:
    from preceptor.generation import stream
    from preceptor.randomness import derived_seed

    talk.messages.append({"role": "user", "content": text})
    if not _make_room(talk, max_tokens, output):
        talk.messages.pop()
        return
    talk.num_answers += 1
    pieces = []
    try:
        for piece in stream(
            talk.model,
            talk.tokenizer,
            talk.messages,
            max_new_tokens=max_tokens,
            temperature=temperature,
            seed=derived_seed(seed, "chat", talk.num_answers),
            continues_text=talk.name == "gpt",
        ):
            print(piece, end="", file=output, flush=True)
            pieces.append(piece)
    except KeyboardInterrupt:
        pass  # an answer that was cut short stays in the conversation as far as it came
    print(file=output, flush=True)
    answer = "".join(pieces).strip()
    if answer:
        talk.messages.append({"role": "assistant", "content": answer})
    else:
        talk.messages.pop()


def _make_room(talk: Conversation, max_tokens: int, output: TextIO) -> bool:
    """Drop the oldest turns until prompt and answer fit the context; says so."""
    from preceptor.models.load import context_length
    from preceptor.models.tokenizers import encode_prompt

    room = context_length(talk.model) - max_tokens
    dropped = 0
    while (length := len(encode_prompt(talk.tokenizer, talk.messages))) > room:
        if len(talk.messages) == 1:
            print(f"(too long: {length} tokens, and there is room for {room})", file=output)
            return False
        # A conversation begins with the user, so question and answer leave together.
        del talk.messages[:2]
        dropped += 1
    if dropped:
        turns = "turn does" if dropped == 1 else f"{dropped} turns do"
        print(f"(the oldest {turns} not fit the context any more)", file=output)
    return True
