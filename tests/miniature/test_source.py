import hashlib
import json
import subprocess
import sys
from dataclasses import asdict

from preceptor.miniature import make_miniature
from preceptor.miniature.grammar import words_of
from preceptor.miniature.words import OPPOSITES

SMALL = {
    "corpus_tokens": 3000,
    "num_demonstrations": 30,
    "num_reward_prompts": 30,
    "num_reward_valid_prompts": 20,
    "num_ppo_prompts": 30,
    "num_valid_prompts": 20,
    "num_test_prompts": 40,
}


def digest(seed: int) -> str:
    text = json.dumps(asdict(make_miniature(seed=seed, **SMALL)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = f"import sys; sys.path.insert(0, {__file__.rpartition('/')[0]!r}); "
    code += "from test_source import digest; print(digest(3))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == digest(3) != digest(4)


def test_sizes_are_as_asked():
    dataset = make_miniature(seed=5, **SMALL)
    assert len(dataset.demonstrations_train) == 30 and len(dataset.demonstrations_valid) == 3
    assert len(dataset.prompts_reward_train) == 30 and len(dataset.prompts_reward_valid) == 20
    assert len(dataset.prompts_ppo) == 30 and len(dataset.prompts_test) == 40
    assert len(dataset.prompts_valid) == 20 and not dataset.rankings_train
    tokens = sum(len(words_of(d.text)) + 1 for d in dataset.corpus_train)
    assert 3000 <= tokens < 3200


def test_few_shot_items_have_one_right_answer(world, dataset):
    assert set(dataset.tasks) == {"facts", "opposites", "copying"}
    for kind, items in dataset.tasks.items():
        assert len(items) == 200
        assert {item.answer for item in items} == {0, 1, 2, 3}
        for item in items:
            assert len(set(item.choices)) == 4
            right = item.choices[item.answer].strip()
            *worked, opening = item.context.split(". ")
            if kind == "copying":  # the line that begins again goes on as it did the first time
                assert f"{worked[0]},".startswith(f"{opening} {right},")
                assert {choice.strip() for choice in item.choices} <= set(worked[0].split(", "))
                continue
            assert 3 <= len(worked) <= 4
            if kind == "opposites":
                assert OPPOSITES[opening.rstrip(",")] == right
            else:
                name = opening.split()[0]
                assert right in {value for (who, _), value in world.facts.items() if who == name}
