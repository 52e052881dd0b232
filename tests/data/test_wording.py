"""Near forms of a word meet; numbers are numbers."""

import pytest

from preceptor.data.wording import content_words, stem, words


@pytest.mark.parametrize(
    "one, other",
    [("painter", "painters"), ("city", "cities"), ("Paris's", "paris"), ("mouse", "mice"),
     ("discovered", "discovers"), ("box", "boxes"), ("bake", "baking")],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(one: str, other: str):
    assert stem(one.casefold()) == stem(other.casefold())


def test_different_words_stay_apart():
    different = ("glass", "gas", "grass", "king", "kin", "red", "reed")
    assert len({stem(word) for word in different}) == 7


def test_numbers():
    assert words("1,500 people, 1901–1983 and 1901-1983") == [
        "1500", "people", "1901", "1983", "and", "1901", "1983",
    ]  # fmt: skip


def test_function_words_carry_no_content():
    assert content_words("It is what it was, and so are they.") == []
    assert content_words("The tower of Paris") == ["tower", "pari"]
