"""What a project's pages ask about responses and their prompt: a form in YAML, or the paper's.

`paper_form.yaml` is the paper's form, and what a file may say. A form belongs to its project for
good: labels are choices by the names in it. Where the rest of the code says form without more it
means what a labeler sends (`preceptor.store.forms`).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.names import sha256_of
from preceptor.store.tables import Project

MOST_FLAGS = 22
"""A key for each; the other letters are taken."""
MOST_BYTES = 100_000
OWN_QUESTIONS = ("demonstration", "ranking", "evaluation", "evaluation_ab")
"""Types of tasks that a form is for. The others' pages are what their tasks are."""


JOINERS = "\u200c\u200d"  # between letters; Persian has the first in many words


def _line(text: str) -> str:
    if not text.strip() or not text.translate(dict.fromkeys(map(ord, JOINERS))).isprintable():
        raise ValueError("must be one line of words, without control characters")
    return text.strip()


Words = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Quality(_Part):
    """Of each response, 1 to 7: what it is called, and its ends."""

    text: Words
    low: Words
    high: Words


class Flag(_Part):
    """Yes or no of a response; `none` are the words of a third answer, where there is one."""

    name: Name
    text: Words
    none: Words | None = None
    sensitive: bool = False


class PromptLabel(_Part):
    """Yes, no or not said, of the prompt."""

    name: Name
    text: Words


class Compare(_Part):
    """What a choice between two may come with."""

    ratings: bool
    confidence: bool


class Questions(_Part):
    """The whole form of a project."""

    schema_: Literal["preceptor.form/1"] = Field(alias="schema")
    quality: Quality
    flags_text: Words
    flags: Annotated[list[Flag], Field(max_length=MOST_FLAGS)]
    use_case: bool
    prompt_labels: Annotated[list[PromptLabel], Field(max_length=40)]
    compare: Compare

    @model_validator(mode="after")
    def _names_differ(self) -> "Questions":
        for kind, parts in (("flag", self.flags), ("prompt label", self.prompt_labels)):
            names = [part.name for part in parts]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"two are called {twice[0]}: a {kind}'s name is its own")
        if any(label.name == "use_case" for label in self.prompt_labels):
            raise ValueError("use_case is asked by `use_case: true`, it is no prompt label")
        return self

    @property
    def flag_names(self) -> tuple[str, ...]:
        return tuple(flag.name for flag in self.flags)

    @property
    def sensitive_flags(self) -> tuple[str, ...]:
        """Those that say that a response may disturb."""
        return tuple(flag.name for flag in self.flags if flag.sensitive)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of what is asked about the prompt."""
        use_case = ("use_case",) if self.use_case else ()
        return use_case + tuple(label.name for label in self.prompt_labels)

    @property
    def digest(self) -> str:
        """What an export calls it."""
        return sha256_of(self.as_json())[:12]

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def as_yaml(self) -> str:
        return yaml.safe_dump(self.as_json(), sort_keys=False, allow_unicode=True, width=100)


PAPER_FILE = Path(__file__).with_name("paper_form.yaml")
PAPER = Questions.model_validate(yaml.safe_load(PAPER_FILE.read_text(encoding="utf-8")))


def questions_of(project: Project) -> Questions:
    """What the project's pages ask."""
    return PAPER if project.form is None else Questions.model_validate(project.form)


def own_forms(session: Session) -> dict[str, Questions]:
    """Every form that some project has instead of the paper's, by its digest."""
    rows = session.scalars(select(Project).where(Project.form.is_not(None)))
    return {form.digest: form for form in map(questions_of, rows)}


def read_questions(text: str, where: str) -> Questions:
    """The form in a YAML text; what it leaves out is as in the paper's. Errors call it `where`.

    Raises:
        StoreError: it is no YAML, or no form; it says which key is wrong, and what it may be.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise StoreError(f"{where}: over {MOST_BYTES:,} bytes; a form is a page of questions.")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise StoreError(f"{where}{line}: not YAML: {problem}.") from None
    if not isinstance(values, dict):
        raise StoreError(f"{where}: a form is a list of `key: value` lines. {_WAY_OUT}")
    try:
        return Questions.model_validate(filled(values))
    except ValidationError as error:
        problems = [f"{where}: {_told(problem)}" for problem in error.errors()]
        more = len(problems) - 5
        problems = problems[:5] + ([f"{where}: and {more} more"] if more > 0 else [])
        raise StoreError("\n".join([*problems, _WAY_OUT])) from None


def read_questions_file(path: Path) -> Questions:
    """The same of a file."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return read_questions(data.decode("utf-8"), str(path))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}. A form in YAML is needed.") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path}: not UTF-8 text. A form is a YAML file.") from None


def filled(values: Any) -> Any:
    """With the paper's form where nothing is said; of quality and compare each key is looked at."""
    if not isinstance(values, dict):
        return values
    whole = PAPER.as_json() | values
    for part in ("quality", "compare"):
        if isinstance(values.get(part), dict):
            whole[part] = PAPER.as_json()[part] | values[part]
    return whole


_WAY_OUT = "`preceptor label form` prints the paper's form, to begin with."


def _told(problem: Any) -> str:
    """A problem of a form in words, with its place: flags, 2, name."""
    place = ".".join(str(part + 1) if isinstance(part, int) else part for part in problem["loc"])
    said = re.sub("^Value error, ", "", problem["msg"])
    if problem["type"] == "missing":
        said = "is missing"
    elif problem["type"] == "extra_forbidden":
        said = "there is no such key"
    elif problem["type"] == "string_pattern_mismatch":
        said = f"{problem['input']!r}: small letters, digits and _, a letter first, 40 at most"
    return f"{place}: {said}" if place else said
