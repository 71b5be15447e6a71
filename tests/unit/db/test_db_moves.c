/* Every change of state that is possible to ask for, against a model written down here a second time. */
#include "db_fixture.h"

/* row = from, column = to; 1 = allowed. Order: as in states.def. */
static const char object_model[] = "01101" /* opening */
                                   "00101" /* live */
                                   "00010" /* erasing */
                                   "00000" /* erased */
                                   "01100"; /* damaged */
static const char upload_model[] = "01011" "00111" "00001" "00001" "00000";
static const char job_model[] = "010001110" /* queued */
                                "101101110" /* checking */
                                "100101110" /* running */
                                "000011110" /* sealing */
                                "000000010" /* done */
                                "000000010" /* failed */
                                "000000010" /* cancelled */
                                "000000001" /* erasing */
                                "000000000"; /* erased */
static const char claim_model[] = "011" "111" "000";
static const char task_model[] = "0101" "1011" "0000" "0000";

static void check_model(enum sq_db_table table, const char *model, int n)
{
    for (int from = 0; from <= n + 1; from++)
        for (int to = 0; to <= n + 1; to++) {
            bool want = from >= 1 && from <= n && to >= 1 && to <= n && model[(from - 1) * n + to - 1] == '1';
            if (sq_db_may_move(table, from, to) != want)
                fail_msg("table %d: %d -> %d should be %d", (int)table, from, to, want);
        }
    assert_null(sq_db_name(table, n + 1));
    assert_null(sq_db_name(table, 0));
    for (int no = 1; no <= n; no++)
        assert_int_equal(sq_db_named(table, sq_db_name(table, no)), no);
}

static void models(void **state)
{
    (void)state;
    check_model(SQ_DB_object_state, object_model, 5);
    check_model(SQ_DB_upload_state, upload_model, 5);
    check_model(SQ_DB_job_state, job_model, 9);
    check_model(SQ_DB_claim_state, claim_model, 3);
    check_model(SQ_DB_task_state, task_model, 4);
    assert_int_equal(sq_db_named(SQ_DB_role, "operator"), SQ_DB_role_operator);
    assert_int_equal(sq_db_named(SQ_DB_role, "nobody"), 0);
    assert_string_equal(sq_db_name(SQ_DB_object_kind, SQ_DB_object_kind_final_index), "final_index");
}

static void objects(void **state)
{
    (void)state;
    for (int from = 1; from <= 5; from++)
        for (int to = 1; to <= 5; to++) {
            unsigned n = (unsigned)(from * 10 + to);
            struct sq_db_object o = some_object(n, 9);
            o.state = from;
            OK(sq_db_object_insert(db, &o));
            bool may = sq_db_may_move(SQ_DB_object_state, from, to);
            bool is_plain = (to != SQ_DB_object_state_live || from == SQ_DB_object_state_damaged) && to != SQ_DB_object_state_erased;
            assert_int_equal(sq_db_object_set_state(db, id(n), to), may && is_plain ? SQ_OK : SQ_ECONFLICT);
            OK(sq_db_object_get(db, id(n), &o));
            assert_int_equal(o.state, may && is_plain ? to : from);
            if (to == SQ_DB_object_state_live && !is_plain) {
                assert_int_equal(sq_db_object_live(db, id(n), 1, 2, NULL), from == SQ_DB_object_state_opening ? SQ_OK : SQ_ECONFLICT);
                assert_int_equal(sq_db_object_progress(db, id(n), 1, 2), SQ_ECONFLICT);
            }
            if (to == SQ_DB_object_state_erased) {
                bool fine = may || from == SQ_DB_object_state_erased; /* idempotent */
                assert_int_equal(sq_db_object_erased(db, id(n), 7, "r"), fine ? SQ_OK : SQ_ECONFLICT);
            }
        }
    assert_int_equal(sq_db_object_set_state(db, id(200), SQ_DB_object_state_live), SQ_ENOTFOUND);
}

static void uploads_jobs_tasks(void **state)
{
    (void)state;
    make_ground();
    for (int from = 1; from <= 5; from++)
        for (int to = 1; to <= 5; to++) {
            unsigned n = (unsigned)(from * 10 + to);
            struct sq_db_upload u = some_upload(n, 9, 1);
            u.state = from;
            OK(sq_db_upload_insert(db, &u));
            bool may = sq_db_may_move(SQ_DB_upload_state, from, to);
            assert_int_equal(sq_db_upload_set_state(db, id(n), to), may ? SQ_OK : SQ_ECONFLICT);
            OK(sq_db_upload_get(db, id(n), &u));
            assert_int_equal(u.state, may ? to : from);
        }
    for (int from = 1; from <= 9; from++)
        for (int to = 1; to <= 9; to++) {
            char name[48];
            snprintf(name, sizeof name, "job-%d-%d", from, to);
            struct sq_db_job j = some_job(name, 9, 2);
            j.state = from;
            OK(sq_db_job_insert(db, &j));
            bool may = sq_db_may_move(SQ_DB_job_state, from, to);
            assert_int_equal(sq_db_job_set_state(db, name, to, 5000), may ? SQ_OK : SQ_ECONFLICT);
            OK(sq_db_job_get(db, name, &j));
            assert_int_equal(j.state, may ? to : from);
        }
    for (int from = 1; from <= 4; from++)
        for (int to = 1; to <= 4; to++) {
            unsigned n = (unsigned)(100 + from * 10 + to);
            struct sq_db_task t = {.stage = 2, .state = from, .fence = 3, .job_id = "job-1-1"};
            memcpy(t.id, id(n), 16);
            OK(sq_db_task_insert(db, &t));
            bool may = sq_db_may_move(SQ_DB_task_state, from, to);
            sq_err e = SQ_ECONFLICT;
            if (to == SQ_DB_task_state_ready)
                e = sq_db_task_again(db, id(n), SQ_DB_AGAIN_crashed, 1);
            else if (to == SQ_DB_task_state_running)
                e = sq_db_task_start(db, id(n), 1, &t);
            else if (from != SQ_DB_task_state_ready) /* ready -> failed is cancelling, tested with the rows */
                e = sq_db_task_end(db, id(n), 3, to == SQ_DB_task_state_failed ? SQ_ECRASHED : 0, 1, 2, 3);
            else
                continue;
            assert_int_equal(e, may ? SQ_OK : SQ_ECONFLICT);
        }
}

