"""Open a tokenizer as it is released, without the settings that would cut or pad texts."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from maxact.errors import UserError


def open_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.json`.

    Raises:
        UserError: it is not one.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises no class of its own
        raise UserError(f"{file}: not a tokenizer ({' '.join(str(error).split())[:200]}); fetch it again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
