/* Every table: what goes in comes out, lists are in order and page, errors are the promised ones. */
#include "db_fixture.h"

#include <sqlite3.h>

static void assert_same_why(const struct sq_db_why *a, const struct sq_db_why *b)
{
    assert_true(a->err == b->err && a->line == b->line && a->column == b->column);
    assert_string_equal(a->field, b->field);
    assert_string_equal(a->detail, b->detail);
}

struct seen {
    unsigned n;
    uint8_t first[16], last[16];
    char first_id[64], last_id[64];
    uint64_t first_no, last_no;
};

static void see(struct seen *s, const uint8_t *id_, const char *text, uint64_t no)
{
    if (!s->n) {
        memcpy(s->first, id_ ? id_ : (const uint8_t *)"0123456789abcdef", 16);
        snprintf(s->first_id, sizeof s->first_id, "%s", text ? text : "");
        s->first_no = no;
    }
    memcpy(s->last, id_ ? id_ : (const uint8_t *)"0123456789abcdef", 16);
    snprintf(s->last_id, sizeof s->last_id, "%s", text ? text : "");
    s->last_no = no;
    s->n++;
}

static sq_err on_user(void *ctx, const struct sq_db_user *row) { see(ctx, row->id, NULL, 0); return SQ_OK; }
static sq_err on_token(void *ctx, const struct sq_db_token *row) { see(ctx, row->jti, NULL, 0); return SQ_OK; }
static sq_err on_object(void *ctx, const struct sq_db_object *row) { see(ctx, row->id, NULL, 0); return SQ_OK; }
static sq_err on_upload(void *ctx, const struct sq_db_upload *row) { see(ctx, row->id, NULL, 0); return SQ_OK; }
static sq_err on_panel(void *ctx, const struct sq_db_panel *row) { see(ctx, NULL, row->id, 0); return SQ_OK; }
static sq_err on_job(void *ctx, const struct sq_db_job *row) { see(ctx, NULL, row->id, 0); return SQ_OK; }
static sq_err on_time(void *ctx, const struct sq_db_job_time *row) { see(ctx, NULL, sq_db_name(SQ_DB_job_state, row->state), (uint64_t)row->at_ms); return SQ_OK; }
static sq_err on_task(void *ctx, const struct sq_db_task *row) { see(ctx, row->id, row->job_id, 0); return SQ_OK; }
static sq_err on_port(void *ctx, const struct sq_db_task_object *row) { see(ctx, row->object_id, NULL, (uint64_t)row->port); return SQ_OK; }
static sq_err on_file(void *ctx, const struct sq_db_result_file *row) { see(ctx, id(1), row->name, row->plain_bytes); return SQ_OK; }
static sq_err on_ref(void *ctx, uint64_t no) { see(ctx, NULL, NULL, no); return SQ_OK; }
static sq_err on_outbox(void *ctx, uint64_t no, struct sq_span entry)
{
    char text[64] = "";
    assert_int_equal(sq_span_copy(entry, text, sizeof text), SQ_OK);
    see(ctx, NULL, text, no);
    return SQ_OK;
}

static struct sq_db_user some_user(unsigned n)
{
    struct sq_db_user u = {.role = SQ_DB_role_user, .epoch = 1, .created_s = 50};
    memcpy(u.id, id(n), 16);
    memset(u.name_hmac, (int)n, 32);
    u.name_sealed = sealed("sealed name");
    u.password_sealed = sealed("sealed hash");
    return u;
}

