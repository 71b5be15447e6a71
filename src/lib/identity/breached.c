/*
 * Words become sorted numbers, the first eight bytes of their SHA-1; of 44,000 or even a hundred million of them the chance that another password meets one is
 * below 1 in 10^11. A file of hashes is searched by halves over its bytes: from the middle to the next end of a line, and the line behind it.
 */
#include "lib/identity/breached.h"

#include "lib/core/buf.h"
#include "lib/crypt/crypt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "breached_table.h"

#define HEX 40
#define LINE_MAX_BYTES 64 /* of a line of hashes, with its end */
#define LOOKS 256

struct sq_breached {
    int fd;         /* of hashes; -1: words */
    uint64_t n_byte;
    uint64_t *word; /* sorted */
    size_t n_word;
};

size_t sq_breached_n_built_in(void)
{
    return sizeof built_in / sizeof built_in[0];
}

static uint64_t first_eight(const uint8_t sha[SQ_SHA1_BYTES])
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x = x << 8 | sha[i];
    return x;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static sq_err sha_of_lower(const char *p, size_t n, uint8_t out[SQ_SHA1_BYTES])
{
    char *low = malloc(n + 1);
    if (!low)
        return sq_fail(SQ_ENOMEM);
    for (size_t i = 0; i < n; i++)
        low[i] = lower(p[i]);
    sq_err e = sq_sha1_of(low, n, out);
    sq_wipe(low, n);
    free(low);
    return e;
}

