"""Exported programs that hold code: none of it runs, and each is refused or stripped before PyTorch reads it."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim

from edgeproof_export.pt2 import file
from edgeproof_export.pt2.expressions import require_expression
from edgeproof_export.pt2.file import load_program
from edgeproof_export.pt2.findings import CodeFound
from edgeproof_export.quietly import quiet
from edgeproof_runtime.errors import InputError

MODEL, WEIGHTS, CONSTANTS, SAMPLES = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
    "data/sample_inputs/model.pt",
)
Entries = dict[str, bytes]


class Network(nn.Module):
    """Convolution, a branch by value, a constant, arithmetic of shapes and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("factor", torch.ones(4))

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = nn.functional.gelu(self.conv(x), approximate="tanh").mean((2, 3)) * self.factor
        y = torch.cond(y.sum() > 0, lambda a: a * 2, lambda a: a - 1, (y,))
        with torch.no_grad():
            y = y + torch.tensor([2.0])
        return {"logits": y * ((x.shape[0] * 2 + 1) // 3) * x.shape[0] ** 2, "more": (y, [y.sum()])}


class Marker:
    """Object whose pickle creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Programs that would be tried in a child process, which costs an import of PyTorch each: see test_parsing.py."""
    found: list[Path] = []
    monkeypatch.setattr(file, "require_harmless", lambda _parser, out, _sha256, _name: found.append(out))
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "good.pt2"
    with quiet():
        program = torch.export.export(
            Network().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: Dim("batch", max=64)},)
        )
        torch.export.save(program, path)
    return path


@pytest.fixture
def entries(good: Path) -> Entries:
    with zipfile.ZipFile(good) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Path that a payload would create, here or in the current folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield here / "MARK"
    assert list(here.iterdir()) == []


