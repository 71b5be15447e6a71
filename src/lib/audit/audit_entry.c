#include "lib/audit/audit_internal.h"

#include "lib/core/clock.h"

static const struct event_row {
    unsigned no;
    enum sq_audit_class class;
    const char *name, *text;
} event_rows[] = {
#define ROUTINE SQ_AUDIT_ROUTINE
#define ERASURE SQ_AUDIT_ERASURE
#define SQ_EVENT(name, no, class, text) {(no), class, #name, text},
#include "lib/audit/events.def"
#undef SQ_EVENT
#undef ERASURE
#undef ROUTINE
};

static const struct field_row {
    unsigned no;
    const char *name;
} field_rows[] = {
#define SQ_AUDIT_FIELD(name, no, text) {(no), #name},
#include "lib/audit/fields.def"
#undef SQ_AUDIT_FIELD
};

static const struct event_row *event_row(unsigned no)
{
    for (size_t i = 0; i < sizeof event_rows / sizeof *event_rows; i++)
        if (event_rows[i].no == no)
            return &event_rows[i];
    return NULL;
}

const char *sq_audit_event_name(unsigned no)
{
    const struct event_row *row = event_row(no);
    return row ? row->name : NULL;
}

enum sq_audit_class sq_audit_event_class(unsigned no)
{
    const struct event_row *row = event_row(no);
    return row ? row->class : 0;
}

const char *sq_audit_event_text(unsigned no)
{
    const struct event_row *row = event_row(no);
    return row ? row->text : NULL;
}

unsigned sq_audit_event_named(const char *name)
{
    for (size_t i = 0; i < sizeof event_rows / sizeof *event_rows; i++)
        if (strcmp(event_rows[i].name, name) == 0)
            return event_rows[i].no;
    return 0;
}

const char *sq_audit_field_name(unsigned no)
{
    for (size_t i = 0; i < sizeof field_rows / sizeof *field_rows; i++)
        if (field_rows[i].no == no)
            return field_rows[i].name;
    return NULL;
}

/* ---- bytes: docs/formats/audit-log.md, "Entry" ---- */

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

void sq_audit_rows_put(const struct sq_audit_rows *rows, uint8_t out[SQ_AUDIT_ROWS_BYTES])
{
    sq_put_le64(out, rows->n_read);
    sq_put_le64(out + 8, rows->n_inserted);
    sq_put_le64(out + 16, rows->n_changed);
    sq_put_le64(out + 24, rows->n_deleted);
}

bool sq_audit_rows_get(const struct sq_audit_entry *entry, struct sq_audit_rows *out)
{
    for (unsigned i = 0; i < entry->n_field; i++) {
        const struct sq_span *b = &entry->field[i].sealed;
        if (entry->field[i].no != SQ_AUDIT_FIELD_rows || b->n != SQ_AUDIT_ROWS_BYTES)
            continue;
        *out = (struct sq_audit_rows){sq_get_le64(b->p), sq_get_le64(b->p + 8), sq_get_le64(b->p + 16), sq_get_le64(b->p + 24)};
        return true;
    }
    return false;
}

static bool is_sayable(const struct sq_audit_entry *x)
{
    if (x->number == 0 || x->time_ms < 0 || x->role > SQ_AUDIT_ROLE_SUPPORT || x->n_field > SQ_AUDIT_MAX_FIELDS)
        return false;
    unsigned before = 0; /* field numbers ascend, so two encodings of one entry can't exist */
    for (unsigned i = 0; i < x->n_field; i++) {
        const struct sq_audit_field *f = &x->field[i];
        if (f->no <= before || f->sealed.n == 0 || f->sealed.n > SQ_AUDIT_FIELD_MAX_BYTES)
            return false;
        if (f->no == SQ_AUDIT_FIELD_rows && (f->sealed.n != SQ_AUDIT_ROWS_BYTES || !is_zero(f->owner, SQ_AUDIT_ID_BYTES)))
            return false;
        before = f->no;
    }
    return true;
}

sq_err sq_audit_entry_encode(const struct sq_audit_entry *entry, struct sq_buf *out)
{
    if (!is_sayable(entry))
        return sq_fail(SQ_ERANGE);
    uint8_t h[SQ_AUDIT_ENTRY_MIN_BYTES] = {1, entry->role};
    sq_put_le16(h + 2, entry->event);
    sq_put_le16(h + 4, entry->result);
    h[6] = entry->n_field;
    sq_put_le64(h + 8, entry->number);
    sq_put_le64(h + 16, (uint64_t)entry->time_ms);
    memcpy(h + 24, entry->actor, 16);
    memcpy(h + 40, entry->subject, 16);
    memcpy(h + 56, entry->object, 16);
    memcpy(h + 72, entry->request, 8);
    sq_put_le64(h + 80, entry->count_a);
    sq_put_le64(h + 88, entry->count_b);
    size_t before = out->n;
    sq_err e = sq_buf_add(out, h, sizeof h);
    for (unsigned i = 0; !e && i < entry->n_field; i++) {
        const struct sq_audit_field *f = &entry->field[i];
        uint8_t fh[20];
        sq_put_le16(fh, f->no);
        sq_put_le16(fh + 2, (uint16_t)f->sealed.n);
        memcpy(fh + 4, f->owner, 16);
        e = sq_buf_add(out, fh, sizeof fh);
        if (!e)
            e = sq_buf_add(out, f->sealed.p, f->sealed.n);
    }
    if (e)
        out->n = before;
    return e;
}

