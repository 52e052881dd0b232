"""Personal data: published examples are found and masked, look-alikes are left alone."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preceptor.data.personal import find_personal, mask_personal

# Published test numbers and documentation addresses; none is anybody's.
EXAMPLES = [
    ("EMAIL", "jane.doe+news@mail.example.co.uk"),
    ("EMAIL", "jürgen@müller.de"),
    ("EMAIL", "ju\u0308rgen@mu\u0308ller.de"),  # the same, its dots apart
    ("EMAIL", "jürgen@example.org"),
    ("EMAIL", "info@bücher.example"),
    ("EMAIL", "info@xn--bcher-kva.xn--p1ai"),
    ("EMAIL", "用户@例子.公司"),
    ("EMAIL", "用户1@例子.中国"),
    ("EMAIL", "почта@пример.рф"),
    ("EMAIL", "संपर्क@उदाहरण.भारत"),
    ("EMAIL", "θσερ@εχαμπλε.ελ"),
    ("PHONE", "+44 20 7946 0958"),
    ("PHONE", "(415) 555-2671"),
    ("CARD", "4111 1111 1111 1111"),
    ("CARD", "378282246310005"),
    ("CARD", "5555-5555-5555-4444"),
    ("IBAN", "GB82 WEST 1234 5698 7654 32"),
    ("IBAN", "DE89370400440532013000"),
    ("IP", "192.0.2.44"),
    ("IP", "2001:db8::8a2e:370:7334"),
    ("KEY", "AKIAIOSFODNN7EXAMPLE"),
]
LOOK_ALIKES = [
    "4111 1111 1111 1112",  # Luhn fails
    "0000 0000 0000 0000",  # passes Luhn, is nobody's
    "GB83 WEST 1234 5698 7654 32",  # mod 97 fails
    "192.0.2.444",
    "version 10.2.3.4.5",
    "127.0.0.1",
    "12:30:45",
    "std::vector",
    "In 1984, 2 + 2 = 4 and 1,234,567 people read it.",
    "3.14159265358979323846",
    "meet me @ noon",
    "a@b and x@y, A@B.T or α@β.γ",
    "@user wrote to @user.name",
    "@app.route('/')\n@pytest.mark.slow",
    "谢谢@user.name 你好",
    "谢谢@张三.你好",
    "Спасибо@иван.петров",
    "почта@сайт.организация",
    "Grüße@müller.schön",
    "a@b_c.org",
    "lodash@4.17.21",
    "a" * 65 + "@x.org",
    "take a[::2] of it",
    "Cafe::Add and Feed::Bad",
    "See Section 1.2.3.4 of it",
    "Version 10.2.3.4",
    "v1.2.3.4",
    "What is 28980 - 18480?",
    "28980-18480",
]


@pytest.mark.parametrize(("kind", "value"), EXAMPLES)
@pytest.mark.parametrize(
    "around", ["{}", "Write to {}, please.", "({})", "Is\n{}\nTHE ONE?", "日本 {}"]
)
def test_published_examples_are_found_where_they_stand(kind: str, value: str, around: str):
    text = around.format(value)
    [found] = find_personal(text)
    assert (found.kind, text[found.start : found.end]) == (kind, value)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_what_fails_its_own_check_is_left_alone(text: str):
    assert mask_personal(text)[0] == text


def test_what_is_equal_has_one_placeholder_throughout_a_conversation():
    prompt = [
        {"role": "user", "content": "I am a@x.org, not b@x.org. Call (415) 555-2671."},
        {"role": "assistant", "content": "Noted, A@X.ORG."},
        {"role": "user", "content": "Or 415-555-2671."},
    ]
    masked, counts = mask_personal(prompt)
    assert [turn["content"] for turn in masked if isinstance(turn, dict)] == [
        "I am <EMAIL_1>, not <EMAIL_2>. Call <PHONE_1>.",
        "Noted, <EMAIL_1>.",
        "Or <PHONE_1>.",
    ]
    assert counts == {"EMAIL": 3, "PHONE": 2}
    assert prompt[0]["content"].startswith("I am a@"), "what was given is not changed"


def test_of_what_overlaps_the_surer_kind_is_taken():
    assert mask_personal("Ask 192.0.2.44@x.org at 192.0.2.44.")[0] == "Ask <EMAIL_1> at <IP_1>."


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("我的邮箱是ann@example.com谢谢", "我的邮箱是<EMAIL_1>谢谢"),
        ("ann@example.com으로 보내세요", "<EMAIL_1>으로 보내세요"),
        ("请写信,用户@例子.公司谢谢", "请写信,<EMAIL_1>谢谢"),
        ("Mail an jürgen@müller.de.", "Mail an <EMAIL_1>."),
        ("JÜRGEN@müller.de, jürgen@müller.de", "<EMAIL_1>, <EMAIL_1>"),
        ("a@b.org@c.org", "<EMAIL_1>@c.org"),
        ("字" * 80 + "@例子.公司", "字" * 16 + "<EMAIL_1>"),
    ],
)
def test_an_address_ends_where_the_sentence_goes_on(text: str, masked: str):
    assert mask_personal(text)[0] == masked


def test_national_numbers_are_those_of_the_region():
    assert find_personal("Ruf 030 901820 an.", region="DE")
    assert not find_personal("Ruf 030 901820 an.", region=None)


@given(st.text() | st.from_regex(r"[\w .@:+()-]{0,60}"))
@example("1" * 40 + "." + "1" * 40)
def test_masked_text_holds_nothing_more_to_find_and_findings_never_overlap(text: str):
    found = find_personal(text)
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    masked, counts = mask_personal(text)
    assert sum(counts.values()) == len(found)
    assert isinstance(masked, str)
    for finding in found:
        assert text[finding.start : finding.end] not in masked or len(found) > 1


@pytest.mark.parametrize(
    "piece", ["a.", "1", "1 ", "a@", "字@", "@a.", "字", ":", "A1", "0:", "1.", "+1"]
)
def test_long_and_odd_texts_are_searched_to_their_end(piece: str):
    text = piece * 20_000 + " a@x.org"
    assert find_personal(text)[-1].end == len(text)
