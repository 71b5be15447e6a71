/* The slab as a file: what it keeps, what it refuses, and what is left after a crash at each durable step. */
#include "slab_fixture.h"

static void test_keys_survive_reopening(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t before[32], after[32], token[32];
    struct sq_slab *slab = with_things(fd);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, before);
    key_of(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, token);
    assert_int_equal(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_1, owner_a, 0, 2, NOW), SQ_EEXISTS);
    assert_int_equal(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_b, 0, 2, NOW), SQ_EKEYGONE); /* no such owner */
    sq_slab_close(slab);
    slab = open_slab(fd);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
    assert_memory_equal(before, after, 32);
    key_of(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, after);
    assert_memory_equal(token, after, 32);
    assert_memory_not_equal(before, after, 32);
    sq_slab_close(slab);
    close(fd);
}

static void test_no_key_in_clear(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t key[32], bytes[8192 + 64 * 256];
    struct sq_slab *slab = with_things(fd);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, key);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_null(memmem(bytes, sizeof bytes, key, 32));
    assert_null(memmem(bytes, sizeof bytes, kek_bytes, 32));
    key_of(slab, SQ_SLAB_OWNER, owner_a, key);
    assert_null(memmem(bytes, sizeof bytes, key, 32));
    sq_slab_close(slab);
    close(fd);
}

static void test_sealed_and_wrong_key(void **state)
{
    (void)state;
    int fd = new_file();
    sq_slab_close(with_things(fd));
    struct sq_slab *slab;
    struct sq_key *wrong, *key;
    ok(sq_slab_open(fd, &slab));
    assert_false(sq_slab_is_unsealed(slab));
    assert_int_equal(sq_slab_key(slab, SQ_SLAB_OBJECT, obj_1, NOW, NULL, &key), SQ_ESEALED);
    assert_int_equal(sq_slab_add(slab, SQ_SLAB_OWNER, owner_b, NULL, 0, 0, NOW), SQ_ESEALED);
    ok(sq_key_new(&wrong));
    assert_int_equal(sq_slab_unseal(slab, wrong), SQ_EPASSWORD);
    assert_int_equal(sq_slab_unseal_passphrase(slab, "x", 1), SQ_ECONFLICT);
    sq_key_free(wrong);
    sq_slab_close(slab);
    close(fd);
}

static void test_passphrase(void **state)
{
    (void)state;
    int fd = new_file();
    struct sq_slab *slab;
    ok(sq_slab_open(fd, &slab));
    assert_true(sq_slab_is_new(slab));
    ok(create_by_passphrase(slab, "open sesame please"));
    assert_true(sq_slab_is_unsealed(slab));
    sq_slab_close(slab);
    ok(sq_slab_open(fd, &slab));
    assert_int_equal(sq_slab_unseal_passphrase(slab, "open sesame pleasE", 18), SQ_EPASSWORD);
    assert_false(sq_slab_is_unsealed(slab));
    ok(sq_slab_unseal_passphrase(slab, "open sesame please", 18));
    assert_true(sq_slab_is_unsealed(slab));
    sq_slab_close(slab);
    close(fd);
}

static void test_close_and_extend(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t before[32], after[32];
    struct sq_slab_slot slot;
    struct sq_slab *slab = with_things(fd);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, before);
    ok(sq_slab_shut(slab, obj_1, NOW));
    ok(sq_slab_shut(slab, obj_1, NOW));
    ok(sq_slab_extend(slab, obj_1, NOW + 500, NOW));
    assert_int_equal(sq_slab_extend(slab, obj_1, NOW - 1, NOW), SQ_ERANGE);
    assert_int_equal(sq_slab_extend(slab, obj_2, NOW + 1, NOW), SQ_ENOTFOUND);
    sq_slab_close(slab);
    slab = open_slab(fd);
    ok(sq_slab_look(slab, SQ_SLAB_OBJECT, obj_1, NOW, &slot));
    assert_int_equal(slot.state, SQ_SLAB_CLOSED);
    assert_int_equal(slot.not_after_s, NOW + 500);
    assert_int_equal(slot.generation, 3);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
    assert_memory_equal(before, after, 32);
    sq_slab_close(slab);
    close(fd);
}

