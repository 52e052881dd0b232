"""Responses that name a model or its maker: whoever reads one may know whose it is.

Covered: the names below in any case, as words of their own, and saying that one is a model. Not
covered: other models, other alphabets, a style that gives its writer away. Such a name may stand in
an honest answer, too; so nothing is dropped, and figures are shown with and without.
"""

import re

NAMES = (
    "gpt", "chatgpt", "instructgpt", "davinci", "claude", "llama", "vicuna", "mistral", "mixtral",
    "qwen", "deepseek", "gemma", "smollm", "olmo", "chatglm", "openai", "anthropic", "google",
    "deepmind", "meta ai", "alibaba", "microsoft", "cohere", "eleutherai", "hugging face",
    "huggingface", "databricks", "baidu", "moonshot ai", "zhipu", "laion", "open assistant",
    "openassistant", "lmsys",
)  # fmt: skip
WITH_A_NUMBER = ("gemini", "grok", "bard", "palm", "lamda", "falcon", "alpaca", "koala", "phi")
"""Words of other things as well: models where a number follows, such as Falcon-7B."""
NAMED = re.compile(
    rf"\b(?:{'|'.join(NAMES)})(?:[- ]?v?\d[\w.]*)?\b"
    rf"|\b(?:{'|'.join(WITH_A_NUMBER)})[- ]?v?\d"
    r"|\b(?:ai|large|big) language model\b"
    r"|\bi(?:['’]m| am) an? (?:ai|artificial intelligence|language model|chatbot)\b",
    re.IGNORECASE,
)


def names_a_model(text: str) -> bool:
    """Whether a response says whose it is, as far as names tell."""
    return NAMED.search(text) is not None
