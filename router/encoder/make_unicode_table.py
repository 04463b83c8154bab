#!/usr/bin/env python3
"""Writes unicode_table_data.h: what BERT's normaliser and pre-tokeniser do with each code point.

Every property is asked of the `tokenizers` package itself, code point by code point, so that its older and newer Unicode tables
(categories of Unicode 8, decompositions of another version, white space and lower case of its compiler) are reproduced as they
are. Needs tests/conformance/requirements.txt. Run: python make_unicode_table.py > unicode_table_data.h
"""
import sys

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

WORD, PUNCT, SPACE, DROP = range(4)  # enum unicode_class
CJK, MARK, DECOMPOSES, LOWER_ADDS_DOT = 4, 8, 16, 32
BLOCK = 128
HANGUL = range(0xAC00, 0xD7A4)
POINTS = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]

CLEAN = BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
SPLIT = BertNormalizer(clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False)
STRIP = BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
LOWER = BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=True)
DECOMPOSE = NFD()
PIECES = BertPreTokenizer()
# A combining mark of each combining class that has one, to order others against.
RULERS = {1: 0x334, 7: 0x93C, 8: 0x3099, 9: 0x94D, 10: 0x5B0, 84: 0xC55, 103: 0xE38, 122: 0xEC8, 129: 0xF71, 130: 0xF72,
          202: 0x327, 214: 0x1DCE, 216: 0x31B, 218: 0x302A, 220: 0x323, 222: 0x59A, 224: 0x302E, 226: 0x1D16D, 228: 0x5AE,
          230: 0x300, 232: 0x302C, 233: 0x35C, 234: 0x35D, 240: 0x345}


def swaps(first, second):
    """Whether canonical ordering exchanges two code points."""
    pair = chr(first) + chr(second)
    return first != second and DECOMPOSE.normalize_str("a" + pair) == "a" + pair[::-1]


def combining_class(p):
    """0 for a starter; else a number that orders as the canonical combining class does."""
    if not swaps(p, RULERS[1]) and not swaps(RULERS[240], p):
        return 0
    # The smallest ruler that p does not come behind has its class.
    return next(k for k in sorted(RULERS) if not swaps(p, RULERS[k]))


def properties(p):
    """(flags, combining class, lower-case distance) and the decomposition, [] for none."""
    c, around = chr(p), "a" + chr(p) + "b"
    clean = CLEAN.normalize_str(around)
    if clean == "ab":
        return (DROP, 0, 0), []
    if clean == "a b":
        return (SPACE, 0, 0), []
    assert clean == around, hex(p)
    pieces = [text for text, _ in PIECES.pre_tokenize_str(around)]
    flags = {1: WORD, 2: SPACE, 3: PUNCT}[len(pieces)]
    split = SPLIT.normalize_str(around)
    assert split in (around, f"a {c} b"), hex(p)
    flags |= CJK if split != around else 0
    parts = [ord(x) for x in DECOMPOSE.normalize_str(c)]
    parts = [] if parts == [p] else parts
    stripped = STRIP.normalize_str(around)
    assert parts or stripped in (around, "ab"), hex(p)
    flags |= DECOMPOSES if parts else 0
    flags |= MARK if not parts and stripped == "ab" else 0
    ccc = 0 if parts else combining_class(p)
    # What is dropped orders nothing; that it is no starter is all that counts.
    ccc = min(ccc, 1) if flags & MARK else ccc
    lower = [ord(x) for x in LOWER.normalize_str(c)]
    assert len(lower) == 1 or lower == [ord("i"), 0x307], hex(p)
    flags |= LOWER_ADDS_DOT if len(lower) == 2 else 0
    assert ccc == 0 or flags & 3 == WORD, hex(p)
    return (flags, ccc, lower[0] - p), parts


def check_closed(records, decompositions, props):
    """What normalisation makes is never itself cleaned away, decomposed again or turned into a space."""
    made = {x for parts in decompositions.values() for x in parts}
    made |= {p + records[r][2] for p, r in props.items() if records[r][2]}
    for x in made:
        flags = records[props[x]][0]
        assert flags & 3 in (WORD, PUNCT) and not (flags & DECOMPOSES and x in
                {y for parts in decompositions.values() for y in parts}), hex(x)
    for p in HANGUL:
        l, vt = divmod(p - 0xAC00, 588)
        v, t = divmod(vt, 28)
        want = chr(0x1100 + l) + chr(0x1161 + v) + (chr(0x11A7 + t) if t else "")
        assert DECOMPOSE.normalize_str(chr(p)) == want, hex(p)


def two_stage(values):
    """values[0x110000] -> (stage 1, stage 2): blocks that are equal are stored once."""
    seen, stage1, stage2 = {}, [], []
    for begin in range(0, len(values), BLOCK):
        block = tuple(values[begin:begin + BLOCK])
        if block not in seen:
            seen[block] = len(seen)
            stage2.extend(block)
        stage1.append(seen[block])
    return stage1, stage2


def array(kind, name, values):
    lines, line = [], "   "
    for v in values:
        if len(line) + len(f" {v},") > 100:
            lines.append(line)
            line = "   "
        line += f" {v},"
    lines.append(line)
    return f"static const {kind} {name}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};\n"


def main():
    index, records, props, decompositions = {}, [], {}, {}
    for p in POINTS:
        record, parts = properties(p)
        if record not in index:
            index[record] = len(records)
            records.append(record)
        props[p] = index[record]
        if parts and p not in HANGUL:
            decompositions[p] = parts
    assert len(records) <= 256
    check_closed(records, decompositions, props)

    pool, starts = [0], [0] * 0x110000
    for p, parts in decompositions.items():
        starts[p] = len(pool)
        pool += [len(parts)] + parts
    dropped = index[(DROP, 0, 0)]  # surrogates never come out of UTF-8
    stage1, stage2 = two_stage([props.get(p, dropped) for p in range(0x110000)])
    nfd1, nfd2 = two_stage(starts)
    out = sys.stdout
    out.write(f"""/* Generated by make_unicode_table.py from tokenizers {tokenizers.__version__}; not edited by hand.
 * Included by unicode_table.c alone. */
#ifndef ROUTER_ENCODER_UNICODE_TABLE_DATA_H
#define ROUTER_ENCODER_UNICODE_TABLE_DATA_H

#include "router/encoder/unicode_table.h"

// clang-format off
#define UNICODE_BLOCK {BLOCK}
""")
    out.write(array("uint8_t" if max(stage1) < 256 else "uint16_t", "record_block", stage1))
    out.write(array("uint8_t", "record_index", stage2))
    out.write(array("uint8_t" if max(nfd1) < 256 else "uint16_t", "nfd_block", nfd1))
    out.write(array("uint16_t", "nfd_index", nfd2))
    out.write("/* Each decomposition: its length, then its code points. */\n")
    out.write(array("uint32_t", "nfd_pool", pool))
    out.write("/* flags, combining class, distance to the lower case */\n")
    rows = [f"    {{{f}, {c}, {d}}}," for f, c, d in records]
    out.write(f"static const struct unicode_record unicode_records[{len(records)}] = {{\n" + "\n".join(rows) + "\n};\n")
    out.write("// clang-format on\n\n#endif\n")


if __name__ == "__main__":
    main()
