"""What a corpus is made of and how it is cleaned: a recipe of its own, as strict as a run's."""

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from preceptor.config import Fraction, Section
from preceptor.errors import RecipeError
from preceptor.recipes import explain, read_yaml, set_value

BUILT_IN = Path(__file__).parent / "recipes"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
OnError = Literal["refuse", "skip"]
OF_SOURCES = ("language", "quality")
"""Sections that a source may have of its own, or leave out."""
ExecutorName = Literal["local", "slurm", "ray"]


class LanguageConfig(Section):
    """Which languages stay (langid; what cannot be told goes)."""

    keep: list[str] = Field(min_length=1, description="Codes such as en.")


class QualityConfig(Section):
    """Rules on one document alone (Gopher, arXiv:2112.11446, appendix A.1.1); words by blanks."""

    min_words: int = Field(50, ge=0, description="Fewer words are no document.")
    max_words: int = Field(100_000, gt=0, description="More are no document either.")
    min_mean_word_chars: float = Field(3, ge=0, description="Mean length of a word at least.")
    max_mean_word_chars: float = Field(10, gt=0, description="Mean length of a word at most.")
    max_symbols: float = Field(0.1, ge=0, description="Signs # or ... for each word at most.")
    max_bullet_lines: Fraction = Field(0.9, description="Share of lines that begin a list.")
    max_ellipsis_lines: Fraction = Field(0.3, description="Share of lines that end in dots.")
    min_letter_words: Fraction = Field(0.8, description="Share of words with a letter.")
    min_stop_words: int = Field(
        2, ge=0, description="Of the, be, to, of, and, that, have, with; 0 unless English."
    )
    max_repeated_lines: Fraction = Field(0.3, description="Share of lines said before.")
    max_repeated_paragraphs: Fraction = Field(0.3, description="Share of paragraphs said before.")
    repeated_runs: bool = Field(
        True, description="Also the paper's limits on repeated runs of 2 to 10 words."
    )


