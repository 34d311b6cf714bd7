"""The JSON of an exported program: what PyTorch's schema 8 holds, and what of it is kept.

Left out are notes of the tracing (``metadata``), guards, which PyTorch executes as Python source, and the signatures of
submodules. Each text that PyTorch evaluates, looks up or writes into source has a check of its own.
"""

from __future__ import annotations

import re
from typing import Any

from edgeproof_export.pt2.checks import (
    Check,
    boolean,
    code,
    dropped,
    integer,
    items,
    later,
    mapping,
    number,
    optional,
    record,
    text,
    union,
)
from edgeproof_export.pt2.expressions import require_expression, require_symbol
from edgeproof_export.pt2.findings import CodeFound, Damaged
from edgeproof_export.pt2.operators import SCALAR_ONLY, require_operator
from edgeproof_export.pt2.tree import require_identifier, require_tree

__all__ = ["PAYLOADS", "PROGRAM"]

_QUALIFIED = re.compile(r"(?!__)[\w /:\-]{1,256}(\.(?!__)[\w /:\-]{1,256}){0,63}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_+.<=\- ]{0,64}")
_LONGEST_TEXT = 1 << 16
_MOST_SHIFT = 64
_OBJECT = "an object with code of its own"


def _qualified(value: str) -> str:
    if not _QUALIFIED.fullmatch(value):
        raise CodeFound(f"name {value[:60]!r}")
    return value


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise Damaged(f"text {value[:60]!r}")
    return value


def _payload_file(value: str) -> str:
    if value.startswith(("custom_obj_", "opaque_obj_")):
        raise CodeFound(f"{_OBJECT} ({value[:60]})")
    if not re.fullmatch(r"(weight|tensor)_\d{1,6}", value):
        raise CodeFound(f"file {value[:60]!r}")
    return value


def _plain(value: str) -> str:
    if len(value) > _LONGEST_TEXT:
        raise Damaged("a text of more than 64 KiB")
    return value


def _not_pickled(value: Any) -> bool:
    if value is not False:
        raise CodeFound("a pickled tensor")
    return False


_name, _fqn, _symbol = text(require_identifier), text(_qualified), text(require_symbol)
_tensor = record({"name": _name})
_token = record({"name": _name})
_device = record({"type": text(_word)}, {"index": optional(integer)})
_hint = optional(union(as_int=integer, as_bool=boolean, as_float=number))
_expression = record({"expr_str": text(require_expression)}, {"hint": _hint})
_sym_int = union(as_expr=_expression, as_int=integer)
_sym_float = union(as_expr=_expression, as_float=number)
_sym_bool = union(as_expr=_expression, as_bool=boolean)
_int_argument = union(as_name=_name, as_int=integer)
_float_argument = union(as_name=_name, as_float=number)
_bool_argument = union(as_name=_name, as_bool=boolean)
_maybe_tensor = union(as_tensor=_tensor, as_none=boolean)
_meta = record(
    {
        "dtype": integer,
        "sizes": items(_sym_int),
        "requires_grad": boolean,
        "device": _device,
        "strides": items(_sym_int),
        "storage_offset": _sym_int,
        "layout": integer,
    }
)
_argument: Check = union(
    as_none=boolean,
    as_tensor=_tensor,
    as_tensors=items(_tensor),
    as_int=integer,
    as_ints=items(integer),
    as_float=number,
    as_floats=items(number),
    as_string=text(_plain),
    as_strings=items(text(_plain)),
    as_sym_int=_int_argument,
    as_sym_ints=items(_int_argument),
    as_scalar_type=integer,
    as_memory_format=integer,
    as_layout=integer,
    as_device=_device,
    as_bool=boolean,
    as_bools=items(boolean),
    as_sym_bool=_bool_argument,
    as_sym_bools=items(_bool_argument),
    as_graph=record({"name": _name, "graph": later(lambda: _graph)}),
    as_optional_tensors=items(_maybe_tensor),
    as_custom_obj=code(_OBJECT),
    as_operator=text(require_operator),
    as_sym_float=_float_argument,
    as_sym_floats=items(_float_argument),
    as_optional_tensor=_maybe_tensor,
    as_complex=record({"real": number, "imag": number}),
    as_nested_tensors=items(items(_tensor)),
    as_int_lists=items(items(integer)),
    as_string_to_argument=mapping(require_identifier, later(lambda: _argument)),
    as_float_lists=items(items(number)),
)


