/* Parses; owns nothing. Called by cache/redis_link and policies/policy_check_cache. */
#include "base/redis_url.h"

#include <stdio.h>
#include "base/ascii.h"

/* With %XX replaced. false: does not fit, a broken %XX, or a NUL. */
static bool decode(struct slice s, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            bool whole = i + 2 < s.n;
            int hi = whole ? ascii_hex(s.p[i + 1]) : -1, lo = whole ? ascii_hex(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (c == 0 || n + 1 >= room)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

/* A whole number in [0, max]; -1: it is none. */
static int number(struct slice s, int max)
{
    int v = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]) || v > max)
            return -1;
        v = v * 10 + (s.p[i] - '0');
    }
    return s.n == 0 || v > max ? -1 : v;
}

static enum err refuse(struct err_text *t, const char *what)
{
    err_say(t, "%s", what);
    return ERR_BAD_REQUEST;
}

/* What stands before the first c; rest: what stands behind it, or all when there is none. */
static bool split(struct slice s, char c, struct slice *before, struct slice *behind)
{
    const char *p = s.n ? memchr(s.p, c, s.n) : NULL;

    if (!p)
        return false;
    *before = slice_make(s.p, (size_t)(p - s.p));
    *behind = slice_from(s, before->n + 1);
    return true;
}

static enum err take_login(struct slice login, struct redis_url *u, struct err_text *t)
{
    struct slice user = login, password = SLICE("");

    split(login, ':', &user, &password);
    if (!decode(user, u->user, sizeof u->user))
        return refuse(t, "the user name is too long, or has a % that is not %XX");
    if (!decode(password, u->password, sizeof u->password))
        return refuse(t, "the password is too long, or has a % that is not %XX");
    if (u->user[0] && !u->password[0])
        return refuse(t, "a user without a password; write \"redis://:password@host\" for the "
                         "default user's");
    return ERR_OK;
}

static enum err take_place(struct slice place, struct redis_url *u, struct err_text *t)
{
    struct slice host = place, port = SLICE("6379");

    if (slice_starts(place, SLICE("["))) {
        struct slice behind;
        if (!split(slice_from(place, 1), ']', &host, &behind) || (behind.n && behind.p[0] != ':'))
            return refuse(t, "an IPv6 address is written \"[::1]\"");
        if (behind.n)
            port = slice_from(behind, 1);
    } else {
        split(place, ':', &host, &port);
    }
    if (host.n == 0 || !decode(host, u->host, sizeof u->host))
        return refuse(t, "the host is missing or not a name");
    int n = number(port, 65535);
    if (n <= 0)
        return refuse(t, "the port is not a number from 1 to 65535");
    snprintf(u->port, sizeof u->port, "%u", (unsigned)n & 0xFFFF);
    return ERR_OK;
}

enum err redis_url_parse(const char *url, struct redis_url *out, struct err_text *t)
{
    struct slice s = slice_str(url), login, rest, place, db = SLICE("0");

    *out = (struct redis_url){0};
    if (slice_istarts(s, SLICE("rediss://")))
        return refuse(t, "TLS (rediss://) is not supported; reach the server through stunnel");
    if (slice_starts(s, SLICE("unix:"))) {
        s = slice_from(s, 5);
        if (!slice_starts(s, SLICE("/")) || s.n >= sizeof out->path)
            return refuse(t, "\"unix:\" wants an absolute path of at most 107 bytes");
        memcpy(out->path, s.p, s.n);
        return ERR_OK;
    }
    if (!slice_istarts(s, SLICE("redis://")))
        return refuse(t, "it begins neither with \"redis://\" nor with \"unix:/\"");
    s = slice_from(s, 8);
    enum err err = ERR_OK;
    if (split(s, '@', &login, &rest)) {
        err = take_login(login, out, t);
        s = rest;
    }
    place = s;
    if (split(s, '/', &place, &rest))
        db = rest.n ? rest : db;
    out->db = number(db, 65535);
    if (err == ERR_OK && out->db < 0)
        err = refuse(t, "what follows the \"/\" is not the number of a database");
    return err == ERR_OK ? take_place(place, out, t) : err;
}