static void test_destroy_leaves_nothing(void **state)
{
    (void)state;
    int fd = new_file();
    uint64_t when, again;
    uint32_t generation, generation_again;
    uint8_t bytes[256];
    struct sq_slab_slot before, after;
    struct sq_slab *slab = with_things(fd);
    ok(sq_slab_look(slab, SQ_SLAB_OBJECT, obj_1, NOW, &before));
    sq_slab_close(slab);
    ok(sq_slab_open(fd, &slab)); /* sealed: destroying needs no key */
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_1, NOW + 7, &when, &generation));
    assert_int_equal(when, NOW + 7);
    assert_int_equal(generation, 3); /* made, random, zeros */
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_1, NOW + 70, &again, &generation_again));
    assert_int_equal(again, when);
    assert_int_equal(generation_again, generation);
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_2, NOW, &again, &generation_again));
    assert_int_equal(again, 0);
    sq_slab_close(slab);
    assert_int_equal(pread(fd, bytes, 256, SLOT_AT(FIRST_FREE + 1)), 256);
    ok(sq_slab_slot_decode(bytes, &after));
    assert_int_equal(after.type, SQ_SLAB_TOMBSTONE);
    for (size_t i = 0; i < SQ_SLAB_WRAPPED_BYTES; i++)
        assert_int_equal(after.wrapped[i], 0);
    slab = open_slab(fd);
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    assert_int_equal(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_1, owner_a, 0, 2, NOW), SQ_EKEYGONE); /* an id lives once */
    /* the old bytes put back by hand are noticed as an older state of the place only by the disk's owner; here: while running */
    sq_slab_slot_encode(&before, bytes);
    assert_int_equal(pwrite(fd, bytes, 256, SLOT_AT(FIRST_FREE + 1)), 256);
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    sq_slab_close(slab);
    close(fd);
}

static void test_owner_destroyed_takes_all(void **state)
{
    (void)state;
    int fd = new_file();
    uint64_t when;
    uint32_t generation;
    struct sq_slab *slab = with_things(fd);
    ok(sq_slab_destroy(slab, SQ_SLAB_OWNER, owner_a, NOW, &when, &generation));
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    sq_slab_close(slab);
    close(fd);
}

static unsigned n_heard;
static void heard(void *ctx, const uint8_t *id)
{
    (void)ctx;
    assert_memory_equal(id, obj_1, 16);
    n_heard++;
}

static void test_expiry(void **state)
{
    (void)state;
    int fd = new_file();
    uint32_t n;
    sq_slab_close(with_things(fd));
    struct sq_slab *slab = open_slab(fd);
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW));
    assert_int_equal(try_key(slab, obj_1, NOW + 99), SQ_OK);
    assert_int_equal(try_key(slab, obj_1, NOW + 100), SQ_EKEYGONE); /* refused at once, before anyone destroys it */
    ok(sq_slab_expire(slab, NOW + 99, heard, NULL, &n));
    assert_int_equal(n, 0);
    sq_slab_close(slab);
    ok(sq_slab_open(fd, &slab)); /* sealed */
    ok(sq_slab_expire(slab, NOW + 100, heard, NULL, &n));
    assert_int_equal(n, 1);
    assert_int_equal(n_heard, 1);
    ok(sq_slab_expire(slab, NOW + 1000000, heard, NULL, &n));
    assert_int_equal(n, 0);
    sq_slab_close(slab);
    slab = open_slab(fd);
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    assert_int_equal(try_key(slab, obj_2, NOW + 1000000), SQ_OK);
    sq_slab_close(slab);
    close(fd);
}

/* Every byte of a slot, one bit: found at opening, or (a bit in the type) at least never a key. */
static void test_bit_flips(void **state)
{
    (void)state;
    int fd = new_file();
    sq_slab_close(with_things(fd));
    for (unsigned at = 0; at < 256; at++) {
        uint8_t bit = (uint8_t)(1u << (at % 8));
        flip(fd, SLOT_AT(FIRST_FREE + 1) + at, bit);
        struct sq_slab *slab = open_slab(fd);
        assert_int_equal(sq_slab_n_damaged(slab), 1);
        assert_int_not_equal(try_key(slab, obj_1, NOW), SQ_OK);
        sq_slab_close(slab);
        flip(fd, SLOT_AT(FIRST_FREE + 1) + at, bit);
    }
    struct sq_slab *slab = open_slab(fd);
    ok(try_key(slab, obj_1, NOW));
    assert_int_equal(sq_slab_n_damaged(slab), 0);
    sq_slab_close(slab);
    close(fd);
}