def write(path: Path, entries: Entries, root: str = "evil/", kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(root + name, content)
    return path


def changed(entries: Entries, name: str, change: Callable[[Any], object]) -> Entries:
    content = json.loads(entries[name])
    change(content)
    return {**entries, name: json.dumps(content).encode()}


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load_program(path)
    assert caught.value.exit_code == 2
    return caught.value


def refused_as_code(path: Path) -> str:
    error = refused(path)
    assert error.fix is not None
    assert f"edgeproof export {path} --trust" in error.fix
    return str(error.got)


def same(path: Path, good: Path) -> None:
    """Assert that a file loads and computes what the good one does, its module included."""
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with quiet():
        expected, found = (load_program(one).module()(x) for one in (good, path))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def graph(program: dict[str, Any]) -> dict[str, Any]:
    return dict(program["graph_module"]["graph"])


def first(program: dict[str, Any], target: str) -> dict[str, Any]:
    return next(node for node in graph(program)["nodes"] if target in node["target"])


def symbolic(program: dict[str, Any]) -> dict[str, Any]:
    """Return the meta of the user's input."""
    return cast("dict[str, Any]", graph(program)["tensor_values"]["x"])


# --- what must keep working


def test_a_good_program_computes_as_torch_loads_it(good: Path, tried: list[Path]) -> None:
    x = torch.randn(5, 3, 8, 8)
    with quiet():
        torch.testing.assert_close(load_program(good).module()(x), torch.export.load(good).module()(x))
    assert load_program(good)._guards_code == []
    assert load_program(good).example_inputs is None
    assert len(tried) == 3


def test_older_layouts_load(good: Path, entries: Entries, tmp_path: Path) -> None:
    """Tensors were pickled by PyTorch 2.8, and the archive was flat before 2.7."""
    with quiet():
        program = torch.export.load(good)
    pickles = {}
    for name, content in (("weights", program.state_dict), ("constants", program.constants)):
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        pickles[name] = buffer.getvalue()
    older = {name: content for name, content in entries.items() if "weight" not in name and "constants" not in name}
    older |= {f"data/{name}/model.pt": content for name, content in pickles.items()}
    same(write(tmp_path / "2.8.pt2", older), good)
    flat = {
        "version": b"8.8",
        "serialized_exported_program.json": entries[MODEL],
        "serialized_state_dict.pt": pickles["weights"],
        "serialized_constants.pt": pickles["constants"],
        "serialized_example_inputs.pt": entries[SAMPLES],
    }
    same(write(tmp_path / "2.6.pt2", flat, root=""), good)


# --- expressions

ATTACKS = [
    "__import__('os').mkdir('MARK')",
    "s77 + __import__('os').mkdir('MARK')",
    "Symbol('s77').__class__.__init__.__globals__",
    "().__class__.__mro__[1].__subclasses__()",
    "＿＿import＿＿('os').mkdir('MARK')",
    "ｓ77",
    "s77.x",
    "eval('1')",
    "exec('1')",
    "Integer(__import__('os').mkdir('MARK'))",
    'Integer(\'__import__("os").mkdir("MARK")\')',
    'Symbol(\'s77 + __import__("os").mkdir("MARK")\')',
    "Symbol('s77', integer=__import__('os').mkdir('MARK'))",
    "Symbol('s77', **{})",
    "Symbol('MARK')",
    "S('1')",
    "sympify('1')",
    "parse_expr('1')",
    "Function('f')(1)",
    "Lambda(x, x)",
    "Add(*[1, 2])",
    "[s77][0]",
    "[x for x in (1,)]",
    "(lambda: 1)()",
    "(s77 := 1)",
    "s77 if s77 else 1",
    "f'{s77}'",
    "'text'",
    "True",
    "1 < s77 < 3",
    "s77\n",
    "s77;1",
    "s77 #",
    "9**9**9",
    "9**99",
    "2**(s77+100)",
    "Pow(9, Integer(99))",
    "Pow(Pow(9, Integer(64)), Integer(64))",
    "LShift(1, 1000000000000)",
    "LShift(1, 1000*1000*1000)",
    "PowByNatural(9, Integer(999999))",
    "factorial(999999)",
    "9" * 40,
    "+".join(["s77"] * 3000),
    "(" * 300 + "1" + ")" * 300,
    "",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_expressions_beyond_arithmetic_are_refused(text: str, mark: Path) -> None:
    with pytest.raises(CodeFound):
        require_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "2*s0 + 1",
        "(s0//2)",
        "s0**2",
        "u0 >= 0",
        "Eq(u0, 0)",
        "(s0 < 3) & (s1 > -4)",
        "Max(1, Mod(s0, 3))",
        "FloorDiv(Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(-1)), Integer(3))",
        "ToFloat(Symbol('s77', integer=True)) * Float('0.5', precision=53)",
        "Pow(Symbol('s77', positive=True, integer=True), Integer(2))",
        "Rational(1, 2)*s0",
    ],
)
def test_expressions_that_torch_writes_are_kept(text: str) -> None:
    assert require_expression(text) == text


@settings(max_examples=200)
@given(
    st.text(alphabet="s0179u+-*/()., _'\"=[]{}:abcxy\n\\", max_size=40)
    | st.lists(st.sampled_from(["s0", "__", ".", "(", ")", "Symbol", "'", "import", "+", ",", "1", "=", "Pow", "9"]))
)
def test_no_text_that_passes_has_attributes_or_unknown_names(text: str | list[str]) -> None:
    text = "".join(text)
    try:
        require_expression(text)
    except CodeFound:
        return
    assert "__" not in text
    assert not set(text) & set("[]{}:\\\n")


