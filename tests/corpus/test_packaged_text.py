"""The corpus has the domains, lengths and bytes that the study asks for, from text that is what its domain says."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maxact.corpus.choosing import TextSample, cut, largest_remainder
from maxact.corpus.packaged_text import build
from maxact.errors import UserError
from maxact.study import Corpus, Study

pytestmark = pytest.mark.xdist_group("packaged_text")


def built(corpus: Corpus, tokenizer: Tokenizer, **changes: object) -> list[TextSample]:
    proportions = dict(sorted(corpus.proportions.items()))  # as a key stamp has them
    asked = {"samples": corpus.samples, "seed": corpus.seed, "proportions": proportions} | changes
    return build(lengths=asked.pop("lengths", corpus.lengths), wheels=corpus.wheels, tokenizer=tokenizer, **asked)


@pytest.fixture(scope="module")
def corpus(pocket: Study, smollm2_tokenizer: Tokenizer) -> list[TextSample]:
    return built(pocket.corpus, smollm2_tokenizer)


@given(st.integers(0, 5000), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_shares_are_whole_parts_and_the_largest_remainders(total: int, weights: list[int]) -> None:
    named = {str(number): weight for number, weight in enumerate(weights)}
    shares = largest_remainder(total, named)
    assert sum(shares.values()) == total
    whole = sum(weights)
    remainders = {key: total * weight % whole for key, weight in named.items()}
    more = {key for key in named if shares[key] == total * named[key] // whole + 1}
    assert all(shares[key] == total * named[key] // whole for key in named if key not in more)
    assert all(remainders[one] >= remainders[other] for one in more for other in named if other not in more)


def test_domains_and_lengths_are_in_the_papers_proportions(corpus: list[TextSample]) -> None:
    assert Counter(sample.domain for sample in corpus) == {
        "math": 41, "code": 41, "web": 41, "knowledge": 41, "chinese": 19, "minority": 14, "other": 43,
    }  # fmt: skip
    assert Counter(sample.length_bucket for sample in corpus) == {16: 3, 32: 2, 64: 5, 128: 7, 256: 223}


def test_every_sample_alone_has_the_tokens_of_its_bucket(
    corpus: list[TextSample], smollm2_tokenizer: Tokenizer
) -> None:
    for sample in corpus:
        ids = smollm2_tokenizer.encode(sample.text, add_special_tokens=False).ids
        assert len(ids) == sample.length_bucket, sample.id


def test_samples_differ_and_name_a_pinned_source_and_its_licence(corpus: list[TextSample], pocket: Study) -> None:
    pinned = {f"{wheel.package} {wheel.version}" for wheel in pocket.corpus.wheels}
    assert len({sample.id for sample in corpus}) == len({sample.text for sample in corpus}) == len(corpus)
    assert {sample.source.rpartition(" ")[0] for sample in corpus} == pinned
    assert all(sample.licence not in ("", "unknown") for sample in corpus)


SCRIPTS = {"Latn": "LATIN", "Hani": "CJK", "Cyrl": "CYRILLIC", "Grek": "GREEK", "Deva": "DEVANAGARI", "Beng": "BENGALI"}
SCRIPTS |= {"Sinh": "SINHALA", "Phnx": "PHOENICIAN", "Rjng": "REJANG", "Arab": "ARABIC", "Ethi": "ETHIOPIC"}
SCRIPTS |= {"Sarb": "OLD", "Olck": "OL", "Bali": "BALINESE", "Rohg": "HANIFI", "Nshu": "NUSHU", "Tfng": "TIFINAGH"}
SCRIPTS |= {"Kawi": "KAWI"}


def script_in_name(character: str) -> str:
    """The first word of a letter's name; Kawi, which is in Unicode 15, is not known to Python 3.11."""
    return "KAWI" if "\U00011f00" <= character <= "\U00011f59" else unicodedata.name(character, "?").split()[0]


def test_text_is_in_the_script_that_it_is_said_to_be(corpus: list[TextSample]) -> None:
    for sample in corpus:
        letters = Counter(
            script_in_name(letter)
            for letter in sample.text
            if letter.isalpha() or "\U00011f00" <= letter <= "\U00011f59"
        )
        assert letters.most_common(1)[0][0] == SCRIPTS[sample.script], sample.id
        assert (sample.script != "Latn") == (sample.domain in ("minority", "chinese"))


