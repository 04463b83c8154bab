/* YAML events -> nodes with places. Owns nothing: nodes go into the caller's arena. Thread: the
 * loader's. Called by policy_load only.
 *
 * libyaml's event interface is used instead of its document interface because that one neither
 * keeps the order and place of what it drops (duplicate keys) nor bounds what aliases multiply.
 * Number and boolean forms are those of the YAML 1.2 core schema
 * (https://yaml.org/spec/1.2.2/#103-core-schema). */
#include "policies/policy_node.h"

#include <assert.h>
#include <yaml.h>
#include "base/ascii.h"
#include "base/utf8.h"
#include "policies/policy_diag_int.h"
#include "policies/policy_names.h"

struct anchor {
    struct anchor *next;
    struct slice name;
    struct node *node;
};

struct reader {
    yaml_parser_t yaml;
    struct arena *arena;
    struct diags *diags;
    const char *file;
    struct slice text;
    struct anchor
        *anchors; /* newest first: a repeated anchor replaces the older one from there on */
    int anchor_count;
    bool failed; /* a fault after which the events make no sense */
};

static void fault_at(struct reader *r, int line, int column, const char *hint, const char *message)
{
    diags_add(r->diags, DIAG_ERROR, (struct diag_place){r->file, line, column, ""}, hint, "%s",
              message);
}

static void fault(struct reader *r, yaml_mark_t mark, const char *hint, const char *message)
{
    fault_at(r, (int)mark.line + 1, (int)mark.column + 1, hint, message);
}

/* Line and column (in characters) of a byte offset: libyaml gives only the offset for encoding
 * faults. */
static void place_of_offset(struct slice text, size_t offset, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < offset && i < text.n; i++) {
        if (text.p[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (!utf8_is_tail((unsigned char)text.p[i])) {
            ++*column;
        }
    }
}

/* What libyaml found wrong, in words that help whoever typed it. */
static void syntax_fault(struct reader *r)
{
    const yaml_parser_t *y = &r->yaml;
    const char *problem = y->problem ? y->problem : "the text cannot be read";
    int line = (int)y->problem_mark.line + 1, column = (int)y->problem_mark.column + 1;
    const char *hint = NULL;
    if (y->error == YAML_READER_ERROR) {
        place_of_offset(r->text, y->problem_offset, &line, &column);
        hint = "a policy is UTF-8 text without control characters";
    }
    size_t at =
        y->problem_mark.index; /* in characters; exact for ASCII, which is enough for a hint */
    if (strstr(problem, "cannot start any token") && at < r->text.n) {
        char c = r->text.p[at];
        if (c == '\t')
            hint = "YAML does not indent with tabs; use spaces";
        else if (c == '%' || c == '@' || c == '`')
            hint = "put a value that begins with %, @ or ` in quotes";
    } else if (strstr(problem, "mapping values are not allowed")) {
        hint = "check the indentation, or put a value that holds ': ' in quotes";
    } else if (strstr(problem, "did not find expected")) {
        hint = "check indentation, brackets and quotes from here upwards";
    } else if (strstr(problem, "could not find expected ':'")) {
        hint = "a key is followed by a colon and a space";
    }
    if (y->context && y->context_mark.line + 1 != (size_t)line)
        diags_add(r->diags, DIAG_ERROR, (struct diag_place){r->file, line, column, ""}, hint,
                  "not valid YAML: %s (%s that began at line %zu)", problem, y->context,
                  y->context_mark.line + 1);
    else
        diags_add(r->diags, DIAG_ERROR, (struct diag_place){r->file, line, column, ""}, hint,
                  "not valid YAML: %s", problem);
}

static bool next_event(struct reader *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->yaml, ev))
        return true;
    if (!r->failed)
        syntax_fault(r);
    r->failed = true;
    return false;
}

static struct node *node_new(struct reader *r, enum node_kind kind, yaml_mark_t mark)
{
    struct node *n = ARENA_NEW(r->arena, struct node);
    n->kind = kind;
    n->line = (int)mark.line + 1;
    n->column = (int)mark.column + 1;
    n->weight = 1;
    return n;
}

