"""Which tensors go where in one pass of a few tokens, told by their memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from maxact.sites.find import Site
from maxact.sites.taps import tapped
from maxact.sites.trial import PRODUCTS, SUMS, TOKENS, Call, is_norm

Key = tuple[Any, ...]
"""Of a tensor: the same for the same memory that nobody has written to in between, whatever the shape before the channels."""


class Traced(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What modules are given and return, and what sums and products are made of.

    Every tensor is kept until the end, so that no memory is used twice.

    Attributes:
        seen: what was taken at each site, by its number, in order.
        times: how often a module was called, by its id.
    """

    def __init__(self, decoder: Any, sites: Iterable[Site]) -> None:
        """Run the pass. Raises whatever the decoder raises."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[int, list[Key]] = {}
        self.times: dict[int, int] = {}
        self._names = {id(module): name for name, module in decoder.named_modules()}
        self._given: dict[Key, list[nn.Module]] = {}
        self._returned: dict[Key, list[nn.Module]] = {}
        self._operands: dict[Key, str] = {}
        self._kept: list[Tensor] = []
        ids = torch.tensor([[token % decoder.config.vocab_size for token in TOKENS]])
        handles = []
        for module in decoder.modules():
            handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            handles.append(module.register_forward_hook(self._after))
        try:
            # Not in inference mode, whose tensors do not count how often they are written to.
            with tapped(list(sites), self._see), torch.no_grad(), self:
                decoder(input_ids=ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def receivers(self, key: Key) -> list[nn.Module]:
        """The innermost modules that are given a tensor, in order, but for those that hand it on as it is."""
        given = {id(module): module for module in self._given.get(key, [])}
        handing = {id(module) for module in self._returned.get(key, [])}

        def innermost(module: nn.Module) -> bool:
            return not any(id(inner) in given for inner in module.modules() if inner is not module)

        return [module for number, module in given.items() if number not in handing and innermost(module)]

    def norm(self, key: Key) -> nn.Module | None:
        """The norm that returns a tensor."""
        norms = (module for module in self._returned.get(key, []) if self._is_norm(module))
        return next(norms, None)

    def arithmetic(self, key: Key) -> list[str]:
        """Whether a sum or a product is made of it, such as the residual stream."""
        return [self._operands[key]] if key in self._operands else []

    def _is_norm(self, module: nn.Module) -> bool:
        return is_norm(Call(module, self._names[id(module)], 0, 0))

    def _key(self, x: Tensor) -> Key:
        self._kept.append(x)
        return x.untyped_storage()._cdata, x.storage_offset(), x.numel(), x.shape[-1] if x.dim() else 0, x._version

    def _see(self, site: Site, x: Tensor, _: Any) -> None:
        self.seen.setdefault(site.number, []).append(self._key(x))

    def _before(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self.times[id(module)] = self.times.get(id(module), 0) + 1
        for x in (*arguments, *keywords.values()):
            if isinstance(x, Tensor):
                self._given.setdefault(self._key(x), []).append(module)

    def _after(self, module: nn.Module, _: Any, output: Any) -> None:
        for x in output if isinstance(output, tuple | list) else [output]:
            if isinstance(x, Tensor):
                self._returned.setdefault(self._key(x), []).append(module)

    def __torch_dispatch__(self, function: Any, _: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__
        for x in arguments[:2] if name in (*SUMS, *PRODUCTS) else ():
            if isinstance(x, Tensor):
                self._operands[self._key(x)] = "a sum" if name in SUMS else "a product"
        return function(*arguments, **(keywords or {}))