static void users(void **state)
{
    (void)state;
    struct sq_db_user u = some_user(1), v;
    int64_t n = 0;
    OK(sq_db_user_insert(db, &u));
    assert_int_equal(sq_db_user_insert(db, &u), SQ_EEXISTS);
    v = some_user(2);
    memcpy(v.name_hmac, u.name_hmac, 32);
    assert_int_equal(sq_db_user_insert(db, &v), SQ_EEXISTS); /* the name is taken */
    v = some_user(2);
    v.role = 6;
    assert_int_equal(sq_db_user_insert(db, &v), SQ_ERANGE);
    v.role = SQ_DB_role_operator;
    OK(sq_db_user_insert(db, &v));
    memset(&v, 0xee, sizeof v);
    OK(sq_db_user_get(db, id(1), &v));
    assert_memory_equal(v.id, u.id, 16);
    assert_memory_equal(&v.name_sealed, &u.name_sealed, sizeof v.name_sealed);
    assert_int_equal(v.epoch, 1);
    assert_false(v.is_disabled);
    OK(sq_db_user_by_name(db, u.name_hmac, &v));
    assert_memory_equal(v.id, u.id, 16);
    struct sq_db_user before = v;
    assert_int_equal(sq_db_user_get(db, id(7), &v), SQ_ENOTFOUND);
    assert_memory_equal(&v, &before, sizeof v); /* untouched */
    struct seen s = {0};
    OK(sq_db_user_list(db, NULL, 10, on_user, &s));
    assert_int_equal(s.n, 2);
    s = (struct seen){0};
    OK(sq_db_user_list(db, id(1), 10, on_user, &s));
    assert_int_equal(s.n, 1);
    assert_memory_equal(s.first, id(2), 16);
    OK(sq_db_user_count(db, 0, &n));
    assert_int_equal(n, 2);
    OK(sq_db_user_count(db, SQ_DB_role_operator, &n));
    assert_int_equal(n, 1);
    struct sq_db_sealed p = sealed("another hash");
    OK(sq_db_user_set_password(db, id(1), &p));
    OK(sq_db_user_set_disabled(db, id(1), true));
    OK(sq_db_user_next_epoch(db, id(1), &n));
    assert_int_equal(n, 2);
    OK(sq_db_user_failed(db, id(1), 77, &n));
    OK(sq_db_user_failed(db, id(1), 78, &n));
    assert_int_equal(n, 2);
    OK(sq_db_user_get(db, id(1), &v));
    assert_true(v.is_disabled && v.epoch == 2 && v.failures == 2 && v.last_failure_s == 78);
    assert_memory_equal(&v.password_sealed, &p, sizeof p);
    OK(sq_db_user_succeeded(db, id(1)));
    OK(sq_db_user_get(db, id(1), &v));
    assert_true(v.failures == 0 && v.last_failure_s == 0);
    assert_int_equal(sq_db_user_next_epoch(db, id(7), &n), SQ_ENOTFOUND);
    assert_int_equal(sq_db_user_set_disabled(db, id(7), true), SQ_ENOTFOUND);
    /* an owner of something stays */
    struct sq_db_object o = some_object(5, 1);
    OK(sq_db_object_insert(db, &o));
    assert_int_equal(sq_db_user_delete(db, id(1)), SQ_ECONFLICT);
    OK(sq_db_object_set_state(db, id(5), SQ_DB_object_state_erasing));
    OK(sq_db_object_erased(db, id(5), 9, "receipt"));
    OK(sq_db_user_delete(db, id(1)));
    assert_int_equal(sq_db_user_delete(db, id(1)), SQ_ENOTFOUND);
}

static void tokens(void **state)
{
    (void)state;
    struct sq_db_user u = some_user(1);
    int64_t n = 0;
    struct sq_db_token t = {.kind = SQ_DB_token_kind_api, .issued_s = 10, .expires_s = 100, .used_s = 10}, got;
    memcpy(t.jti, id(1), 16);
    memcpy(t.user_id, id(1), 16);
    assert_int_equal(sq_db_token_insert(db, &t), SQ_ECONFLICT); /* of nobody */
    OK(sq_db_user_insert(db, &u));
    for (unsigned i = 1; i <= 5; i++) {
        memcpy(t.jti, id(i), 16);
        t.issued_s = 10 * (int64_t)i;
        t.expires_s = 100 * (int64_t)i;
        OK(sq_db_token_insert(db, &t));
    }
    struct seen s = {0};
    OK(sq_db_token_list(db, id(1), SQ_DB_token_kind_api, 0, 3, on_token, &s));
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.first, id(5), 16); /* newest first */
    OK(sq_db_token_revoke(db, id(4), 33));
    OK(sq_db_token_revoke(db, id(4), 44));
    OK(sq_db_token_get(db, id(4), &got));
    assert_int_equal(got.revoked_s, 33); /* the first time counts */
    OK(sq_db_token_count(db, id(1), 0, 150, &n));
    assert_int_equal(n, 3);
    OK(sq_db_token_delete_expired(db, 200, &n));
    assert_int_equal(n, 2);
    OK(sq_db_token_revoke_all(db, id(2), 50, &n));
    assert_int_equal(n, 0);
    t.kind = SQ_DB_token_kind_download;
    for (unsigned i = 6; i <= 8; i++) { /* links end alone, with the sessions, and with everything */
        memcpy(t.jti, id(i), 16);
        memcpy(t.object_id, id(90 + i), 16);
        OK(sq_db_token_insert(db, &t));
        OK(sq_db_token_get(db, id(i), &got));
        assert_memory_equal(got.object_id, id(90 + i), 16);
        if (i == 6)
            OK(sq_db_token_revoke_downloads(db, id(1), 40, &n));
        else if (i == 7)
            OK(sq_db_token_revoke_sessions(db, id(1), id(99), 40, &n));
        else
            break;
        assert_int_equal(n, 1);
    }
    OK(sq_db_token_revoke(db, id(8), 41));
    OK(sq_db_token_revoke_all(db, id(1), 50, &n));
    assert_int_equal(n, 2);
    OK(sq_db_token_revoke_all(db, NULL, 50, &n));
    assert_int_equal(n, 0);
    OK(sq_db_token_count(db, NULL, 0, 0, &n));
    assert_int_equal(n, 0);
    OK(sq_db_user_delete(db, id(1)));
    assert_int_equal(sq_db_token_get(db, id(5), &got), SQ_ENOTFOUND); /* gone with the account */
    assert_int_equal(sq_db_token_revoke(db, id(5), 1), SQ_ENOTFOUND);
}