sq_err sq_audit_entry_decode(struct sq_span bytes, struct sq_audit_entry *out)
{
    const uint8_t *h = bytes.p;
    if (bytes.n < SQ_AUDIT_ENTRY_MIN_BYTES || bytes.n > SQ_AUDIT_ENTRY_MAX_BYTES || h[0] != 1 || h[7] != 0
        || h[6] > SQ_AUDIT_MAX_FIELDS || sq_get_le64(h + 16) > INT64_MAX)
        return sq_fail(SQ_EAUDIT);
    struct sq_audit_entry x = {
        .number = sq_get_le64(h + 8),
        .time_ms = (int64_t)sq_get_le64(h + 16),
        .event = sq_get_le16(h + 2),
        .result = sq_get_le16(h + 4),
        .role = h[1],
        .count_a = sq_get_le64(h + 80),
        .count_b = sq_get_le64(h + 88),
        .n_field = h[6],
    };
    memcpy(x.actor, h + 24, 16);
    memcpy(x.subject, h + 40, 16);
    memcpy(x.object, h + 56, 16);
    memcpy(x.request, h + 72, 8);
    size_t at = SQ_AUDIT_ENTRY_MIN_BYTES;
    for (unsigned i = 0; i < x.n_field; i++) {
        struct sq_audit_field *f = &x.field[i];
        if (bytes.n - at < 20)
            return sq_fail(SQ_EAUDIT);
        f->no = sq_get_le16(h + at);
        uint16_t n = sq_get_le16(h + at + 2);
        memcpy(f->owner, h + at + 4, 16);
        at += 20;
        if (bytes.n - at < n)
            return sq_fail(SQ_EAUDIT);
        f->sealed = sq_span_of(h + at, n);
        at += n;
    }
    if (at != bytes.n || !is_sayable(&x))
        return sq_fail(SQ_EAUDIT);
    *out = x;
    return SQ_OK;
}

/* ---- one line for people and programs ---- */

static const char *const role_names[] = {"nobody", "user", "operator", "service", "security", "auditor", "support"};

static sq_err add_id(struct sq_buf *out, bool is_json, const char *key, const uint8_t *id, size_t n)
{
    char hex[2 * SQ_AUDIT_ID_BYTES + 1];
    if (is_zero(id, n))
        return SQ_OK;
    sq_hex(id, n, hex);
    return sq_buf_addf(out, is_json ? ",\"%s\":\"%s\"" : " %s=%s", key, hex);
}

static sq_err add_fields(struct sq_buf *out, bool is_json, const struct sq_audit_entry *x)
{
    sq_err e = SQ_OK;
    unsigned n = 0;
    for (unsigned i = 0; !e && i < x->n_field; i++) {
        const char *name = sq_audit_field_name(x->field[i].no);
        char number[24];
        if (x->field[i].no == SQ_AUDIT_FIELD_rows)
            continue;
        snprintf(number, sizeof number, "field_%u", x->field[i].no);
        e = sq_buf_addf(out, "%s", n ? "," : is_json ? ",\"sealed\":[" : " sealed=");
        if (!e)
            e = sq_buf_addf(out, is_json ? "\"%s\"" : "%s", name ? name : number);
        n++;
    }
    return !e && n && is_json ? sq_buf_addf(out, "]") : e;
}

static sq_err add_rows(struct sq_buf *out, bool is_json, const struct sq_audit_entry *x)
{
    struct sq_audit_rows rows;
    if (!sq_audit_rows_get(x, &rows))
        return SQ_OK;
    return sq_buf_addf(out, is_json ? ",\"rows\":{\"read\":%llu,\"inserted\":%llu,\"changed\":%llu,\"deleted\":%llu}"
                                    : " rows=read:%llu,inserted:%llu,changed:%llu,deleted:%llu",
                       (unsigned long long)rows.n_read, (unsigned long long)rows.n_inserted, (unsigned long long)rows.n_changed,
                       (unsigned long long)rows.n_deleted);
}

sq_err sq_audit_entry_print(const struct sq_audit_entry *entry, bool is_json, struct sq_buf *out)
{
    char when[21], event[24], result[24];
    sq_clock_text(entry->time_ms / 1000, when);
    when[19] = 0; /* milliseconds and the Z follow */
    const char *name = sq_audit_event_name(entry->event);
    snprintf(event, sizeof event, "event_%u", entry->event);
    if ((unsigned)sq_err_from_no(entry->result) == entry->result)
        snprintf(result, sizeof result, "%s", sq_err_name(sq_err_from_no(entry->result)));
    else
        snprintf(result, sizeof result, "E%u", entry->result);
    sq_err e = sq_buf_addf(out,
                           is_json ? "{\"entry\":%llu,\"time\":\"%s.%03uZ\",\"event\":\"%s\",\"result\":\"%s\",\"role\":\"%s\""
                                   : "%llu %s.%03uZ %s %s role=%s",
                           (unsigned long long)entry->number, when, (unsigned)(entry->time_ms % 1000),
                           name ? name : event, result,
                           entry->role <= SQ_AUDIT_ROLE_SUPPORT ? role_names[entry->role] : "unknown");
    if (!e)
        e = add_id(out, is_json, "actor", entry->actor, 16);
    if (!e)
        e = add_id(out, is_json, "subject", entry->subject, 16);
    if (!e)
        e = add_id(out, is_json, "object", entry->object, 16);
    if (!e)
        e = add_id(out, is_json, "request", entry->request, 8);
    if (!e)
        e = sq_buf_addf(out, is_json ? ",\"a\":%llu,\"b\":%llu" : " a=%llu b=%llu",
                        (unsigned long long)entry->count_a, (unsigned long long)entry->count_b);
    if (!e)
        e = add_rows(out, is_json, entry);
    if (!e)
        e = add_fields(out, is_json, entry);
    return !e && is_json ? sq_buf_addf(out, "}") : e;
}
