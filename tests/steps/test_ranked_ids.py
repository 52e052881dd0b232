"""Rankings as ids: those of the same responses together, in the order in which they are met."""

import random

import pytest
from toys import END, tiny_tokenizer

from preceptor.config import Recipe
from preceptor.data.records import Ranking, ranking_key, write_records
from preceptor.models.tokenizers import encode_prompt, encode_response
from preceptor.steps.inputs import prompts_with_ids, ranked_ids, read_rankings

LIMIT = 5


@pytest.fixture
def recipe():
    return Recipe(model="m", demonstrations="d.jsonl", max_response_tokens=LIMIT)


def rankings_of_labelers(count: int) -> list[Ranking]:
    """By three labelers, mixed up; the same prompt comes with other responses, too."""
    draws = random.Random(0)
    found = []
    for labeler in ("x", "y", "z"):
        for number in range(count):
            if draws.random() < 0.7:
                responses = ["a " * (number % 6 + 1), "b c", "d"][: 2 + number % 2]
                ranks = [draws.randrange(1, 4) for _ in responses]
                prompt = "e " * (number % 5 + 1)
                found.append(Ranking(prompt, responses, ranks, labeler))
    draws.shuffle(found)
    return found


def test_labelers_of_the_same_responses_share_one_item(recipe, tmp_path):
    rankings, tokenizer = rankings_of_labelers(40), tiny_tokenizer()
    together: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        together.setdefault(ranking_key(ranking), []).append(ranking)
    items, numbers = ranked_ids(recipe, rankings, tokenizer, tmp_path)
    assert len(items) == len(together) < len(rankings)
    for item, own in zip(items, together.values(), strict=True):
        assert item.prompt == encode_prompt(tokenizer, own[0].prompt)
        assert item.responses == [
            encode_response(tokenizer, text)[:LIMIT] for text in own[0].responses
        ]
        assert item.rankings == [ranking.ranks for ranking in own]
    place = {key: number for number, key in enumerate(together)}
    assert numbers.tolist() == [place[ranking_key(ranking)] for ranking in rankings]
    assert list(items[2:5]) == [items[2], items[3], items[4]] and items[-1] == items[len(items) - 1]
    with pytest.raises(IndexError):
        items[len(items)]


@pytest.mark.parametrize(
    ("finished", "ends"),
    [
        ([True, False, True], [True, False, False]),  # the third is over the limit
        ([False, False, False], [False, False, False]),
        (None, [True, True, False]),
        ([False], [True, True, False]),  # not one for each: a user's own word for something else
        ("no", [True, True, False]),
    ],
)
def test_only_what_ended_has_an_end(recipe, tmp_path, finished, ends):
    meta = {} if finished is None else {"finished": finished}
    ranking = Ranking("q", ["a", "b c", "d " * 20], [1, 2, 3], meta=meta)
    [item], _ = ranked_ids(recipe, [ranking], tiny_tokenizer(), tmp_path)
    assert [END in response for response in item.responses] == ends
    assert all(0 < len(response) <= LIMIT for response in item.responses)


def test_rankings_of_several_rounds_come_one_behind_the_other(tmp_path):
    rankings = rankings_of_labelers(6)
    homes = [tmp_path / name for name in ("one", "two", "three")]
    for number, home in enumerate(homes):
        write_records(home / "data" / "rankings-train.jsonl", rankings[number::3])
    assert list(read_rankings(homes[:1], "train")) == rankings[::3]
    together = read_rankings(homes, "train")
    assert list(together) == [*rankings[::3], *rankings[1::3], *rankings[2::3]]
    assert together[-1] == rankings[2::3][-1]


def test_prompts_and_their_ids_belong_together(tmp_path):
    texts = [{"prompt": "a " * (i % 7 + 1)} for i in range(30)]
    write_records(tmp_path / "data" / "prompts-ppo.jsonl", texts)
    prompts, ids = prompts_with_ids(tmp_path, "ppo", tiny_tokenizer())
    assert len(prompts) == len(ids) == 30
    for number in (29, 3, 11):
        assert ids[number] == encode_prompt(tiny_tokenizer(), prompts[number].prompt)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prompts-ppo.jsonl"]
