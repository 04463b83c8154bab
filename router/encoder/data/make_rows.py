#!/usr/bin/env python3
"""Writes the rows that the built-in heads are trained on, from public data and from prompts.jsonl.

usage: make_rows.py ROUTING_DATA OUT

ROUTING_DATA holds intent_banking77, intent_clinc150, mmlu_pro, routellm_mmlu and zeroeval_crux as .jsonl.gz (README.md
says what each is and under which licence). OUT gets classes.jsonl.gz and tiers.jsonl.gz. The same input gives the same
output: what is chosen is chosen by digests.
"""

import gzip
import hashlib
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARE = {"mmlu_pro": 400, "routellm_mmlu": 200, "zeroeval_crux": 120, "intent_banking77": 160, "intent_clinc150": 240,
         "made": 80}  # rows of one class that one source may give; prompts.jsonl gives all

CHAT = """are_you_a_bot do_you_have_pets fun_fact goodbye greeting how_old_are_you maybe meaning_of_life no tell_joke
thank_you what_are_your_hobbies what_can_i_ask_you what_is_your_name where_are_you_from who_do_you_work_for who_made_you
yes""".split()
SUPPORT = """account_blocked application_status apr balance bill_balance bill_due card_declined credit_limit
credit_limit_change credit_score damaged_card direct_deposit expiration_date freeze_account insurance insurance_change
interest_rate international_fees lost_luggage min_payment new_card order_checks order_status pin_change redeem_rewards
replacement_card_duration report_fraud report_lost_card rewards_balance rollover_401k routing transactions""".split()
KNOWLEDGE = """calories cook_time definition food_last improve_credit_score ingredient_substitution ingredients_list
international_visa jump_start meal_suggestion nutrition_info oil_change_how plug_type recipe tire_change travel_suggestion
vaccines""".split()
SKIPPED = ["oos", "repeat", "change_accent", "spelling"]  # out of scope, or nothing that a router could use

CLINC = {name: "chat" for name in CHAT} | {name: "customer_support" for name in SUPPORT}
CLINC |= {name: "general_knowledge" for name in KNOWLEDGE} | {name: None for name in SKIPPED}
CLINC |= {"translate": "translation", "calculator": "math", "measurement_conversion": "math"}

# Instructions about a text that comes with them: what is wanted is in the instruction, whatever the text is about.
MADE = {
    "summarization": ["Summarize the following text in two sentences.\n\n{}", "TL;DR:\n{}", "{}\n\nSummarize the above.",
                      "Give me the key points of this passage as bullets:\n\n{}", "What is the main idea of this text?\n\n{}",
                      "Write a one-paragraph summary.\n\nText: {}"],
    "extraction": ["Extract all names, places and dates from the text as JSON.\n\n{}",
                   "List the entities mentioned in the following passage.\n\n{}", "{}\n\nReturn the keywords of this text.",
                   "Classify the topic of this text into one of: politics, science, sports, culture.\n\n{}",
                   "Is the tone of this passage positive, negative or neutral?\n\n{}",
                   "Given the text below, fill in this JSON: {{\"who\": null, \"when\": null, \"where\": null}}\n\n{}"],
    "rewriting": ["Proofread the following text.\n\n{}", "Rewrite this in simpler words:\n\n{}", "Make this more concise: {}",
                  "Fix spelling and grammar.\n\n{}", "Paraphrase the passage below.\n\n{}",
                  "{}\n\nRewrite the text above in a friendly tone."],
    "translation": ["Translate to French:\n\n{}", "Translate the following text into Spanish: {}",
                    "Please translate this passage to German.\n\n{}", "{}\n\nTranslate the above into Japanese.",
                    "Render this text in Italian.\n\n{}"],
}

