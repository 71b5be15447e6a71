/* A keeper for tests: one object key, salts drawn at random or counted up (golden files). */
#ifndef SQ_TEST_VAULT_KEYS_H
#define SQ_TEST_VAULT_KEYS_H

#include "lib/vault/vault.h"

struct test_keeper {
    struct sq_key *object_key;
    uint8_t object_id[SQ_VAULT_ID_BYTES];
    unsigned n_asked;
    sq_err refuse; /* returned in place of a key, if set */
};

static inline sq_err test_key_seal(void *ctx, uint32_t part_no, uint8_t out_salt[SQ_VAULT_SALT_BYTES], struct sq_key **out)
{
    struct test_keeper *k = ctx;
    k->n_asked++;
    if (k->refuse)
        return k->refuse;
    sq_err err = sq_random(out_salt, SQ_VAULT_SALT_BYTES);
    return err ? err : sq_vault_derive(k->object_key, out_salt, k->object_id, part_no, out);
}

static inline sq_err test_key_open(void *ctx, uint32_t part_no, const uint8_t salt[SQ_VAULT_SALT_BYTES], struct sq_key **out)
{
    struct test_keeper *k = ctx;
    k->n_asked++;
    if (k->refuse)
        return k->refuse;
    return sq_vault_derive(k->object_key, salt, k->object_id, part_no, out);
}

/* the key and id of docs/formats/sealed-object.md: id 00 01 ... 0f, key 20 21 ... 3f */
static inline sq_err test_keeper_init(struct test_keeper *k)
{
    uint8_t key[SQ_KEY_BYTES];
    *k = (struct test_keeper){0};
    for (int i = 0; i < SQ_VAULT_ID_BYTES; i++)
        k->object_id[i] = (uint8_t)i;
    for (int i = 0; i < SQ_KEY_BYTES; i++)
        key[i] = (uint8_t)(0x20 + i);
    return sq_key_from(key, &k->object_key);
}

#endif