static void anchor_add(struct reader *r, const yaml_char_t *name, struct node *n)
{
    if (!name)
        return;
    if (r->anchor_count++ == NODE_MAX_ANCHORS) {
        fault_at(r, n->line, n->column, NULL,
                 arena_printf(r->arena, "more than %d anchors", NODE_MAX_ANCHORS));
        r->failed = true;
    }
    struct anchor *a = ARENA_NEW(r->arena, struct anchor);
    *a = (struct anchor){r->anchors, arena_dup(r->arena, slice_str((const char *)name)), n};
    r->anchors = a;
}

static struct node *alias_resolve(struct reader *r, const yaml_event_t *ev)
{
    struct slice name = slice_str((const char *)ev->data.alias.anchor);
    for (struct anchor *a = r->anchors; a; a = a->next) {
        if (slice_eq(a->name, name)) {
            if (a->node->open) {
                fault(r, ev->start_mark, NULL,
                      arena_printf(r->arena, "alias *%s stands inside the block it names",
                                   diag_clean(r->arena, name)));
                r->failed = true;
                return NULL;
            }
            a->node->used = true;
            return a->node;
        }
    }
    struct names_nearest near;
    names_nearest_init(&near, name);
    for (struct anchor *a = r->anchors; a; a = a->next)
        names_nearest_offer(&near, arena_strdup(r->arena, a->name));
    fault(r, ev->start_mark,
          near.best ? arena_printf(r->arena, "did you mean *%s?",
                                   diag_clean(r->arena, slice_str(near.best)))
                    : NULL,
          arena_printf(r->arena, "no anchor &%s comes before this alias",
                       diag_clean(r->arena, name)));
    r->failed = true;
    return NULL;
}

/* Adds a child's weight, and stops the reading before aliases multiply into more than anyone would
 * write. */
static bool weigh(struct reader *r, struct node *parent, const struct node *child, yaml_mark_t mark)
{
    parent->weight += child->weight;
    if (r->failed || parent->weight <= NODE_MAX_WEIGHT)
        return !r->failed;
    fault(r, mark, "a policy of this size is usually a mistake with aliases",
          arena_printf(r->arena, "more than %d values once aliases are followed", NODE_MAX_WEIGHT));
    r->failed = true;
    return false;
}

static bool tag_is(const yaml_char_t *tag, const char *name)
{
    static const char prefix[] = "tag:yaml.org,2002:";
    const char *t = (const char *)tag;
    return t && strncmp(t, prefix, sizeof prefix - 1) == 0 &&
           strcmp(t + sizeof prefix - 1, name) == 0;
}

static void check_tag(struct reader *r, const yaml_event_t *ev, const yaml_char_t *tag,
                      const char *allowed)
{
    if (tag && strcmp((const char *)tag, "!") != 0 && !tag_is(tag, allowed))
        fault(r, ev->start_mark, "remove the tag",
              arena_printf(r->arena, "the tag %s is not supported",
                           diag_quote(r->arena, slice_str((const char *)tag))));
}

static struct node *read_scalar(struct reader *r, const yaml_event_t *ev)
{
    struct node *n = node_new(r, NODE_SCALAR, ev->start_mark);
    check_tag(r, ev, ev->data.scalar.tag, "str");
    n->plain =
        ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !tag_is(ev->data.scalar.tag, "str");
    struct slice text = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
    n->text = slice_make(arena_strdup(r->arena, text), text.n);
    if (memchr(n->text.p, '\0', n->text.n))
        fault(r, ev->start_mark, NULL, "the text holds a NUL character");
    return n;
}

static struct node *read_node(struct reader *r, const yaml_event_t *ev, int depth);

/* A growing array of entries; the final one is copied into the arena once. */
struct entries {
    struct node_entry *items;
    size_t count, cap;
};