static void objects(void **state)
{
    (void)state;
    struct sq_db_object o = some_object(1, 9), got;
    struct sq_buf receipt;
    int64_t n = 0;
    uint64_t bytes = 0;
    uint8_t digest[32] = {1, 2, 3};
    sq_buf_init(&receipt, 0);
    OK(sq_db_object_insert(db, &o));
    assert_int_equal(sq_db_object_insert(db, &o), SQ_EEXISTS);
    OK(sq_db_object_progress(db, id(1), 10, 20));
    OK(sq_db_object_get(db, id(1), &got));
    assert_true(got.plain_bytes == 10 && got.sealed_bytes == 20 && !got.has_sha256 && !got.has_receipt);
    OK(sq_db_object_live(db, id(1), 1000, 1100, digest));
    OK(sq_db_object_get(db, id(1), &got));
    assert_true(got.state == SQ_DB_object_state_live && got.plain_bytes == 1000 && got.has_sha256 && got.opening_expires_s == 0);
    assert_memory_equal(got.sha256, digest, 32);
    assert_int_equal(sq_db_object_live(db, id(1), UINT64_MAX, 0, NULL), SQ_ERANGE);
    for (unsigned i = 2; i <= 6; i++) {
        o = some_object(i, i % 2 ? 9 : 8);
        o.kind = (int)i;
        o.not_after_s = 1000 + i;
        OK(sq_db_object_insert(db, &o));
    }
    struct seen s = {0};
    OK(sq_db_object_list(db, id(9), 0, 0, NULL, 10, on_object, &s));
    assert_int_equal(s.n, 3);
    s = (struct seen){0};
    OK(sq_db_object_list(db, NULL, 4, 0, NULL, 10, on_object, &s));
    assert_int_equal(s.n, 1);
    s = (struct seen){0};
    OK(sq_db_object_list(db, NULL, 0, SQ_DB_object_state_opening, id(2), 2, on_object, &s));
    assert_int_equal(s.n, 2);
    assert_memory_equal(s.first, id(3), 16);
    OK(sq_db_object_count(db, id(9), SQ_DB_object_state_live, &n, &bytes));
    assert_true(n == 1 && bytes == 1100);
    OK(sq_db_object_count(db, NULL, 0, &n, NULL));
    assert_int_equal(n, 6);
    /* expiry: not_after for all that hold data, opening_expires for those still opening */
    s = (struct seen){0};
    OK(sq_db_objects_expired(db, 499, 10, on_object, &s));
    assert_int_equal(s.n, 0);
    OK(sq_db_objects_expired(db, 500, 10, on_object, &s));
    assert_int_equal(s.n, 5);
    s = (struct seen){0};
    OK(sq_db_object_set_not_after(db, id(1), 1500));
    OK(sq_db_objects_expired(db, 1499, 10, on_object, &s));
    assert_int_equal(s.n, 5);
    s = (struct seen){0};
    OK(sq_db_objects_expired(db, 1500, 10, on_object, &s));
    assert_int_equal(s.n, 6);
    /* the end */
    assert_int_equal(sq_db_object_receipt(db, id(1), &receipt), SQ_ENOTFOUND);
    OK(sq_db_object_set_state(db, id(1), SQ_DB_object_state_erasing));
    s = (struct seen){0};
    OK(sq_db_objects_expired(db, 9999, 10, on_object, &s));
    assert_int_equal(s.n, 5); /* it is being erased already */
    OK(sq_db_object_erased(db, id(1), 2000, NULL));
    OK(sq_db_object_erased(db, id(1), 2001, "first receipt"));
    OK(sq_db_object_erased(db, id(1), 2002, "second receipt"));
    OK(sq_db_object_receipt(db, id(1), &receipt));
    assert_int_equal(receipt.n, strlen("first receipt"));
    OK(sq_db_object_get(db, id(1), &got));
    assert_true(got.state == SQ_DB_object_state_erased && got.erased_s == 2000 && got.has_receipt);
    OK(sq_db_object_delete_erased(db, 2000, &n));
    assert_int_equal(n, 0);
    struct sq_db_upload u = some_upload(1, 9, 1);
    OK(sq_db_upload_insert(db, &u));
    OK(sq_db_object_delete_erased(db, 3000, &n));
    assert_int_equal(n, 0); /* an upload names it */
    OK(sq_db_upload_set_state(db, id(1), SQ_DB_upload_state_erased));
    OK(sq_db_upload_delete(db, id(1)));
    OK(sq_db_object_delete_erased(db, 3000, &n));
    assert_int_equal(n, 1);
    sq_buf_done(&receipt);
}

