"""Tokenizers for planted families are of their family's kind, lose no text, and are the same each time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tokenizers import Tokenizer

from maxact.tokenizers.trained import STYLES, train

TEXTS = [
    "The quick brown fox jumps over 1234 lazy dogs, didn't it?\n\n",
    "def add(a, b):\n    return a + b\n",
    "你好，世界。今天天气很好。",
    "Ünïcödé, ελληνικά и кириллица  with   spaces\t",
] * 20
UNSEEN = ["ᚠᛇᚻ᛫ᛒᛦᚦ", "emoji 🙂 and 🏳️‍🌈", "\u200bzero width", "a  b", ""]


@pytest.fixture(scope="module", params=STYLES)
def trained(request: pytest.FixtureRequest) -> tuple[str, Tokenizer]:
    return request.param, train(STYLES[request.param], 1024, TEXTS)


@pytest.mark.parametrize("text", [*TEXTS[:4], *UNSEEN])
def test_every_text_comes_back(trained: tuple[str, Tokenizer], text: str) -> None:
    _, tokenizer = trained
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_marker_is_a_token_of_its_own_that_no_text_has(trained: tuple[str, Tokenizer]) -> None:
    style, tokenizer = trained
    assert tokenizer.get_vocab_size() <= 1024
    assert tokenizer.token_to_id(STYLES[style].special[-1]) == 3
    assert all(3 not in tokenizer.encode(text).ids for text in [*TEXTS, *UNSEEN])


def test_numbers_are_split_as_in_the_family() -> None:
    digits = {style: train(STYLES[style], 1024, ["1234 1234"] * 50).encode("1234").tokens for style in STYLES}
    assert digits["qwen"] == ["1", "2", "3", "4"]
    assert len(digits["gpt_oss"]) == 2  # up to three digits
    assert digits["gemma"][0].startswith("1")


ONE = """
import hashlib, sys
sys.path[:0] = [sys.argv[1]]
from test_trained import TEXTS
from maxact.tokenizers.trained import STYLES, train
print(hashlib.sha256("".join(train(style, 1024, TEXTS).to_str() for style in STYLES.values()).encode()).hexdigest())
"""


def test_another_process_trains_the_same() -> None:
    digests = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed}
        command = [sys.executable, "-c", ONE, os.path.dirname(__file__)]
        digests.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1