static void entries_push(struct reader *r, struct entries *e, const struct node *key,
                         struct node *value)
{
    if (e->count == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 8;
        struct node_entry *grown = ARENA_ARRAY(r->arena, struct node_entry, cap);
        if (e->count)
            memcpy(grown, e->items, e->count * sizeof *grown);
        e->items = grown;
        e->cap = cap;
    }
    e->items[e->count++] = (struct node_entry){key, value};
}

static struct node *read_list(struct reader *r, const yaml_event_t *start, int depth)
{
    struct node *n = node_new(r, NODE_LIST, start->start_mark);
    check_tag(r, start, start->data.sequence_start.tag, "seq");
    anchor_add(r, start->data.sequence_start.anchor, n);
    n->open = true;
    struct entries e = {0};
    while (!r->failed) {
        yaml_event_t ev;
        if (!next_event(r, &ev))
            break;
        bool end = ev.type == YAML_SEQUENCE_END_EVENT;
        struct node *child = end ? NULL : read_node(r, &ev, depth + 1);
        if (child && weigh(r, n, child, ev.start_mark))
            entries_push(r, &e, NULL, child);
        yaml_event_delete(&ev);
        if (end)
            break;
    }
    n->open = false;
    n->entries = e.items;
    n->count = e.count;
    return n;
}

static bool is_merge_key(const struct node *key)
{
    return key->plain && slice_eq(key->text, SLICE("<<"));
}

/* One mapping of a merge: what the map does not have yet is added. */
static void merge_map(struct reader *r, struct node *n, struct entries *e, struct names *seen,
                      const struct node *from, yaml_mark_t mark)
{
    for (size_t i = 0; i < from->count && !r->failed; i++) {
        const struct node_entry *m = &from->entries[i];
        if (names_add(seen, m->key->text, e->count) != e->count)
            continue;
        if (weigh(r, n, m->value, mark))
            entries_push(r, e, m->key, m->value);
    }
}

/* '<<': explicit keys win over merged ones, earlier merged maps over later ones
 * (https://yaml.org/type/merge.html). Values are taken whole: a nested mapping is replaced, not
 * merged. */
static void merge(struct reader *r, struct node *n, struct entries *e, struct names *seen,
                  const struct node *value)
{
    yaml_mark_t mark = {0, (size_t)value->line - 1, (size_t)value->column - 1};
    if (value->kind == NODE_MAP) {
        merge_map(r, n, e, seen, value, mark);
        return;
    }
    bool maps = value->kind == NODE_LIST;
    for (size_t i = 0; maps && i < value->count; i++)
        maps = value->entries[i].value->kind == NODE_MAP;
    if (!maps) {
        fault(r, mark, "write <<: *anchor or <<: [*one, *two]",
              arena_printf(r->arena, "'<<' merges a mapping or a list of mappings, not %s",
                           node_what(value)));
        return;
    }
    for (size_t i = 0; i < value->count; i++)
        merge_map(r, n, e, seen, value->entries[i].value, mark);
}

static size_t merged_count(const struct node *value)
{
    size_t n = value->count;
    for (size_t i = 0; value->kind == NODE_LIST && i < value->count; i++)
        n += value->entries[i].value->count;
    return n;
}

/* Duplicates are faults; merges are resolved after the whole mapping is known, since their place
 * does not matter. */
static void settle_map(struct reader *r, struct node *n, const struct entries *raw)
{
    size_t room = raw->count;
    for (size_t i = 0; i < raw->count; i++)
        if (is_merge_key(raw->items[i].key))
            room += merged_count(raw->items[i].value);
    struct names seen;
    names_init(&seen, r->arena, room < NODE_MAX_WEIGHT * 2 ? room : NODE_MAX_WEIGHT * 2);
    struct entries e = {0};
    const struct node *merge_at = NULL;
    for (size_t i = 0; i < raw->count; i++) {
        const struct node *key = raw->items[i].key;
        const struct node *first = NULL;
        if (is_merge_key(key)) {
            first = merge_at;
            merge_at = merge_at ? merge_at : key;
        } else {
            size_t at = names_add(&seen, key->text, e.count);
            first = at < e.count ? e.items[at].key : NULL;
            if (!first)
                entries_push(r, &e, key, raw->items[i].value);
        }
        if (first)
            fault_at(r, key->line, key->column, is_merge_key(key) ? "write <<: [*one, *two]" : NULL,
                     arena_printf(r->arena,
                                  "duplicate key %s; it is already given at line %d, column %d",
                                  diag_quote(r->arena, key->text), first->line, first->column));
    }
    for (size_t i = 0; i < raw->count && !r->failed; i++)
        if (is_merge_key(raw->items[i].key))
            merge(r, n, &e, &seen, raw->items[i].value);
    n->entries = e.items;
    n->count = e.count;
}