static void uploads(void **state)
{
    (void)state;
    int64_t n = 0;
    struct sq_db_upload u = some_upload(1, 9, 77), got;
    assert_int_equal(sq_db_upload_insert(db, &u), SQ_ECONFLICT); /* no such object */
    struct sq_db_object o = some_object(77, 9);
    OK(sq_db_object_insert(db, &o));
    o = some_object(78, 9);
    OK(sq_db_object_insert(db, &o));
    for (unsigned i = 1; i <= 6; i++) {
        u = some_upload(7 * i, i % 2 ? 9 : 8, 77); /* ids in no useful order */
        OK(sq_db_upload_insert(db, &u));
    }
    struct seen s = {0};
    OK(sq_db_upload_list(db, id(9), 0, NULL, 2, on_upload, &s));
    assert_int_equal(s.n, 2);
    assert_memory_equal(s.first, id(35), 16);
    assert_memory_equal(s.last, id(21), 16);
    s = (struct seen){0};
    OK(sq_db_upload_list(db, id(9), 0, id(21), 2, on_upload, &s));
    assert_int_equal(s.n, 1);
    assert_memory_equal(s.first, id(7), 16);
    OK(sq_db_upload_count(db, id(8), SQ_DB_upload_state_receiving, &n));
    assert_int_equal(n, 3);
    OK(sq_db_upload_count(db, NULL, 0, &n));
    assert_int_equal(n, 6);
    assert_int_equal(sq_db_upload_ready(db, id(7), "vcf.gz", "22", 3, 4), SQ_ECONFLICT); /* not checking */
    OK(sq_db_upload_set_state(db, id(7), SQ_DB_upload_state_checking));
    OK(sq_db_upload_set_objects(db, id(7), id(77), id(78)));
    assert_int_equal(sq_db_upload_set_objects(db, id(7), id(79), id(78)), SQ_ECONFLICT);
    OK(sq_db_upload_ready(db, id(7), "vcf.gz", "22", 3, 4));
    OK(sq_db_upload_get(db, id(7), &got));
    assert_true(got.state == SQ_DB_upload_state_ready && got.samples == 3 && got.variants == 4 && got.is_counted);
    assert_string_equal(got.format, "vcf.gz");
    assert_memory_equal(got.genotypes_object_id, id(78), 16);
    struct sq_db_why why = {.err = SQ_ERECORD, .line = 17, .column = 4, .field = "ALT", .detail = "not a base"};
    OK(sq_db_upload_failed(db, id(14), &why));
    OK(sq_db_upload_get(db, id(14), &got));
    assert_same_why(&got.why, &why);
    assert_false(got.is_counted);
    s = (struct seen){0};
    OK(sq_db_uploads_expired(db, 1999, 10, on_upload, &s));
    assert_int_equal(s.n, 0);
    OK(sq_db_uploads_expired(db, 2000, 10, on_upload, &s));
    assert_int_equal(s.n, 6);
    assert_int_equal(sq_db_upload_delete(db, id(7)), SQ_ECONFLICT);
    memset(u.format, 'x', sizeof u.format); /* no end */
    memcpy(u.id, id(99), 16);
    assert_int_equal(sq_db_upload_insert(db, &u), SQ_ERANGE);
}

static void panels(void **state)
{
    (void)state;
    struct sq_db_panel p;
    int64_t n = 0;
    make_ground();
    OK(sq_db_panel_get(db, "panel", &p));
    assert_string_equal(p.name, "A panel");
    assert_true(p.haplotypes == 400 && p.removed_s == 0);
    assert_int_equal(sq_db_panel_insert(db, &p), SQ_EEXISTS);
    OK(sq_db_panel_remove(db, "panel", 30));
    OK(sq_db_panel_remove(db, "panel", 40));
    OK(sq_db_panel_get(db, "panel", &p));
    assert_int_equal(p.removed_s, 30);
    struct seen s = {0};
    OK(sq_db_panel_list(db, false, on_panel, &s));
    assert_int_equal(s.n, 0);
    OK(sq_db_panel_list(db, true, on_panel, &s));
    assert_int_equal(s.n, 1);
    OK(sq_db_panel_count(db, &n));
    assert_int_equal(n, 0);
    assert_int_equal(sq_db_panel_remove(db, "other", 1), SQ_ENOTFOUND);
}

