from preceptor.miniature.words import ATTRIBUTES, NAMES, OPPOSITES
from preceptor.miniature.world import make_world


def test_a_quarter_of_the_facts_is_unknown(world):
    facts = [world.fact(name, attribute) for name in NAMES for attribute in ATTRIBUTES]
    assert len(facts) == len(NAMES) * len(ATTRIBUTES)
    assert facts.count(None) == round(len(facts) / 4)


def test_of_a_stranger_nothing_is_known_and_of_others_everything(world):
    known = {name: [world.fact(name, a) is not None for a in ATTRIBUTES] for name in NAMES}
    assert all(len(set(facts)) == 1 for facts in known.values())
    strangers = {name for name, facts in known.items() if not any(facts)}
    assert strangers & set(world.known) and strangers & set(world.heldout)


def test_values_belong_to_their_attribute(world):
    for (name, attribute), value in world.facts.items():
        assert value is None or (value in ATTRIBUTES[attribute] and value != name)


def test_friends_of_known_characters_are_known(world):
    """Or else a training answer would name a held-out character."""
    for name in world.known:
        assert world.fact(name, "friend") not in world.heldout


def test_seeds_differ_and_repeat():
    assert make_world(1).facts == make_world(1).facts
    assert make_world(1).facts != make_world(2).facts


def test_an_opposite_of_an_opposite_is_the_word():
    assert all(OPPOSITES[OPPOSITES[word]] == word != OPPOSITES[word] for word in OPPOSITES)