static void claims(void **state)
{
    (void)state;
    make_ground();
    struct sq_db_object o = some_object(20, 9);
    OK(sq_db_object_insert(db, &o));
    uint8_t check[32] = {5};
    for (int job_state = 1; job_state <= 9; job_state++)
        for (int from = 1; from <= 3; from++)
            for (int to = 1; to <= 3; to++) {
                char name[48];
                snprintf(name, sizeof name, "job-%d-%d-%d", job_state, from, to);
                struct sq_db_job j = some_job(name, 9, 2);
                j.state = job_state;
                j.claim_state = from;
                OK(sq_db_job_insert(db, &j));
                bool may = job_state == SQ_DB_job_state_done && sq_db_may_move(SQ_DB_claim_state, from, to);
                may = may && !(from == SQ_DB_claim_state_none && to == SQ_DB_claim_state_confirmed); /* it has no key */
                sq_err e = to == SQ_DB_claim_state_claimed ? sq_db_job_claimed(db, name, id(20), check)
                                                           : sq_db_job_set_claim(db, name, to);
                assert_int_equal(e, may ? SQ_OK : SQ_ECONFLICT);
                OK(sq_db_job_get(db, name, &j));
                assert_int_equal(j.claim_state, may ? to : from);
                assert_int_equal(j.claims, may && to == SQ_DB_claim_state_claimed ? 1 : 0);
            }
}

/* sealed to its owner's own key: confirmed without a claim, once there is a package; the key goes with the job */
static void sealed_to(void **state)
{
    (void)state;
    make_ground();
    struct sq_db_object o = some_object(20, 9);
    OK(sq_db_object_insert(db, &o));
    struct sq_db_job j = some_job("job-key", 9, 2);
    j.state = SQ_DB_job_state_running;
    j.has_seal_key = true;
    j.seal_kind = 2;
    memset(j.seal_key, 7, sizeof j.seal_key);
    OK(sq_db_job_insert(db, &j));
    assert_int_equal(sq_db_job_set_package(db, j.id, id(20)), SQ_ECONFLICT); /* not sealing yet */
    OK(sq_db_job_set_state(db, j.id, SQ_DB_job_state_sealing, 1000));
    OK(sq_db_job_set_package(db, j.id, id(20)));
    OK(sq_db_job_set_package(db, j.id, (const uint8_t[16]){0}));
    OK(sq_db_job_set_state(db, j.id, SQ_DB_job_state_done, 2000));
    assert_int_equal(sq_db_job_set_claim(db, j.id, SQ_DB_claim_state_confirmed), SQ_ECONFLICT); /* no package */
    j = some_job("job-package", 9, 2);
    j.state = SQ_DB_job_state_sealing;
    j.has_seal_key = true;
    j.seal_kind = 1;
    memset(j.seal_key, 8, sizeof j.seal_key);
    OK(sq_db_job_insert(db, &j));
    OK(sq_db_job_set_package(db, j.id, id(20)));
    OK(sq_db_job_set_state(db, j.id, SQ_DB_job_state_done, 2000));
    OK(sq_db_job_set_claim(db, j.id, SQ_DB_claim_state_confirmed));
    OK(sq_db_job_get(db, j.id, &j));
    assert_true(j.has_seal_key && j.seal_kind == 1 && j.seal_key[31] == 8 && j.claim_state == SQ_DB_claim_state_confirmed);
    OK(sq_db_job_set_state(db, j.id, SQ_DB_job_state_erasing, 3000));
    OK(sq_db_job_set_state(db, j.id, SQ_DB_job_state_erased, 4000));
    OK(sq_db_job_get(db, j.id, &j));
    assert_true(!j.has_seal_key && j.seal_kind == 0);
    j = some_job("job-plain", 9, 2);
    j.state = SQ_DB_job_state_sealing;
    OK(sq_db_job_insert(db, &j));
    assert_int_equal(sq_db_job_set_package(db, j.id, id(20)), SQ_ECONFLICT); /* no key */
}

int main(void)
{
    const struct CMUnitTest tests[] = {DB_TEST(models), DB_TEST(objects), DB_TEST(uploads_jobs_tasks), DB_TEST(claims), DB_TEST(sealed_to)};
    return cmocka_run_group_tests(tests, db_group_start, db_group_stop);
}
