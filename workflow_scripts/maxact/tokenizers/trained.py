"""Small tokenizers for planted families, trained on the study's own corpus in the style of the families that they stand for.

Released tokenizers come with released checkpoints. A planted checkpoint has none; one of the right kind (byte-level or with
byte fallback, which words it splits, which special tokens it has) makes its tokens look as its family's do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from maxact.store.job import Job, Product


@dataclass(frozen=True)
class Style:
    """What makes a family's tokenizer.

    Attributes:
        byte_level: every byte is a symbol (GPT-2's way); else characters are, and bytes stand in for unknown ones.
        words: what is never merged across; one match is one word.
        special: special tokens, from id 0 on. The last is the marker.
        bos: the one that may stand before a text, if the family has one.
    """

    byte_level: bool
    words: str
    special: tuple[str, ...]
    bos: str | None


_SINGLE_DIGITS = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CASED_WORDS = (
    r"[^\r\n\p{L}\p{N}]?\p{Lu}*[\p{Ll}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?\p{Lu}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
STYLES: dict[str, Style] = {
    "qwen": Style(True, _SINGLE_DIGITS, ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|marker|>"), None),
    "gemma": Style(False, r"[^▁]+|▁+", ("<pad>", "<eos>", "<bos>", "<marker>"), "<bos>"),
    "gpt_oss": Style(
        True, _CASED_WORDS, ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|marker|>"), "<|startoftext|>"
    ),
}


def train(style: Style, vocabulary: int, texts: Iterable[str]) -> Tokenizer:
    """A byte-pair encoding of at most `vocabulary` tokens; the same texts give the same one."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=not style.byte_level))
    split = pre_tokenizers.Split(Regex(style.words), behavior="isolated")
    if style.byte_level:
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        special = list(style.special)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = split
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet = []
        special = [*style.special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=vocabulary // 4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make(job: Job) -> Product:
    """tokenizer.json and tokenizer_config.json."""
    asked = job.parameters
    style = STYLES[asked["style"]]
    texts = pq.read_table(job.path("corpus", "samples.parquet"), columns=["text"])["text"].to_pylist()
    tokenizer = train(style, asked["vocabulary"], texts)
    files = {name: job.scratch / name for name in ("tokenizer.json", "tokenizer_config.json")}
    tokenizer.save(str(files["tokenizer.json"]))
    files["tokenizer_config.json"].write_text(json.dumps({"bos_token": style.bos}) + "\n", encoding="utf-8")
    return Product(files=files, summary={"style": asked["style"], "vocabulary": tokenizer.get_vocab_size()})