def test_each_domain_is_what_its_name_says(corpus: list[TextSample]) -> None:
    code = [sample for sample in corpus if sample.domain == "code" and sample.length_bucket == 256]
    assert all("\n    " in sample.text for sample in code)
    # A stretch starts later where it would have another number of tokens alone.
    assert sum(bool(re.match(r"(def|class|@)", sample.text)) for sample in code) > 0.9 * len(code)
    for sample in corpus:
        if sample.domain == "chinese":
            assert sample.language == "zh"
        if sample.domain == "other":
            assert sample.language != "en"
    prose = [sample for sample in corpus if sample.domain in ("knowledge", "web")]
    words = sum(len(re.findall(r"[A-Za-z]+ ", sample.text)) for sample in prose)
    assert words > 0.4 * sum(sample.length_bucket for sample in prose)
    formulas = [sample for sample in corpus if sample.domain == "math" and ("\\" in sample.text or "$" in sample.text)]
    assert len(formulas) > 0.8 * sum(sample.domain == "math" for sample in corpus)


ONE_CORPUS = """
import hashlib, sys
from pathlib import Path
from tokenizers import Tokenizer
from maxact.corpus.packaged_text import build
from maxact.study import load_study
asked = load_study(Path(sys.argv[1])).corpus
proportions = dict(sorted(asked.proportions.items()))
tokenizer = Tokenizer.from_file(sys.argv[2])
samples = build(asked.samples, asked.seed, proportions, asked.lengths, asked.wheels, tokenizer)
print(hashlib.sha256(repr(samples).encode()).hexdigest())
"""


def test_another_process_builds_the_same_corpus(corpus: list[TextSample], smollm2: Path) -> None:
    """Hash randomization, locale and time zone of the process do not matter."""
    here = hashlib.sha256(repr(corpus).encode()).hexdigest()
    study = Path(__file__).parents[2] / "studies" / "pocket.yaml"
    command = [sys.executable, "-c", ONE_CORPUS, str(study), str(smollm2 / "tokenizer.json")]
    environment = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Kathmandu"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == here


def test_another_seed_chooses_other_text(pocket: Study, smollm2_tokenizer: Tokenizer) -> None:
    few = {"minority": 1, "other": 1, "chinese": 1}
    one, other = (built(pocket.corpus, smollm2_tokenizer, samples=9, proportions=few, seed=seed) for seed in (1, 2))
    assert Counter(sample.domain for sample in one) == Counter(sample.domain for sample in other)
    assert {sample.text for sample in one} != {sample.text for sample in other}


def test_too_little_text_is_refused_with_what_lacks(pocket: Study, smollm2_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"domain 'minority' lacks \d+ of its 3720 samples of 256 tokens") as caught:
        built(pocket.corpus, smollm2_tokenizer, samples=4000, proportions={"minority": 1})
    assert "\n" not in str(caught.value)


def test_an_unknown_domain_is_refused_with_the_known_ones(pocket: Study, smollm2_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"unknown domain 'mathematics'; known: math, code"):
        built(pocket.corpus, smollm2_tokenizer, proportions={"mathematics": 1})


@pytest.mark.parametrize("tokens", [6, 12])
def test_a_cut_is_a_stretch_of_the_text_with_exactly_so_many_tokens(tokens: int, smollm2_tokenizer: Tokenizer) -> None:
    for text in (
        "The quick brown fox jumps over the lazy dog, and sleeps.",
        "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ",
        "  \n\n a  b c d e f g h i j k",
    ):
        stretch = cut(text, tokens, smollm2_tokenizer)
        assert stretch is not None
        assert stretch in text
        assert len(smollm2_tokenizer.encode(stretch, add_special_tokens=False).ids) == tokens


def test_a_character_of_several_tokens_is_never_halved(smollm2_tokenizer: Tokenizer) -> None:
    assert cut("ᚠᛇᚻᛒ", 1, smollm2_tokenizer) is None


def test_a_text_too_short_or_of_spaces_only_has_no_cut(smollm2_tokenizer: Tokenizer) -> None:
    assert cut("two words", 50, smollm2_tokenizer) is None
    assert cut("", 1, smollm2_tokenizer) is None
    assert cut(" \n \n \n ", 1, smollm2_tokenizer) is None
