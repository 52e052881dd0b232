import itertools
import json
from collections import Counter

from preceptor.data.records import text_of
from preceptor.miniature.grammar import words_of
from preceptor.miniature.phrasing import PHRASINGS
from preceptor.miniature.prompts import USE_CASES, make_users, split_of


def splits(dataset):
    return {
        "train": dataset.demonstrations_train,
        "valid": dataset.prompts_valid + dataset.demonstrations_valid,
        "reward": dataset.prompts_reward_train,
        "reward_valid": dataset.prompts_reward_valid,
        "ppo": dataset.prompts_ppo,
        "test": dataset.prompts_test,
    }


def test_no_user_and_no_text_is_in_two_splits(dataset):
    for (_, first), (_, second) in itertools.combinations(splits(dataset).items(), 2):
        assert not {p.user for p in first} & {p.user for p in second}
        assert not {text_of(p.prompt) for p in first} & {text_of(p.prompt) for p in second}


def test_use_cases_come_in_the_papers_shares(dataset):
    counts = Counter(p.use_case for p in dataset.prompts_test)
    for use_case, percent in USE_CASES.items():
        assert abs(counts[use_case] / 4 - percent) < 0.3


def test_training_prompts_never_name_the_heldout(world, dataset):
    heldout = set(world.heldout)
    for name, records in splits(dataset).items():
        named = [bool(heldout & set(words_of(text_of(p.prompt)))) for p in records]
        assert named == [p.meta["heldout_entity"] for p in records]
        assert any(named) == (name == "test")
        for record in records:
            if name == "train":
                assert not heldout & set(words_of(record.response))


def test_heldout_phrasings_are_only_in_test(dataset):
    for name, records in splits(dataset).items():
        assert any(p.meta["heldout_phrasing"] for p in records) == (name == "test")
    for used, heldout in PHRASINGS.values():
        assert not set(used) & set(heldout) and len(used) >= 4 and heldout


def test_a_quarter_of_the_test_prompts_is_heldout_in_each_way(dataset):
    for key in ("heldout_entity", "heldout_phrasing"):
        share = sum(p.meta[key] for p in dataset.prompts_test) / len(dataset.prompts_test)
        assert 0.2 < share < 0.3


def test_four_in_ten_have_a_constraint(prompts):
    share = sum(p.meta["task"]["constraint"] is not None for p in prompts) / len(prompts)
    assert 0.36 < share < 0.44


def test_users_are_many_and_unequal():
    users = [user for side in make_users(0).values() for user in side]
    assert len({user.name for user in users}) == 300
    assert max(u.activity for u in users) > 10 * min(u.activity for u in users)


def test_prompts_survive_json(prompts):
    for prompt in prompts:
        assert json.loads(json.dumps(prompt.meta)) == prompt.meta


def test_the_split_of_a_text_never_changes():
    assert [split_of(t) for t in ("a", "b", "c", "d")] == ["reward", "reward_valid", "train", "ppo"]


def test_chats_end_with_the_user(prompts):
    chats = [p.prompt for p in prompts if p.use_case == "chat"]
    assert {len(chat) for chat in chats} == {1, 3}
    assert all(chat[-1]["role"] == "user" for chat in chats)
