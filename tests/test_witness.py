"""The text around a token: whole characters, in whatever alphabet, as they stand in the sample."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from maxact.tokens import SCHEMA
from maxact.witness import Witness, Witnesses

TEXTS = ("one two\nthree", "a語b", "x" * 40)


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    """Each byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [
        {"sample": number, "id": f"id-{number}", "domain": "web", "language": "und", "script": "Zyyy"}
        | {"length_bucket": 16, "split": "rest", "token_ids": tokenizer.encode(text).ids}
        for number, text in enumerate(TEXTS)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / "tokens.parquet")
    return Witnesses(tmp_path / "tokens.parquet", tmp_path / "tokenizer.json")


def test_a_token_stands_between_the_text_around_it(witnesses: Witnesses) -> None:
    assert witnesses.at(0, 4) == Witness(0, "id-0", "web", "und", "Zyyy", 4, "one ", "t", "wo three")
    assert witnesses.at(0, 4).text == "one [t]wo three"


def test_the_first_and_the_last_token_have_text_on_one_side(witnesses: Witnesses) -> None:
    assert witnesses.at(0, 0).text == "[o]ne two three"
    assert witnesses.at(0, 12).text == "one two thre[e]"


@pytest.mark.parametrize("position", [1, 2, 3])
def test_part_of_a_character_is_shown_as_the_character(position: int, witnesses: Witnesses) -> None:
    assert witnesses.at(1, position).text == "a[語]b"


def test_what_is_cut_has_an_ellipsis(witnesses: Witnesses) -> None:
    assert witnesses.at(2, 20).text == "…xxxxxxxxxxxx[x]xxxxxxxxxxxx…"