static bool key_ok(struct reader *r, const struct node *key)
{
    const char *what = key->kind != NODE_SCALAR ? node_what(key)
                       : node_is_null(key)      ? "null"
                                                : NULL;
    if (what)
        fault_at(r, key->line, key->column, NULL,
                 arena_printf(r->arena, "a key must be a name, not %s", what));
    return !what;
}

static struct node *read_map(struct reader *r, const yaml_event_t *start, int depth)
{
    struct node *n = node_new(r, NODE_MAP, start->start_mark);
    check_tag(r, start, start->data.mapping_start.tag, "map");
    anchor_add(r, start->data.mapping_start.anchor, n);
    n->open = true;
    struct entries raw = {0};
    struct node *key = NULL;
    while (!r->failed) {
        yaml_event_t ev;
        if (!next_event(r, &ev))
            break;
        bool end = ev.type == YAML_MAPPING_END_EVENT;
        struct node *child = end ? NULL : read_node(r, &ev, depth + 1);
        if (child && weigh(r, n, child, ev.start_mark)) {
            if (!key) {
                key = child;
            } else {
                if (key_ok(r, key))
                    entries_push(r, &raw, key, child);
                key = NULL;
            }
        }
        yaml_event_delete(&ev);
        if (end)
            break;
    }
    if (!r->failed)
        settle_map(r, n, &raw);
    n->open = false;
    return n;
}

/* The event is the caller's to delete. NULL only when the reading has failed. */
static struct node *read_node(struct reader *r, const yaml_event_t *ev, int depth)
{
    if (depth > NODE_MAX_DEPTH) {
        fault(r, ev->start_mark, NULL,
              arena_printf(r->arena, "nested more than %d levels deep", NODE_MAX_DEPTH));
        r->failed = true;
        return NULL;
    }
    if (ev->type == YAML_ALIAS_EVENT)
        return alias_resolve(r, ev);
    if (ev->type == YAML_SEQUENCE_START_EVENT)
        return read_list(r, ev, depth);
    if (ev->type == YAML_MAPPING_START_EVENT)
        return read_map(r, ev, depth);
    assert(ev->type == YAML_SCALAR_EVENT);
    struct node *n = read_scalar(r, ev);
    anchor_add(r, ev->data.scalar.anchor, n);
    return n;
}

/* Documents without content are skipped wherever they stand; the first with content is the policy.
 */
static struct node *read_stream(struct reader *r)
{
    struct node *root = NULL;
    int documents = 0;
    yaml_mark_t mark = {0, 0, 0};
    while (!r->failed) {
        yaml_event_t ev;
        if (!next_event(r, &ev))
            break;
        yaml_event_type_t type = ev.type;
        if (type == YAML_DOCUMENT_START_EVENT) {
            r->anchors = NULL; /* an anchor ends with its document */
            r->anchor_count = 0;
            mark = ev.start_mark;
        } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                   type == YAML_MAPPING_START_EVENT || type == YAML_ALIAS_EVENT) {
            struct node *n = read_node(r, &ev, 0);
            if (n && !node_is_null(n) && ++documents == 1)
                root = n;
            else if (documents == 2) {
                fault(r, mark, "join them, or keep each policy in a file of its own",
                      "a second document begins here; a policy file holds one");
                r->failed = true;
            }
        }
        yaml_event_delete(&ev);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    return root;
}

