"""A BERT encoder's folder as ONNX graphs for onnxruntime: fp32, and int8 as its own dynamic quantisation makes it.

make_onnx.py MODEL_FOLDER OUT_FOLDER writes fp32.onnx and int8.onnx, once. The graph is the one that PyTorch's exporter
writes (Linear as MatMul + Add, erf-GELU, LayerNormalization), so that onnxruntime's own fusions apply; inputs are
input_ids[batch][tokens] and attention_mask[batch][tokens], the output is last_hidden_state[batch][tokens][hidden].
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def name(self, hint):
        self.count += 1
        return f"{hint}_{self.count}"

    def const(self, value, hint="c"):
        name = self.name(hint)
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind, *inputs, **attributes):
        out = self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def ints(self, *values):
        return self.const(np.array(values, dtype=np.int64))

    def scalar(self, value):
        return self.const(np.array(value, dtype=np.float32))

    def linear(self, x, tensors, name):
        weight = self.const(np.ascontiguousarray(tensors[name + ".weight"].T))
        return self.op("Add", self.op("MatMul", x, weight), self.const(tensors[name + ".bias"]))

    def norm(self, x, tensors, name, eps):
        return self.op("LayerNormalization", x, self.const(tensors[name + ".weight"]),
                       self.const(tensors[name + ".bias"]), axis=-1, epsilon=eps)

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.scalar(np.sqrt(2.0))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.scalar(1.0))), self.scalar(0.5))


def attention(g, x, mask, tensors, prefix, heads, size):
    def split(name, order):
        y = g.linear(x, tensors, f"{prefix}.self.{name}")
        return g.op("Transpose", g.op("Reshape", y, g.ints(0, 0, heads, size)), perm=order)

    query, key, value = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])
    scores = g.op("Div", g.op("MatMul", query, key), g.scalar(np.sqrt(size)))
    weights = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
    context = g.op("Transpose", g.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    return g.linear(g.op("Reshape", context, g.ints(0, 0, heads * size)), tensors, f"{prefix}.output.dense")


def build(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = {k: v.astype(np.float32) for k, v in load_file(folder / "model.safetensors").items() if v.dtype.kind == "f"}
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    size = config["hidden_size"] // heads
    g = Graph()
    tokens = g.op("Slice", g.op("Shape", "input_ids"), g.ints(1), g.ints(2))
    positions = g.op("Slice", g.const(tensors["embeddings.position_embeddings.weight"]), g.ints(0), tokens, g.ints(0))
    x = g.op("Gather", g.const(tensors["embeddings.word_embeddings.weight"]), "input_ids")
    x = g.op("Add", g.op("Add", x, g.const(tensors["embeddings.token_type_embeddings.weight"][0])), positions)
    x = g.norm(x, tensors, "embeddings.LayerNorm", eps)
    mask = g.op("Cast", g.op("Unsqueeze", "attention_mask", g.ints(1, 2)), to=TensorProto.FLOAT)
    mask = g.op("Mul", g.op("Sub", g.scalar(1.0), mask), g.scalar(-10000.0))
    for i in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{i}"
        x = g.norm(g.op("Add", x, attention(g, x, mask, tensors, p + ".attention", heads, size)), tensors,
                   p + ".attention.output.LayerNorm", eps)
        up = g.gelu(g.linear(x, tensors, p + ".intermediate.dense"))
        x = g.norm(g.op("Add", x, g.linear(up, tensors, p + ".output.dense")), tensors, p + ".output.LayerNorm", eps)
    g.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        g.nodes, folder.name,
        [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, heads * size])], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def make(folder, out):
    fp32, int8 = out / "fp32.onnx", out / "int8.onnx"
    if not int8.exists():
        out.mkdir(parents=True, exist_ok=True)
        model = build(folder)
        onnx.checker.check_model(model)
        onnx.save(model, fp32)
        quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, per_channel=True)
    return fp32, int8


if __name__ == "__main__":
    print(*make(Path(sys.argv[1]), Path(sys.argv[2])))