static void jobs(void **state)
{
    (void)state;
    struct sq_db_job j, got;
    int64_t n = 0;
    make_ground();
    j = some_job("job-a", 9, 99);
    assert_int_equal(sq_db_job_insert(db, &j), SQ_ECONFLICT); /* no such upload */
    struct seen s = {0};
    OK(sq_db_job_times(db, "job-a", on_time, &s));
    assert_int_equal(s.n, 0); /* and no history of what isn't there */
    for (int i = 1; i <= 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "job-2026-%d", i);
        j = some_job(name, i % 2 ? 9 : 8, 2);
        j.created_s = i;
        OK(sq_db_job_insert(db, &j));
    }
    assert_int_equal(sq_db_job_insert(db, &j), SQ_EEXISTS);
    s = (struct seen){0};
    OK(sq_db_job_list(db, id(9), 0, NULL, 2, on_job, &s));
    assert_string_equal(s.first_id, "job-2026-5");
    assert_string_equal(s.last_id, "job-2026-3");
    s = (struct seen){0};
    OK(sq_db_job_list(db, id(9), 0, "job-2026-3", 2, on_job, &s));
    assert_int_equal(s.n, 1);
    assert_string_equal(s.first_id, "job-2026-1");
    OK(sq_db_job_queue_place(db, "job-2026-3", &n));
    assert_int_equal(n, 3);
    OK(sq_db_job_next_queued(db, &got));
    assert_string_equal(got.id, "job-2026-1");
    const char *id1 = "job-2026-1";
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_checking, 61000));
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_queued, 62000)); /* tried again */
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_checking, 63000));
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_running, 64000));
    OK(sq_db_job_queue_place(db, id1, &n));
    assert_int_equal(n, 0);
    OK(sq_db_job_queue_place(db, "job-2026-3", &n));
    assert_int_equal(n, 2);
    OK(sq_db_job_count_active(db, id(9), &n));
    assert_int_equal(n, 3);
    OK(sq_db_job_set_progress(db, id1, 5, 50));
    OK(sq_db_job_set_counts(db, id1, 1, 2, 3, 4, 5));
    OK(sq_db_job_set_report(db, id1, id(1)));
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_sealing, 65000));
    uint8_t check[32] = {9};
    assert_int_equal(sq_db_job_claimed(db, id1, id(1), check), SQ_ECONFLICT);
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_done, 66000));
    OK(sq_db_job_claimed(db, id1, id(1), check));
    OK(sq_db_job_claimed(db, id1, id(3), check)); /* lost: again */
    OK(sq_db_job_get(db, id1, &got));
    assert_true(got.started_s == 61 && got.finished_s == 66 && got.progress_done == 5 && got.progress_total == 50);
    assert_true(got.samples == 1 && got.variants_out == 5 && got.claims == 2 && got.has_check);
    assert_memory_equal(got.package_object_id, id(3), 16);
    OK(sq_db_job_set_claim(db, id1, SQ_DB_claim_state_none));
    OK(sq_db_job_get(db, id1, &got));
    assert_true(!got.has_check && got.package_object_id[0] == 0);
    OK(sq_db_job_claimed(db, id1, id(3), check));
    OK(sq_db_job_set_claim(db, id1, SQ_DB_claim_state_confirmed));
    assert_int_equal(sq_db_job_claimed(db, id1, id(3), check), SQ_ECONFLICT);
    s = (struct seen){0};
    OK(sq_db_job_times(db, id1, on_time, &s));
    assert_int_equal(s.n, 7);
    assert_string_equal(s.first_id, "queued");
    assert_int_equal(s.first_no, 1000);
    assert_string_equal(s.last_id, "done");
    assert_int_equal(s.last_no, 66000);
    struct sq_db_why why = {.err = SQ_ENOOVERLAP, .detail = "12 of 9000"};
    OK(sq_db_job_failed(db, "job-2026-2", &why, 70000));
    assert_int_equal(sq_db_job_failed(db, "job-2026-2", &why, 70000), SQ_ECONFLICT);
    OK(sq_db_job_get(db, "job-2026-2", &got));
    assert_same_why(&got.why, &why);
    assert_int_equal(got.finished_s, 70);
    OK(sq_db_job_next_fence(db, id1, &n));
    OK(sq_db_job_next_fence(db, id1, &n));
    assert_int_equal(n, 2);
    /* files */
    struct sq_db_result_file f = {.name = "chr22.dose.vcf.gz", .plain_bytes = 9};
    snprintf(f.job_id, sizeof f.job_id, "%s", id1);
    OK(sq_db_result_file_put(db, &f));
    f.plain_bytes = 10;
    OK(sq_db_result_file_put(db, &f));
    s = (struct seen){0};
    OK(sq_db_result_files(db, id1, on_file, &s));
    assert_true(s.n == 1 && s.first_no == 10);
    OK(sq_db_result_file_count(db, id1, &n));
    assert_int_equal(n, 1);
    /* the end */
    s = (struct seen){0};
    OK(sq_db_job_set_expires(db, id1, 4000));
    OK(sq_db_jobs_expired(db, 4500, 10, on_job, &s));
    assert_int_equal(s.n, 1);
    assert_int_equal(sq_db_job_delete(db, id1), SQ_ECONFLICT);
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_erasing, 1));
    OK(sq_db_job_set_state(db, id1, SQ_DB_job_state_erased, 2));
    OK(sq_db_job_set_upload(db, id1, (const uint8_t[16]){0}));
    OK(sq_db_job_delete(db, id1));
    OK(sq_db_result_file_count(db, id1, &n));
    assert_int_equal(n, 0);
    OK(sq_db_job_count(db, NULL, 0, &n));
    assert_int_equal(n, 4);
    assert_int_equal(sq_db_job_get(db, id1, &got), SQ_ENOTFOUND);
}

