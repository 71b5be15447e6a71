/* keeper - what its files share: the process's state, and one handler a message. */
#ifndef SQ_KEEPER_KEEPER_H
#define SQ_KEEPER_KEEPER_H

#include "daemon/keeper/clock_watch.h"
#include "daemon/keeper/grants.h"
#include "daemon/keeper/hash_pool.h"
#include "daemon/keeper/hsm.h"
#include "daemon/keeper/proofs.h"
#include "daemon/keeper/slab.h"
#include "lib/identity/jwt.h"
#include "lib/identity/passkey.h"
#include "lib/proc/node.h"

#ifdef SQ_TEST_HOOKS
#define KEEPER_HASH_MEM_KIB 8192u /* so that hundreds of test users don't take minutes */
#else
#define KEEPER_HASH_MEM_KIB 47104u /* 46 MiB, one at a time (hash_pool.h): keeper stays below 64 MB; docs/decisions/0022 */
#endif
#define KEEPER_HASH_PASSES 3u
#define KEEPER_PASSPHRASE_MIN_BYTES 12u

struct keeper {
    struct sq_node *node;
    struct sq_slab *slab;
    const char *origin;
    unsigned totp_beside; /* steps */
    bool is_totp_sha256;  /* of new authenticators */
    bool has_passkey_rsa; /* a new passkey may be RS256 */
    bool sends_mail; /* the site has a mail server */
    bool has_site; /* passkeys have one to be of */
    struct sq_passkey_site site;
    enum sq_slab_backend wanted;                  /* what the configuration says: passphrase, file or PKCS#11 */
    struct sq_key *file_kek, *token_kek;          /* NULL: not configured */
    struct sq_slab_lock own, token_lock;          /* own: the lock that opens by itself, when one is wanted */
    struct keeper_shares {                        /* given so far; under backoff.lock */
        uint8_t number[SQ_SPLIT_MAX_SHARES];
        uint8_t *bytes; /* locked */
        unsigned n;
        int64_t since_ms;
    } shares;
    struct keeper_grants grants;
    struct keeper_clock clock;
    struct keeper_hash_pool hash_pool;
    struct keeper_proofs proofs;
    struct keeper_backoff {
        pthread_mutex_t lock; /* also: one unsealing at a time */
        uint32_t n_failure;
        int64_t not_before_steady_ms;
    } backoff;
    pthread_mutex_t relocking; /* from the check of the old secret until the slab hangs on the new one: one at a time; before backoff.lock */
    struct keeper_publics { /* drawn from the slab once */
        pthread_mutex_t lock;
        bool is_known;
        int64_t until_s; /* a former token key ends then, and they are drawn anew; 0: none does */
        uint8_t token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES]; /* the present one first */
        size_t n_token;
        uint8_t note[SQ_ED25519_PUBLIC_BYTES];
        int64_t last_token_s; /* no token that was signed since the start lives longer */
    } publics;
    pthread_mutex_t signing; /* check against the last tree, remember the new one, sign: one at a time */
};

