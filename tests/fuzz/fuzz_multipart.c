/* Forms. However a body is cut into pieces, the same parts and bytes come out, or the same error.
 * Input: length of the pieces | the body, whose boundary is "b". */
#include "lib/http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct sq_buf b;
    bool is_in_part;
};

static sq_err on_part(void *ctx, const char *name, const char *file_name)
{
    struct seen *s = ctx;
    sq_assert(!s->is_in_part);
    s->is_in_part = true;
    return sq_buf_addf(&s->b, "[%s|%s]", name, file_name ? file_name : "(none)");
}

static sq_err on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct seen *s = ctx;
    sq_assert(s->is_in_part);
    return sq_buf_add(&s->b, p, n);
}

static sq_err on_part_end(void *ctx)
{
    struct seen *s = ctx;
    sq_assert(s->is_in_part);
    s->is_in_part = false;
    return sq_buf_add(&s->b, "]", 1);
}

static sq_err parse(const uint8_t *p, size_t n, size_t piece, struct seen *s)
{
    static const struct sq_multipart_events events = {on_part, on_data, on_part_end};
    struct sq_multipart *m = NULL;
    sq_buf_init(&s->b, 0);
    s->is_in_part = false;
    sq_err err = sq_multipart_new("b", &events, s, &m);
    sq_assert(!err);
    for (size_t at = 0; at < n && !err; at += piece)
        err = sq_multipart_feed(m, p + at, n - at < piece ? n - at : piece);
    if (!err)
        err = sq_multipart_end(m);
    sq_assert(err || !s->is_in_part);
    sq_multipart_free(m);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole, cut;
    if (size < 2)
        return 0;
    sq_err a = parse(data + 1, size - 1, size, &whole), b = parse(data + 1, size - 1, data[0] % 61 + 1u, &cut);
    sq_assert(a == b);
    sq_assert(a || (whole.b.n == cut.b.n && (whole.b.n == 0 || memcmp(whole.b.p, cut.b.p, cut.b.n) == 0)));
    sq_buf_done(&whole.b);
    sq_buf_done(&cut.b);
    return 0;
}