static void tasks(void **state)
{
    (void)state;
    struct sq_db_task t = {.stage = 3, .state = SQ_DB_task_state_ready, .created_ms = 5, .job_id = "job-a"}, got;
    int64_t n = 0;
    make_ground();
    struct sq_db_job j = some_job("job-a", 9, 2);
    OK(sq_db_job_insert(db, &j));
    for (unsigned i = 1; i <= 3; i++) {
        memcpy(t.id, id(9 - i), 16);
        OK(sq_db_task_insert(db, &t));
    }
    struct sq_db_task of_upload = {.stage = 2, .state = SQ_DB_task_state_ready};
    memcpy(of_upload.id, id(50), 16);
    memcpy(of_upload.upload_id, id(2), 16);
    OK(sq_db_task_insert(db, &of_upload));
    OK(sq_db_task_next_ready(db, &got));
    assert_memory_equal(got.id, id(8), 16); /* oldest, whatever its id */
    assert_string_equal(got.job_id, "job-a");
    OK(sq_db_task_start(db, id(8), 100, &got));
    assert_true(got.fence == 1 && got.tries == 1 && got.state == SQ_DB_task_state_running);
    assert_int_equal(sq_db_task_start(db, id(8), 100, &got), SQ_ECONFLICT);
    OK(sq_db_task_again(db, id(8), SQ_DB_AGAIN_lost, 150));
    OK(sq_db_task_start(db, id(8), 200, &got));
    assert_true(got.fence == 2 && got.tries == 2 && got.losses == 1 && got.lost_ms == 150 && !got.crashes && !got.misses);
    OK(sq_db_task_again(db, id(8), SQ_DB_AGAIN_crashed, 210));
    OK(sq_db_task_start(db, id(8), 220, &got));
    OK(sq_db_task_again(db, id(8), SQ_DB_AGAIN_missed, 230));
    OK(sq_db_task_start(db, id(8), 240, &got));
    OK(sq_db_task_again(db, id(8), SQ_DB_AGAIN_lost, 250));
    OK(sq_db_task_start(db, id(8), 260, &got));
    OK(sq_db_task_again(db, id(8), SQ_DB_AGAIN_waits, 270));
    OK(sq_db_task_start(db, id(8), 280, &got));
    assert_true(got.tries == 6 && got.crashes == 1 && got.misses == 1 && got.losses == 2 && got.lost_ms == 150);
    assert_int_equal(sq_db_task_end(db, id(8), 1, 0, 1, 1, 300), SQ_ECONFLICT); /* the answer of the first try */
    OK(sq_db_task_end(db, id(8), 6, 0, 11, 22, 300));
    OK(sq_db_task_get(db, id(8), &got));
    assert_true(got.state == SQ_DB_task_state_done && got.cpu_ms == 11 && got.peak_kib == 22 && got.ended_ms == 300);
    struct seen s = {0};
    OK(sq_db_task_list(db, "job-a", NULL, SQ_DB_task_state_ready, 10, on_task, &s));
    assert_int_equal(s.n, 2);
    s = (struct seen){0};
    OK(sq_db_task_list(db, NULL, id(2), 0, 10, on_task, &s));
    assert_int_equal(s.n, 1);
    s = (struct seen){0};
    OK(sq_db_task_list(db, NULL, NULL, 0, 10, on_task, &s));
    assert_int_equal(s.n, 4);
    OK(sq_db_task_start(db, id(7), 1, &got));
    OK(sq_db_task_cancel(db, "job-a", NULL, SQ_ECANCELLED, 9, &n));
    assert_int_equal(n, 2);
    assert_int_equal(sq_db_task_end(db, id(7), got.fence, 0, 1, 1, 300), SQ_ECONFLICT); /* cancelled meanwhile */
    OK(sq_db_task_count(db, SQ_DB_task_state_failed, &n));
    assert_int_equal(n, 2);
    /* ports */
    struct sq_db_task_object p = {.port = 1};
    memcpy(p.task_id, id(8), 16);
    memcpy(p.object_id, id(1), 16);
    OK(sq_db_task_object_put(db, &p));
    memcpy(p.object_id, id(3), 16);
    OK(sq_db_task_object_put(db, &p)); /* another try, another object */
    p.port = 0;
    OK(sq_db_task_object_put(db, &p));
    s = (struct seen){0};
    OK(sq_db_task_objects(db, id(8), on_port, &s));
    assert_true(s.n == 2 && s.first_no == 0 && s.last_no == 1);
    assert_memory_equal(s.last, id(3), 16);
    s = (struct seen){0};
    OK(sq_db_job_objects(db, "job-a", on_object, &s));
    assert_int_equal(s.n, 1); /* each once */
    memcpy(p.object_id, id(200), 16);
    assert_int_equal(sq_db_task_object_put(db, &p), SQ_ECONFLICT);
    OK(sq_db_task_delete(db, id(8)));
    s = (struct seen){0};
    OK(sq_db_task_objects(db, id(8), on_port, &s));
    assert_int_equal(s.n, 0);
}