@pytest.mark.parametrize("text", ATTACKS[:2])
@pytest.mark.parametrize(
    "place",
    [
        lambda p, t: symbolic(p)["sizes"][0]["as_expr"].update(expr_str=t),
        lambda p, t: symbolic(p)["strides"].__setitem__(0, {"as_expr": {"expr_str": t, "hint": None}}),
        lambda p, t: symbolic(p).__setitem__("storage_offset", {"as_expr": {"expr_str": t}}),
        lambda p, t: next(iter(graph(p)["sym_int_values"].values()))["as_expr"].update(expr_str=t),
        lambda p, t: graph(p)["sym_float_values"].update(f={"as_expr": {"expr_str": t, "hint": None}}),
        lambda p, t: graph(p)["sym_bool_values"].update(b={"as_expr": {"expr_str": t, "hint": None}}),
        lambda p, t: next(
            iter(first(p, "cond")["inputs"][1]["arg"]["as_graph"]["graph"]["tensor_values"].values())
        ).update(storage_offset={"as_expr": {"expr_str": t}}),
        lambda p, t: p["range_constraints"].update({t: {"min_val": 0, "max_val": 1}}),
    ],
    ids=["sizes", "strides", "offset", "sym_int", "sym_float", "sym_bool", "subgraph", "range"],
)
def test_expressions_are_refused_wherever_they_are(
    entries: Entries, tmp_path: Path, mark: Path, place: Callable[[Any, str], object], text: str
) -> None:
    evil = changed(entries, MODEL, lambda program: place(program, text))
    refused_as_code(write(tmp_path / "evil.pt2", evil))


def test_a_symbol_whose_number_would_count_for_ever(entries: Entries, tmp_path: Path) -> None:
    evil = changed(
        entries, MODEL, lambda p: p["range_constraints"].update({"u99999999999": {"min_val": 0, "max_val": 1}})
    )
    refused_as_code(write(tmp_path / "evil.pt2", evil))


# --- names, which become Python source

INJECTED = "x, y=__import__('os').mkdir('MARK')"


@pytest.mark.parametrize(
    "place",
    [
        lambda p: p["graph_module"]["graph"]["inputs"][-1]["as_tensor"].update(name=INJECTED),
        lambda p: first(p, "gelu").update(name=INJECTED),
        lambda p: first(p, "gelu")["outputs"][0]["as_tensor"].update(name=INJECTED),
        lambda p: first(p, "gelu")["inputs"][0].update(name=INJECTED),
        lambda p: first(p, "cond")["inputs"][1]["arg"]["as_graph"].update(name=INJECTED),
        lambda p: p["graph_module"]["signature"]["input_specs"][0]["parameter"].update(parameter_name='c")+x("'),
        lambda p: p["graph_module"]["signature"]["input_specs"][0]["parameter"].update(parameter_name="__class__.x"),
        lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(forward_arg_names=[INJECTED]),
        lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec=p["graph_module"]["module_call_graph"][0]["signature"]["in_spec"].replace(
                '"[]"', json.dumps(json.dumps([INJECTED]))
            )
        ),
        lambda p: graph(p)["tensor_values"].update({INJECTED: symbolic(p)}),
        lambda p: first(p, "gelu").update(name="lambda"),
    ],
    ids="input node output argument graph parameter dunder forward in_spec value keyword".split(),  # noqa: SIM905
)
def test_names_that_would_become_source(
    entries: Entries, tmp_path: Path, mark: Path, place: Callable[[Any], object]
) -> None:
    refused_as_code(write(tmp_path / "evil.pt2", changed(entries, MODEL, place)))


# --- targets of calls


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.os.mkdir",
        "torch.sys.exit",
        "torch.importlib.import_module",
        "torch.load",
        "torch.serialization.load",
        "torch.hub.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.image.write_file.default",
        "torch.ops.debugprims.load_tensor.default",
        "torch.ops.aten.gelu.__class__",
        "torch.ops.aten.gelu.default.__init__",
        "torch.ops.aten.__class__.x",
        "torch.ops.higher_order.call_torchbind",
        "torch.ops.higher_order.triton_kernel_wrapper_mutation",
        "torch.ops.higher_order.print",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "_operator.call",
        "math.factorial",
        "math.os",
        "#evil:x",
        "os.system",
        "",
    ],
)
def test_calls_of_what_only_looks_like_an_operator(entries: Entries, tmp_path: Path, mark: Path, target: str) -> None:
    evil = changed(entries, MODEL, lambda p: first(p, "gelu").update(target=target))
    assert "call of" in refused_as_code(write(tmp_path / "evil.pt2", evil))
    argument = {"name": "", "arg": {"as_operator": target}, "kind": 1}
    evil = changed(entries, MODEL, lambda p: first(p, "gelu")["inputs"].append(argument))
    assert "call of" in refused_as_code(write(tmp_path / "evil.pt2", evil))


