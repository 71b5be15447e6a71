/* jobs/chunks: whatever the panel, its chunks follow one another without hole or overlap, on multiples of one size. */
#include "lib/jobs/chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

static size_t plan(uint64_t first, uint64_t last, uint64_t size, struct sq_chunk *c)
{
    size_t n = sq_chunks_plan(first, last, size, c);
    assert_in_range(n, 1, SQ_MAX_CHUNKS);
    assert_int_equal(c[0].from_bp, 0);
    assert_int_equal(c[n - 1].to_bp, 0);
    for (size_t i = 1; i < n; i++) {
        assert_int_equal(c[i].from_bp, c[i - 1].to_bp);
        assert_true(c[i].from_bp > (i > 1 ? c[i - 1].from_bp : 0));
        assert_int_equal(c[i].from_bp % size, 0);
        assert_true(c[i].from_bp > first && c[i].from_bp <= last);
    }
    return n;
}

static void known_panels(void **state)
{
    (void)state;
    struct sq_chunk c[SQ_MAX_CHUNKS];
    assert_int_equal(plan(50244251, 51244237, 20000000, c), 1);
    assert_int_equal(plan(10000, 249240000, 20000000, c), 13); /* chromosome 1 */
    assert_int_equal(c[1].from_bp, 20000000);
    assert_int_equal(plan(16050075, 51244237, 20000000, c), 3); /* 22: begins in mid-chunk */
    assert_int_equal(c[0].to_bp, 20000000);
    assert_int_equal(plan(19999999, 20000000, 20000000, c), 2);
    assert_int_equal(plan(20000000, 39999999, 20000000, c), 1);
    assert_int_equal(plan(1, 249240000, 1000000, c), 63); /* of 4 Mb: 250 would be too many */
    assert_int_equal(plan(7, 7, 1, c), 1);
}

static void nonsense_is_one_chunk(void **state)
{
    (void)state;
    struct sq_chunk c[SQ_MAX_CHUNKS];
    assert_int_equal(plan(5, 4, 10, c), 1);
    assert_int_equal(sq_chunks_plan(1, 100, 0, c), 1);
    assert_int_equal(plan(0, 0, 20000000, c), 1);
}

static void any_panel(void **state)
{
    (void)state;
    struct sq_chunk c[SQ_MAX_CHUNKS];
    srand(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t first = (uint64_t)rand() % 300000000, last = first + (uint64_t)rand() % 300000000;
        plan(first, last, 1000000 * (1 + (uint64_t)rand() % 250), c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_panels),
        cmocka_unit_test(nonsense_is_one_chunk),
        cmocka_unit_test(any_panel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
