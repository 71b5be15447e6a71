/* Tokens that npm's jose made (tests/attack/jwt/attacks.mjs): those in order are taken, so we understand each other; all attacks are refused.
 *
 *     test_identity_corpus CORPUS.json */
#include "lib/crypt/crypt.h"
#include "lib/identity/identity.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static int n_test, n_failed;

static void said(bool is_right, const char *what, const char *name)
{
    n_test++;
    n_failed += !is_right;
    printf("%s %d - %s: %s\n", is_right ? "ok" : "not ok", n_test, what, name);
}

static sq_err verify(const json_t *corpus, const char *token, int64_t now_s)
{
    struct sq_jwt_claims claims;
    uint8_t public_key[SQ_ES256_PUBLIC_BYTES];
    const char *hex = json_string_value(json_object_get(corpus, "public"));
    sq_assert(hex && !sq_hex_decode(hex, strlen(hex), public_key, sizeof public_key));
    return sq_jwt_verify(public_key, json_string_value(json_object_get(corpus, "origin")), sq_span_str(token), now_s, &claims);
}

int main(int argc, char **argv)
{
    const json_t *row;
    size_t i;
    sq_err e = sq_crypt_start();
    if (!e)
        e = sq_identity_start();
    json_t *corpus = e || argc != 2 ? NULL : json_load_file(argv[1], 0, NULL);
    if (!corpus) {
        puts("Bail out! the corpus can't be read");
        return 1;
    }
    int64_t now_s = json_integer_value(json_object_get(corpus, "now"));
    json_array_foreach(json_object_get(corpus, "good"), i, row)
    {
        said(verify(corpus, json_string_value(row), now_s) == SQ_OK, "taken", "a token in order");
        said(verify(corpus, json_string_value(row), now_s + 3600) == SQ_EAUTH, "refused", "the same when its time is over");
    }
    json_array_foreach(json_object_get(corpus, "attacks"), i, row)
        said(verify(corpus, json_string_value(json_object_get(row, "token")), now_s) == SQ_EAUTH, "refused", json_string_value(json_object_get(row, "name")));
    if (i < 150)
        said(false, "at least 150 attacks", "the corpus is short");
    printf("1..%d\n", n_test);
    json_decref(corpus);
    return n_failed > 0;
}