@pytest.mark.parametrize(
    ("target", "argument"),
    [
        ("_operator.mul", {"as_ints": [1, 2]}),
        ("_operator.pow", {"as_int": 10**9}),
        ("_operator.lshift", {"as_int": 10**12}),
    ],
)
def test_arithmetic_that_would_allocate(
    entries: Entries, tmp_path: Path, target: str, argument: dict[str, object]
) -> None:
    call = {"target": target, "inputs": [{"name": "", "arg": argument, "kind": 1}]}
    evil = changed(entries, MODEL, lambda p: first(p, "gelu").update(call))
    assert "call of" in refused_as_code(write(tmp_path / "evil.pt2", evil))


# --- trees

LEAF = {"type": None, "context": None, "children_spec": []}


@pytest.mark.parametrize(
    "node",
    [
        {
            "type": "collections.defaultdict",
            "context": {
                "default_factory_module": "planted_module",
                "default_factory_name": "x",
                "dict_context": [],
            },
            "children_spec": [],
        },
        {
            "type": "builtins.dict",
            "context": json.dumps([{"__enum__": True, "fqn": "planted_module:X", "name": "x"}]),
            "children_spec": [LEAF],
        },
        {"type": "collections.namedtuple", "context": "planted_module.X", "children_spec": [LEAF]},
        {"type": "planted_module.X", "context": "null", "children_spec": [LEAF]},
        {"type": "builtins.dict", "context": json.dumps(["x'\"\n"]), "children_spec": [LEAF]},
    ],
    ids=["defaultdict", "enum", "namedtuple", "type", "key"],
)
def test_trees_that_import(
    entries: Entries, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, node: dict[str, Any]
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "planted_module.py").write_text("import os\nos.mkdir('MARK')\n")
    monkeypatch.syspath_prepend(str(modules))
    for tree in (node, {"type": "builtins.tuple", "context": "null", "children_spec": [LEAF, node]}):
        for spec in ("in_spec", "out_spec"):
            evil = changed(
                entries,
                MODEL,
                lambda p, spec=spec, tree=tree: p["graph_module"]["module_call_graph"][0]["signature"].update(
                    {spec: json.dumps([1, tree])}
                ),
            )
            refused_as_code(write(tmp_path / "evil.pt2", evil))


# --- what is left out


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(guards_code=["__import__('os').mkdir('MARK')"]),
        lambda p: p.update(guards_code=["L['x'].size()[0] == 1, __import__('os').mkdir('MARK')) or (1"]),
        lambda p: first(p, "gelu")["metadata"].update(stack_trace='File "x", line 1, in y\n  import os\nos.mkdir("M")'),
        lambda p: first(p, "gelu")["metadata"].update(source_fn_stack="x,torch.os.mkdir"),
        lambda p: first(p, "gelu")["metadata"].update(nn_module_stack="a,b,__import__('os').mkdir('MARK')"),
        lambda p: first(p, "gelu")["metadata"].update(custom="[" * 5000, from_node="[" * 5000, torch_fn="a;b"),
        lambda p: p["graph_module"]["metadata"].update(custom="[" * 5000),
        lambda p: p["graph_module"]["module_call_graph"][1].update(fqn="__import__('os').mkdir('MARK')"),
    ],
    ids=["guard", "guard source", "trace", "source", "stack", "json", "graph", "calls"],
)
def test_notes_and_guards_are_left_out(
    good: Path, entries: Entries, tmp_path: Path, mark: Path, change: Callable[[Any], object]
) -> None:
    same(write(tmp_path / "stripped.pt2", changed(entries, MODEL, change)), good)


def test_sample_inputs_are_not_unpickled(good: Path, entries: Entries, tmp_path: Path, mark: Path) -> None:
    for content in (pickled(mark), pickle.dumps(Marker(mark)), b"nothing of the kind"):
        same(write(tmp_path / "stripped.pt2", {**entries, SAMPLES: content}), good)