static void outbox_refs_meta(void **state)
{
    (void)state;
    uint64_t last = 9;
    int64_t n = 0;
    OK(sq_db_outbox_last(db, &last));
    assert_true(last == 0);
    for (uint64_t i = 1; i <= 5; i++) {
        char text[16];
        snprintf(text, sizeof text, "entry %d", (int)i);
        OK(sq_db_outbox_put(db, i, sq_span_str(text)));
    }
    assert_int_equal(sq_db_outbox_put(db, 5, sq_span_str("x")), SQ_EEXISTS);
    assert_int_equal(sq_db_outbox_put(db, 0, sq_span_str("x")), SQ_ERANGE);
    assert_int_equal(sq_db_outbox_put(db, 6, sq_span_of("", 0)), SQ_ERANGE);
    struct seen s = {0};
    OK(sq_db_outbox_peek(db, 3, on_outbox, &s));
    assert_true(s.n == 3 && s.first_no == 1 && s.last_no == 3);
    assert_string_equal(s.last_id, "entry 3");
    OK(sq_db_outbox_delete_upto(db, 4));
    OK(sq_db_outbox_count(db, &n));
    assert_int_equal(n, 1);
    OK(sq_db_outbox_delete_upto(db, 5));
    OK(sq_db_outbox_last(db, &last));
    assert_true(last == 5); /* remembered */
    OK(sq_db_begin(db));
    OK(sq_db_outbox_put(db, 6, sq_span_str("never")));
    sq_db_rollback(db);
    OK(sq_db_outbox_last(db, &last));
    assert_true(last == 5); /* and not counted when rolled back */
    /* refs */
    for (uint64_t i = 1; i <= 6; i++)
        OK(sq_db_audit_ref_put(db, i, id(i % 2 ? 1 : 2), id(i % 3 ? 7 : 0)));
    s = (struct seen){0};
    OK(sq_db_audit_refs(db, id(1), NULL, 0, 10, on_ref, &s));
    assert_true(s.n == 3 && s.first_no == 5 && s.last_no == 1);
    s = (struct seen){0};
    OK(sq_db_audit_refs(db, id(1), id(7), 5, 10, on_ref, &s));
    assert_true(s.n == 1 && s.first_no == 1);
    OK(sq_db_audit_refs_delete(db, id(1)));
    s = (struct seen){0};
    OK(sq_db_audit_refs(db, id(1), NULL, 0, 10, on_ref, &s));
    assert_int_equal(s.n, 0);
    /* meta */
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(sq_db_meta_get(db, "k", &b), SQ_ENOTFOUND);
    OK(sq_db_meta_set(db, "k", sq_span_str("one")));
    OK(sq_db_meta_set(db, "k", sq_span_str("second")));
    OK(sq_db_meta_get(db, "k", &b));
    assert_int_equal(b.n, 6);
    assert_int_equal(sq_db_meta_get_no(db, "k", &n), SQ_ERANGE);
    OK(sq_db_meta_set(db, "empty", sq_span_of(NULL, 0)));
    OK(sq_db_meta_get(db, "empty", &b));
    assert_int_equal(b.n, 6);
    OK(sq_db_meta_set_no(db, "n", -5));
    OK(sq_db_meta_get_no(db, "n", &n));
    assert_int_equal(n, -5);
    OK(sq_db_meta_delete(db, "n"));
    OK(sq_db_meta_delete(db, "n"));
    assert_int_equal(sq_db_meta_get_no(db, "n", &n), SQ_ENOTFOUND);
    sq_buf_done(&b);
}

/* a callback may change the rows it is told about */
static sq_err erase_it(void *ctx, const struct sq_db_object *row)
{
    ++*(int *)ctx;
    sq_err e = sq_db_object_set_state(db, row->id, SQ_DB_object_state_erasing);
    return e ? e : sq_db_object_erased(db, row->id, 1, NULL);
}

static sq_err stop_at_once(void *ctx, const struct sq_db_object *row)
{
    (void)row;
    ++*(int *)ctx;
    return SQ_ECANCELLED;
}

static void callbacks_may_write(void **state)
{
    (void)state;
    int n = 0;
    for (unsigned i = 1; i <= 50; i++) {
        struct sq_db_object o = some_object(i, 9);
        OK(sq_db_object_insert(db, &o));
    }
    assert_int_equal(sq_db_objects_expired(db, 9999, 0, stop_at_once, &n), SQ_ECANCELLED);
    assert_int_equal(n, 1);
    n = 0;
    OK(sq_db_objects_expired(db, 9999, 0, erase_it, &n));
    assert_int_equal(n, 50);
    OK(sq_db_objects_expired(db, 9999, 0, erase_it, &n));
    assert_int_equal(n, 50);
}

/* ---- rows are counted as they are: after each test above what was inserted and not deleted is what is there ---- */

static struct sq_db_count counted;

static int fresh_counted(void **state)
{
    counted = (struct sq_db_count){0};
    if (db_fresh(state))
        return -1;
    sq_db_count_into(db, &counted);
    return 0;
}

