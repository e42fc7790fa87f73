"""The tokenizer of the toy captions, in CLIPTokenizer's layout: byte-pair merges learned from the captions until every word is one token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from pipeline.toy.training.data import training_captions

LENGTH = 48
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


@lru_cache(1)
def tokenizer() -> CLIPTokenizer:
    """Learned from the training captions; the end token has the highest number, as CLIP's text tower expects."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    learner.train_from_iterator(
        training_captions(),
        trainers.BpeTrainer(
            vocab_size=4_000, end_of_word_suffix=_WORD_END, initial_alphabet=alphabet, show_progress=False
        ),
    )
    learned = json_of(learner)
    pieces = sorted(learned["vocab"], key=lambda piece: learned["vocab"][piece])
    pieces += [letter + _WORD_END for letter in alphabet if letter + _WORD_END not in learned["vocab"]]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, _START, _END])}
    merges = [tuple(pair) if not isinstance(pair, str) else tuple(pair.split(" ")) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def json_of(learner: Tokenizer) -> dict[str, dict[str, int]]:
    """The model part of a tokenizer's own description: vocab and merges."""
    import json

    return dict(json.loads(learner.to_str())["model"])


def tokens(captions: Sequence[str]) -> Tensor:
    """(n, LENGTH) token numbers, padded with the end token."""
    held = tokenizer()(list(captions), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    numbers: Tensor = held["input_ids"]
    return numbers.to(torch.int32)