/* With the checksum made right again the box still finds each changed field. */
static void test_forged_fields(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t good[256], bad[256];
    sq_slab_close(with_things(fd));
    assert_int_equal(pread(fd, good, 256, SLOT_AT(FIRST_FREE + 1)), 256);
    const unsigned at[] = {1, 2, 11, 33, 50, 60, 72, 90, 131};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        memcpy(bad, good, 256);
        bad[at[i]] ^= 1;
        ok(sq_sha256_of(bad, 224, bad + 224));
        assert_int_equal(pwrite(fd, bad, 256, SLOT_AT(FIRST_FREE + 1)), 256);
        struct sq_slab *slab = open_slab(fd);
        sq_err err = try_key(slab, obj_1, NOW);
        assert_true(err == SQ_ETAMPERED || err == SQ_EKEYGONE); /* gone: the owner's id was changed */
        sq_slab_close(slab);
    }
    close(fd);
}

static void test_torn_slot(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t half[256] = {0};
    uint32_t n;
    sq_slab_close(with_things(fd));
    for (size_t cut = 16; cut < 256; cut += 16) { /* the front of a slot came through, the rest is what was there: zeros */
        assert_int_equal(pread(fd, half, 256, SLOT_AT(FIRST_FREE + 1)), 256);
        memset(half + cut, 0, 256 - cut);
        assert_int_equal(pwrite(fd, half, 256, SLOT_AT(FIRST_FREE + 9)), 256);
        struct sq_slab *slab = open_slab(fd);
        assert_int_equal(sq_slab_n_damaged(slab), 1);
        ok(try_key(slab, obj_1, NOW));
        ok(sq_slab_add(slab, SQ_SLAB_OWNER, owner_b, NULL, 0, 0, NOW));
        sq_slab_close(slab);
        memset(half, 0, 256);
        assert_int_equal(pwrite(fd, half, 256, SLOT_AT(FIRST_FREE + 9)), 256);
        assert_int_equal(pwrite(fd, half, 256, SLOT_AT(FIRST_FREE + 2)), 256);
    }
    /* a damaged slot is destroyed when its end has come, and when it is asked for by its id */
    flip(fd, SLOT_AT(FIRST_FREE + 1) + 240, 1);
    struct sq_slab *slab = open_slab(fd);
    ok(sq_slab_expire(slab, NOW + 200, NULL, NULL, &n));
    assert_int_equal(n, 1);
    assert_int_equal(sq_slab_n_damaged(slab), 0);
    sq_slab_close(slab);
    close(fd);
}

static void test_headers(void **state)
{
    (void)state;
    int fd = new_file();
    uint64_t size;
    uint8_t root[32], root_1[32] = {1}, root_2[32] = {2};
    struct sq_slab *slab = open_slab(fd);
    ok(sq_slab_set_tree(slab, 10, root_1, NOW)); /* sequence 4: copy A */
    ok(sq_slab_set_tree(slab, 11, root_2, NOW)); /* 5: copy B */
    assert_int_equal(sq_slab_set_tree(slab, 9, root_1, NOW), SQ_EROLLBACK);
    sq_slab_close(slab);
    flip(fd, 4096 + 200, 4); /* B torn: A still says the state before */
    slab = open_slab(fd);
    sq_slab_tree(slab, &size, root);
    assert_int_equal(size, 10);
    assert_memory_equal(root, root_1, 32);
    ok(sq_slab_set_tree(slab, 12, root_2, NOW)); /* written over the torn copy */
    sq_slab_close(slab);
    flip(fd, 160, 1);
    slab = open_slab(fd);
    sq_slab_tree(slab, &size, root);
    assert_int_equal(size, 12);
    sq_slab_close(slab);
    flip(fd, 4096 + 160, 1); /* both */
    assert_int_equal(sq_slab_open(fd, &slab), SQ_ETAMPERED);
    close(fd);
}

