"""Symbolic expressions of shapes: PyTorch hands them to ``sympy.sympify``, which evaluates Python.

Both notations that PyTorch has written are read: ``2*s0 + 1`` and ``Add(Mul(Integer(2), Symbol('s0', integer=True)))``.
"""

from __future__ import annotations

import ast
import re

from edgeproof_export.pt2.findings import CodeFound

__all__ = ["require_expression", "require_symbol"]

_SYMBOL = re.compile(r"(s|u|z|zf|zuf|i|m|x|y|p|r)\d{1,5}")
_LONGEST, _MOST_NODES, _LARGEST, _LARGEST_EXPONENT = 4096, 400, 2**63, 64
_NUMBER = re.compile(r"-?\d{1,32}(\.\d{1,32})?([eE][+-]?\d{1,3})?")
_POWERS = re.compile(r"Pow|PowByNatural|FloatPow|LShift|RShift")
_FUNCTIONS = re.compile(
    r"Add|Mul|Max|Min|Abs|floor|ceiling|sqrt|Rational"
    r"|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|And|Or|Not"
    r"|FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|FloatTrueDiv|IntTrueDiv"
    r"|IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|RoundToInt|RoundDecimal|ToFloat|Identity"
)
_ASSUMPTIONS = re.compile(r"integer|positive|nonnegative|negative|nonpositive|nonzero|real|rational|finite|zero")
_CONSTANTS = re.compile(r"true|false|oo|int_oo|nan")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


def require_symbol(text: str) -> str:
    """Return the name of a symbol, such as ``s0``.

    Raises:
        CodeFound: it is none.
    """
    if not _SYMBOL.fullmatch(text):
        raise CodeFound(f"symbol {text[:60]!r}")
    return text


def require_expression(text: str) -> str:
    """Return an expression of integers, symbols, arithmetic and known functions.

    Raises:
        CodeFound: it holds anything else, or numbers whose evaluation takes long.
    """
    refused = CodeFound(f"expression {text[:60]!r}")
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or "#" in text:
        raise refused
    try:
        tree = ast.parse(text, mode="eval")
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES * 3 or not _allowed(tree.body, in_power=False):
            raise refused
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused from error
    return text


def _allowed(node: ast.expr, *, in_power: bool) -> bool:
    match node:
        case ast.Constant(value=int() | float() as value):
            return not isinstance(value, bool) and abs(value) <= _LARGEST
        case ast.Name(id=name):
            return any(known.fullmatch(name) for known in (_CONSTANTS, _SYMBOL))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert(), operand=operand):
            return _allowed(operand, in_power=in_power)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power([left, right], in_power=in_power)
        case ast.BinOp(left=left, op=operator, right=right):
            return isinstance(operator, _OPERATORS) and all(_allowed(one, in_power=in_power) for one in (left, right))
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return isinstance(operator, _COMPARISONS) and all(_allowed(one, in_power=in_power) for one in (left, right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            return _call(name, arguments, keywords, in_power=in_power)
    return False


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword], *, in_power: bool) -> bool:
    if name == "Symbol":
        return _symbol(arguments, keywords)
    if name == "Float":
        return _float(arguments, keywords)
    if keywords:
        return False
    if name == "Integer":
        return len(arguments) == 1 and _integer(arguments[0]) is not None
    if _POWERS.fullmatch(name):
        return _power(arguments, in_power=in_power)
    return _FUNCTIONS.fullmatch(name) is not None and all(_allowed(one, in_power=in_power) for one in arguments)


def _power(arguments: list[ast.expr], *, in_power: bool) -> bool:
    """Return whether a power or shift stays small: the exponent is a small number or a symbol, powers do not nest."""
    if in_power or len(arguments) != 2:
        return False
    exponent = arguments[1]
    number = _integer(exponent)
    if number is None and isinstance(exponent, ast.Call) and len(exponent.args) == 1:
        number = _integer(exponent.args[0])
    if number is not None and abs(number) > _LARGEST_EXPONENT:
        return False
    if number is None and not _is_symbol(exponent):
        return False
    return all(_allowed(one, in_power=True) for one in arguments)


def _is_symbol(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("Symbol", "Rational", "Float")
    return isinstance(node, ast.Name)


def _integer(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _integer(node.operand)
        return None if number is None else -number
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST else None


def _symbol(arguments: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    match arguments:
        case [ast.Constant(value=str(name))] if _SYMBOL.fullmatch(name):
            return all(
                word.arg is not None
                and _ASSUMPTIONS.fullmatch(word.arg) is not None
                and isinstance(word.value, ast.Constant)
                and isinstance(word.value.value, bool)
                for word in keywords
            )
    return False


def _float(arguments: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    match arguments, keywords:
        case [[ast.Constant(value=str(text))], [ast.keyword(arg="precision", value=ast.Constant(value=int(bits)))]]:
            return _NUMBER.fullmatch(text) is not None and 0 < bits <= 128
    return False
