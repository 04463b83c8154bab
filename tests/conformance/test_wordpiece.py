"""The tokeniser against Hugging Face's `tokenizers`, id by id, in the same run.

The vocabulary has every code point of the planes in use as a piece, at the beginning of a word and inside one, so that the ids
show what became of each character and in which order. `wordpiece_pipe` is the C tokeniser as a filter.
"""

import random
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from weirproc import build_dir

POINTS = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
ENCODER = Path(__file__).resolve().parents[2] / "router" / "encoder"
IN_USE = [p for p in POINTS if p < 0x32400 or 0xE0000 <= p < 0xE0200]  # Unicode 17 and its tags
pytestmark = pytest.mark.timeout(900)  # a sanitizer build on a busy machine
SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"]
OPTIONS = [("lower", "strip", "cjk"), ("lower", "cjk"), ("strip", "cjk"), ("cjk",), ("lower", "strip"), ()]
WORDS = ["the", "play", "##ing", "##ed", "un", "##aff", "##able", "##able##", "hello", "##lo"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """Its file and its pieces with their ids. Line ends cannot be pieces, and never are words."""
    letters = [chr(p) for p in IN_USE if p not in (0x0A, 0x0D)]
    pieces = SPECIALS + WORDS + letters + ["##" + c for c in letters]
    path = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    path.write_bytes("".join(p + "\n" for p in pieces).encode())
    return path, {p: i for i, p in enumerate(pieces)}


@pytest.fixture(scope="module")
def theirs(vocabulary):
    def encode(texts, options):
        tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars="cjk" in options,
                                              strip_accents="strip" in options, lowercase="lower" in options)
        return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    tokenizer = Tokenizer(WordPiece(vocabulary[1], unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return encode


@pytest.fixture(scope="module")
def ours(vocabulary):
    def encode(texts, options):
        stdin = b"".join(struct.pack("<I", len(b)) + b for b in texts)
        pipe = build_dir() / "tests" / "unit" / "encoder" / "wordpiece_pipe"
        out = subprocess.run([pipe, vocabulary[0], *options], input=stdin, capture_output=True, timeout=300)
        assert out.returncode == 0, out.stderr.decode()
        at, ids = 0, []
        for _ in texts:
            (count,) = struct.unpack_from("<I", out.stdout, at)
            ids.append(list(struct.unpack_from(f"<{count}i", out.stdout, at + 4)))
            at += 4 + 4 * count + 12
        assert at == len(out.stdout)
        return ids
    return encode


@pytest.fixture
def same(ours, theirs):
    def compare(texts, options=OPTIONS[0]):
        raw = [t if isinstance(t, bytes) else t.encode() for t in texts]
        want = theirs([b.decode("utf-8", "replace") for b in raw], options)
        got = ours(raw, options)
        wrong = [(ascii(r), w, g) for r, w, g in zip(raw, want, got) if w != g]
        assert not wrong, f"{len(wrong)} of {len(raw)}, first: {wrong[:3]}"
    return compare


def in_hundreds(form, points=tuple(IN_USE)):
    """Each code point in that form, a hundred to a text."""
    return [" ".join(form.replace("?", chr(p)) for p in points[i:i + 100]) for i in range(0, len(points), 100)]


def test_every_code_point_there_is(same):
    same(in_hundreds("a?b", POINTS))


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_every_code_point_in_a_word(same, options):
    same(in_hundreds("a?b"), options)


def test_every_code_point_alone(same):
    same(in_hundreds("?"))


def test_every_code_point_among_marks(same):
    """Doubled, behind marks that are dropped and marks that stay, before marks that want to change places with it."""
    same(in_hundreds("e\u0301??\U0001D16D\u302E\u1B44\u0323x"))


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_sequences_of_marks_and_letters(same, options):
    r = random.Random(20261121)
    odd = [p for p in POINTS if unicodedata.combining(chr(p))] + list(range(0x1100, 0x1200)) + list(range(0xAC00, 0xAD00))
    odd += [0x200D, 0xAD, 0xFEFF, 0xFFFD, 0, 0x85, 0x0B, 0x130, 0x1E9E, 0x1F600, 0x1F468] * 20
    odd += [0x302E, 0x302F, 0x1B44, 0x1D165, 0x1D166, 0x1D16D, 0xFF9E, 0x8D4] * 40 + list(range(32, 127)) * 5
    same(["".join(chr(r.choice(odd)) for _ in range(r.randrange(30))) for _ in range(8000)], options)
    same(["".join(chr(r.choice(POINTS)) for _ in range(r.randrange(30))) for _ in range(2000)], options)


def test_any_bytes(same):
    """Compared with what Python's decoder makes of them, which replaces each ill-formed sequence."""
    r = random.Random(7)
    bytes_ = [0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0xED, 0xA0, 0xC0, 0xF4, 0x90] * 8 + list(range(256))
    same([bytes(r.choice(bytes_) for _ in range(r.randrange(24))) for _ in range(20000)])


def test_words_of_about_100_characters(same):
    texts = []
    for letter in ["a", "é", "e\u0301", "한", "中", "😀", "\u302E", "a\u0301\u0323"]:
        for n in [32, 33, 34, 49, 50, 51, 98, 99, 100, 101, 102, 300]:
            texts += [letter * n, letter * n + "x", letter * n + ".", "the" + letter * n]
    same(texts)


def test_names_of_special_tokens_are_plain_text(same):
    """As of a tokeniser that has no added tokens: [CLS] from a user is a bracket, a word, a bracket."""
    same(["[CLS] the [SEP]", "x[SEP]y", "[cls] [MASK][PAD] [UNK]", "##ing playing## # ##", "unaffable playings"])


def test_the_generated_table_is_what_the_generator_writes():
    made = subprocess.run([sys.executable, ENCODER / "make_unicode_table.py"], capture_output=True, check=True, timeout=600).stdout
    assert made == (ENCODER / "unicode_table_data.h").read_bytes()
