/* Answers: every one of them is written here, so every one carries the security headers and says how long it is. */
#include "lib/http/http_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SOURCE_MS 60000 /* a stream's source must give its next bytes within this */
#define ANSWER_MAX (2U << 20)
#define ONE_RECORD 16384

static const struct sq_http_field security[] = {
    {"Strict-Transport-Security", "max-age=63072000; includeSubDomains"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

static const char *reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"}, {304, "Not Modified"},
                   {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
                   {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"}, {412, "Precondition Failed"}, {413, "Content Too Large"},
                   {414, "URI Too Long"}, {415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"}, {417, "Expectation Failed"},
                   {421, "Misdirected Request"}, {422, "Unprocessable Content"}, {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {503, "Service Unavailable"},
                   {505, "HTTP Version Not Supported"}, {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Answer";
}

static sq_err add_field(struct sq_buf *out, const char *name, const char *value)
{
    return sq_http_value_is_plain(value) ? sq_buf_addf(out, "%s: %s\r\n", name, value) : sq_fail(SQ_EINTERNAL);
}

/* All of the head but its end: whether the connection ends with this answer isn't known yet. */
static sq_err write_head(struct request *q, unsigned status, const struct sq_http_field *fields, uint64_t n_body)
{
    char date[40];
    struct tm tm;
    time_t now = (time_t)sq_clock_now_s();
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    sq_buf_init(&q->out, ANSWER_MAX);
    sq_err e = sq_buf_addf(&q->out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, reason(status), date);
    if (!e && status != 304 && status != 204)
        e = sq_buf_addf(&q->out, "Content-Length: %llu\r\n", (unsigned long long)n_body);
    for (size_t i = 0; i < sizeof security / sizeof security[0] && !e; i++)
        e = add_field(&q->out, security[i].name, security[i].value);
    for (; fields && fields->name && !e; fields++)
        e = add_field(&q->out, fields->name, fields->value);
    q->n_out_head = q->out.n;
    return e;
}

sq_err sq_http_answer(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n)
{
    struct request *q = (struct request *)r;
    if (r->status)
        return sq_fail(SQ_ECONFLICT);
    sq_err e = write_head(q, status, fields, n);
    if (!e && n && !q->is_head)
        e = sq_buf_add(&q->out, body, n);
    if (e)
        sq_buf_done(&q->out);
    else
        r->status = status;
    return e;
}

sq_err sq_http_answer_stream(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, int fd,
                             uint64_t n_bytes)
{
    struct request *q = (struct request *)r;
    sq_err e = r->status ? sq_fail(SQ_ECONFLICT) : write_head(q, status, fields, n_bytes);
    if (e || q->is_head)
        sq_close(&fd);
    if (e) {
        if (!r->status)
            sq_buf_done(&q->out);
        return e;
    }
    q->stream_fd = fd;
    q->n_stream = q->is_head ? 0 : n_bytes;
    r->status = status;
    return SQ_OK;
}

bool sq_http_is_answered(const struct sq_http_request *r)
{
    return r->status != 0;
}

void answer_done(struct request *q)
{
    sq_buf_done(&q->out);
    sq_close(&q->stream_fd);
}

/* ---- on its way ---- */

static void refill(struct request *q)
{
    q->conn->wire.left_ms = (int64_t)q->conn->http->config.slice_s * 1000;
}

static sq_err send_stream(struct request *q)
{
    uint8_t *block = malloc(SLICE_BYTES);
    sq_err e = block ? SQ_OK : sq_fail(SQ_ENOMEM);
    while (!e && q->r.n_out < q->n_stream) {
        struct pollfd p = {.fd = q->stream_fd, .events = POLLIN};
        uint64_t left = q->n_stream - q->r.n_out;
        int ready = poll(&p, 1, SOURCE_MS);
        ssize_t n = ready == 1 ? read(q->stream_fd, block, left < SLICE_BYTES ? (size_t)left : SLICE_BYTES) : ready;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            e = sq_fail(SQ_EDOWN);
            break;
        }
        refill(q);
        e = wire_write(&q->conn->wire, block, (size_t)n);
        if (!e)
            q->r.n_out += (uint64_t)n;
    }
    if (block)
        sq_wipe(block, SLICE_BYTES);
    free(block);
    return e;
}

static sq_err send_in_slices(struct request *q, const uint8_t *p, size_t n)
{
    sq_err e = SQ_OK;
    while (n && !e) {
        size_t now = n < SLICE_BYTES ? n : SLICE_BYTES;
        refill(q);
        e = wire_write(&q->conn->wire, p, now);
        p += now;
        n -= now;
    }
    return e;
}

sq_err answer_send(struct request *q, bool is_last)
{
    struct wire *w = &q->conn->wire;
    const char *end = is_last ? "Connection: close\r\n\r\n" : "\r\n";
    size_t n_end = strlen(end), n_body = q->out.n - q->n_out_head, n_first = n_body;
    uint8_t first[ONE_RECORD];
    if (q->n_out_head + n_end > sizeof first)
        return sq_fail(SQ_EINTERNAL);
    if (n_first > sizeof first - q->n_out_head - n_end)
        n_first = sizeof first - q->n_out_head - n_end;
    memcpy(first, q->out.p, q->n_out_head);
    memcpy(first + q->n_out_head, end, n_end);
    memcpy(first + q->n_out_head + n_end, q->out.p + q->n_out_head, n_first);
    refill(q);
    sq_err e = wire_write(w, first, q->n_out_head + n_end + n_first);
    sq_wipe(first, sizeof first);
    if (!e)
        e = send_in_slices(q, q->out.p + q->n_out_head + n_first, n_body - n_first);
    if (!e)
        q->r.n_out = n_body;
    if (!e && q->n_stream)
        e = send_stream(q);
    return e;
}