/* Someone lowers the tree size and makes the checksum right: the MAC finds it at unseal. */
static void test_forged_header(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t b[4096], root_1[32] = {1};
    struct sq_slab *slab = open_slab(fd);
    struct sq_key *kek;
    ok(sq_slab_set_tree(slab, 10, root_1, NOW));
    sq_slab_close(slab);
    assert_int_equal(pread(fd, b, 4096, 0), 4096);
    b[743] = 3;
    ok(sq_sha256_of(b, 4064, b + 4064));
    assert_int_equal(pwrite(fd, b, 4096, 0), 4096);
    ok(sq_slab_open(fd, &slab));
    ok(sq_key_from(kek_bytes, &kek));
    assert_int_equal(sq_slab_unseal(slab, kek), SQ_ETAMPERED);
    sq_key_free(kek);
    sq_slab_close(slab);
    close(fd);
}

static void test_growth_and_reuse(void **state)
{
    (void)state;
    int fd = new_file();
    struct sq_slab *slab = with_things(fd);
    uint8_t id[16] = "many", ids[200 * SQ_SLAB_LISTED_BYTES];
    uint64_t when;
    uint32_t generation, n, next;
    for (uint32_t i = 0; i < 300; i++) {
        sq_put_be32(id + 8, i);
        ok(sq_slab_add(slab, SQ_SLAB_OBJECT, id, owner_a, 0, 6, NOW));
    }
    ok(sq_slab_list(slab, SQ_SLAB_OBJECT, 0, ids, 200, &n, &next));
    assert_int_equal(n, 200);
    assert_true(next > 0);
    ok(sq_slab_list(slab, SQ_SLAB_OBJECT, next, ids, 200, &n, &next));
    assert_memory_equal(ids + 16, owner_a, 16);
    assert_int_equal(n, 101);
    assert_int_equal(next, 0);
    sq_slab_close(slab);
    slab = open_slab(fd);
    for (uint32_t i = 0; i < 300; i++) {
        sq_put_be32(id + 8, i);
        ok(try_key(slab, id, NOW));
    }
    sq_put_be32(id + 8, 5);
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, id, NOW, &when, &generation));
    /* 90 days later its place is taken once there is no free one; until then the file grows */
    for (uint32_t i = 1000; i < 1200; i++) {
        sq_put_be32(id + 8, i);
        ok(sq_slab_add(slab, SQ_SLAB_OBJECT, id, owner_a, 0, 6, NOW + SQ_SLAB_TOMBSTONE_S + 1));
    }
    sq_put_be32(id + 8, 5);
    assert_int_equal(try_key(slab, id, NOW), SQ_ENOTFOUND);
    sq_slab_close(slab);
    slab = open_slab(fd);
    assert_int_equal(sq_slab_n_damaged(slab), 0);
    struct sq_slab_slot slot;
    bool is_reused = false;
    for (uint32_t i = 1000; i < 1200; i++) {
        sq_put_be32(id + 8, i);
        ok(sq_slab_look(slab, SQ_SLAB_OBJECT, id, NOW, &slot));
        is_reused |= slot.generation == generation + 1;
    }
    assert_true(is_reused);
    sq_slab_close(slab);
    close(fd);
}

/* The bytes of version 1 stay readable for ever. The key file's content is 00 01 ... 1f; see slab_oracle_test.py. */
static void test_golden(void **state)
{
    (void)state;
    const char *path = getenv("SQ_GOLDEN_SLAB");
    assert_non_null(path);
    uint8_t kek[32], salt[32] = {1, 2, 3}, want[32], root[32], object[16] = "golden object", dead[16] = "golden dead";
    uint64_t size;
    struct sq_slab *slab;
    struct sq_key *key, *derived;
    struct sq_slab_slot slot;
    for (unsigned i = 0; i < 32; i++)
        kek[i] = (uint8_t)i;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ok(sq_slab_open(fd, &slab));
    ok(sq_key_from(kek, &key));
    ok(sq_slab_unseal(slab, key));
    sq_key_free(key);
    ok(sq_slab_key(slab, SQ_SLAB_OBJECT, object, NOW, &slot, &key));
    assert_int_equal(slot.state, SQ_SLAB_CLOSED);
    assert_int_equal(slot.not_after_s, NOW + 604800);
    ok(sq_vault_derive(key, salt, object, 5, &derived));
    ok(sq_hex_decode("519ef48eac46788649e806bc744235bc8f0a4c162dc1d03b935590b40225e43f", 64, want, 32));
    assert_memory_equal(sq_key_bytes(derived), want, 32);
    assert_int_equal(try_key(slab, dead, NOW), SQ_EKEYGONE);
    sq_slab_tree(slab, &size, root);
    assert_int_equal(size, 42);
    assert_int_equal(root[0], 0xab);
    sq_key_free(key);
    sq_key_free(derived);
    sq_slab_close(slab);
    close(fd);
}

