#include "lib/http/multipart.h"

#include "lib/http/http_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum state { PREAMBLE, DELIMITER_END, HEAD, BODY, EPILOGUE };

struct sq_multipart {
    struct sq_multipart_events events;
    void *ctx;
    enum state state;
    char delimiter[4 + SQ_HTTP_BOUNDARY_MAX + 1]; /* CR LF - - boundary */
    size_t n_delimiter;
    size_t n_match; /* bytes of the delimiter that the last feed ended with: they are held back */
    char head[SQ_MULTIPART_HEAD_MAX + 1];
    size_t n_head;
    unsigned n_part;
};

sq_err sq_multipart_new(const char *boundary, const struct sq_multipart_events *events, void *ctx, struct sq_multipart **out)
{
    struct sq_multipart *m = calloc(1, sizeof *m);
    if (!m)
        return sq_fail(SQ_ENOMEM);
    m->events = *events;
    m->ctx = ctx;
    m->n_delimiter = (size_t)snprintf(m->delimiter, sizeof m->delimiter, "\r\n--%s", boundary);
    sq_assert(m->n_delimiter > 4 && m->n_delimiter < sizeof m->delimiter);
    m->n_match = 2; /* the first delimiter may open the body, without CR LF before it */
    *out = m;
    return SQ_OK;
}

void sq_multipart_free(struct sq_multipart *m)
{
    if (m)
        sq_wipe(m, sizeof *m);
    free(m);
}

/* ---- the head of a part ---- */

/* The value of parameter @key in a Content-Disposition, unquoted in place. NULL when it isn't there. */
static char *parameter(char *p, const char *key)
{
    size_t n_key = strlen(key);
    while ((p = strchr(p, ';'))) {
        p += 1 + strspn(p + 1, " \t");
        bool is_it = !strncasecmp(p, key, n_key) && p[n_key] == '=' && p[n_key + 1] == '"';
        char *value = strchr(p, '=');
        if (!value)
            return NULL;
        if (*++value != '"') {
            p = value;
            continue;
        }
        char *to = ++value, *from = value;
        for (; *from && *from != '"'; from++) {
            if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
                from++;
            if (is_it)
                *to = *from;
            to++;
        }
        if (*from != '"')
            return NULL;
        if (is_it) {
            *to = 0;
            return value;
        }
        p = from;
    }
    return NULL;
}

static sq_err head_done(struct sq_multipart *m)
{
    char *disposition = NULL;
    m->head[m->n_head] = m->head[m->n_head - 4] = 0; /* ends in CR LF CR LF */
    for (char *line = m->head + 2, *next; line; line = next) {
        next = strstr(line, "\r\n");
        if (next) {
            *next = 0;
            next += 2;
        }
        if (!strncasecmp(line, "Content-Disposition:", 20)) {
            if (disposition)
                return sq_fail(SQ_EREQUEST);
            disposition = line + 20;
        } else if (!strncasecmp(line, "Content-Transfer-Encoding:", 26)) {
            const char *how = line + 26 + strspn(line + 26, " \t");
            if (strcasecmp(how, "binary") && strcasecmp(how, "8bit") && strcasecmp(how, "7bit"))
                return sq_fail(SQ_EMEDIA);
        }
    }
    if (!disposition)
        return sq_fail(SQ_EREQUEST);
    disposition += strspn(disposition, " \t");
    if (strncasecmp(disposition, "form-data", 9) || (disposition[9] != ';' && disposition[9] != ' '))
        return sq_fail(SQ_EREQUEST);
    char copy[SQ_MULTIPART_HEAD_MAX + 1]; /* unquoting shortens in place: each parameter from a fresh text */
    memcpy(copy, disposition, strlen(disposition) + 1);
    const char *name = parameter(copy, "name");
    const char *file_name = parameter(disposition, "filename");
    if (!name || ++m->n_part > SQ_MULTIPART_MAX_PARTS)
        return sq_fail(SQ_EREQUEST);
    return m->events.on_part(m->ctx, name, file_name);
}

