"""The alignment tax: what a model has forgotten of its pretraining (InstructGPT section 4.2)."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.data.dataset import Choice
from preceptor.evaluation.answers import response_losses
from preceptor.models.forward import Sequences, held_out_losses
from preceptor.models.tokenizers import encode_text
from preceptor.statistics.bootstrap import cluster_bootstrap
from preceptor.statistics.estimate import Estimate


def pretraining_loss(model: PreTrainedModel, sequences: Sequences, dtype: str) -> Estimate:
    """Held-out loss in nats per token, with the interval over sequences."""
    losses = held_out_losses(model, sequences, dtype)
    return cluster_bootstrap(losses.tolist(), list(range(len(losses))))


def task_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Choice],
    dtype: str,
) -> Estimate:
    """Share of few-shot items whose right continuation has the highest mean log-probability.

    InstructGPT appendix D: multiple choice by average per-token log-probability.
    """
    contexts, choices, owners = [], [], []
    for number, item in enumerate(items):
        context = encode_text(tokenizer, item.context)
        for choice in item.choices:
            contexts.append(context)
            choices.append(encode_text(tokenizer, choice))
            owners.append(number)
    losses = response_losses(model, contexts, choices, dtype)
    correct = []
    for number, item in enumerate(items):
        own = [loss for loss, owner in zip(losses, owners, strict=True) if owner == number]
        correct.append(float(own.index(min(own)) == item.answer))
    return cluster_bootstrap(correct, list(range(len(items))))
