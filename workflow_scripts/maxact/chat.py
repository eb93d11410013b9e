"""A text as one message of a user, in the chat template that comes with a tokenizer.

The template is data from the hub: transformers renders it in jinja's sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maxact.errors import PolicyError


def as_chat(texts: Sequence[str], config_file: Path, template_file: Path | None = None) -> list[str]:
    """Each text as the only message of a user, without the beginning of an answer.

    Args:
        texts: what users say; what looks like a template in them stays text.
        config_file: tokenizer_config.json, which names the special tokens and may have the template.
        template_file: the template where it is a file of its own, which goes before; it need not be there.

    Raises:
        PolicyError: there is no template, it cannot be rendered, writes the date, or leaves a text out.
    """
    config = json.loads(config_file.read_text(encoding="utf-8"))
    own = template_file is not None and template_file.is_file()
    template = template_file.read_text(encoding="utf-8") if own and template_file else _template(config)
    if template is None:
        raise _refused("the tokenizer has no chat template")
    if "strftime_now" in template:
        raise _refused("the tokenizer's chat template writes the date, which is another each day")
    from transformers.utils.chat_template_utils import render_jinja_template  # takes seconds

    conversations: list[Any] = [[{"role": "user", "content": text}] for text in texts]
    try:
        rendered, _ = render_jinja_template(
            conversations, chat_template=template, add_generation_prompt=False, **_special_tokens(config)
        )
    except Exception as error:  # whatever others' template may raise
        reason = " ".join(str(error).split())[:100]
        raise _refused(f"the tokenizer's chat template fails ({reason})") from None
    if any(text.strip() not in message for text, message in zip(texts, rendered, strict=True)):
        raise _refused("the tokenizer's chat template does not keep a user's message as it is")
    return list(rendered)


def _refused(reason: str) -> PolicyError:
    return PolicyError(f"tokens.special_tokens: chat, but {reason}; use none or bos")


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """What templates may name: `bos_token` and others, as text."""
    named = {name: token for name, token in config.items() if name.endswith("_token")}
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _template(config: Mapping[str, Any]) -> str | None:
    """The one that is used where no name is given; a tokenizer may have several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        found = next((item.get("template") for item in found if item.get("name") == "default"), None)
    return found if isinstance(found, str) else None
