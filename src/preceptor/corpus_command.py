"""`preceptor corpus`: pretraining text out of raw files, from the command line.

Everything heavy is imported where it is used; `--help` needs neither torch nor datatrove.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

corpus_app = typer.Typer(
    help="Pretraining text: clean, deduplicate, mix and tokenize.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@corpus_app.command()
def build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or small-english.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one key, such as classifier.alpha=6."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The folder.  [corpora/NAME]")
    ] = None,
    executor: Annotated[
        Literal["local", "slurm", "ray"],
        typer.Option("--executor", help="Where the work is done."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Tasks at a time.  [a core each]"),
    ] = None,
) -> None:
    """Build a corpus, or go on with one that was interrupted.

    Leaves shards of tokens, which a run takes as `corpus: DIR`, and a data card, corpus.html, that
    says what each step kept and dropped, with examples. Prints the page's path.
    """
    import sys

    from preceptor.corpus.build import build as build_corpus
    from preceptor.corpus.recipe import load_corpus_recipe

    resolved = load_corpus_recipe(recipe, overrides or [])
    folder = out or Path("corpora") / resolved.name
    page = build_corpus(
        resolved,
        folder,
        executor=executor,
        workers=workers,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    typer.echo(page)


@corpus_app.command("tokenizer")
def make_tokenizer(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or small-english.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the tokenizer's files go.")
    ] = Path("tokenizer"),
    vocabulary_size: Annotated[
        int, typer.Option("--vocabulary-size", metavar="N", help="Tokens, special ones included.")
    ] = 16384,
    megabytes: Annotated[
        int, typer.Option("--megabytes", min=1, help="Of text at most, as much of every piece.")
    ] = 500,
) -> None:
    """Train a tokenizer on the sources of a recipe.

    A byte-level BPE, as `preceptor data tokenizer` makes one of files of records. Texts are read as
    they are before any step. The recipe's `tokenizer` names the folder, and need not be there yet.
    """
    from preceptor.corpus.reading import sample_texts
    from preceptor.corpus.recipe import load_corpus_recipe
    from preceptor.data.folders import folder_to_fill
    from preceptor.models.tokenizers import train_tokenizer

    texts = sample_texts(load_corpus_recipe(recipe), megabytes * 10**6)
    with folder_to_fill(out, must_be_empty=True):
        tokenizer = train_tokenizer(texts, vocabulary_size)
        tokenizer.save_pretrained(out)
    typer.echo(f"{len(tokenizer):,} tokens  {out}")


@corpus_app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a corpus that is built.")],
) -> None:
    """Hold every file of a built corpus to what its card says.

    For after a copy and before a long run. Hashes, lengths, ids within the vocabulary, documents
    one behind the other, and all sums. The first thing that is wrong is named, and the status is 2.
    A run checks the hashes by itself.
    """
    import sys

    from preceptor.data.shard_checks import check_corpus

    found = check_corpus(folder, lambda line: print(line, file=sys.stderr, flush=True))
    counted = ", ".join(f"{count:,} {what}" for what, count in found.items())
    typer.echo(f"{folder}: {counted}; all as the card says")