static void act_add(struct sq_slab *slab)
{
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW));
}
static void act_extend(struct sq_slab *slab)
{
    ok(sq_slab_extend(slab, obj_1, NOW + 900, NOW));
}
static void act_destroy(struct sq_slab *slab)
{
    uint64_t when;
    uint32_t generation;
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_1, NOW, &when, &generation));
}
static void act_tree(struct sq_slab *slab)
{
    uint8_t root[32] = {9};
    ok(sq_slab_set_tree(slab, 77, root, NOW));
}
static void act_nothing(struct sq_slab *slab)
{
    (void)slab;
}

static bool key_area_is_zero(int fd, uint32_t slot)
{
    uint8_t b[SQ_SLAB_WRAPPED_BYTES], any = 0;
    assert_int_equal(pread(fd, b, sizeof b, SLOT_AT(slot) + 72), sizeof b);
    for (size_t i = 0; i < sizeof b; i++)
        any |= b[i];
    return !any;
}

static void test_crash_in_add(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.slot_write", "keeper.slot_written"};
    for (size_t i = 0; i < 2; i++) {
        int fd = new_file();
        sq_slab_close(with_things(fd));
        assert_true(dies(act_add, fd, at[i]));
        struct sq_slab *slab = open_slab(fd);
        assert_int_equal(try_key(slab, obj_2, NOW), i == 0 ? SQ_ENOTFOUND : SQ_OK);
        ok(try_key(slab, obj_1, NOW));
        assert_int_equal(sq_slab_n_damaged(slab), 0);
        sq_slab_close(slab);
        close(fd);
    }
}

static void test_crash_in_extend(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.slot_write", "keeper.slot_written"};
    for (size_t i = 0; i < 2; i++) {
        int fd = new_file();
        sq_slab_close(with_things(fd));
        assert_true(dies(act_extend, fd, at[i]));
        struct sq_slab *slab = open_slab(fd);
        assert_int_equal(try_key(slab, obj_1, NOW), SQ_OK);
        assert_int_equal(try_key(slab, obj_1, NOW + 500), i == 0 ? SQ_EKEYGONE : SQ_OK);
        sq_slab_close(slab);
        close(fd);
    }
}

static void test_crash_in_destroy(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.slot_write", "keeper.slot_written", "keeper.destroy_half", "keeper.read_back"};
    for (size_t i = 0; i < 4; i++) {
        int fd = new_file();
        sq_slab_close(with_things(fd));
        assert_true(dies(act_destroy, fd, at[i]));
        struct sq_slab *slab = open_slab(fd);
        if (i == 0) {
            ok(try_key(slab, obj_1, NOW)); /* nothing was done yet: the caller asks again */
            act_destroy(slab);
        }
        assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
        assert_true(key_area_is_zero(fd, FIRST_FREE + 1)); /* finished when it was opened */
        sq_slab_close(slab);
        close(fd);
    }
}

/* A destroying write that was torn behind byte 72 and more: the fields say so, the checksum is wrong. */
static void test_torn_destroy(void **state)
{
    (void)state;
    for (size_t cut = 72; cut < 256; cut += 8) {
        int fd = new_file();
        uint8_t before[256], after[256];
        sq_slab_close(with_things(fd));
        assert_int_equal(pread(fd, before, 256, SLOT_AT(FIRST_FREE + 1)), 256);
        assert_true(dies(act_destroy, fd, "keeper.destroy_half"));
        assert_int_equal(pread(fd, after, 256, SLOT_AT(FIRST_FREE + 1)), 256);
        memcpy(after + cut, before + cut, 256 - cut);
        assert_int_equal(pwrite(fd, after, 256, SLOT_AT(FIRST_FREE + 1)), 256);
        struct sq_slab *slab = open_slab(fd);
        assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
        assert_true(key_area_is_zero(fd, FIRST_FREE + 1));
        sq_slab_close(slab);
        close(fd);
    }
}

static void test_crash_in_header(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.header_write", "keeper.header_written"};
    for (size_t i = 0; i < 2; i++) {
        int fd = new_file();
        uint64_t size;
        uint8_t root[32];
        sq_slab_close(open_slab(fd));
        assert_true(dies(act_tree, fd, at[i]));
        struct sq_slab *slab = open_slab(fd);
        sq_slab_tree(slab, &size, root);
        assert_int_equal(size, i == 0 ? 0 : 77);
        sq_slab_close(slab);
        close(fd);
    }
}