/* Of another connection, as SQLite counts. */
static int64_t rows_there(const char *but)
{
    sqlite3 *raw = NULL;
    sqlite3_stmt *tables = NULL;
    int64_t n = 0;
    assert_int_equal(sqlite3_open("t.db", &raw), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(raw, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", -1, &tables, NULL), SQLITE_OK);
    while (sqlite3_step(tables) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(tables, 0);
        sqlite3_stmt *count = NULL;
        char text[128];
        if (strstr(but, name))
            continue;
        snprintf(text, sizeof text, "SELECT count(*) FROM %s", name);
        assert_int_equal(sqlite3_prepare_v2(raw, text, -1, &count, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(count), SQLITE_ROW);
        n += sqlite3_column_int64(count, 0);
        sqlite3_finalize(count);
    }
    sqlite3_finalize(tables);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
    return n;
}

static int done_counted(void **state)
{
    int64_t n = rows_there("outbox audit_ref");
    bool is_right = (int64_t)(counted.n_inserted - counted.n_deleted) == n && counted.n_read > 0;
    if (!is_right)
        print_error("%lld rows, counted %llu - %llu\n", (long long)n, (unsigned long long)counted.n_inserted, (unsigned long long)counted.n_deleted);
    return db_done(state) || !is_right;
}

#define IS(read, inserted, changed, deleted)                                                                                     \
    do {                                                                                                                         \
        assert_true(counted.n_read == (read) && counted.n_inserted == (inserted) && counted.n_changed == (changed) &&            \
                    counted.n_deleted == (deleted));                                                                             \
        counted = (struct sq_db_count){0};                                                                                       \
    } while (0)

static void counts_by_class(void **state)
{
    (void)state;
    struct sq_db_user u = some_user(1), v;
    struct sq_db_token t = {.kind = SQ_DB_token_kind_session, .issued_s = 1, .expires_s = 9};
    struct seen s = {0};
    int64_t n;
    OK(sq_db_user_insert(db, &u));
    IS(0, 1, 0, 0);
    assert_int_equal(sq_db_user_insert(db, &u), SQ_EEXISTS);
    memcpy(u.id, id(2), 16);
    assert_int_equal(sq_db_user_insert(db, &u), SQ_EEXISTS); /* of its name */
    assert_int_equal(sq_db_user_get(db, id(7), &v), SQ_ENOTFOUND);
    assert_int_equal(sq_db_user_set_disabled(db, id(7), true), SQ_ENOTFOUND);
    IS(0, 0, 0, 0);
    OK(sq_db_user_set_disabled(db, id(1), true));
    OK(sq_db_user_get(db, id(1), &v));
    IS(1, 0, 1, 0);
    memcpy(t.user_id, id(1), 16);
    for (unsigned i = 10; i < 15; i++) {
        memcpy(t.jti, id(i), 16);
        OK(sq_db_token_insert(db, &t));
    }
    IS(0, 5, 0, 0);
    OK(sq_db_token_list(db, id(1), SQ_DB_token_kind_session, 0, 3, on_token, &s));
    IS(3, 0, 0, 0);
    OK(sq_db_outbox_put(db, 1, sq_span_str("an entry")));
    OK(sq_db_audit_ref_put(db, 1, id(1), id(2)));
    IS(0, 0, 0, 0); /* the log's own */

    OK(sq_db_begin(db));
    OK(sq_db_user_set_disabled(db, id(1), false));
    OK(sq_db_save(db));
    OK(sq_db_user_set_disabled(db, id(1), true));
    OK(sq_db_user_get(db, id(1), &v));
    OK(sq_db_save_undo(db));
    OK(sq_db_save(db));
    OK(sq_db_meta_set_no(db, "a", 1));
    OK(sq_db_meta_set_no(db, "a", 2));
    OK(sq_db_save_keep(db));
    OK(sq_db_commit(db));
    IS(1, 1, 2, 0);
    OK(sq_db_begin(db));
    OK(sq_db_user_delete(db, id(1)));
    sq_db_rollback(db);
    IS(1, 0, 0, 0); /* that it was looked at stays true */
    OK(sq_db_user_delete(db, id(1))); /* with its five tokens */
    IS(1, 0, 0, 6);
    OK(sq_db_user_count(db, 0, &n));
    sq_db_count_into(db, NULL);
    OK(sq_db_meta_delete(db, "a"));
    IS(1, 0, 0, 0);
}

int main(void)
{
#undef DB_TEST
#define DB_TEST(f) cmocka_unit_test_setup_teardown(f, fresh_counted, done_counted)
    const struct CMUnitTest tests[] = {DB_TEST(users), DB_TEST(tokens), DB_TEST(objects), DB_TEST(uploads), DB_TEST(panels),
                                       DB_TEST(jobs), DB_TEST(tasks), DB_TEST(outbox_refs_meta), DB_TEST(callbacks_may_write),
                                       cmocka_unit_test_setup_teardown(counts_by_class, fresh_counted, db_done)};
    return cmocka_run_group_tests(tests, db_group_start, db_group_stop);
}
