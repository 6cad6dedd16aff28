"""What an option of ms.conf is, to the parser, the sample, the manual and the type checker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mstore.base.values import Kind

NO_DEFAULT = "no default"


@dataclass(frozen=True)
class Option:
    """One option: what the parser, the sample and the manual know of it."""

    name: str
    kind: Kind
    doc: str
    readers: tuple[str, ...]
    section: str
    default_text: str
    gather: Callable[[list[Any]], Any] | None = None
    """For options that may be given several times: makes the value from what the lines gave."""
    prefix: bool = False
    """The name only begins like this; the rest of it is given to ``gather`` with the value."""
    example: str = ""


def option(
    name: str,
    kind: Kind,
    doc: str,
    *,
    readers: tuple[str, ...],
    section: str,
    default: Any = None,
    factory: Callable[[], Any] | None = None,
    default_text: str | None = None,
    gather: Callable[[list[Any]], Any] | None = None,
    prefix: bool = False,
    example: str = "",
) -> Any:
    """Declare an attribute of a class of settings as an option of ms.conf."""
    if default_text is None:
        default_text = NO_DEFAULT if default is None else kind.show(default)
    text = " ".join(doc.split())
    declared = Option(name, kind, text, readers, section, default_text, gather, prefix, example)
    if factory is not None:
        return field(default_factory=factory, metadata={"option": declared})
    return field(default=default, metadata={"option": declared})