/* Creation: dead at any step, the next start makes a whole slab, or finds the one that was finished. */
static void test_crash_in_creation(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.grow", "keeper.slot_write", "keeper.slot_written", "keeper.header_write",
                              "keeper.header_written"};
    for (size_t i = 0; i < 5; i++) {
        int fd = new_file();
        assert_true(dies(act_nothing, fd, at[i]));
        struct sq_slab *slab = with_things(fd);
        ok(try_key(slab, obj_1, NOW));
        assert_int_equal(sq_slab_n_damaged(slab), 0);
        sq_slab_close(slab);
        sq_slab_close(open_slab(fd));
        close(fd);
    }
}

static void test_failing_writes(void **state)
{
    (void)state;
    int fd = new_file();
    uint64_t when;
    uint32_t generation;
    struct sq_slab *slab = with_things(fd);
    arm("keeper.slot_write", 2, SQ_EFULL);
    assert_int_equal(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW), SQ_EFULL);
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW));
    arm("keeper.slot_write", 2, SQ_EIO);
    assert_int_equal(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_1, NOW, &when, &generation), SQ_EIO);
    ok(try_key(slab, obj_1, NOW));
    arm("keeper.read_back", 2, SQ_EERASE);
    assert_int_equal(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_1, NOW, &when, &generation), SQ_EERASE);
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    arm("keeper.destroy_half", 2, SQ_EIO);
    assert_int_equal(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_2, NOW, &when, &generation), SQ_EIO);
    assert_false(key_area_is_zero(fd, FIRST_FREE + 2)); /* random bytes: the key is gone, the slot not yet clean */
    ok(sq_slab_destroy(slab, SQ_SLAB_OBJECT, obj_2, NOW, &when, &generation));
    assert_true(key_area_is_zero(fd, FIRST_FREE + 2));
    sq_slab_close(slab);
    close(fd);
}

/* ---- a new root key, a new lock ---- */

static const uint8_t other_kek_bytes[32] = "another test key of 32 bytes....";

static sq_err rekey_to(struct sq_slab *slab, const uint8_t bytes[32], uint32_t *out_n)
{
    struct sq_key *kek = NULL;
    uint32_t no;
    ok(sq_key_from(bytes, &kek));
    sq_err err = sq_slab_rekey(slab, &(struct sq_slab_lock){.backend = SQ_SLAB_FILE, .kek = kek}, &no, out_n);
    sq_key_free(kek);
    return err;
}

static sq_err unseal_with(int fd, const uint8_t bytes[32], struct sq_slab **out)
{
    struct sq_key *kek = NULL;
    ok(sq_slab_open(fd, out));
    ok(sq_key_from(bytes, &kek));
    sq_err err = sq_slab_unseal(*out, kek);
    sq_key_free(kek);
    return err;
}

static void test_rekey(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t before[32], after[32], token[32], boxes[2][60], old[8192 + 64 * 256];
    uint32_t n;
    struct sq_slab *slab = with_things(fd);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, before);
    key_of(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, token);
    assert_int_equal(pread(fd, old, sizeof old, 0), sizeof old);
    ok(rekey_to(slab, other_kek_bytes, &n));
    assert_int_equal(n, 5); /* three keys of the site, its owner, owner A */
    key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
    assert_memory_equal(before, after, 32);
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW));
    sq_slab_close(slab);
    for (int i = 0; i < 2; i++) { /* neither copy holds the old box */
        assert_int_equal(pread(fd, boxes[i], 60, i * 4096 + 600), 60);
        assert_memory_not_equal(boxes[i], old + 600, 60);
        assert_memory_not_equal(boxes[i], old + 4096 + 600, 60);
    }
    assert_int_equal(unseal_with(fd, kek_bytes, &slab), SQ_EPASSWORD); /* the old key is useless */
    sq_slab_close(slab);
    ok(unseal_with(fd, other_kek_bytes, &slab));
    key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
    assert_memory_equal(before, after, 32);
    key_of(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, after);
    assert_memory_equal(token, after, 32);
    ok(try_key(slab, obj_2, NOW));
    sq_slab_close(slab);
    /* an old header over new slots opens none of them: the old root key is useless too */
    assert_int_equal(pwrite(fd, old, 8192, 0), 8192);
    ok(unseal_with(fd, kek_bytes, &slab));
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_ETAMPERED);
    sq_slab_close(slab);
    close(fd);
}

