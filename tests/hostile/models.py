"""Hostile models of other people: ONNX files, exported programs, TorchScript, checkpoints, safetensors."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile.base import base, copy
from hostile.mutations import HUGE_NAME, TEXTS, bits, truncations, zip_of
from hostile.probe import GATES, REFUSED, Probe

__all__ = ["probes"]

_OUT = ("--out", "out/new.edge", "--engines", "onnxruntime")
_CONTRACT = ("--input-size", "16")


class _Evil:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch out/pwned",)


def probes() -> Iterator[Probe]:
    """Yield the probes of `edgeproof export`."""
    yield from _onnx()
    yield from _programs()
    yield from _checkpoints()
    yield from _special()


def _export(kind: str, name: str, file: str, content: bytes, codes: frozenset[int] = REFUSED) -> Probe:
    def plant(folder: Path) -> None:
        copy(folder, "labels.txt")
        (folder / file).write_bytes(content)

    return Probe(
        kind=kind,
        surface="command",
        name=name,
        plant=plant,
        codes=codes,
        argv=("export", f"in/{file}", *_OUT, *_CONTRACT),
    )


def _onnx() -> Iterator[Probe]:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = "hostile ONNX"
    data = (base() / "model.onnx").read_bytes()
    for name, mutant in (*truncations(data, 3), *bits(data, 6)):
        yield _export(kind, name, "m.onnx", mutant, GATES)
    for name in ("empty", "zeros", "HTML", "brackets", "Git LFS pointer", "one zero byte"):
        yield _export(kind, f"only {name}", "m.onnx", TEXTS[name])

    def model(nodes: list[Any], initializers: list[Any] = (), *, functions: list[Any] = (), domain: str = "") -> bytes:  # type: ignore[assignment]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
            list(initializers),
        )
        opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
        return bytes(made.SerializeToString())

    def tensor(name: str, shape: tuple[int, ...]) -> Any:
        return numpy_helper.from_array(np.zeros(shape, np.float32), name)

    huge = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**20], raw_data=b"\0" * 64)
    negative = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1, 5], raw_data=b"\0" * 64)
    outside = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[5], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../../../../../etc/passwd")
    node = helper.make_node
    deep = node("Identity", ["input"], ["x"])
    for _ in range(60):
        branch = helper.make_graph([deep], "b", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)])
        deep = node("If", ["c"], ["x"], then_branch=branch, else_branch=branch) if _ < 8 else deep
    recursive = helper.make_function(
        "own", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
    )
    models = {
        "Conv in 0 groups": model([node("Conv", ["input", "w"], ["c"], group=0), node("Flatten", ["c"], ["logits"])], [tensor("w", (5, 3, 16, 16))]),
        "Conv by strides of 0": model([node("Conv", ["input", "w"], ["c"], strides=[0, 0]), node("Flatten", ["c"], ["logits"])], [tensor("w", (5, 3, 3, 3))]),
        "pool of 0": model([node("MaxPool", ["input"], ["c"], kernel_shape=[0, 0]), node("Flatten", ["c"], ["logits"])]),
        "pool of 2**62": model([node("MaxPool", ["input"], ["c"], kernel_shape=[2**62, 2**62]), node("Flatten", ["c"], ["logits"])]),
        "division by 0": model([node("Constant", [], ["z"], value_int=0), node("Constant", [], ["o"], value_int=1), node("Mod", ["o", "z"], ["m"]), node("Flatten", ["input"], ["logits"])]),
        "Reshape to 2**62": model([node("Constant", [], ["s"], value_ints=[2**31, 2**31]), node("Reshape", ["input", "s"], ["logits"])]),
        "Expand to terabytes": model([node("Constant", [], ["s"], value_ints=[2**20, 2**20]), node("Constant", [], ["o"], value_float=1.0), node("Expand", ["o", "s"], ["logits"])]),
        "ConstantOfShape of terabytes": model([node("Constant", [], ["s"], value_ints=[2**20, 2**22]), node("ConstantOfShape", ["s"], ["logits"])]),
        "Tile a million times": model([node("Flatten", ["input"], ["f"]), node("Constant", [], ["t"], value_ints=[1, 2**30]), node("Tile", ["f", "t"], ["logits"])]),
        "tensor of terabytes": model([node("Flatten", ["input"], ["f"]), node("MatMul", ["f", "w"], ["logits"])], [huge]),
        "negative dimension": model([node("Flatten", ["input"], ["f"]), node("MatMul", ["f", "w"], ["logits"])], [negative]),
        "external data outside": model([node("Flatten", ["input"], ["f"]), node("Add", ["f", "w"], ["logits"])], [outside]),
        "cycle": model([node("Add", ["input", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Flatten", ["b"], ["logits"])]),
        "nested subgraphs": model([node("Constant", [], ["c0"], value_int=1), node("Cast", ["c0"], ["c"], to=TensorProto.BOOL), deep, node("Flatten", ["x"], ["logits"])]),
        "recursive function": model([node("F", ["input"], ["x"], domain="own"), node("Flatten", ["x"], ["logits"])], functions=[recursive], domain="own"),
        "endless loop": model([node("Constant", [], ["n"], value_int=2**62), node("Constant", [], ["c0"], value_int=1), node("Cast", ["c0"], ["c"], to=TensorProto.BOOL), node("Loop", ["n", "c"], [], body=helper.make_graph([node("Identity", ["cc"], ["co"])], "b", [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("cc", TensorProto.BOOL, [])], [helper.make_tensor_value_info("co", TensorProto.BOOL, [])])), node("Flatten", ["input"], ["logits"])]),
        "unknown operator": model([node("Evil", ["input"], ["logits"], domain="evil")], domain="evil"),
        "Python operator": model([node("PyOp", ["input"], ["logits"], domain="ai.onnx.contrib")], domain="ai.onnx.contrib"),
        "no output": model([]),
        "names of 10,000": model([node("Flatten", ["input"], [HUGE_NAME]), node("Identity", [HUGE_NAME], ["logits"])]),
        "control characters": model([node("Relu", ["input"], ["a\x1b[2J\u202e"]), node("Nope", ["a\x1b[2J\u202e"], ["logits"], name="\x1b]0;x\x07")]),
        "20,000 nodes": model([node("Relu", ["input" if n == 0 else f"n{n - 1}"], [f"n{n}"]) for n in range(20_000)] + [node("Flatten", ["n19999"], ["logits"])]),
    }  # fmt: skip
    for name, content in models.items():
        yield _export(kind, name, "m.onnx", content, GATES)
    for name, change in _forgeries().items():
        forged = onnx.load_from_string(data)
        change(forged)
        yield _export(kind, name, "m.onnx", forged.SerializeToString(), GATES)


def _forgeries() -> dict[str, Callable[[Any], object]]:
    """Return changes of a sound ONNX model, by name."""
    from onnx import TensorProto, helper

    def size(value: int) -> Callable[[Any], object]:
        return lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", value)

    def outside(**entries: str) -> Callable[[Any], object]:
        def change(model: Any) -> None:
            tensor = model.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)

        return change

    def sequences(model: Any) -> None:
        kind = model.graph.input.add(name="x").type
        for _ in range(500):
            kind = kind.sequence_type.elem_type
        kind.tensor_type.elem_type = TensorProto.FLOAT

    def subgraphs(model: Any) -> None:
        graph = model.graph
        for _ in range(150):
            node = graph.node.add(op_type="If", input=["c"], output=["x"])
            attribute = node.attribute.add(name="then_branch", type=5)  # a graph
            graph = attribute.g

    def mutual(model: Any) -> None:
        opset = [helper.make_opsetid("own", 1)]
        for name, other in (("F", "G"), ("G", "F")):
            call = helper.make_node(other, ["a"], ["b"], domain="own")
            model.functions.append(helper.make_function("own", name, ["a"], ["b"], [call], opset))
        model.graph.node[0].op_type, model.graph.node[0].domain = "F", "own"

    def sparse(model: Any) -> None:
        found = model.graph.sparse_initializer.add(dims=[2**40, 2**20])
        found.values.name, found.values.data_type = "s", TensorProto.FLOAT
        found.values.dims.append(2**40)

    def itself(model: Any) -> None:
        model.graph.node[0].input[0] = model.graph.node[0].output[0]

    return {
        **{f"input of {value}": size(value) for value in (2**62, 2**31, -1, -(2**63), 0, 65_536)},
        "input named by an escape sequence": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "\x1b[2J\u202e"),
        "input twice": lambda m: m.graph.input.append(m.graph.input[0]),
        "output twice": lambda m: m.graph.output.append(m.graph.output[0]),
        "weights twice": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        "weights of no type": lambda m: setattr(m.graph.initializer[0], "data_type", 99),
        "weights of text": lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.STRING),
        "weights declared as 4 GB": lambda m: m.graph.initializer[0].dims.extend([2**15, 2**15]),
        "weights of overflowing size": lambda m: m.graph.initializer[0].dims.extend([2**33, 2**33]),
        "100,000 empty weights": lambda m: [m.graph.initializer.add(name=f"e{n}", data_type=1, dims=[0]) for n in range(100_000)],
        "sparse weights of terabytes": sparse,
        "sequences 500 deep": sequences,
        "subgraphs 150 deep": subgraphs,
        "functions that call each other": mutual,
        "a node that feeds itself": itself,
        "version 2**62": lambda m: setattr(m.opset_import[0], "version", 2**62),
        "version -1": lambda m: setattr(m.opset_import[0], "version", -1),
        "format -5": lambda m: setattr(m, "ir_version", -5),
        "format 2**62": lambda m: setattr(m, "ir_version", 2**62),
        "no version": lambda m: m.ClearField("opset_import"),
        "a foreign domain": lambda m: setattr(m.graph.node[0], "domain", "evil.example"),
        "no graph": lambda m: m.ClearField("graph"),
        "no inputs": lambda m: m.graph.ClearField("input"),
        "no outputs": lambda m: m.graph.ClearField("output"),
        "no weights": lambda m: m.graph.ClearField("initializer"),
        "notes of 20 MB": lambda m: m.metadata_props.add(key="k", value="v" * (20 << 20)),
        "notes with control characters": lambda m: m.metadata_props.add(key="\x1b]0;x\x07", value="\u2028\x1b[2J"),
        "attributes of the wrong type": lambda m: [n.attribute.add(name="axis", type=1, f=float("nan")) for n in m.graph.node],
        "outside weights in a device": outside(location="/dev/zero", length="1000000000"),
        "outside weights at 2**63": outside(location="labels.txt", offset=str(2**63), length="4"),
        "outside weights of -1 bytes": outside(location="labels.txt", offset="-1", length="-1"),
        "outside weights of digits": outside(location="labels.txt", offset="9" * 5000),
        "outside weights by an address": outside(location="file:///etc/passwd"),
        "outside weights without a place": outside(offset="0"),
        "outside weights in the model": outside(location="m.onnx", offset="0"),
    }  # fmt: skip


def _programs() -> Iterator[Probe]:
    kind = "code in an exported program"
    good = (base() / "model.pt2").read_bytes()
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    model = next(name for name in members if name.endswith("models/model.json"))
    payloads = {
        "import": "__import__('os').system('touch out/pwned')",
        "open": "open('out/pwned','w')",
        "attribute": "s0.__class__.__base__.__subclasses__()",
        "exec": "exec(\"open('out/pwned','w')\")",
        "lambda": "(lambda: open('out/pwned','w'))()",
        "unicode": "ｅｖａｌ(\"open('out/pwned','w')\")",
        "comprehension": "[open('out/pwned','w') for _ in (1,)][0]",
        "power tower": "9**9**9**9",
        "huge factorial": "factorial(99999999)",
        "nested": "(" * 20_000 + "s0" + ")" * 20_000,
        "long": "+".join(["s0"] * 200_000),
        "string": "'a' * 10**10",
        "walrus": "(x := open('out/pwned','w'))",
    }
    document = json.loads(members[model])
    for name, payload in payloads.items():
        spoiled, count = _replaced(document, "expr_str", payload)
        yield _export(
            kind,
            f"expr_str {name} ({count} places)",
            "m.pt2",
            _archive({**members, model: json.dumps(spoiled).encode()}),
        )
    for field in ("expr_str", "as_str", "as_expr", "target", "name", "as_int", "range_constraints", "guards_code", "nn_module_stack", "module_call_graph", "dtype", "sizes", "schema_version", "treespec_spec", "in_spec"):  # fmt: skip
        for what, value in {"code": payloads["import"], "number": 10**40, "null": None}.items():
            spoiled, count = _replaced(document, field, value)
            if count:
                yield _export(
                    kind, f"{field} {what}", "m.pt2", _archive({**members, model: json.dumps(spoiled).encode()}), GATES
                )
    for name in members:
        short = name.split("/", 1)[-1]
        yield _export(kind, f"pickle as {short}", "m.pt2", _archive({**members, name: pickle.dumps(_Evil())}), GATES)
    prefix = model.split("/", 1)[0]
    evil = pickle.dumps(_Evil())
    extra = {
        "opaque object": {f"{prefix}/data/constants/opaque_obj_0": evil, f"{prefix}/data/constants/custom_obj_0": evil},
        "sample inputs": {f"{prefix}/data/sample_inputs/model.pt": evil},
        "compiled library": {f"{prefix}/data/aotinductor/model/model.so": b"\x7fELF" + b"\0" * 100},
        "traversal": {"../../out/pwned": b"x", f"{prefix}/../../../out/pwned": b"x"},
        "member of 10,000 characters": {f"{prefix}/{HUGE_NAME}": b"x"},
        "bomb": {f"{prefix}/data/weights/bomb": b"\0" * (300 << 20)},
    }
    for name, more in extra.items():
        yield _export(kind, name, "m.pt2", _archive({**members, **more}, compressed=name == "bomb"), GATES)
    old = {"serialized_exported_program.json": members[model], "serialized_state_dict.pt": evil, "serialized_constants.pt": evil, "serialized_example_inputs.pt": evil, "version": b"5.1"}  # fmt: skip
    yield _export(kind, "older format", "m.pt2", _archive(old))
    deep = members[model].replace(b"{", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", ", 1)
    yield _export(kind, "JSON depth 100,000", "m.pt2", _archive({**members, model: deep}))
    for name, mutant in (*truncations(good, 3), *bits(good, 6)):
        yield _export("damaged exported program", name, "m.pt2", mutant, GATES)
    for name in ("empty", "zeros", "HTML", "Git LFS pointer"):
        yield _export("damaged exported program", f"only {name}", "m.pt2", TEXTS[name])


def _replaced(document: Any, field: str, value: Any) -> tuple[Any, int]:
    """Return a copy in which a field has another value wherever it is."""
    if isinstance(document, dict):
        made, total = {}, 0
        for key, inner in document.items():
            if key == field:
                made[key], count = value, 1
            else:
                made[key], count = _replaced(inner, field, value)
            total += count
        return made, total
    if isinstance(document, list):
        pairs = [_replaced(inner, field, value) for inner in document]
        return [pair[0] for pair in pairs], sum(pair[1] for pair in pairs)
    return document, 0


def _archive(members: dict[str, bytes], *, compressed: bool = False) -> bytes:
    return zip_of(members, compressed=compressed)


def _checkpoints() -> Iterator[Probe]:
    kind = "code in a checkpoint"
    good = (base() / "weights.pth").read_bytes()
    evil = pickle.dumps(_Evil(), protocol=2)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = next(name for name in members if name.endswith("data.pkl"))
    ways = {
        "pickle alone": evil,
        "pickle in a zip": zip_of({**members, data: evil}, compressed=False),
        "tar of the oldest format": _old_tar(evil),
        "legacy stack": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + evil,
        "builtins.getattr": b"cbuiltins\ngetattr\n(cos\nenviron\nS'items'\ntR.",
        "builtins.exec": b"cbuiltins\nexec\n(S\"open('out/pwned','w')\"\ntR.",
        "importlib": b"cimportlib\nimport_module\n(S'antigravity'\ntR.",
        "torch.load": b"ctorch\nload\n(S'in/labels.txt'\ntR.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ftouch out/pwned\x85R.",
        "INST": b"(S'touch out/pwned'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'touch out/pwned'\no.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}S'args'\nS'id'\ns\x92.",
        "BUILD": b"ccollections\nOrderedDict\n)R}S'__class__'\ncos\nsystem\nsb.",
        "persistent id": b"\x80\x02S'evil'\nQ.",
        "extension": b"\x80\x02\x82\x01.",
        "memo bomb": b"\x80\x02]q\0" + b"(h\0h\0l\x85q\0" * 30 + b".",
        "nested lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "string of 4 GB": b"\x80\x04\x8d\xff\xff\xff\xff\0\0\0\0abc.",
        "bytes of 2**63": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "frame of 2**62": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "long of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        "memo index of 2**32": b"\x80\x02Nr\xff\xff\xff\xff.",
        "endless pops": b"0" * 1000,
        "no stop": b"\x80\x02]",
    }  # fmt: skip
    module = "timm:resnet10t"
    for name, content in ways.items():
        for suffix in ("pth", "ckpt"):
            if suffix == "ckpt" or name in ("pickle alone", "pickle in a zip", "builtins.exec", "STACK_GLOBAL"):
                yield _export(kind, f"{name} as MODEL .{suffix}", f"m.{suffix}", content)

        def plant(folder: Path, content: bytes = content) -> None:
            copy(folder, "labels.txt")
            (folder / "w.pth").write_bytes(content)

        yield Probe(kind=kind, surface="command", name=f"{name} as weights", plant=plant, codes=REFUSED, argv=("export", module, "--weights", "in/w.pth", "--num-classes", "5", *_OUT))  # fmt: skip
    kind = "damaged checkpoint"
    for name, mutant in (*truncations(good, 3), *bits(good, 5)):

        def plant_weights(folder: Path, mutant: bytes = mutant) -> None:
            (folder / "w.pth").write_bytes(mutant)

        yield Probe(kind=kind, surface="command", name=name, plant=plant_weights, codes=REFUSED, argv=("export", module, "--weights", "in/w.pth", "--num-classes", "5", *_OUT))  # fmt: skip
    script = (base() / "script.pt").read_bytes()
    for name, mutant in (*truncations(script, 3), *bits(script, 5)):
        yield _export("hostile TorchScript", name, "m.pt", mutant, GATES)
    with zipfile.ZipFile(io.BytesIO(script)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name in parts:
        yield _export(
            "hostile TorchScript", f"pickle as {name}", "m.pt", zip_of({**parts, name: evil}, compressed=False), GATES
        )
    code = next(name for name in parts if name.endswith(".py"))
    loops = (
        parts[code].replace(b"def forward", b"def forward", 1).replace(b"    ", b"    while True:\n      pass\n    ", 1)
    )
    yield _export(
        "hostile TorchScript", "code that is broken", "m.pt", zip_of({**parts, code: loops}, compressed=False), GATES
    )
    yield from _safetensors(module)


def _safetensors(module: str) -> Iterator[Probe]:
    def file(header: bytes, body: bytes = b"\0" * 64, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + body

    ways = {
        "header of 2**63": file(b"{}", length=2**63 - 1),
        "header of 4 GB": file(b"{}", length=2**32),
        "deep header": file(b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
        "offsets beyond the file": file(
            b'{"fc.weight":{"dtype":"F32","shape":[1000000,1000],"data_offsets":[0,4000000000]}}'
        ),
        "offsets backwards": file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}'),
        "shape of 2**62": file(b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,64]}}'),
        "unknown dtype": file(b'{"a":{"dtype":"EVIL","shape":[1],"data_offsets":[0,4]}}'),
        "key twice": file(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        ),
        "overlap": file(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        ),
        **{f"only {name}": TEXTS[name] for name in ("empty", "zeros", "brackets", "BOM")},
    }
    for name, content in ways.items():

        def plant(folder: Path, content: bytes = content) -> None:
            (folder / "w.safetensors").write_bytes(content)

        yield Probe(kind="hostile safetensors", surface="command", name=name, plant=plant, codes=REFUSED, argv=("export", module, "--weights", "in/w.safetensors", "--num-classes", "5", *_OUT))  # fmt: skip


def _old_tar(content: bytes) -> bytes:
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("pickle", "storages", "tensors", "sys_info"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _special() -> Iterator[Probe]:
    kind = "special file as a model"
    makers: dict[str, Callable[[Path], object]] = {
        "FIFO": lambda p: os.mkfifo(p),
        "folder": lambda p: p.mkdir(),
        "link to itself": lambda p: p.symlink_to(p.name),
        "link to /dev/zero": lambda p: p.symlink_to("/dev/zero"),
        "sparse file of 40 GB": lambda p: (p.touch(), os.truncate(p, 40 << 30)),
        "nothing": lambda p: None,
    }
    for suffix in ("onnx", "pt2", "pt", "ckpt"):
        for name, make in makers.items():

            def plant(folder: Path, make: Callable[[Path], object] = make, suffix: str = suffix) -> None:
                make(folder / f"m.{suffix}")

            yield Probe(kind=kind, surface="command", name=f"{name} .{suffix}", plant=plant, codes=REFUSED, argv=("export", f"in/m.{suffix}", *_OUT, *_CONTRACT))  # fmt: skip
    names = {"empty": "", "a long name": HUGE_NAME, "zero-width": "timm:\u200b", "traversal": "timm:../../x", "control": "torchvision:\x1b[2J", "a module that is absent": "no.such:thing", "an attribute that is absent": "os:nope", "a function that is no factory": "os:getcwd", "a dotted attribute": "os:path.join", "many colons": "a:b:c:d", "surrogate": "timm:\udcff"}  # fmt: skip
    for name, model in names.items():
        yield Probe(
            kind="absurd option",
            surface="command",
            name=f"export MODEL {name}",
            codes=REFUSED,
            argv=("export", model, *_OUT, *_CONTRACT),
        )