struct node *node_read(struct arena *a, struct slice text, const char *file, struct diags *d)
{
    size_t errors_before = d->errors;
    if (slice_starts(text, SLICE("\xEF\xBB\xBF")))
        text = slice_from(text, 3);
    if (slice_starts(text, SLICE("\xFF\xFE")) || slice_starts(text, SLICE("\xFE\xFF"))) {
        diags_add(d, DIAG_ERROR, (struct diag_place){file, 1, 1, ""}, "save the file as UTF-8",
                  "the file is UTF-16 text");
        return NULL;
    }
    struct reader r = {.arena = a, .diags = d, .file = file, .text = text};
    if (!yaml_parser_initialize(&r.yaml)) {
        diags_add(d, DIAG_ERROR, (struct diag_place){file, 0, 0, ""}, NULL, "out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text.p, text.n);
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    struct node *root = read_stream(&r);
    yaml_parser_delete(&r.yaml);
    if (!root && d->errors == errors_before)
        diags_add(
            d, DIAG_ERROR, (struct diag_place){file, 0, 0, ""},
            "a policy begins with 'version: 1'; policies/examples/minimal.yaml is a small one",
            "the file is empty");
    return r.failed ? NULL : root;
}

const struct node_entry *node_find(const struct node *map, struct slice key)
{
    for (size_t i = 0; map->kind == NODE_MAP && i < map->count; i++)
        if (slice_eq(map->entries[i].key->text, key))
            return &map->entries[i];
    return NULL;
}

static bool one_of(struct slice s, const char *const *words)
{
    for (; *words; words++)
        if (slice_eq(s, slice_str(*words)))
            return true;
    return false;
}

bool node_is_null(const struct node *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    return n->kind == NODE_SCALAR && n->plain && one_of(n->text, words);
}

bool node_bool(const struct node *n, bool *out)
{
    static const char *const yes[] = {"true", "True", "TRUE", NULL};
    static const char *const no[] = {"false", "False", "FALSE", NULL};
    if (n->kind != NODE_SCALAR || !n->plain)
        return false;
    *out = one_of(n->text, yes);
    return *out || one_of(n->text, no);
}

static bool all_in(struct slice s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(set, s.p[i]))
            return false;
    return s.n > 0;
}

static size_t digits(struct slice s, size_t i)
{
    while (i < s.n && (ascii_is_digit(s.p[i]) || s.p[i] == '_'))
        i++;
    return i;
}

bool node_is_number(const struct node *n)
{
    static const char *const words[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
    if (n->kind != NODE_SCALAR || !n->plain)
        return false;
    struct slice s = n->text;
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = slice_from(s, 1);
    if (one_of(s, words))
        return true;
    if (slice_starts(s, SLICE("0x")))
        return all_in(slice_from(s, 2), "0123456789abcdefABCDEF_");
    if (slice_starts(s, SLICE("0o")) || slice_starts(s, SLICE("0b")))
        return all_in(slice_from(s, 2), "01234567_");
    size_t whole = digits(s, 0), i = whole, fraction = 0;
    if (i < s.n && s.p[i] == '.') {
        size_t end = digits(s, i + 1);
        fraction = end - i - 1;
        i = end;
    }
    if ((whole == 0 || s.p[0] == '_') && fraction == 0)
        return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        size_t sign = i + 1 < s.n && (s.p[i + 1] == '-' || s.p[i + 1] == '+');
        size_t end = digits(s, i + 1 + sign);
        return end == s.n && end > i + 1 + sign;
    }
    return i == s.n;
}

const char *node_what(const struct node *n)
{
    bool ignored;
    if (n->kind == NODE_LIST)
        return "a list";
    if (n->kind == NODE_MAP)
        return "a mapping";
    if (node_is_null(n))
        return n->text.n ? "null" : "nothing";
    if (node_bool(n, &ignored))
        return "a boolean";
    return node_is_number(n) ? "a number" : "text";
}
