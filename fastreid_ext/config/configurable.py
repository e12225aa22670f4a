"""`@configurable`: classes take keyword arguments, a config is translated once, at the door."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from yacs.config import CfgNode

__all__ = ["configurable"]

F = TypeVar("F", bound=Callable[..., None])


def configurable(init: F) -> F:
    """Lets `__init__` be called with a config as its first argument.

    The class needs a classmethod `from_config(cls, cfg, ...)` that returns the keyword arguments of `__init__` as a
    dict. Keyword arguments beside the config win over what `from_config` returns, unless `from_config` takes them.

    Example:
        >>> class Head:
        ...     @configurable
        ...     def __init__(self, *, width: int) -> None:
        ...         self.width = width
        ...     @classmethod
        ...     def from_config(cls, cfg):
        ...         return {"width": cfg.WIDTH}
        >>> Head(CfgNode({"WIDTH": 3})).width, Head(width=4).width
        (3, 4)
    """

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        cfg = args[0] if args else kwargs.get("cfg")
        if not isinstance(cfg, CfgNode):
            init(self, *args, **kwargs)
            return
        kwargs.pop("cfg", None)
        init(self, **_translate(type(self).from_config, cfg, args[1:], kwargs))

    return wrapped  # type: ignore[return-value]  # the wrapper accepts a config beside the declared arguments


def _translate(
    from_config: Callable[..., dict[str, Any]], cfg: CfgNode, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    taken = inspect.signature(from_config).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return from_config(cfg, *args, **kwargs)
    passed_on = {name: value for name, value in kwargs.items() if name in taken}
    overrides = {name: value for name, value in kwargs.items() if name not in taken}
    return from_config(cfg, *args, **passed_on) | overrides
