"""Any other architecture of transformers: where things are is found by one trial pass of a few tokens.

Blocks are the modules of a list, each of which adds to the stream that it is given. What each block adds is followed back to
the module that returned it (`inside_block.py`). What cannot be followed is not applicable, with a reason; a decoder whose
blocks cannot be told is refused.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from maxact.errors import UserError
from maxact.sites.find import Found, Layout
from maxact.sites.inside_block import Stream, places_of_block
from maxact.sites.trial import Call, Trial, is_norm, key_of, taken

NO_FINAL_NORM = "no norm follows the last block"


def layout(decoder: Any) -> Layout:
    """Where everything is in a decoder that takes `input_ids` and returns hidden states.

    Raises:
        UserError: it cannot be run so, or what its blocks are cannot be told.
    """
    name = f"model_type {decoder.config.model_type!r}"
    trial = Trial(decoder)
    training = decoder.training
    try:
        decoder.eval()
        trial.run()
    except Exception as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name}: a trial pass of input_ids alone fails ({what}); no adapter knows where to look"
        ) from error
    finally:
        decoder.train(training)
    if trial.last is None or trial.last.dim() != 3:
        raise UserError(f"{name}: the decoder returns no hidden states; no adapter knows where to look")
    width = trial.last.shape[-1]
    streams = find_blocks(trial, width)
    if not streams:
        raise UserError(
            f"{name}: no list of blocks that each add to a residual stream of {width} channels was found; "
            "no adapter knows where to look"
        )
    first = streams[0]
    embedding = taken(trial, first.call, first.given)
    blocks = [places_of_block(trial, stream, width) for stream in streams]
    return Layout(embedding, blocks, _final_norm(trial, streams[-1].call))


def find_blocks(trial: Trial, width: int) -> list[Stream]:
    """The calls of blocks, in the order in which they run, so that shared blocks come as often as they are called.

    A block is a member of a list of modules. It is given a row of `width` channels for each token and returns one, made
    from the first by adding to it; members of a list inside a block are none.
    """
    members: dict[int, nn.Module] = {}
    for module in trial.decoder.modules():
        if isinstance(module, nn.ModuleList):
            members |= {id(member): member for member in module}
    found: list[Stream] = []
    for call in trial.calls:
        if id(call.module) not in members or any(call.within(stream.call) for stream in found):
            continue
        stream = Stream.through(trial, call, width)
        if stream is not None:
            found.append(stream)
    return found


def _final_norm(trial: Trial, block: Call) -> Found:
    """The norm after the last block that returns what the decoder returns."""
    assert trial.last is not None
    key = key_of(trial.last)
    after = [call for call in trial.calls if call.start > block.end and is_norm(call)]
    for call in after:
        for value in call.outputs:
            if value.key is not None and value.key == key:
                return taken(trial, call, value)
    if after:
        return f"{after[-1].name} follows the last block, and what it returns is not the last hidden state"
    return NO_FINAL_NORM
