#!/usr/bin/env python3
"""Writes a language model of the llama architecture that knows nothing: random weights, a vocabulary of some 500 pieces,
8-bit quantised, half a megabyte. A real engine loads it like any other model, and every run writes the same bytes.

usage: make_tiny_gguf.py FILE

Its answers are gibberish made of printable pieces: the rows of the output matrix that belong to control and byte tokens
are zero, so that sampling as good as never picks one, and an answer ends at max_tokens. Format: GGUF version 3 (docs/gguf.md
of ggml); tokenizer: sentencepiece-like with byte fall-back, as of Llama 2. Needs nothing but Python.
"""

import os
import random
import struct
import sys

EMBEDDING, HIDDEN, LAYERS, HEADS, CONTEXT = 128, 256, 2, 4, 32768
BLOCK = 32  # of Q8_0: one half-precision scale, 32 signed bytes
LOGIT_SPREAD = 6.0

# enum ggml_type and gguf_metadata_value_type
F32, Q8_0 = 0, 8
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # token types

TEMPLATE = ("{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}")

WORDS = """the of and to in is that it was for on are as with his they at be this have from or one had by word but not what
all were we when your can said there use an each which she do how their if will up other about out many then them these so
some her would make like him into time has look two more write go see number no way could people my than first water been
call who oil its now find long down day did get come made may part""".split()


def vocabulary():
    """[(text, score, type)]: sentencepiece merges the pair whose piece has the best score first."""
    pieces = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    pieces += [(f"<0x{b:02X}>", 0.0, BYTE) for b in range(256)]
    texts = []
    for word in WORDS:  # every beginning of a word, so that merging can get there
        texts += ["\u2581" + word[:n] for n in range(1, len(word) + 1)]
    singles = ["\u2581"] + [chr(c) for c in range(0x21, 0x7F)] + ["\n"]
    longer = [t for t in dict.fromkeys(texts) if t not in singles]
    pieces += [(t, -float(i) - 1, NORMAL) for i, t in enumerate(longer)]
    pieces += [(t, -1000.0 - i, NORMAL) for i, t in enumerate(singles)]
    return pieces


class Gguf:
    """The file's two tables and the data behind them."""

    def __init__(self):
        self.meta, self.tensors, self.data = [], [], b""

    def string(self, text):
        raw = text.encode()
        return struct.pack("<Q", len(raw)) + raw

    def value(self, kind, value):
        if kind == STRING:
            return self.string(value)
        return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)

    def put(self, key, kind, value):
        self.meta.append(self.string(key) + struct.pack("<I", kind) + self.value(kind, value))

    def put_array(self, key, kind, values):
        self.meta.append(self.string(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) +
                         b"".join(self.value(kind, v) for v in values))

    def tensor(self, name, shape, kind, data):
        """shape: columns first, as ggml counts."""
        self.tensors.append(self.string(name) + struct.pack("<I", len(shape)) +
                            b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", kind, len(self.data)))
        self.data += data + bytes(-len(data) % BLOCK)

    def write(self, path):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.meta)) + b"".join(self.meta + self.tensors)
        with open(path + ".part", "wb") as out:
            out.write(head + bytes(-len(head) % BLOCK) + self.data)
        os.replace(path + ".part", path)


def quantise(row):
    """Q8_0: each block of 32 as its largest magnitude / 127, then whole multiples of that."""
    out = []
    for i in range(0, len(row), BLOCK):
        block = row[i:i + BLOCK]
        scale = max(map(abs, block)) / 127
        out.append(struct.pack("<e32b", scale, *(round(x / scale) if scale else 0 for x in block)))
    return b"".join(out)


def matrix(rng, columns, rows, spread, zero_rows=frozenset()):
    """Uniform, with the standard deviation that keeps signals at `spread` for inputs of size one."""
    limit = spread * (3 / columns) ** 0.5
    return b"".join(quantise([0.0] * columns if r in zero_rows else [rng.uniform(-limit, limit) for _ in range(columns)])
                    for r in range(rows))


def ones(n):
    return struct.pack(f"<{n}f", *[1.0] * n)


def build():
    g, rng, pieces = Gguf(), random.Random(20261121), vocabulary()
    g.put("general.architecture", STRING, "llama")
    g.put("general.name", STRING, "weir tiny random")
    g.put("general.file_type", UINT32, 7)  # mostly Q8_0
    g.put("general.quantization_version", UINT32, 2)
    for key, value in [("context_length", CONTEXT), ("embedding_length", EMBEDDING), ("block_count", LAYERS),
                       ("feed_forward_length", HIDDEN), ("attention.head_count", HEADS), ("attention.head_count_kv", HEADS),
                       ("rope.dimension_count", EMBEDDING // HEADS), ("vocab_size", len(pieces))]:
        g.put("llama." + key, UINT32, value)
    g.put("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5)
    g.put("tokenizer.ggml.model", STRING, "llama")
    g.put_array("tokenizer.ggml.tokens", STRING, [p[0] for p in pieces])
    g.put_array("tokenizer.ggml.scores", FLOAT32, [p[1] for p in pieces])
    g.put_array("tokenizer.ggml.token_type", INT32, [p[2] for p in pieces])
    g.put("tokenizer.ggml.bos_token_id", UINT32, 1)
    g.put("tokenizer.ggml.eos_token_id", UINT32, 2)
    g.put("tokenizer.ggml.unknown_token_id", UINT32, 0)
    g.put("tokenizer.ggml.add_bos_token", BOOL, True)
    g.put("tokenizer.chat_template", STRING, TEMPLATE)

    unspoken = {i for i, p in enumerate(pieces) if p[2] != NORMAL}
    g.tensor("token_embd.weight", [EMBEDDING, len(pieces)], Q8_0, matrix(rng, EMBEDDING, len(pieces), 1.0))
    for i in range(LAYERS):
        block = f"blk.{i}."
        g.tensor(block + "attn_norm.weight", [EMBEDDING], F32, ones(EMBEDDING))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            g.tensor(f"{block}{name}.weight", [EMBEDDING, EMBEDDING], Q8_0, matrix(rng, EMBEDDING, EMBEDDING, 1.0))
        g.tensor(block + "ffn_norm.weight", [EMBEDDING], F32, ones(EMBEDDING))
        for name in ("ffn_gate", "ffn_up"):
            g.tensor(f"{block}{name}.weight", [EMBEDDING, HIDDEN], Q8_0, matrix(rng, EMBEDDING, HIDDEN, 1.0))
        g.tensor(block + "ffn_down.weight", [HIDDEN, EMBEDDING], Q8_0, matrix(rng, HIDDEN, EMBEDDING, 1.0))
    g.tensor("output_norm.weight", [EMBEDDING], F32, ones(EMBEDDING))
    g.tensor("output.weight", [EMBEDDING, len(pieces)], Q8_0,
             matrix(rng, EMBEDDING, len(pieces), LOGIT_SPREAD, unspoken))
    return g


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build().write(sys.argv[1])