def _argument_name(value: str) -> str:
    return value if value == "" else require_identifier(value)


_named_argument = record({"name": text(_argument_name), "arg": _argument}, {"kind": optional(integer)})
_any_node = record(
    {
        "target": text(require_operator),
        "inputs": items(_named_argument),
        "outputs": items(_argument),
        "metadata": dropped({}),
    },
    {"is_hop_single_tensor_return": optional(boolean), "name": optional(_name)},
)


def _node(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = _any_node(value)
    if SCALAR_ONLY.fullmatch(found["target"]):
        given = [next(iter(one["arg"].items())) for one in found["inputs"]]
        if any(isinstance(argument, list | str) for _, argument in given):
            raise CodeFound(f"call of {found['target']!r} with a list")
        last = given[-1][1] if given else 0
        if found["target"].endswith(("pow", "shift")) and isinstance(last, int) and abs(last) > _MOST_SHIFT:
            raise CodeFound(f"call of {found['target']!r} with {last}")
    return found


_graph: Check = record(
    {
        "inputs": items(_argument),
        "outputs": items(_argument),
        "nodes": items(_node),
        "tensor_values": mapping(require_identifier, _meta),
        "sym_int_values": mapping(require_identifier, _sym_int),
        "sym_bool_values": mapping(require_identifier, _sym_bool),
    },
    {
        "is_single_tensor_return": boolean,
        "custom_obj_values": mapping(_qualified, code(_OBJECT)),
        "sym_float_values": mapping(require_identifier, _sym_float),
    },
)


_input = union(
    user_input=record({"arg": _argument}),
    parameter=record({"arg": _tensor, "parameter_name": _fqn}),
    buffer=record({"arg": _tensor, "buffer_name": _fqn, "persistent": boolean}),
    tensor_constant=record({"arg": _tensor, "tensor_constant_name": _fqn}),
    custom_obj=code(_OBJECT),
    token=record({"arg": _token}),
    constant_input=record(
        {
            "name": _name,
            "value": union(as_none=boolean, as_int=integer, as_float=number, as_string=text(_plain), as_bool=boolean),
        }
    ),
)
_output = union(
    user_output=record({"arg": _argument}),
    loss_output=record({"arg": _tensor}),
    buffer_mutation=record({"arg": _tensor, "buffer_name": _fqn}),
    gradient_to_parameter=record({"arg": _tensor, "parameter_name": _fqn}),
    gradient_to_user_input=record({"arg": _tensor, "user_input_name": _name}),
    user_input_mutation=record({"arg": _tensor, "user_input_name": _name}),
    token=record({"arg": _token}),
    parameter_mutation=record({"arg": _tensor, "parameter_name": _fqn}),
)
_call_signature = record(
    {
        "inputs": items(_argument),
        "outputs": items(_argument),
        "in_spec": text(lambda value: require_tree(value, arguments=True)),
        "out_spec": text(require_tree),
    },
    {"forward_arg_names": optional(items(_name))},
)
_call = record({"fqn": text(_plain)}, {"signature": optional(_call_signature)})


def _calls(value: Any) -> list[Any]:
    """Keep the call of the whole program; those of submodules only name where an operator came from."""
    return [{"fqn": "", "signature": _call(call)["signature"]} for call in items(_object)(value)[:1]]


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise Damaged("not an object")
    return value


_range = record({"min_val": optional(integer), "max_val": optional(integer)})
PROGRAM: Check = record(
    {
        "graph_module": record(
            {
                "graph": _graph,
                "signature": record({"input_specs": items(_input), "output_specs": items(_output)}),
                "module_call_graph": _calls,
            },
            {"metadata": dropped({}), "treespec_namedtuple_fields": dropped({})},
        ),
        "opset_version": mapping(_word, integer),
        "range_constraints": mapping(require_symbol, _range),
        "schema_version": record({"major": integer, "minor": integer}),
    },
    {
        "verifiers": items(text(_word)),
        "torch_version": text(_word),
        "guards_code": dropped([]),
        # Fields of PyTorch 2.1 to 2.4.
        "dialect": text(_word),
    },
)
_payload = record(
    {"path_name": text(_payload_file), "is_param": boolean, "use_pickle": _not_pickled, "tensor_meta": _meta}
)
PAYLOADS: Check = record({"config": mapping(_qualified, _payload)})
"""The list of the archive's tensors."""
