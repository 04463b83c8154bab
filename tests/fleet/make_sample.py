#!/usr/bin/env python3
"""Builds tests/fleet/sample/ from the recorded per-query results in a data folder.

    python3 tests/fleet/make_sample.py /path/to/data/routing

Only sources whose licence allows redistribution are read (see sample/NOTICE.md, which is written here too). The choice of
questions is deterministic: within a source and a class, by SHA-256 of the row's id. Running it twice gives the same bytes.
"""
import gzip
import hashlib
import io
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
MAX_PROMPT_CHARS = 1200

# name as served, USD per million tokens, context window, and the names that the sources use for the model
MODELS = [
    {"name": "llama-3.1-8b-instruct", "usd_in": 0.2, "usd_out": 0.2, "context": 131072,
     "recorded_as": ["Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3.1-8B-Instruct"]},
    {"name": "mixtral-8x7b-instruct", "usd_in": 0.6, "usd_out": 0.6, "context": 32768,
     "recorded_as": ["Mixtral-8x7B-Instruct-v0.1"]},
    {"name": "gpt-4o-mini", "usd_in": 0.15, "usd_out": 0.6, "usd_cached_in": 0.075, "context": 128000,
     "recorded_as": ["gpt-4o-mini-2024-07-18"]},
    {"name": "llama-3.1-70b-instruct", "usd_in": 0.9, "usd_out": 0.9, "context": 131072,
     "recorded_as": ["Meta-Llama-3_1-70B-Instruct", "Meta-Llama-3.1-70B-Instruct"]},
    {"name": "gemini-1.5-pro", "usd_in": 1.25, "usd_out": 5, "context": 2097152,
     "recorded_as": ["gemini-1.5-pro-002", "gemini-1.5-pro"]},
    {"name": "gpt-4o", "usd_in": 2.5, "usd_out": 10, "usd_cached_in": 1.25, "context": 128000,
     "recorded_as": ["gpt-4o-2024-08-06", "gpt-4o"]},
    {"name": "gemini-1.5-flash", "usd_in": 0.075, "usd_out": 0.3, "usd_cached_in": 0.01875, "context": 1048576,
     "recorded_as": ["gemini-1.5-flash-002", "gemini-1.5-flash"]},
]

# source, file of its answer texts, questions per class
SOURCES = [
    ("mmlu_pro", "mmlu_pro_text", 16),
    ("zeroeval_crux", "zeroeval_crux_text", 80),
]


def read(folder, name):
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
        header = json.loads(f.readline())
        return header, [json.loads(line) for line in f]


def column(header, aliases):
    names = [m["name"] for m in header["models"]]
    for alias in aliases:
        if alias in names:
            return names.index(alias)
    return None


def pick(values, columns):
    """The values of our models, in our order; None where the source did not run the model."""
    return [None if c is None or values[c] in (None, "-") else values[c] for c in columns]


def chosen(rows, per_class):
    by_class = {}
    for row in rows:
        if len(row["prompt"]) <= MAX_PROMPT_CHARS:
            by_class.setdefault(row["class"], []).append(row)
    for cls in sorted(by_class):
        ranked = sorted(by_class[cls], key=lambda r: hashlib.sha256(r["id"].encode()).hexdigest())
        yield from ranked[:per_class]


def sample(folder):
    rows, notice = [], []
    for source, texts, per_class in SOURCES:
        header, source_rows = read(folder, source)
        columns = [column(header, m["recorded_as"]) for m in MODELS]
        text_header, text_rows = read(folder, texts)
        text_columns = [column(text_header, m["recorded_as"]) for m in MODELS]
        by_id = {r["id"]: r["x"] for r in text_rows}
        taken = 0
        for row in chosen(source_rows, per_class):
            out = {"id": row["id"], "class": row["class"], "grp": row["grp"], "prompt": row["prompt"],
                   "s": pick(row["s"], columns)}
            out["a"] = pick(row["a"], columns)
            if row["id"] in by_id:
                out["x"] = pick(by_id[row["id"]], text_columns)
            rows.append(out)
            taken += 1
        notice.append((source, header, taken))
    return rows, notice


def write_rows(path, rows):
    header = {
        "format": "routing-rows/1", "source": "weir_sample", "metric": "0/1, as scored by each source; see NOTICE.md",
        "models": [dict(m, price_src="public list prices, USD per million tokens") for m in MODELS],
        "row": "s 0/1 per model in header order (null = not run), a short answer, x answer text",
        "rows": len(rows)}
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, mtime=0) as z:
        for item in [header] + rows:
            z.write((json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    path.write_bytes(raw.getvalue())


def write_questions(path, rows):
    """One question per line for the quick start, classes interleaved; line breaks are written as backslash n."""
    by_class = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(row["prompt"])
    lines = []
    for i in range(max(len(v) for v in by_class.values())):
        lines += [by_class[c][i].replace("\\", "\\\\").replace("\n", "\\n") for c in sorted(by_class) if i < len(by_class[c])]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_notice(path, notice):
    text = ["# Where the sample comes from", "",
            "`sample.jsonl.gz` and `questions.txt` are excerpts of published per-query results of language models, made by",
            "`../make_sample.py`. Nothing was changed but the selection of rows and models, the models' names as served, and the",
            "prices, which are the vendors' public list prices. Thanks to the authors.", "",
            "| source | repository | commit | licence | taken |", "|---|---|---|---|---|"]
    for source, header, taken in notice:
        what = f"{taken} questions with scores, short answers and answer texts (cut as in the source file)"
        text.append(f"| {source} | https://github.com/{header['repo']} | `{header['commit'][:12]}` | {header['licence']} "
                    f"| {what} |")
    text += ["", "Licences of the questions themselves: MMLU-Pro Apache-2.0 (its MMLU part MIT); CRUXEval MIT. The Apache-2.0 text is",
             "in the repository's LICENSE; the MIT notices are those of the repositories named above.", ""]
    path.write_text("\n".join(text), encoding="utf-8")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows, notice = sample(pathlib.Path(sys.argv[1]))
    out = HERE / "sample"
    out.mkdir(exist_ok=True)
    write_rows(out / "sample.jsonl.gz", rows)
    write_questions(out / "questions.txt", rows)
    write_notice(out / "NOTICE.md", notice)
    print(f"{len(rows)} questions, {(out / 'sample.jsonl.gz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
