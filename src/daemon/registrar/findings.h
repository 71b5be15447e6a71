/* findings - what `sequester admin check` shares with its look at accounts (check_accounts.c). */
#ifndef SQ_REGISTRAR_FINDINGS_H
#define SQ_REGISTRAR_FINDINGS_H

#include "daemon/registrar/registrar.h"

enum finding_no {
#define SQ_FINDING(name, mend, text, remedy) FOUND_##name,
#include "daemon/registrar/findings.def"
#undef SQ_FINDING
    N_FINDING
};

struct check;
sq_err check_found(struct check *c, enum finding_no no, const uint8_t id[ID]) SQ_MUST_CHECK;
/** The log has told of the beginning of @id (or wasn't read to its end). */
bool check_is_told(struct check *c, const uint8_t id[ID]);
#define TOLD_BORN 16

struct accounts { /* each sorted by id */
    struct seen_account {
        uint8_t id[ID];
        bool is_disabled, is_pending, has_password, has_factor, is_resetting;
    } *row;
    struct seen_owner {
        uint8_t id[ID];
        uint8_t flags; /* message slot_list */
        int64_t not_after_s;
    } *owner;
    uint8_t (*owing)[ID]; /* live factors and tokens: each has an entry in the log */
    size_t n_row, n_owner, n_owing;
};
/** Accounts, factors and tokens of the database, owners of keeper. Half of it when it fails: accounts_done(). */
sq_err accounts_look(struct registrar *r, struct accounts *out) SQ_MUST_CHECK;
void accounts_done(struct accounts *a);
/** Whose beginning @entry tells of: an account, a factor, a token; NULL: of none. */
const uint8_t *accounts_told_of(const struct sq_audit_entry *entry);
sq_err accounts_compare(struct registrar *r, const struct accounts *a, struct check *c) SQ_MUST_CHECK;
sq_err accounts_untold(const struct accounts *a, struct check *c) SQ_MUST_CHECK;
/** One of the mendable findings about accounts. */
sq_err account_mend(struct registrar *r, enum finding_no no, const uint8_t id[ID], const struct caller *by) SQ_MUST_CHECK;

#endif
