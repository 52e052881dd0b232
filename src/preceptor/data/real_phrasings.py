"""How a prompt may be worded: templates to learn from, and templates kept for the test."""

TOPIC_NAMES = {
    "People": "people",
    "Biology and health sciences": "biology and health",
    "Geography": "geography",
    "Physical sciences": "physical science",
    "Society and social sciences": "society",
    "Arts": "arts",
    "Technology": "technology",
    "History": "history",
    "Everyday life": "everyday life",
    "Philosophy and religion": "philosophy and religion",
    "Mathematics": "mathematics",
}

# kind: (phrasings to learn from, phrasings kept for the test)
PHRASINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "definition": (
        (
            "{Wh} {verb} {subject}?",
            "Can you tell me {wh} {subject} {verb}?",
            "Explain briefly {wh} {subject} {verb}.",
            "I would like to know {wh} {subject} {verb}.",
        ),
        ("Quick question: {wh} {verb} {subject}?", "Help me out: {wh} {verb} {subject}?"),
    ),
    "trivia": (("{question}",), ("Here is a trivia question. {question}",)),
    "passage_question": (
        (
            "{passage}\n\n{question}",
            "Read this: {passage}\n\n{question}",
            "Text: {passage}\nQuestion: {question}",
        ),
        ("{question} The answer is in this text: {passage}",),
    ),
    "text": (
        (
            "Write a short text about {subject}.",
            "Write a few words about {subject}.",
            "Tell me about {subject}.",
            "Write a short introduction to {subject}.",
        ),
        ("Compose a brief note on {subject}.", "Draft a short paragraph about {subject}."),
    ),
    "method": (
        (
            "How do I make {dish}?",
            "Tell me how to make {dish}.",
            "Write a short recipe for {dish}.",
        ),
        ("What are the steps for preparing {dish}?",),
    ),
    "needs": (
        ("What do I need to make {dish}?", "Write a shopping list for {dish}."),
        ("Which ingredients should I buy for {dish}?",),
    ),
    "ingredients": (
        (
            "{passage}\n\nList the ingredients.",
            "Which ingredients are named in this recipe? {passage}",
            "Extract the ingredients: {passage}",
        ),
        ("Pull out every ingredient from this recipe: {passage}",),
    ),
    "years": (
        (
            "{passage}\n\nList the years in this text.",
            "Which years are named here? {passage}",
            "Extract all the years: {passage}",
        ),
        ("Find every year in the following: {passage}",),
    ),
    "classify": (
        (
            "{passage}\n\nWhich topic is this: {choices}?",
            "Classify this text as {choices}.\n\n{passage}",
            "Is this about {choices}? {passage}",
        ),
        ("Pick the best label ({choices}) for this: {passage}",),
    ),
    "summary": (
        (
            "{passage}\n\nSummarize this in one sentence.",
            "Summarize in one sentence: {passage}",
            "Say this in one short sentence: {passage}",
        ),
        ("Give me the gist of this in a single sentence: {passage}",),
    ),
    "caption": (
        (
            "{passage}\n\nSum this up in at most {n} words.",
            "Describe {title} in at most {n} words. {passage}",
        ),
        ("Boil this down to no more than {n} words: {passage}",),
    ),
    "shorten": (
        ("Make this shorter: {passage}", "Shorten this sentence: {passage}"),
        ("Rewrite this more briefly: {passage}",),
    ),
    "person": (
        (
            "Rewrite as a full sentence: {name}, {description}.",
            "Turn this note into a sentence: {name} - {description}",
        ),
        ("Put this entry into a complete sentence: {name}: {description}",),
    ),
    "basket": (
        (
            "Put this shopping list into one sentence: {entries}",
            "Rewrite this list as a sentence: {entries}",
        ),
        ("Turn these items into a single sentence: {entries}",),
    ),
    "members": (
        (
            "Name {number} {group}.",
            "Give me {number} examples of {group}.",
            "List {number} {group}.",
        ),
        ("I need the names of {number} {group}.",),
    ),
    "dishes": (
        (
            "Name {number} dishes made with {item}.",
            "What can I cook with {item}? Name {number} dishes.",
        ),
        ("I have some {item}. Suggest {number} dishes.",),
    ),
    "more": (
        ("Tell me more.", "Can you say more about that?", "What else should I know?"),
        ("Go on, please.",),
    ),
    "fact": (
        (
            "Tell me something surprising about {topic}.",
            "Tell me a fun fact about {topic}.",
            "Do you know anything odd about {topic}?",
        ),
        ("Amaze me with a fact about {topic}.",),
    ),
}