/* ---- a file of hashes ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "HEX", "HEX:12", each with CR or not; @n without its LF */
static bool hash_of_line(const char *p, size_t n, uint8_t out[SQ_SHA1_BYTES])
{
    if (n && p[n - 1] == '\r')
        n--;
    if (n < HEX || (n > HEX && p[HEX] != ':'))
        return false;
    for (size_t i = HEX + 1; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    for (size_t i = 0; i < HEX; i += 2) {
        int high = digit(p[i]), low = digit(p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static sq_err read_at(int fd, uint64_t at, char *p, size_t n, size_t *out_n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t k = pread(fd, p + have, n - have, (off_t)(at + have));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return sq_fail(SQ_EIO);
        if (!k)
            break;
        have += (size_t)k;
    }
    *out_n = have;
    return SQ_OK;
}

/* The first line that begins at @at or behind it. *out_next: where the one after it begins. *out_is false: there is none. */
static sq_err line_behind(const struct sq_breached *l, uint64_t at, uint8_t out[SQ_SHA1_BYTES], uint64_t *out_from, uint64_t *out_next, bool *out_is)
{
    char text[2 * LINE_MAX_BYTES + 1];
    size_t n, from = 0;
    uint64_t base = at ? at - 1 : 0; /* the byte before: is it an end? */
    sq_err e = read_at(l->fd, base, text, sizeof text, &n);
    if (e)
        return e;
    if (at) {
        const char *end = memchr(text, '\n', n);
        if (!end && n == sizeof text)
            return sq_fail(SQ_EIO);
        from = end ? (size_t)(end - text) + 1 : n;
    }
    *out_is = from < n;
    if (!*out_is)
        return SQ_OK;
    const char *end = memchr(text + from, '\n', n - from);
    size_t n_line = end ? (size_t)(end - text) - from : n - from;
    if ((!end && base + n < l->n_byte) || !hash_of_line(text + from, n_line, out))
        return sq_fail(SQ_EIO);
    *out_from = base + from;
    *out_next = base + from + n_line + 1;
    return SQ_OK;
}

static sq_err hash_in_file(const struct sq_breached *l, const uint8_t want[SQ_SHA1_BYTES], bool *out_is)
{
    uint64_t low = 0, high = l->n_byte; /* the line begins in [low, high) */
    while (low < high) {
        uint8_t have[SQ_SHA1_BYTES];
        uint64_t middle = low + (high - low) / 2, from = 0, next = 0;
        bool is;
        sq_err e = line_behind(l, middle, have, &from, &next, &is);
        if (e)
            return e;
        int way = is && from < high ? memcmp(want, have, sizeof have) : -1;
        if (!way) {
            *out_is = true;
            return SQ_OK;
        }
        if (way < 0)
            high = middle;
        else
            low = next;
    }
    return SQ_OK;
}

static sq_err look_through(const struct sq_breached *l, struct sq_why *why)
{
    uint8_t last[SQ_SHA1_BYTES] = {0}, now[SQ_SHA1_BYTES];
    uint64_t from = 0, next = 0, before = 0;
    for (unsigned i = 0; i < LOOKS + 2; i++) {
        bool is = false;
        uint64_t at = i > LOOKS ? (l->n_byte > LINE_MAX_BYTES ? l->n_byte - LINE_MAX_BYTES : 0) : l->n_byte / LOOKS * i;
        sq_err e = line_behind(l, at, now, &from, &next, &is);
        if (e)
            return sq_why_set(why, SQ_ECONFIG, 0, 0, "password_list", "has a line that is no hash near byte %llu: each must be 40 hex digits, and a count behind `:` if any", (unsigned long long)at);
        if (!is)
            continue;
        if (i && (from > before ? memcmp(now, last, sizeof now) <= 0 : from == before && memcmp(now, last, sizeof now)))
            return sq_why_set(why, SQ_ECONFIG, 0, 0, "password_list", "isn't in ascending order near byte %llu: sort it (LC_ALL=C sort)", (unsigned long long)from);
        memcpy(last, now, sizeof last);
        before = from;
    }
    return SQ_OK;
}

/* ---- a file of words ---- */

static sq_err add_words(struct sq_breached *l, const char *text, size_t n, struct sq_why *why)
{
    size_t n_line = 1;
    for (size_t i = 0; i < n; i++)
        n_line += text[i] == '\n';
    l->word = malloc(n_line * sizeof *l->word);
    if (!l->word)
        return sq_fail(SQ_ENOMEM);
    uint64_t line = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t k = end ? (size_t)(end - text) - at : n - at, next = at + k + 1;
        uint8_t sha[SQ_SHA1_BYTES];
        line++;
        if (k && text[at + k - 1] == '\r')
            k--;
        if (memchr(text + at, 0, k))
            return sq_why_set(why, SQ_ECONFIG, line, 0, "password_list", "line %llu has a zero byte: it must be text, a password a line, or sorted SHA-1 hashes", (unsigned long long)line);
        sq_err e = k ? sha_of_lower(text + at, k, sha) : SQ_OK;
        if (e)
            return e;
        if (k)
            l->word[l->n_word++] = first_eight(sha);
        at = next;
    }
    qsort(l->word, l->n_word, sizeof *l->word, by_value);
    return SQ_OK;
}

static sq_err read_words(struct sq_breached *l, int fd, struct sq_why *why)
{
    if (l->n_byte > SQ_BREACHED_WORDS_MAX_BYTES)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "password_list", "is larger than 64 MiB: give it as sorted SHA-1 hashes, which are searched where they lie");
    char *text = malloc(l->n_byte + 1);
    size_t n = 0;
    sq_err e = text ? read_at(fd, 0, text, l->n_byte, &n) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = add_words(l, text, n, why);
    free(text);
    return e;
}

sq_err sq_breached_open(int fd, struct sq_breached **out, struct sq_why *why)
{
    struct stat st;
    char text[LINE_MAX_BYTES];
    uint8_t hash[SQ_SHA1_BYTES];
    size_t n = 0;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "password_list", "is no file");
    struct sq_breached *l = calloc(1, sizeof *l);
    if (!l)
        return sq_fail(SQ_ENOMEM);
    l->fd = -1;
    l->n_byte = (uint64_t)st.st_size;
    sq_err e = read_at(fd, 0, text, sizeof text, &n);
    const char *end = n ? memchr(text, '\n', n) : NULL;
    if (!e && n && hash_of_line(text, end ? (size_t)(end - text) : n, hash)) {
        l->fd = fd;
        e = look_through(l, why);
    } else if (!e) {
        e = read_words(l, fd, why);
    }
    if (e)
        sq_breached_free(l);
    else
        *out = l;
    return e;
}

void sq_breached_free(struct sq_breached *l)
{
    if (!l)
        return;
    free(l->word);
    free(l);
}

/* ---- looking up ---- */

static bool is_among(const uint64_t *list, size_t n, uint64_t x)
{
    return n && bsearch(&x, list, n, sizeof x, by_value);
}

sq_err sq_breached_has(const struct sq_breached *l, const char *password, size_t n, bool *out_is)
{
    uint8_t exact[SQ_SHA1_BYTES], low[SQ_SHA1_BYTES];
    bool is = false;
    sq_err e = sq_sha1_of(password, n, exact);
    if (!e)
        e = sha_of_lower(password, n, low);
    if (!e)
        is = is_among(built_in, sizeof built_in / sizeof built_in[0], first_eight(low)) || (l && is_among(l->word, l->n_word, first_eight(low)));
    if (!e && !is && l && l->fd >= 0)
        e = hash_in_file(l, exact, &is);
    if (!e && !is && l && l->fd >= 0)
        e = hash_in_file(l, low, &is);
    sq_wipe(exact, sizeof exact);
    sq_wipe(low, sizeof low);
    if (!e)
        *out_is = is;
    return e;
}
