"""How a program's inputs and outputs nest: PyTorch imports modules that such a text names."""

from __future__ import annotations

import json
import keyword
import re
from typing import Any

from edgeproof_export.pt2.findings import CodeFound, Damaged

__all__ = ["require_identifier", "require_tree"]

_SEQUENCES = ("builtins.tuple", "builtins.list", "torch.fx.immutable_collections.immutable_list")
_MAPPINGS = ("builtins.dict", "collections.OrderedDict", "torch.fx.immutable_collections.immutable_dict")
_KEY = re.compile(r"[\w .:/\-]{1,256}", re.ASCII)
_DEEPEST, _LONGEST = 32, 1 << 20


def require_identifier(text: str) -> str:
    """Return a name; PyTorch writes names into Python source that it executes.

    Raises:
        CodeFound: it is more than a name.
    """
    if not (text.isascii() and text.isidentifier()) or keyword.iskeyword(text) or len(text) > 512:
        raise CodeFound(f"name {text[:60]!r}")
    return text


def require_tree(text: str, *, arguments: bool = False) -> str:
    """Return a description of nested tuples, lists and dictionaries, written anew.

    Args:
        text: JSON of ``torch.utils._pytree.treespec_dumps``.
        arguments: whether it describes a call's arguments, whose keys become names in Python source.

    Raises:
        CodeFound: it names other types.
        Damaged: it cannot be read.
    """
    if len(text) > _LONGEST:
        raise Damaged("a tree of more than 1 MiB")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}") from error
    match content:
        case [1, dict() as tree]:
            return json.dumps([1, _node(tree, arguments, 0)])
    raise Damaged("not a tree of protocol 1")


def _node(tree: Any, arguments: bool, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise Damaged(f"a tree deeper than {_DEEPEST}")
    match tree:
        case {"type": None, "context": None, "children_spec": [], **more} if not more:
            return dict(tree)
        case {"type": str(kind), "context": context, "children_spec": list(children), **more} if not more:
            return {
                "type": kind,
                "context": _context(kind, context, arguments),
                "children_spec": [_node(child, arguments, depth + 1) for child in children],
            }
    raise Damaged("not a node of a tree")


def _context(kind: str, context: Any, arguments: bool) -> str:
    """Return what a node says beside its type: the keys of a dictionary, nothing of a list."""
    if kind not in _SEQUENCES and kind not in _MAPPINGS:
        raise CodeFound(f"type {kind[:80]!r} in a tree")
    try:
        content = json.loads(context) if isinstance(context, str) else Ellipsis
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}") from error
    if kind in _SEQUENCES:
        if content is not None:
            raise Damaged("a list with a context")
    elif not isinstance(content, list):
        raise Damaged("a dictionary without its keys")
    else:
        for key in content:
            if isinstance(key, str) and arguments:
                require_identifier(key)
            elif not (isinstance(key, int) or (isinstance(key, str) and _KEY.fullmatch(key))):
                raise CodeFound(f"key {str(key)[:60]!r}")
    return json.dumps(content)