# --- pickles and machine code


def pickled(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": Marker(mark)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("payload", ["opaque_obj_0", "custom_obj_0", "../weight_0", "weight_0\0", "model.json"])
@pytest.mark.parametrize(("config", "folder"), [(WEIGHTS, "data/weights/"), (CONSTANTS, "data/constants/")])
def test_payloads_that_are_not_tensors(
    entries: Entries, tmp_path: Path, mark: Path, config: str, folder: str, payload: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["config"]["x"] = {**next(iter(content["config"].values())), "path_name": payload}

    evil = {
        **changed(entries, config, change),
        folder + payload.replace("../", "").rstrip("\0"): pickle.dumps(Marker(mark)),
    }
    refused_as_code(write(tmp_path / "evil.pt2", evil))


@pytest.mark.parametrize("config", [WEIGHTS, CONSTANTS])
def test_pickled_tensors(entries: Entries, tmp_path: Path, mark: Path, config: str) -> None:
    evil = changed(entries, config, lambda c: next(iter(c["config"].values())).update(use_pickle=True))
    name = "data/weights/weight_0" if config == WEIGHTS else "data/constants/tensor_0"
    refused_as_code(write(tmp_path / "evil.pt2", {**evil, name: pickled(mark)}))


def test_objects_in_the_graph(entries: Entries, tmp_path: Path) -> None:
    custom = {"name": "obj", "class_fqn": "__torch__.torch.classes.x.Y"}
    for change in (
        lambda p: graph(p)["custom_obj_values"].update(obj=custom),
        lambda p: graph(p)["inputs"].append({"as_custom_obj": custom}),
        lambda p: p["graph_module"]["signature"]["input_specs"].append(
            {"custom_obj": {"arg": custom, "custom_obj_name": "obj"}}
        ),
    ):
        assert "code of its own" in refused_as_code(write(tmp_path / "evil.pt2", changed(entries, MODEL, change)))


def test_pickles_of_older_layouts(entries: Entries, tmp_path: Path, mark: Path) -> None:
    for content in (pickled(mark), pickle.dumps(Marker(mark)), pickle.dumps({"a": Marker(mark)}, protocol=4)):
        for folder in ("weights", "constants"):
            refused_as_code(write(tmp_path / "evil.pt2", {**entries, f"data/{folder}/model.pt": content}))
        flat = {
            "version": b"8.8",
            "serialized_exported_program.json": entries[MODEL],
            "serialized_state_dict.pt": content,
            "serialized_constants.pt": b"",
            "serialized_example_inputs.pt": b"",
        }
        refused_as_code(write(tmp_path / "evil.pt2", flat, root=""))
        flat |= {"serialized_state_dict.pt": b"", "serialized_constants.pt": content}
        refused_as_code(write(tmp_path / "evil.pt2", flat, root=""))


@pytest.mark.parametrize("name", ["data/aotinductor/model/x.so", "data/executorch/x.pte", "models/other.json", "x.py"])
def test_entries_that_are_not_of_a_program(entries: Entries, tmp_path: Path, name: str) -> None:
    refused_as_code(write(tmp_path / "evil.pt2", {**entries, name: b"\x7fELF"}))


# --- bounds, and readers that disagree


@pytest.mark.parametrize(
    "meta",
    [
        {"sizes": [{"as_int": 10**6}, {"as_int": 10**6}], "strides": [{"as_int": 10**6}, {"as_int": 1}]},
        {"sizes": [{"as_int": 10**6}, {"as_int": 10**6}], "strides": [{"as_int": 0}, {"as_int": 0}]},
        {"sizes": [{"as_int": 2**62}] * 4, "strides": [{"as_int": 0}] * 4},
        {"sizes": [{"as_int": 4}], "strides": [{"as_int": 2**62}]},
        {"sizes": [{"as_int": -1}], "strides": [{"as_int": 1}]},
        {"sizes": [{"as_int": 4}], "strides": [{"as_int": -1}]},
        {"storage_offset": {"as_int": 10**9}},
        {"dtype": 99},
    ],
)
def test_tensors_larger_than_their_bytes(entries: Entries, tmp_path: Path, meta: dict[str, Any]) -> None:
    evil = changed(entries, WEIGHTS, lambda c: next(iter(c["config"].values()))["tensor_meta"].update(meta))
    refused(write(tmp_path / "evil.pt2", evil))
    refused(write(tmp_path / "evil.pt2", {**evil, "data/weights/weight_0": b""}))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"graph_module": ' * 5000,
        b"1" * 100_000,
        b'{"graph_module": 1, "graph_module": 2}',
        b'{"graph_module": NaN}',
        b'"\xff"',
        b"",
        b"null",
        b"[]",
        b" " * (33 << 20),
    ],
)
def test_json_that_is_none(entries: Entries, tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path / "evil.pt2", {**entries, MODEL: content}))