class Source(Section):
    """A named part of the corpus: files, a data set of the hub, or an embedded package."""

    name: str = Field(pattern=NAME, description="What the card calls it.")
    files: list[str] = Field(
        default_factory=list,
        description="Files, folders and globs: .txt, .jsonl, .json, .csv, .tsv, .parquet, .wet, "
        "compressed or not; or hf:NAME[:CONFIG][@SPLIT].",
    )
    package: str | None = Field(
        None, description="Instead of files: a set of running text of `preceptor data list`."
    )
    text_key: str = Field(
        "text", min_length=1, description="Where a row has its text; .txt and .wet have no rows."
    )
    whole_files: bool = Field(
        False, description="A .txt file is one document; else a blank line ends one."
    )
    weight: float | None = Field(
        None, gt=0, description="Share of the tokens trained on; all weights sum to 1."
    )
    epochs: float | None = Field(
        None, gt=0, description="Instead of a weight: times that each document is seen."
    )
    is_good: bool = Field(False, description="The classifier learns from it what is good.")
    classify: bool = Field(
        False, description="The classifier learns from it what is raw, and filters it."
    )
    language: LanguageConfig | None = Field(
        None, description="Its own languages, or null for no such step. [the recipe's]"
    )
    quality: QualityConfig | None = Field(
        None, description="Its own rules on quality, or null for none. [the recipe's]"
    )

    @model_serializer(mode="wrap")
    def _as_said(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Null is not what is left out, so what is left out is not written either."""
        found: dict[str, Any] = values(self)
        said = self.model_fields_set
        return {key: v for key, v in found.items() if key not in OF_SOURCES or key in said}

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> "Source":
        if bool(self.files) == (self.package is not None):
            raise ValueError("a source has either files or a package. Name one of them")
        if self.weight is not None and self.epochs is not None:
            raise ValueError("a source has a weight or epochs, not both. Leave one out")
        if self.is_good and self.classify:
            raise ValueError(
                "a source is either good or to be classified; the classifier would be asked "
                "about what it was told. Leave is_good or classify out"
            )
        return self


class ClassifierConfig(Section):
    """GPT-3 appendix A: logistic regression on hashed words, kept by the Pareto rule."""

    alpha: float = Field(9, gt=0, description="Of the Pareto rule (paper: 9); larger is stricter.")
    num_features: int = Field(
        2**18, ge=2, le=2**24, description="Cells of the hashed words (Spark's default: 262,144)."
    )
    max_documents: int = Field(
        10_000, ge=2, description="Documents of each class that it is trained on at most."
    )
    l2: float = Field(1e-5, gt=0, description="Strength of the penalty on its weights.")


class DuplicatesConfig(Section):
    """Fuzzy deduplication within and across sources: MinHash, bands, then agreement."""

    near: float = Field(
        0.8, gt=0, le=1, description="Share of the numbers of two signatures that agree."
    )
    run: int = Field(5, gt=0, description="Words in a shingle.")
    num_bands: int = Field(14, gt=0, le=100, description="Bands of a signature.")
    band_rows: int = Field(8, gt=0, le=64, description="Numbers in a band.")


class DecontaminateConfig(Section):
    """GPT-3 appendix C: no 13 words in a row of a benchmark, nor what stands around them."""

    files: list[str] = Field(min_length=1, description="The benchmarks, in any format.")
    run: int = Field(13, gt=1, description="Words in a row that are too many.")
    window_chars: int = Field(200, ge=0, description="Cut on each side of them too.")
    min_piece_chars: int = Field(200, ge=0, description="Shorter pieces of a document go.")
    max_pieces: int = Field(10, gt=0, description="A document cut into more goes.")
    max_documents: int = Field(
        10, gt=0, description="A run of words in more documents is common, and ignored."
    )

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class PersonalConfig(Section):
    """Addresses, numbers and keys that name a person become placeholders."""

    region: str = Field("US", description="Whose phone numbers are known without a +.")


class BlocklistConfig(Section):
    """Documents with words that nobody wants in a corpus."""

    file: str = Field(description="A word or several in a row on each line; # begins a comment.")
    max_fraction: Fraction = Field(
        0.0, description="Share of a document's words that may be blocked; 0: none at all."
    )


class ToxicityConfig(Section):
    """Documents whose words are like a file's toxic examples; learned as the classifier is."""

    files: list[str] = Field(
        min_length=1, description="Labelled examples, in any format: rows with a text and a label."
    )
    harmless: list[str] = Field(
        default_factory=list,
        description="Documents such as the sources have, none of them toxic: examples without a "
        "label.",
    )
    text_key: str = Field("text", min_length=1, description="Where an example has its text.")
    label_key: str = Field(
        "toxic",
        min_length=1,
        description="Where it has its label (in meta, too): true, false or a number.",
    )
    toxic_from: float = Field(
        0.5, gt=0, description="Labels from here on are toxic, lower ones not; true is 1."
    )
    threshold: float = Field(
        0.9, gt=0, le=1, description="Documents of this score or more go; lower is stricter."
    )
    num_features: int = Field(2**18, ge=2, le=2**24, description="Cells of the hashed words.")
    max_documents: int = Field(
        100_000, ge=2, description="Examples of each kind that it is trained on at most."
    )
    l2: float = Field(1e-5, gt=0, description="Strength of the penalty on its weights.")

    @field_validator("files", "harmless", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class SlurmConfig(Section):
    """How the Slurm executor asks for machines."""

    partition: str = Field(description="Slurm's partition.")
    time: str = Field("24:00:00", description="Longest time of one task.")
    cpus_per_task: int = Field(1, gt=0, description="Cores of a task.")
    mem_per_cpu_gb: int = Field(4, gt=0, description="Memory of a core, in GB.")
    qos: str = Field("normal", description="Quality of service.")
    env_command: str | None = Field(None, description="What a job runs before, to find preceptor.")


class CorpusRecipe(Section):
    """A corpus: its sources, each step that cleans it (absent: not done), and the mixture."""

    name: str = Field(pattern=NAME, description="The corpus's name.")
    seed: int = Field(0, ge=0, description="Everything random is derived from it.")
    tokenizer: str = Field(description="A model or tokenizer folder, a hub name, smollm2 or gpt2.")
    on_error: OnError = Field(
        "refuse",
        description="What is broken (a row, an empty source, weights that do not sum to 1, a "
        "classifier with one class): nothing is built, or it is left out, counted and said.",
    )
    sources: list[Source] = Field(min_length=1, description="The parts, best ones first: of "
                                  "duplicates the one in the earliest source stays.")  # fmt: skip
    max_chars: int = Field(
        1_000_000, gt=0, description="Longer documents go; it bounds what a step must hold."
    )
    language: LanguageConfig | None = Field(None, description="Languages that stay.")
    quality: QualityConfig | None = Field(None, description="Rules on single documents.")
    classifier: ClassifierConfig | None = Field(None, description="Good text against raw text.")
    duplicates: DuplicatesConfig | None = Field(None, description="Near-duplicates go.")
    decontaminate: DecontaminateConfig | None = Field(None, description="Benchmarks go.")
    personal: PersonalConfig | None = Field(None, description="Personal data are masked.")
    blocklist: BlocklistConfig | None = Field(None, description="Documents with such words go.")
    toxicity: ToxicityConfig | None = Field(None, description="Documents like toxic examples go.")
    tokens: int | None = Field(
        None, gt=0, description="Tokens of the mixture. [what the sources have]"
    )
    valid_fraction: float = Field(
        0.005, gt=0, lt=0.5, description="Share of the documents that are held out, each once."
    )
    shard_tokens: int = Field(100_000_000, gt=0, description="Tokens of a shard, about.")
    slurm: SlurmConfig | None = Field(None, description="For --executor slurm.")

    @model_validator(mode="after")
    def _parts_fit(self) -> "CorpusRecipe":
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"two sources have one name in {', '.join(names)}. Rename one")
        weighted = [source.name for source in self.sources if source.weight is not None]
        if weighted and len(weighted) < len(names):
            missing = next(name for name in names if name not in weighted)
            raise ValueError(f"{missing} has no weight and others have. Give all or none of them")
        total = math.fsum(source.weight or 0 for source in self.sources)
        if weighted and abs(total - 1) > 1e-6 and self.on_error == "refuse":
            raise ValueError(
                f"the weights sum to {total:g}, not to 1. Correct them, or set on_error: skip, "
                "which divides each by the sum"
            )
        if self.tokens is not None and not weighted:
            raise ValueError(
                "tokens says how long the mixture is, and no source has a weight. Give weights, or "
                "leave tokens out"
            )
        if self.classifier is not None and not any(s.classify for s in self.sources):
            raise ValueError(
                "classifier filters sources with classify: true, and none has it. Set it on the "
                "raw ones, or leave classifier out"
            )
        if (
            self.classifier is not None
            and self.on_error == "refuse"
            and not any(s.is_good for s in self.sources)
        ):
            raise ValueError(
                "classifier learns what is good from sources with is_good: true, and none has it. "
                "Set it on one, or leave classifier out"
            )
        if self.classifier is None and any(s.classify or s.is_good for s in self.sources):
            raise ValueError("is_good and classify are for a classifier section. Add one")
        return self

    def language_of(self, source: Source) -> LanguageConfig | None:
        """The languages of a source: its own, none, or the recipe's."""
        return source.language if "language" in source.model_fields_set else self.language

    def quality_of(self, source: Source) -> QualityConfig | None:
        """The rules on a source's documents: its own, none, or the recipe's."""
        return source.quality if "quality" in source.model_fields_set else self.quality


def load_corpus_recipe(path: str, overrides: list[str] | tuple[str, ...] = ()) -> CorpusRecipe:
    """A recipe by its name or file, validated; every problem is in the one `RecipeError`."""
    built_in = BUILT_IN / f"{path}.yaml"
    if built_in.is_file():
        path = str(built_in)
    if not Path(path).is_file():
        names = ", ".join(sorted(own.stem for own in BUILT_IN.glob("*.yaml")))
        raise RecipeError(
            f"{path}: no such file. docs/corpus.md has a recipe to begin with; built in: {names}."
        )
    values = read_yaml(Path(path))
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("._-"))
    for override in overrides:
        set_value(values, override)
    try:
        return CorpusRecipe.model_validate(values)
    except ValidationError as error:
        label = Path(path).name
        lines = [explain(label, dict(problem), CorpusRecipe) for problem in error.errors()]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from None
