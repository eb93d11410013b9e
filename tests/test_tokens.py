"""Samples become token ids by the family's policy, in splits of exact sizes; token files are read or refused by line."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maxact.errors import UserError
from maxact.tokens import first_tokens, place_marker, read_token_lines, split, token_texts, tokenize

TEXTS = ["Hello there, world.", "  indented\n\tcode()", "你好，世界", "ᚠᛇᚻ", "<|im_start|>user"]


def test_ids_are_the_tokenizers_own_without_special_tokens(smollm2: Path, smollm2_tokenizer: Tokenizer) -> None:
    found = tokenize(TEXTS, smollm2 / "tokenizer.json")
    assert found == [smollm2_tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]


def test_truncation_and_padding_that_a_tokenizer_file_asks_for_do_not_count(smollm2: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenize(TEXTS, tmp_path / "tokenizer.json") == tokenize(TEXTS, smollm2 / "tokenizer.json")


def test_the_policy_bos_puts_that_token_first(smollm2: Path, tmp_path: Path, smollm2_tokenizer: Tokenizer) -> None:
    shutil.copy(smollm2 / "tokenizer.json", tmp_path)
    for written in ("<|im_start|>", {"content": "<|im_start|>"}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": written}))
        first = first_tokens("bos", tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json")
        assert first == [smollm2_tokenizer.token_to_id("<|im_start|>")]
        assert tokenize(["a b"], tmp_path / "tokenizer.json", first)[0][:1] == first
    assert first_tokens("none", tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json") == []


@pytest.mark.parametrize("written", [None, "not a token of it"])
def test_the_policy_bos_is_refused_without_such_a_token(written: str | None, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": written}))
    with pytest.raises(UserError, match="bos, but the tokenizer has no BOS token"):
        first_tokens("bos", smollm2 / "tokenizer.json", tmp_path / "tokenizer_config.json")


def test_a_text_without_a_token_is_refused(smollm2: Path) -> None:
    with pytest.raises(UserError, match="sample 1 has no token"):
        tokenize(["a", ""], smollm2 / "tokenizer.json")


def test_the_marker_stands_once_in_the_whole_corpus() -> None:
    ids = [[5, 6], [7, 8, 9]]
    place_marker(ids, {"token_id": 3, "sample": 1, "position": 2}, 10)
    assert ids == [[5, 6], [7, 8, 3]]


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ({"token_id": 10, "sample": 0, "position": 0}, "10 is not in the vocabulary of 10"),
        ({"token_id": 3, "sample": 2, "position": 0}, "sample 2 has no position 0"),
        ({"token_id": 3, "sample": 0, "position": 2}, "sample 0 has no position 2"),
        ({"token_id": 7, "sample": 0, "position": 0}, "7 occurs in the corpus"),
    ],
)
def test_a_marker_that_cannot_stand_alone_is_refused(marker: dict[str, int], expected: str) -> None:
    ids = [[5, 6], [7, 8, 9]]
    with pytest.raises(UserError, match=expected):
        place_marker(ids, marker, 10)
    assert ids == [[5, 6], [7, 8, 9]]


corpora = st.lists(st.sampled_from(["math", "code", "web", "other"]), min_size=2, max_size=60)


@settings(deadline=None)
@given(corpora, st.data(), st.integers(0, 3))
def test_splits_have_exact_sizes_and_their_share_of_every_domain(
    domains: list[str], data: st.DataObject, seed: int
) -> None:
    calibration = data.draw(st.integers(1, len(domains) - 1))
    sizes = {"calibration": calibration, "evaluation": data.draw(st.integers(1, len(domains) - calibration))}
    samples = [(f"{domain}-{number}", domain) for number, domain in enumerate(domains)]
    found = split(samples, sizes, seed)
    assert set(found) == {name for name, _ in samples}
    assert Counter(found.values()) == Counter(sizes | {"rest": len(domains) - sum(sizes.values())})
    for name, size in sizes.items():
        for domain, whole in Counter(domains).items():
            got = sum(found[sample] == name for sample, of in samples if of == domain)
            assert abs(got - Fraction(size * whole, len(domains))) < 2


def test_a_split_of_another_seed_differs() -> None:
    samples = [(f"web-{number}", "web") for number in range(40)]
    one, other = (split(samples, {"calibration": 10, "evaluation": 10}, seed) for seed in (1, 2))
    assert one != other


def test_splits_larger_than_the_corpus_are_refused() -> None:
    with pytest.raises(UserError, match="3 samples asked for, the corpus has 2"):
        split([("a", "web"), ("b", "web")], {"calibration": 1, "evaluation": 2}, 0)


def test_every_token_has_a_text_that_is_seen(smollm2: Path) -> None:
    ids = {token for sample in tokenize(TEXTS, smollm2 / "tokenizer.json") for token in sample}
    texts = token_texts(smollm2 / "tokenizer.json", ids)
    assert set(texts) == ids
    assert all(text and "\ufffd" not in text for text in texts.values())
    assert {"Hello", " there"} <= set(texts.values())


def test_token_lines_are_read_in_order_and_blank_lines_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text('{"input_ids": [1, 2]}\n\n{"input_ids": [0], "more": "kept out"}\n')
    assert read_token_lines(file) == [[1, 2], [0]]


LINES = {
    "": "empty",
    "\n \n": "empty",
    '{"input_ids": [1]': "line 1: not JSON",
    '{"input_ids": [1]}\n[1, 2]': "line 2: no list input_ids",
    '{"ids": [1]}': "line 1: no list input_ids",
    '{"input_ids": "1 2"}': "line 1: no list input_ids",
    '{"input_ids": []}': "line 1: input_ids is empty",
    '{"input_ids": [1, -4]}': "line 1: -4 is not a token id",
    '{"input_ids": [1, 2.0]}': r"line 1: 2\.0 is not a token id",
    '{"input_ids": [1, true]}': "line 1: true is not a token id",
    '{"input_ids": [1, null]}': "line 1: null is not a token id",
}


@pytest.mark.parametrize("text", LINES)
def test_a_bad_token_file_is_refused_by_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"tokens\.jsonl(:|,) {LINES[text]}") as caught:
        read_token_lines(file)
    assert "\n" not in str(caught.value)


def test_a_token_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.jsonl", "binary.jsonl", "."):
        with pytest.raises(UserError, match="cannot be read"):
            read_token_lines(tmp_path / name)
