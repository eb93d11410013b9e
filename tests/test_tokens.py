"""Samples become token ids by the family's policy, in splits of exact sizes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maxact.errors import UserError
from maxact.tokens import first_tokens, place_marker, split, token_texts, tokenize

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
    with pytest.raises(UserError, match="sample 1 of the text has no token"):
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


def test_a_file_that_is_no_tokenizer_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text('{"model": 5}', encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer.json: not a tokenizer") as refused:
        tokenize(["text"], file)
    assert "\n" not in str(refused.value)