# Models of like strength, by source; a tier's success is their mean.
TIERS = {
    "mmlu_pro": {
        "small": ["Mistral-7B-Instruct-v0.2", "gemma-7b", "Meta-Llama-3-8B", "Phi-3-mini-4k-instruct",
                  "Meta-Llama-3_1-8B-Instruct"],
        "medium": ["Mixtral-8x7B-Instruct-v0.1", "Yi-34B", "Qwen1.5-72B-Chat", "Qwen1.5-110B", "Meta-Llama-3-70B"],
        "large": ["Meta-Llama-3_1-70B-Instruct", "gemini-1.5-flash-002", "DeepSeek-Coder-V2", "gemini-1.5-pro-002"],
    },
    "zeroeval_crux": {
        "small": ["Meta-Llama-3-8B-Instruct", "Qwen2-7B-Instruct", "Meta-Llama-3.1-8B-Instruct", "Phi-3-mini-4k-instruct",
                  "gemma-2-9b-it"],
        "medium": ["Mixtral-8x7B-Instruct-v0.1", "Yi-1.5-34B-Chat", "gpt-3.5-turbo-0125", "Meta-Llama-3-70B-Instruct",
                   "Qwen2-72B-Instruct"],
        "large": ["Mistral-Large-2", "gpt-4-turbo-2024-04-09", "claude-3-5-sonnet-20240620", "gpt-4o-2024-08-06"],
    },
    "routellm_mmlu": {"small": [], "medium": ["mistralai/Mixtral-8x7B-Instruct-v0.1"], "large": ["gpt-4-1106-preview"]},
}


def read(folder, source):
    """The header and the rows."""
    with gzip.open(folder / f"{source}.jsonl.gz", "rt", encoding="utf-8") as f:
        header = json.loads(next(f))
        return header, [json.loads(line) for line in f]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def some(rows, count):
    return sorted(rows, key=lambda row: digest(row["text"]))[:count]


def stem(prompt):
    """A multiple-choice question without its choices: what a person would have typed."""
    return re.split(r"\n(?:A\.|Answer:)", prompt)[0].strip()


def of_exam(row):
    label = {"other": "general_knowledge"}.get(row["class"], row["class"].replace(" ", "_"))
    text = row["prompt"].removesuffix("\nAnswer:") if int(digest(row["prompt"])[0], 16) % 2 else stem(row["prompt"])
    return {"label": label, "text": text}


def of_crux(row):
    text = row["prompt"]
    if int(digest(text)[0], 16) % 2:  # the code alone, as a person would paste it
        text = re.sub(r".*\[PYTHON\]\n(.*)\nassert (.*) == \?\?\n\[/PYTHON\].*", r"What is \2?\n\n\1", text, flags=re.S)
    return {"label": "code", "text": text}


def of_clinc(row):
    return {"label": CLINC.get(row["class"], "assistant_command"), "text": row["prompt"]}


def made(passages):
    for label, forms in MADE.items():
        for text in passages:
            form = forms[int(digest(label + text)[:4], 16) % len(forms)]
            yield {"label": label, "text": form.format(text)}


def class_rows(folder):
    sources = {
        "mmlu_pro": of_exam,
        "routellm_mmlu": of_exam,
        "zeroeval_crux": of_crux,
        "intent_clinc150": of_clinc,
        "intent_banking77": lambda row: {"label": "customer_support", "text": row["prompt"]},
    }
    for source, make in sources.items():
        by_label = defaultdict(list)
        for row in read(folder, source)[1]:
            one = make(row)
            if one["label"]:
                by_label[one["label"]].append(one)
        for label in sorted(by_label):
            for row in some(by_label[label], SHARE[source]):
                yield row | {"source": source}
    passages = [stem(row["prompt"]) for row in read(folder, "routellm_mmlu")[1] if row["grp"] != "moral_scenarios"]
    passages = sorted((p for p in passages if 80 < len(p) < 400), key=digest)[:SHARE["made"]]
    for row in made(passages):
        yield row | {"source": "made"}
    for line in open(HERE / "prompts.jsonl", encoding="utf-8"):
        yield json.loads(line) | {"source": "prompts"}


def tier_rows(folder):
    for source, tiers in TIERS.items():
        header, rows = read(folder, source)
        place = {model["name"]: i for i, model in enumerate(header["models"])}
        for row in rows:
            scores = []
            for models in tiers.values():
                known = [s for s in (row["s"][place[m]] for m in models) if s is not None]
                scores.append(round(sum(known) / len(known), 4) if known else None)
            yield {"text": row["prompt"], "source": source, "s": scores}


def write(path, header, rows):
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
        for row in [header, *rows]:
            f.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    write(out / "classes.jsonl.gz", {"format": "routing-rows/1"}, class_rows(folder))
    write(out / "tiers.jsonl.gz", {"format": "routing-rows/1", "models": ["small", "medium", "large"]}, tier_rows(folder))


if __name__ == "__main__":
    main()
