/**
 * keeper/grants - what each task may open and seal, which part keys were given, and the one-time passwords. In memory only:
 * after a restart of keeper registrar grants anew.
 *
 * What it may touch: memory. It knows no slab: who owns an object is checked by the caller. Thread-safe.
 */
#ifndef SQ_KEEPER_GRANTS_H
#define SQ_KEEPER_GRANTS_H

#include "lib/wire/wire.h"

#include <pthread.h>

#define KEEPER_MAX_GRANTS 1024
#define KEEPER_MAX_OPEN 4096          /* objects for which sealing keys have been given */
#define KEEPER_MAX_PARTS (1u << 17)   /* part numbers of one object: 2 TiB */
#define KEEPER_MAX_ENTRIES 256        /* entries of one package */
#define KEEPER_MAX_READS 72
#define KEEPER_MAX_WRITES 16
#define KEEPER_GRANT_MAX_S (7 * INT64_C(86400))
#define KEEPER_CLOSING_PART UINT32_MAX

struct keeper_grant {
    bool is_used;
    uint8_t task[SQ_ID_BYTES], owner[SQ_ID_BYTES];
    uint32_t fence;
    int64_t expires_s;
    uint8_t reads[KEEPER_MAX_READS][SQ_ID_BYTES], writes[KEEPER_MAX_WRITES][SQ_ID_BYTES];
    uint32_t n_read, n_write;
    char *password; /* locked memory, SQ_OTP_BYTES; NULL: none */
    bool entry_given[KEEPER_MAX_ENTRIES];
};

struct keeper_open_object {
    uint8_t id[SQ_ID_BYTES];
    uint8_t *given; /* one bit a part number */
    uint32_t n_byte;
    bool is_used, is_closing_given;
};

struct keeper_grants {
    pthread_mutex_t lock;
    struct keeper_grant *grant;      /* KEEPER_MAX_GRANTS */
    struct keeper_open_object *open; /* KEEPER_MAX_OPEN */
};

sq_err keeper_grants_init(struct keeper_grants *g) SQ_MUST_CHECK;
void keeper_grants_done(struct keeper_grants *g);

/** A new grant, or one in place of an older fence of the same task. The same fence again with the same content is
 *  SQ_OK; a lower fence, or the same with other content, SQ_EGRANT. SQ_EBUSY when there are too many. */
sq_err keeper_grant_put(struct keeper_grants *g, const struct keeper_grant *grant, int64_t now_s) SQ_MUST_CHECK;
void keeper_grant_end(struct keeper_grants *g, const uint8_t *task);
void keeper_grants_expire(struct keeper_grants *g, int64_t now_s);

/** Does the live grant of @task with exactly @fence cover reading (or writing) @object? SQ_OK or SQ_EGRANT. */
sq_err keeper_grant_covers(struct keeper_grants *g, const uint8_t *task, uint32_t fence, const uint8_t *object, bool is_write,
                           int64_t now_s, uint8_t out_owner[SQ_ID_BYTES]) SQ_MUST_CHECK;

/** Each part number once, the closing part once and last. SQ_EGRANT: given before; SQ_ERANGE: no such part number. */
sq_err keeper_part_take(struct keeper_grants *g, const uint8_t *object, uint32_t part_no) SQ_MUST_CHECK;
void keeper_parts_forget(struct keeper_grants *g, const uint8_t *object); /* closed or destroyed */

/** Give the grant its one-time password, in locked memory, and copy it out. SQ_ECONFLICT: it has one, shown once. */
sq_err keeper_password_make(struct keeper_grants *g, const uint8_t *task, uint32_t fence, int64_t now_s,
                            char *out_password) SQ_MUST_CHECK;
/** Copy the password for entry @entry_no; each number once. @out_password: locked memory of the caller. */
sq_err keeper_password_for_entry(struct keeper_grants *g, const uint8_t *task, uint32_t fence, uint32_t entry_no, int64_t now_s,
                                 char *out_password) SQ_MUST_CHECK;

#endif
