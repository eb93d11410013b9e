"""A text as one message of a user, in the chat template that comes with a tokenizer.

The template is data from the hub: transformers renders it in jinja's sandbox.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maxact.errors import PolicyError


def as_chat(texts: list[str], config_file: Path) -> list[str]:
    """Each text in the template of a `tokenizer_config.json`, without the beginning of an answer.

    Raises:
        PolicyError: there is no template, or it does not take one message of a user.
    """
    config = json.loads(config_file.read_text(encoding="utf-8"))
    template = _template(config.get("chat_template"))
    if template is None:
        raise PolicyError("tokens.special_tokens: chat, but the tokenizer has no chat template; use none or bos")
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    special = {
        name: token["content"] if isinstance(token, dict) else token
        for name, token in config.items()
        if name.endswith("_token") and token is not None
    }
    conversations = [[{"role": "user", "content": text}] for text in texts]
    try:
        rendered, _ = render_jinja_template(
            conversations=conversations, chat_template=template, add_generation_prompt=False, **special
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:100]
        raise PolicyError(
            f"tokens.special_tokens: chat, but the tokenizer's chat template fails ({reason}); use none or bos"
        ) from None
    return list(rendered)


def _template(found: Any) -> str | None:
    """The one that is used where no name is given; a tokenizer may have several."""
    if isinstance(found, list):
        named = {item["name"]: item["template"] for item in found}
        found = named.get("default")
    return found if isinstance(found, str) else None