static void act_rekey(struct sq_slab *slab)
{
    uint32_t n;
    sq_err err = rekey_to(slab, other_kek_bytes, &n);
    (void)err; /* it dies before */
}

/* A crash at each step: the old lock opens everything, and unsealing finishes; after the last the new one does. */
static void test_crash_in_rekey(void **state)
{
    (void)state;
    static const struct {
        const char *hook;
        bool is_new;
    } at[] = {{"keeper.header_write", false}, {"keeper.header_written", false}, {"keeper.rekey_begun", false}, {"keeper.slot_write", false},
              {"keeper.slot_written", false}, {"keeper.rekey_moved", false}, {"keeper.rekey_all_moved", false}, {"keeper.rekey_switched", true}};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        int fd = new_file();
        uint8_t before[32], after[32];
        uint32_t n, no;
        bool is_rotating;
        struct sq_slab *slab = with_things(fd);
        key_of(slab, SQ_SLAB_OBJECT, obj_1, before);
        sq_slab_close(slab);
        assert_true(dies(act_rekey, fd, at[i].hook));
        ok(unseal_with(fd, at[i].is_new ? other_kek_bytes : kek_bytes, &slab));
        sq_slab_root_state(slab, &no, &is_rotating);
        assert_false(is_rotating); /* finished at unsealing, if it had begun */
        key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
        assert_memory_equal(before, after, 32);
        ok(rekey_to(slab, other_kek_bytes, &n));
        sq_slab_close(slab);
        ok(unseal_with(fd, other_kek_bytes, &slab));
        key_of(slab, SQ_SLAB_OBJECT, obj_1, after);
        assert_memory_equal(before, after, 32);
        sq_slab_close(slab);
        close(fd);
    }
}

static void test_split_key(void **state)
{
    (void)state;
    struct sq_key *key = NULL, *back = NULL;
    uint8_t shares[5 * 32], some[3 * 32], number[3];
    ok(sq_key_new(&key));
    ok(sq_key_split(key, 5, 3, shares));
    for (unsigned a = 0; a < 5; a++)
        for (unsigned b = a + 1; b < 5; b++)
            for (unsigned c = b + 1; c < 5; c++) {
                const unsigned pick[3] = {c, a, b};
                for (unsigned i = 0; i < 3; i++) {
                    number[i] = (uint8_t)(pick[i] + 1);
                    memcpy(some + i * 32, shares + pick[i] * 32, 32);
                }
                ok(sq_key_join(number, some, 3, &back));
                assert_memory_equal(sq_key_bytes(back), sq_key_bytes(key), 32);
                sq_key_free(back);
                ok(sq_key_join(number, some, 2, &back)); /* one too few: another key */
                assert_memory_not_equal(sq_key_bytes(back), sq_key_bytes(key), 32);
                sq_key_free(back);
            }
    sq_key_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_survive_reopening), cmocka_unit_test(test_no_key_in_clear),
        cmocka_unit_test(test_sealed_and_wrong_key),   cmocka_unit_test(test_passphrase),
        cmocka_unit_test(test_close_and_extend),       cmocka_unit_test(test_destroy_leaves_nothing),
        cmocka_unit_test(test_owner_destroyed_takes_all), cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_bit_flips),              cmocka_unit_test(test_forged_fields),
        cmocka_unit_test(test_torn_slot),              cmocka_unit_test(test_headers),
        cmocka_unit_test(test_forged_header),          cmocka_unit_test(test_growth_and_reuse),
        cmocka_unit_test(test_crash_in_add),           cmocka_unit_test(test_crash_in_extend),
        cmocka_unit_test(test_crash_in_destroy),       cmocka_unit_test(test_torn_destroy),
        cmocka_unit_test(test_crash_in_header),        cmocka_unit_test(test_crash_in_creation),
        cmocka_unit_test(test_failing_writes),         cmocka_unit_test(test_golden),
        cmocka_unit_test(test_rekey),                  cmocka_unit_test(test_crash_in_rekey),
        cmocka_unit_test(test_split_key),
    };
    hooks_make();
    assert_int_equal(sq_crypt_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