/* unsealing.c */
void on_keeper_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* What a passphrase makes of itself, in the line for hashes. *out_kek is the caller's, and @out borrows it. */
sq_err keeper_lock_passphrase(struct keeper *k, struct sq_span passphrase, struct sq_slab_lock *out, struct sq_key **out_kek) SQ_MUST_CHECK;
void on_unseal(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_clock_confirm(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* Check or set the passphrase, with back-off; backoff.lock is held. */
sq_err keeper_try_passphrase(struct keeper *k, struct sq_span passphrase) SQ_MUST_CHECK;

/* root_keys.c */
/* After the slab became readable: say so to the node and to the log, and lock it as the configuration wants. */
void keeper_unsealed(struct keeper *k);
sq_err keeper_unseal_self(struct keeper *k) SQ_MUST_CHECK;
void on_key_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_key_rotate(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_key_passphrase(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_key_split(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* Who changes a lock that a passphrase opens must know it, though the root key is at hand. backoff.lock is held. */
sq_err keeper_may_relock(struct keeper *k, struct sq_span passphrase) SQ_MUST_CHECK;

/* replacing.c */
void on_key_replace(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_note_keys(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* shares.c */
#define KEEPER_SHARE_TEXT_BYTES 114 /* with its LF */
unsigned keeper_shares_given(struct keeper *k);
sq_err keeper_shares_write(const struct sq_key *kek, const struct sq_slab_lock *lock, char *out) SQ_MUST_CHECK;
sq_err keeper_try_share(struct keeper *k, struct sq_span text) SQ_MUST_CHECK;

/* slots.c */
void on_owner_create(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_owner_destroy(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_slot_create(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_slot_close(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_slot_extend(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_slot_destroy(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_slot_list(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* Destroy what is due, unless the clock is held; forget grants that are over. Called at start and by the timer. */
void keeper_expire(struct keeper *k);

/* part_keys.c */
void on_part_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_task_seal_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_task_open_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_entry_keys(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_grant(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_grant_end(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_one_time_password(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* credentials.c */
void on_password_hash(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_password_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* May what @owner signs in with be changed? Yes when he never had a password, or with a proof of any means but a second factor
 * alone; of one who needs a second factor, with that too. A mailed link sets a password without it (and no session: signing asks again). */
sq_err keeper_may_change(struct keeper *k, const uint8_t *owner, const uint8_t *proof, bool is_link_enough) SQ_MUST_CHECK;
void keeper_answer_proof(struct keeper *k, struct sq_ask *ask, const uint8_t *owner, uint8_t means);

/* factors.c */
/* What says whose a sealed secret is, and of which kind ("totp", "pass", "link"): none passes for another. */
struct keeper_aad {
    uint8_t bytes[4 + 2 * SQ_ID_BYTES + 1 + 8]; /* kind | owner | id | kind of link | its end */
    size_t n;
};
struct keeper_aad keeper_aad_of(const char kind[4], const uint8_t *owner, const uint8_t *id, uint8_t link, uint64_t expires_s);
/* A proof with a second factor: what @before (zero: nothing) proved, that, and @more means. */
void keeper_answer_factor(struct keeper *k, struct sq_ask *ask, const uint8_t *owner, const uint8_t *before, uint8_t more, uint64_t counter);
void on_totp_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_totp_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_factor_needed(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_factor_forget(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_recovery_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_recovery_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_link_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_link_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_link_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* passkey_proofs.c */
void on_passkey_challenge(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_passkey_add(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_passkey_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* fields.c */
void on_fields_seal(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_fields_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_lookup(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* SQ_OK when @token is a live token of @owner_id; what it says. */
struct sq_jwt_claims;
sq_err keeper_token_claims(struct keeper *k, const uint8_t *owner_id, struct sq_span token, struct sq_jwt_claims *out) SQ_MUST_CHECK;
sq_err keeper_is_owner(struct keeper *k, const uint8_t *owner_id, struct sq_span token) SQ_MUST_CHECK;
/* One sealed field of @owner_id as text. SQ_ETAMPERED when it has no room in @out or isn't his. The caller has made sure that it may be opened. */
sq_err keeper_field_text(struct keeper *k, const uint8_t *owner_id, struct sq_span sealed, char *out, size_t n_out) SQ_MUST_CHECK;
/* mail_field.c */
void on_mail_seal(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_mail_show(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_mail_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* His mail address; the same duty. @out has SQ_MAIL_MAX_BYTES + 1. */
sq_err keeper_mail_text(struct keeper *k, const uint8_t *owner_id, struct sq_span sealed, char *out) SQ_MUST_CHECK;

/* owner_keys.c */
/* A key for one purpose, drawn from an owner's present key; or, @back of them further back, from a former one: SQ_ERANGE beyond the first. */
sq_err keeper_owner_key(struct keeper *k, const uint8_t *owner_id, const char *purpose, struct sq_key **out) SQ_MUST_CHECK;
sq_err keeper_owner_key_back(struct keeper *k, const uint8_t *owner_id, const char *purpose, unsigned back, struct sq_key **out) SQ_MUST_CHECK;
struct keeper_box {
    const char *purpose;
    const void *aad;
    size_t n_aad;
    struct sq_span sealed;
};
/* What was sealed for @owner_id, under his present key or a former one; *@out_back (may be NULL): how far back. SQ_ETAMPERED: under none. */
sq_err keeper_box_open(struct keeper *k, const uint8_t *owner_id, const struct keeper_box *box, uint8_t *out, unsigned *out_back) SQ_MUST_CHECK;
void on_reseal(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* download_secrets.c */
void on_download_link_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_download_link_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* signing.c */
void on_token_sign(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_checkpoint(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_tree_reset(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_receipt_sign(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* All keys that tokens are verified with, the present one first; and the one that notes are. */
sq_err keeper_public_keys(struct keeper *k, uint8_t out_token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES], size_t *out_n_token,
                          uint8_t out_note[SQ_ED25519_PUBLIC_BYTES]) SQ_MUST_CHECK;

/* confine.c */
sq_err keeper_confine(void) SQ_MUST_CHECK;

/* SQ_OK, or SQ_ECLOCK while the clock is held. */
sq_err keeper_clock_ok(struct keeper *k) SQ_MUST_CHECK;

#endif