static sq_err head_byte(struct sq_multipart *m, uint8_t b)
{
    if (!b || m->n_head >= SQ_MULTIPART_HEAD_MAX)
        return sq_fail(SQ_EREQUEST);
    m->head[m->n_head++] = (char)b;
    if (m->n_head < 4 || memcmp(m->head + m->n_head - 4, "\r\n\r\n", 4))
        return SQ_OK;
    sq_err e = head_done(m);
    m->state = BODY;
    m->n_match = 0;
    return e;
}

/* What follows a delimiter: `--` ends all, CR LF opens a part; spaces may stand before (RFC 2046 "transport padding"). */
static sq_err delimiter_byte(struct sq_multipart *m, uint8_t b)
{
    if (m->n_head == 0 && (b == ' ' || b == '\t'))
        return SQ_OK;
    if (m->n_head == 0 && (b == '-' || b == '\r')) {
        m->head[m->n_head++] = (char)b;
        return SQ_OK;
    }
    if (m->n_head == 1 && m->head[0] == '-' && b == '-') {
        m->state = EPILOGUE;
        return SQ_OK;
    }
    if (m->n_head != 1 || m->head[0] != '\r' || b != '\n')
        return sq_fail(SQ_EREQUEST);
    m->head[m->n_head++] = '\n'; /* kept: a head of no lines is then CR LF CR LF as well */
    m->state = HEAD;
    return SQ_OK;
}

/* ---- data up to the next delimiter ---- */

static sq_err emit(struct sq_multipart *m, const void *p, size_t n)
{
    return n && m->state == BODY ? m->events.on_data(m->ctx, p, n) : SQ_OK;
}

static sq_err delimiter_found(struct sq_multipart *m)
{
    sq_err e = m->state == BODY ? m->events.on_part_end(m->ctx) : SQ_OK;
    m->state = DELIMITER_END;
    m->n_match = m->n_head = 0;
    return e;
}

/* Goes on with a delimiter that the last feed may have ended in. CR stands only at its start, so no other prefix overlaps. */
static sq_err resume_match(struct sq_multipart *m, const uint8_t **p, const uint8_t *end)
{
    while (*p < end && m->n_match < m->n_delimiter && **p == (uint8_t)m->delimiter[m->n_match]) {
        (*p)++;
        m->n_match++;
    }
    if (m->n_match == m->n_delimiter)
        return delimiter_found(m);
    if (*p == end)
        return SQ_OK;
    size_t n = m->n_match;
    m->n_match = 0;
    return emit(m, m->delimiter, n);
}

static sq_err scan(struct sq_multipart *m, const uint8_t **p, const uint8_t *end)
{
    const uint8_t *from = *p, *at = from;
    while ((at = memchr(at, '\r', (size_t)(end - at)))) {
        size_t n = (size_t)(end - at);
        if (n > m->n_delimiter)
            n = m->n_delimiter;
        if (memcmp(at, m->delimiter, n)) {
            at++;
            continue;
        }
        sq_err e = emit(m, from, (size_t)(at - from));
        *p = at + n;
        if (!e && n == m->n_delimiter)
            e = delimiter_found(m);
        else
            m->n_match = n;
        return e;
    }
    *p = end;
    return emit(m, from, (size_t)(end - from));
}

sq_err sq_multipart_feed(struct sq_multipart *m, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    sq_err e = SQ_OK;
    while (!e && p < end) {
        switch (m->state) {
        case PREAMBLE:
        case BODY:
            e = m->n_match ? resume_match(m, &p, end) : scan(m, &p, end);
            break;
        case DELIMITER_END:
            e = delimiter_byte(m, *p++);
            break;
        case HEAD:
            e = head_byte(m, *p++);
            break;
        case EPILOGUE:
            p = end;
            break;
        }
    }
    return e;
}

sq_err sq_multipart_end(struct sq_multipart *m)
{
    return m->state == EPILOGUE ? SQ_OK : sq_fail(SQ_EREQUEST);
}