def test_unknown_fields_ask_for_trust(entries: Entries, tmp_path: Path) -> None:
    evil = changed(entries, MODEL, lambda p: p.update(new_field=1))
    assert "unknown field 'new_field'" in refused_as_code(write(tmp_path / "evil.pt2", evil))


def test_archives_that_readers_take_differently(entries: Entries, tmp_path: Path) -> None:
    path = tmp_path / "evil.pt2"
    for more in ("evil/models/model.json", "evil/MODELS/model.json", "other/models/model.json", "../x", "/x", "a\\b"):
        write(path, entries)
        with zipfile.ZipFile(path, "a") as archive, pytest.warns() if more in archive.namelist() else quiet():
            archive.writestr(more, entries[MODEL])
        refused(path)
    refused(write(path, {**entries, "extra/bomb": b"\0" * (8 << 20)}, kind=zipfile.ZIP_DEFLATED))
    write(path, entries)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path)


@settings(max_examples=60)
@given(data=st.data())
def test_no_change_of_the_json_is_a_traceback(good: Path, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever value stands anywhere, the file loads or is refused."""
    with zipfile.ZipFile(good) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    program = json.loads(entries[MODEL])
    at: Any = program
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.integers(0, 5)) == 0:
            break
        at = at[key]
    at[key] = data.draw(
        st.sampled_from([None, True, -1, 2**70, 0.5, "", "x", "a.b", [], {}, [[]], {"as_int": 1}, {"as_expr": {}}])
        | st.just(copy.deepcopy(program["graph_module"]["signature"]))
    )
    path = tmp_path_factory.mktemp("fuzz") / "changed.pt2"
    write(path, {**entries, MODEL: json.dumps(program).encode()})
    with suppress(InputError):
        load_program(path)


# --- trust


def _opaque(entries: Entries) -> Entries:
    meta = next(iter(json.loads(entries[CONSTANTS])["config"].values()))
    changes = {"x": {**meta, "path_name": "opaque_obj_0", "use_pickle": True}}
    evil = changed(entries, CONSTANTS, lambda c: c["config"].update(changes))
    return {**evil, "data/constants/opaque_obj_0": pickle.dumps(Marker(Path("MARK")))}


@pytest.mark.parametrize(
    "plant",
    [
        lambda e: changed(
            e,
            MODEL,
            lambda p: symbolic(p)["sizes"][0]["as_expr"].update(expr_str="__import__('os').mkdir('MARK') or s77"),
        ),
        lambda e: changed(e, MODEL, lambda p: p.update(guards_code=["__import__('os').mkdir('MARK') is None"])),
        _opaque,
    ],
    ids=["expression", "guard", "opaque"],
)
def test_trust_hands_the_file_to_torch(
    entries: Entries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Entries], Entries]
) -> None:
    """What is refused or left out is what PyTorch runs: the payload does its work once the user trusts the file."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "evil.pt2", plant(entries))
    with suppress(InputError), quiet():
        load_program(path).module()(torch.zeros(2, 3, 8, 8))
    assert not (tmp_path / "MARK").exists()
    with suppress(Exception), quiet():  # the payload returns nothing that PyTorch can use
        load_program(path, trust=True).module()(torch.zeros(2, 3, 8, 8))
    assert (tmp_path / "MARK").exists()
