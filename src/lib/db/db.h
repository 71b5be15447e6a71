/**
 * db - the one room that knows SQL. A thin typed layer over SQLite (3.40, WAL); no SQL text leaves this folder, so a
 * second driver (PostgreSQL) can stand behind the same front door.
 *
 * What it may touch: the database file it is told to open. What it never does: open a sealed field, decide a right,
 * write the audit log. What a person or an instrument supplied is stored in `*_sealed` fields only, sealed by keeper
 * under the owner's key; look-up is by keyed HMAC.
 *
 * One thread at a time: the caller holds a mutex. Strings are copied into fixed-size members. An id of 16 zero bytes
 * and a time of 0 mean "none" (NULL in the database). A row that isn't there is SQ_ENOTFOUND, a second row with the
 * same key is SQ_EEXISTS, an illegal change of state (states.def) or a broken reference is SQ_ECONFLICT, a full disk
 * is SQ_EFULL, a member that the schema refuses is SQ_ERANGE, anything else is SQ_EIO.
 * Outs are untouched on failure. Writing outside a transaction commits by itself.
 */
#ifndef SQ_DB_DB_H
#define SQ_DB_DB_H

#include "lib/core/buf.h"

#include <stdbool.h>

#define SQ_DB_ID_BYTES 16
#define SQ_DB_HMAC_BYTES 32
#define SQ_DB_SEALED_MAX_BYTES 512
#define SQ_DB_JOB_ID_BYTES 48   /* "job-...", with the final NUL */
#define SQ_DB_PANEL_ID_BYTES 64 /* with the final NUL */
#define SQ_DB_WORD_BYTES 32     /* format, chromosome, mode, population ... with the final NUL */
#define SQ_DB_RECEIPT_MAX_BYTES 8192
#define SQ_DB_ENTRY_MAX_BYTES 16384
#define SQ_DB_SCHEMA_VERSION 1

/* SQ_DB_role_user, SQ_DB_job_state_queued ... from states.def */
#define SQ_MOVE(table, from, to)
#define SQ_STATE(table, name, no) SQ_DB_##table##_##name = (no),
enum sq_db_value {
#include "lib/db/states.def"
};
#undef SQ_STATE
#undef SQ_MOVE

/** The tables of states.def, for names and moves. */
enum sq_db_table { SQ_DB_role, SQ_DB_token_kind, SQ_DB_factor_kind, SQ_DB_factor_state, SQ_DB_link_kind, SQ_DB_object_kind, SQ_DB_object_state, SQ_DB_upload_state, SQ_DB_job_state, SQ_DB_claim_state, SQ_DB_task_state,
                   SQ_DB_notice_channel, SQ_DB_notice_kind, SQ_DB_notice_state };

/** Name of value @no ("queued"), or NULL. Static. */
const char *sq_db_name(enum sq_db_table table, int no);
/** Value called @name, or 0. */
int sq_db_named(enum sq_db_table table, const char *name);
/** May a row of @table go from @from to @to? */
bool sq_db_may_move(enum sq_db_table table, int from, int to);

/* ---- the database --------------------------------------------------------------------------------------- */

struct sq_db;

/**
 * sq_db_open - open or create the database at @path (relative to the working directory) and bring its schema up.
 *
 * WAL, synchronous=FULL, secure_delete, foreign keys, no trusted schema, temporary tables in memory, mode 0600.
 * SQ_EROLLBACK: the schema is newer than this program. SQ_EIO: not a database, or damaged.
 */
sq_err sq_db_open(const char *path, struct sq_db **out_db) SQ_MUST_CHECK;
void sq_db_close(struct sq_db *db); /* rolls back what is open; NULL allowed */

sq_err sq_db_begin(struct sq_db *db) SQ_MUST_CHECK; /* takes the write lock at once; SQ_ECONFLICT inside another */
sq_err sq_db_commit(struct sq_db *db) SQ_MUST_CHECK; /* durable on return; on failure everything is rolled back */
void sq_db_rollback(struct sq_db *db);               /* nothing to do outside a transaction */
/* One request of a group inside a transaction: save, then keep or undo. They may nest. */
sq_err sq_db_save(struct sq_db *db) SQ_MUST_CHECK;
sq_err sq_db_save_keep(struct sq_db *db) SQ_MUST_CHECK;
sq_err sq_db_save_undo(struct sq_db *db) SQ_MUST_CHECK;

/** Rows, by the class of statement that touched them; cascades and rows that another one replaced too. */
struct sq_db_count {
    uint64_t n_read, n_inserted, n_changed, n_deleted;
};
/**
 * sq_db_count_into - every row that is touched from now on is added to @count (borrowed; NULL: nobody counts).
 * Not counted: what a statement that failed had changed, what was undone to a savepoint or rolled back, and the tables outbox
 * and audit_ref, which are the log's own.
 */
void sq_db_count_into(struct sq_db *db, struct sq_db_count *count);

/** Fold the write-ahead log into the database and cut it to nothing: what was deleted is then in no file. */
sq_err sq_db_fold(struct sq_db *db) SQ_MUST_CHECK;
/** SQLite's quick check and the foreign keys; SQ_EIO when either finds something. */
sq_err sq_db_check(struct sq_db *db) SQ_MUST_CHECK;

/* ---- a reserve for erasing on a full disk ---------------------------------------------------------------- */

struct sq_db_reserve;
/** A file of preallocated blocks; filled by sq_db_reserve_fill. SQ_EFULL when not even its name fits. */
sq_err sq_db_reserve_open(const char *path, uint64_t want_bytes, struct sq_db_reserve **out) SQ_MUST_CHECK;
void sq_db_reserve_close(struct sq_db_reserve *r); /* NULL allowed */
/** Make it whole. At once when it is; SQ_EFULL when there is no space: then only erasing may go on. */
sq_err sq_db_reserve_fill(struct sq_db_reserve *r) SQ_MUST_CHECK;
/** Give @n_bytes of it back to the file system. SQ_EFULL when nothing is left. */
sq_err sq_db_reserve_release(struct sq_db_reserve *r, uint64_t n_bytes) SQ_MUST_CHECK;

/* Rows that contradict each other, which no constraint of the schema forbids. */
enum sq_db_doubt {
    SQ_DB_DOUBT_object_unnamed = 1, /* object: live, but nothing names it (panels and maps apart: one may be on its way in) */
    SQ_DB_DOUBT_job_data_left,      /* object: of an erased job, not erasing or erased itself */
    SQ_DB_DOUBT_upload_data_left,   /* object: of an erased upload */
    SQ_DB_DOUBT_job_idle,           /* job: in work, without an open task */
    SQ_DB_DOUBT_upload_idle,        /* upload: being checked, without an open task */
    SQ_DB_DOUBT_task_stale,         /* task: open, but its job or upload has ended */
    SQ_DB_DOUBT_token_of_disabled,  /* token: not revoked, but its account is disabled */
    SQ_DB_DOUBT_recovery_alone,     /* factor: a recovery code of an account that has nothing to recover */
    SQ_DB_DOUBT_passkey_broken,     /* factor: a passkey without its name, or something else with one */
    SQ_DB_DOUBT_result_lost,        /* job: done and not confirmed, but a result's object isn't live */
};
/** @id: object, upload or task; for a job zero, and @job_id names it (else ""). */
typedef sq_err (*sq_db_on_doubt)(void *ctx, enum sq_db_doubt doubt, const uint8_t id[SQ_DB_ID_BYTES], const char *job_id);
/** sq_db_doubts - at most @limit of each kind. Reads whole tables: for a check, not for a request. */
sq_err sq_db_doubts(struct sq_db *db, int limit, sq_db_on_doubt on, void *ctx) SQ_MUST_CHECK;

/* ---- members that many rows share ----------------------------------------------------------------------- */

struct sq_db_sealed { /* opaque bytes from keeper; n = 0: none */
    uint16_t n;
    uint8_t p[SQ_DB_SEALED_MAX_BYTES];
};

struct sq_db_why { /* err: number of an sq_err, 0 = fine; the rest as struct sq_why */
    uint32_t err;
    uint64_t line;
    uint32_t column;
    char field[32];
    char detail[160];
};

/* ---- user ----------------------------------------------------------------------------------------------- */

struct sq_db_user {
    uint8_t id[SQ_DB_ID_BYTES];
    int role; /* SQ_DB_role_... */
    uint8_t name_hmac[SQ_DB_HMAC_BYTES];
    bool has_mail_hmac;
    uint8_t mail_hmac[SQ_DB_HMAC_BYTES]; /* no two accounts have one address */
    struct sq_db_sealed name_sealed, password_sealed;
    int64_t epoch; /* tokens of an earlier epoch are void */
    int64_t created_s;
    bool is_disabled;
    bool is_pending;      /* its mail address isn't proved yet, or its password not chosen */
    int64_t expires_s;    /* may not sign in from then on; 0: no end */
    int64_t last_login_s; /* 0: never */
    int64_t failures; /* failed logins in a row, from addresses that it never signed in from */
    int64_t last_failure_s;
    struct sq_db_sealed mail_sealed; /* n = 0: no address */
    bool is_notified;                /* wants mails */
    uint8_t workgroup_id[SQ_DB_ID_BYTES];
    char networks[800]; /* from where alone it may be used; "": from anywhere */
};
typedef sq_err (*sq_db_on_user)(void *ctx, const struct sq_db_user *row);

sq_err sq_db_user_insert(struct sq_db *db, const struct sq_db_user *row) SQ_MUST_CHECK;
sq_err sq_db_user_get(struct sq_db *db, const uint8_t id[16], struct sq_db_user *out) SQ_MUST_CHECK;
sq_err sq_db_user_by_name(struct sq_db *db, const uint8_t name_hmac[32], struct sq_db_user *out) SQ_MUST_CHECK;
sq_err sq_db_user_by_mail(struct sq_db *db, const uint8_t mail_hmac[32], struct sq_db_user *out) SQ_MUST_CHECK;
/** In order of id, after @after (NULL: from the first), at most @limit. */
sq_err sq_db_user_list(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_user on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_user_count(struct sq_db *db, int role, int64_t *out_n) SQ_MUST_CHECK; /* role 0: all */
/** Accounts of @role that can sign in: neither disabled, pending nor expired. */
sq_err sq_db_user_count_able(struct sq_db *db, int role, int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_user_set_role(struct sq_db *db, const uint8_t id[16], int role) SQ_MUST_CHECK;
sq_err sq_db_user_set_expires(struct sq_db *db, const uint8_t id[16], int64_t expires_s) SQ_MUST_CHECK; /* 0: no end */
sq_err sq_db_user_set_networks(struct sq_db *db, const uint8_t id[16], const char *networks) SQ_MUST_CHECK;
sq_err sq_db_user_set_pending(struct sq_db *db, const uint8_t id[16], bool is_pending) SQ_MUST_CHECK;
sq_err sq_db_user_signed_in(struct sq_db *db, const uint8_t id[16], int64_t now_s) SQ_MUST_CHECK;
/** Accounts of @role with a live second factor, recovery codes aside. */
sq_err sq_db_user_count_proved(struct sq_db *db, int role, int64_t *out_n) SQ_MUST_CHECK;
/** The unconfirmed registration @id gives its address (its name too) up; @name_hmac is nobody's. Without a link it is stale. Of another account: nothing. */
sq_err sq_db_user_let_go(struct sq_db *db, const uint8_t id[16], const uint8_t name_hmac[32]) SQ_MUST_CHECK;
sq_err sq_db_user_count_pending(struct sq_db *db, int64_t *out_n) SQ_MUST_CHECK;
/** Accounts that end within @ahead_s and weren't told so since. */
sq_err sq_db_users_ending(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_user on, void *ctx) SQ_MUST_CHECK;
/** Accounts that were made before @before_s and never came to life, and can't any more: no link of theirs is left. In order of id. */
sq_err sq_db_users_stale(struct sq_db *db, int64_t before_s, int limit, sq_db_on_user on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_user_set_password(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *password) SQ_MUST_CHECK;
sq_err sq_db_user_set_disabled(struct sq_db *db, const uint8_t id[16], bool is_disabled) SQ_MUST_CHECK;
/** n = 0: no address. @mail_hmac NULL: none. SQ_EEXISTS: another account has it. */
sq_err sq_db_user_set_mail(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *mail, const uint8_t *mail_hmac, bool is_notified) SQ_MUST_CHECK;
sq_err sq_db_user_next_epoch(struct sq_db *db, const uint8_t id[16], int64_t *out_epoch) SQ_MUST_CHECK;
sq_err sq_db_user_failed(struct sq_db *db, const uint8_t id[16], int64_t now_s, int64_t *out_failures) SQ_MUST_CHECK;
sq_err sq_db_user_succeeded(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK; /* failures = 0 */
/** With the account's tokens. SQ_ECONFLICT while it owns an object, upload or job that isn't erased. */
sq_err sq_db_user_delete(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK;

/* ---- token ---------------------------------------------------------------------------------------------- */

struct sq_db_token {
    uint8_t jti[SQ_DB_ID_BYTES];
    uint8_t user_id[SQ_DB_ID_BYTES];
    int kind; /* SQ_DB_token_kind_... */
    int64_t issued_s, expires_s;
    int64_t used_s;    /* last, to within half a minute */
    int64_t factor_s;  /* when a second factor was last given in this session, or in the one that made this API token; 0: none was */
    int64_t revoked_s; /* 0: not revoked */
    int scopes;        /* of an API token: bits of enum sq_scope */
    struct sq_db_sealed name_sealed, address_sealed; /* of an API token, its name and networks; of a session, where it began */
    uint8_t object_id[SQ_DB_ID_BYTES]; /* of a download link: the package; else zero */
    int64_t failures, failed_s; /* wrong passwords in a row, of who is signed in by it; when the last was, 0: none */
};
typedef sq_err (*sq_db_on_token)(void *ctx, const struct sq_db_token *row);

sq_err sq_db_token_insert(struct sq_db *db, const struct sq_db_token *row) SQ_MUST_CHECK;
sq_err sq_db_token_get(struct sq_db *db, const uint8_t jti[16], struct sq_db_token *out) SQ_MUST_CHECK;
sq_err sq_db_token_failed(struct sq_db *db, const uint8_t jti[16], int64_t now_s) SQ_MUST_CHECK;
sq_err sq_db_token_succeeded(struct sq_db *db, const uint8_t jti[16]) SQ_MUST_CHECK;
/** Live ones of @kind, newest first. */
sq_err sq_db_token_list(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t now_s, int limit, sq_db_on_token on, void *ctx) SQ_MUST_CHECK;
/* ---- everything that is sealed under an owner's key (db_sealed.c) ---- */
#define SQ_DB_SEALED_WHATS 10 /* columns */
struct sq_db_sealed_at {
    int what;     /* which column, from 1 */
    int kind;     /* what keeper knows it as: message reseal */
    char key[80]; /* of its row, in hex */
    uint8_t owner_id[SQ_DB_ID_BYTES];
    struct sq_db_sealed sealed;
};
typedef sq_err (*sq_db_on_sealed)(void *ctx, const struct sq_db_sealed_at *row);
/** Of the column @what, behind the row @after ("": from the start), in order of key. */
sq_err sq_db_sealed_list(struct sq_db *db, int what, const char *after, int limit, sq_db_on_sealed on, void *ctx) SQ_MUST_CHECK;
/** The same value, sealed anew; nothing happens when there is another one by now. */
sq_err sq_db_sealed_set(struct sq_db *db, const struct sq_db_sealed_at *at, const struct sq_db_sealed *sealed_anew) SQ_MUST_CHECK;

/** API tokens that end within @ahead_s, were made for more than twice that, and whose owner wasn't told so since. */
sq_err sq_db_tokens_ending(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_token on, void *ctx) SQ_MUST_CHECK;
/** When the next of his API tokens ends; 0: he has none. */
sq_err sq_db_token_next_end(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_s) SQ_MUST_CHECK;
/** When the last session or API token ends, of anybody's; 0: there is none. */
sq_err sq_db_token_last_end(struct sq_db *db, int64_t *out_s) SQ_MUST_CHECK;
/** Of all accounts, behind @after (NULL: from the start), in order of id. */
sq_err sq_db_token_all(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_token on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_token_used(struct sq_db *db, const uint8_t jti[16], int64_t now_s) SQ_MUST_CHECK;
sq_err sq_db_token_revoke(struct sq_db *db, const uint8_t jti[16], int64_t now_s) SQ_MUST_CHECK; /* twice is fine */
sq_err sq_db_token_revoke_all(struct sq_db *db, const uint8_t *user_id, int64_t now_s, int64_t *out_n) SQ_MUST_CHECK; /* NULL: everyone's */
sq_err sq_db_token_revoke_api(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;
/** The download links of @user_id. */
sq_err sq_db_token_revoke_downloads(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;
/** Sessions of @user_id but @but_jti, and his download links. */
sq_err sq_db_token_revoke_sessions(struct sq_db *db, const uint8_t user_id[16], const uint8_t but_jti[16], int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_token_delete_expired(struct sq_db *db, int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_token_count(struct sq_db *db, const uint8_t *user_id, int kind, int64_t now_s, int64_t *out_n) SQ_MUST_CHECK; /* live ones; NULL: all users; kind 0: all */
/** Every account's epoch moves on: whatever was signed before is void. */
sq_err sq_db_users_next_epoch(struct sq_db *db) SQ_MUST_CHECK;

/* ---- second factors --------------------------------------------------------------------------------------- */

struct sq_db_factor {
    uint8_t id[SQ_DB_ID_BYTES];
    uint8_t user_id[SQ_DB_ID_BYTES];
    int kind;  /* SQ_DB_factor_kind_... */
    int state; /* SQ_DB_factor_state_... */
    struct sq_db_sealed secret_sealed, name_sealed;
    struct sq_db_sealed credential; /* of a passkey: what its authenticator calls it */
    int64_t counter; /* TOTP: the last step that was taken; passkey: its sign counter */
    int64_t created_s, used_s;
};
typedef sq_err (*sq_db_on_factor)(void *ctx, const struct sq_db_factor *row);

sq_err sq_db_factor_insert(struct sq_db *db, const struct sq_db_factor *row) SQ_MUST_CHECK;
sq_err sq_db_factor_get(struct sq_db *db, const uint8_t id[16], struct sq_db_factor *out) SQ_MUST_CHECK;
/** Of one account; kind, state 0: all. Oldest first. */
sq_err sq_db_factor_list(struct sq_db *db, const uint8_t user_id[16], int kind, int state, sq_db_on_factor on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_factor_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n) SQ_MUST_CHECK; /* live ones; kind 0: all but recovery codes */
/** Of all accounts, behind @after (NULL: from the start), in order of id. */
sq_err sq_db_factor_all(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_factor on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_factor_live(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s) SQ_MUST_CHECK;
/** SQ_ECONFLICT unless the counter grows: two uses of one code at once, and one of them loses. */
sq_err sq_db_factor_used(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s) SQ_MUST_CHECK;
/** The same for a passkey: SQ_ECONFLICT unless the counter grows, or is 0 and stays so. */
sq_err sq_db_factor_passkey_used(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s) SQ_MUST_CHECK;
sq_err sq_db_factor_by_credential(struct sq_db *db, const struct sq_db_sealed *credential, struct sq_db_factor *out) SQ_MUST_CHECK;
sq_err sq_db_factor_rename(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *name) SQ_MUST_CHECK;
sq_err sq_db_factor_delete(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK;
sq_err sq_db_factor_delete_kind(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n) SQ_MUST_CHECK; /* 0: all */
sq_err sq_db_factor_delete_begun(struct sq_db *db, int64_t before_s, int64_t *out_n) SQ_MUST_CHECK;

/* ---- links that were mailed -------------------------------------------------------------------------------- */

struct sq_db_link {
    uint8_t id[SQ_DB_ID_BYTES];
    uint8_t user_id[SQ_DB_ID_BYTES];
    int kind; /* SQ_DB_link_kind_... */
    struct sq_db_sealed sealed;
    bool has_mail_hmac;     /* of kind mail: the address that the account is to have */
    uint8_t mail_hmac[32];
    struct sq_db_sealed mail_sealed;
    int64_t created_s, expires_s;
};
sq_err sq_db_link_insert(struct sq_db *db, const struct sq_db_link *row) SQ_MUST_CHECK; /* in place of the account's other ones of its kind */
sq_err sq_db_link_get(struct sq_db *db, const uint8_t id[16], struct sq_db_link *out) SQ_MUST_CHECK;
sq_err sq_db_link_of(struct sq_db *db, const uint8_t user_id[16], int kind, struct sq_db_link *out) SQ_MUST_CHECK;
sq_err sq_db_link_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_link_delete(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK; /* SQ_ENOTFOUND: it was used meanwhile */
sq_err sq_db_link_delete_of(struct sq_db *db, const uint8_t user_id[16]) SQ_MUST_CHECK; /* all but those that confirm a reset of factors */
sq_err sq_db_link_delete_expired(struct sq_db *db, int64_t now_s, int64_t *out_n) SQ_MUST_CHECK;

/* ---- addresses from which an account has signed in ----------------------------------------------------------- */

struct sq_db_seen {
    uint8_t user_id[SQ_DB_ID_BYTES];
    uint8_t address_hmac[SQ_DB_HMAC_BYTES];
    int64_t last_s, failures, last_failure_s;
};
sq_err sq_db_seen_get(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], struct sq_db_seen *out) SQ_MUST_CHECK;
sq_err sq_db_seen_put(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], int64_t now_s) SQ_MUST_CHECK; /* failures = 0 */
sq_err sq_db_seen_failed(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], int64_t now_s, int64_t *out_failures) SQ_MUST_CHECK;
/** From how many addresses he has signed in. */
sq_err sq_db_seen_count(struct sq_db *db, const uint8_t user_id[16], int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_seen_delete_old(struct sq_db *db, int64_t before_s, int64_t *out_n) SQ_MUST_CHECK;

/* ---- object --------------------------------------------------------------------------------------------- */

struct sq_db_object {
    uint8_t id[SQ_DB_ID_BYTES];
    uint8_t owner_id[SQ_DB_ID_BYTES];
    int kind;  /* SQ_DB_object_kind_... */
    int state; /* SQ_DB_object_state_... */
    int64_t created_s;
    int64_t not_after_s;       /* keeper refuses the key after it */
    int64_t opening_expires_s; /* an opening row older than this is swept; 0: not opening */
    uint64_t plain_bytes, sealed_bytes;
    bool has_sha256;
    uint8_t sha256[32]; /* of the plaintext */
    bool has_receipt;   /* read it with sq_db_object_receipt */
    int64_t erased_s;
    int64_t erase_failures;    /* erasing it failed so often in a row; 0 once it is erased */
    int64_t erase_retry_s;     /* not tried again before */
};
typedef sq_err (*sq_db_on_object)(void *ctx, const struct sq_db_object *row);

sq_err sq_db_object_insert(struct sq_db *db, const struct sq_db_object *row) SQ_MUST_CHECK; /* opening, as a rule */
sq_err sq_db_object_get(struct sq_db *db, const uint8_t id[16], struct sq_db_object *out) SQ_MUST_CHECK;
/** In order of id, after @after (NULL: first). @owner NULL: all; kind, state 0: all. */
sq_err sq_db_object_list(struct sq_db *db, const uint8_t *owner, int kind, int state, const uint8_t *after, int limit,
                         sq_db_on_object on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_object_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n, uint64_t *out_sealed_bytes) SQ_MUST_CHECK;
sq_err sq_db_object_set_state(struct sq_db *db, const uint8_t id[16], int state) SQ_MUST_CHECK; /* not for live, erased */
/** opening -> live, with what is now known. @sha256 may be NULL. */
sq_err sq_db_object_live(struct sq_db *db, const uint8_t id[16], uint64_t plain_bytes, uint64_t sealed_bytes,
                         const uint8_t *sha256) SQ_MUST_CHECK;
/** Length so far of an opening object (the acknowledged offset). */
sq_err sq_db_object_progress(struct sq_db *db, const uint8_t id[16], uint64_t plain_bytes, uint64_t sealed_bytes) SQ_MUST_CHECK;
/** erasing -> erased, with the receipt (NULL: none). Idempotent: already erased is SQ_OK and keeps the first receipt. */
sq_err sq_db_object_erased(struct sq_db *db, const uint8_t id[16], int64_t now_s, const char *receipt) SQ_MUST_CHECK;
sq_err sq_db_object_receipt(struct sq_db *db, const uint8_t id[16], struct sq_buf *out) SQ_MUST_CHECK; /* SQ_ENOTFOUND: none yet */
/** Erasing failed once more: counted, and not tried again before @retry_s. SQ_ECONFLICT unless erasing. */
sq_err sq_db_object_erase_failed(struct sq_db *db, const uint8_t id[16], int64_t retry_s) SQ_MUST_CHECK;
/** Erasing objects that are due at @now_s, in order of id after @after (NULL: first). */
sq_err sq_db_objects_erasing(struct sq_db *db, const uint8_t *owner, int64_t now_s, const uint8_t *after, int limit,
                             sq_db_on_object on, void *ctx) SQ_MUST_CHECK;
/** Objects whose erasure has failed and isn't done yet. */
sq_err sq_db_object_count_erase_failed(struct sq_db *db, int64_t *out_n) SQ_MUST_CHECK;
/** All waiting times of failed erasures are over: tried again at once. */
sq_err sq_db_objects_retry_now(struct sq_db *db) SQ_MUST_CHECK;
/** The job that @id belongs to (its newest, by tasks, results, package, report or upload). SQ_ENOTFOUND: none; panels have none. */
sq_err sq_db_object_job(struct sq_db *db, const uint8_t id[16], char out_job_id[SQ_DB_JOB_ID_BYTES]) SQ_MUST_CHECK;
sq_err sq_db_object_set_not_after(struct sq_db *db, const uint8_t id[16], int64_t not_after_s) SQ_MUST_CHECK;
/** Live, opening or damaged objects past not_after, and opening ones past opening_expires: what must be erased. */
sq_err sq_db_objects_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_object on, void *ctx) SQ_MUST_CHECK;
/** Live inputs of jobs that wait or work, whose deadline is before that of the job. */
struct sq_db_short {
    uint8_t id[16], owner_id[16];
    int64_t not_after_s, needed_s;
};
typedef sq_err (*sq_db_on_short)(void *ctx, const struct sq_db_short *row);
sq_err sq_db_inputs_short(struct sq_db *db, int limit, sq_db_on_short on, void *ctx) SQ_MUST_CHECK;
/** Rows erased before @before_s go; those that an upload, job or task still names stay. */
sq_err sq_db_object_delete_erased(struct sq_db *db, int64_t before_s, int64_t *out_n) SQ_MUST_CHECK;

/* ---- upload --------------------------------------------------------------------------------------------- */

struct sq_db_upload {
    uint8_t id[SQ_DB_ID_BYTES];
    uint8_t owner_id[SQ_DB_ID_BYTES];
    uint8_t object_id[SQ_DB_ID_BYTES];           /* raw bytes */
    uint8_t ids_object_id[SQ_DB_ID_BYTES];       /* zero until ingested */
    uint8_t genotypes_object_id[SQ_DB_ID_BYTES]; /* zero until ingested */
    struct sq_db_sealed name_sealed;
    int state; /* SQ_DB_upload_state_... */
    char format[SQ_DB_WORD_BYTES];
    uint64_t samples, variants;
    bool is_counted; /* samples and variants are known */
    char chrom[SQ_DB_WORD_BYTES];
    struct sq_db_why why;
    int64_t created_s, expires_s;
};
typedef sq_err (*sq_db_on_upload)(void *ctx, const struct sq_db_upload *row);

sq_err sq_db_upload_insert(struct sq_db *db, const struct sq_db_upload *row) SQ_MUST_CHECK;
sq_err sq_db_upload_get(struct sq_db *db, const uint8_t id[16], struct sq_db_upload *out) SQ_MUST_CHECK;
/** Newest first. @before_id: the last row of the page before (NULL: from the newest). @owner NULL: all. state 0: all. */
sq_err sq_db_upload_list(struct sq_db *db, const uint8_t *owner, int state, const uint8_t *before_id, int limit,
                         sq_db_on_upload on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_upload_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_upload_set_state(struct sq_db *db, const uint8_t id[16], int state) SQ_MUST_CHECK;
/** The file's name, which comes at the end of the upload. */
sq_err sq_db_upload_set_name(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *name) SQ_MUST_CHECK;
/** The objects that ingest is writing. */
sq_err sq_db_upload_set_objects(struct sq_db *db, const uint8_t id[16], const uint8_t ids_object_id[16],
                                const uint8_t genotypes_object_id[16]) SQ_MUST_CHECK;
/** checking -> ready, with what ingest found. */
sq_err sq_db_upload_ready(struct sq_db *db, const uint8_t id[16], const char *format, const char *chrom,
                          uint64_t samples, uint64_t variants) SQ_MUST_CHECK;
/** -> failed, with why. (set_state to erased forgets name and why; so does a job's, also its population.) */
sq_err sq_db_upload_failed(struct sq_db *db, const uint8_t id[16], const struct sq_db_why *why) SQ_MUST_CHECK;
/** Uploads past expires_s that are not erased yet. */
sq_err sq_db_uploads_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_upload on, void *ctx) SQ_MUST_CHECK;
/** SQ_ECONFLICT unless erased, or while a job names it. */
sq_err sq_db_upload_delete(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK;

/* ---- panel ---------------------------------------------------------------------------------------------- */

struct sq_db_panel {
    char id[SQ_DB_PANEL_ID_BYTES]; /* public name, e.g. "1kgp3-b37" */
    char name[128];
    char build[SQ_DB_WORD_BYTES];
    char chrom[SQ_DB_WORD_BYTES];
    uint8_t object_id[SQ_DB_ID_BYTES];
    uint64_t samples, haplotypes, sites;
    uint64_t first_bp, last_bp;
    char populations[256]; /* comma separated */
    int64_t created_s, removed_s;
};
typedef sq_err (*sq_db_on_panel)(void *ctx, const struct sq_db_panel *row);

sq_err sq_db_panel_insert(struct sq_db *db, const struct sq_db_panel *row) SQ_MUST_CHECK;
sq_err sq_db_panel_get(struct sq_db *db, const char *id, struct sq_db_panel *out) SQ_MUST_CHECK; /* removed ones too */
sq_err sq_db_panel_list(struct sq_db *db, bool with_removed, sq_db_on_panel on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_panel_count(struct sq_db *db, int64_t *out_n) SQ_MUST_CHECK; /* not removed */
sq_err sq_db_panel_remove(struct sq_db *db, const char *id, int64_t now_s) SQ_MUST_CHECK;

/* ---- job ------------------------------------------------------------------------------------------------ */

struct sq_db_job {
    char id[SQ_DB_JOB_ID_BYTES]; /* ordered by time as text */
    uint8_t owner_id[SQ_DB_ID_BYTES];
    uint8_t upload_id[SQ_DB_ID_BYTES]; /* zero once the upload is forgotten */
    char panel_id[SQ_DB_PANEL_ID_BYTES];
    char population[SQ_DB_WORD_BYTES];
    char mode[SQ_DB_WORD_BYTES]; /* impute, qc */
    char phasing[SQ_DB_WORD_BYTES]; /* sequester, no_phasing */
    struct sq_db_sealed name_sealed;
    int state; /* SQ_DB_job_state_... */
    struct sq_db_why why;
    int64_t created_s, started_s, finished_s, expires_s;
    uint64_t progress_done, progress_total;
    int claim_state; /* SQ_DB_claim_state_... */
    int64_t claims;  /* how often it was claimed */
    bool has_check;
    uint8_t check_sha256[32]; /* digest of the package's check entry */
    bool has_seal_key;        /* the result is sealed to the owner's own public key: */
    int seal_kind;            /* enum sq_recipient_kind of crypt/recipient.h; 0: it isn't */
    uint8_t seal_key[32];
    uint8_t package_object_id[SQ_DB_ID_BYTES], report_object_id[SQ_DB_ID_BYTES];
    uint64_t samples, variants_in, variants_kept, variants_overlap, variants_out;
    int64_t n_fence; /* last fence given to a task of this job */
    int64_t late_s;  /* when it was found to take too long; 0: it wasn't */
};
typedef sq_err (*sq_db_on_job)(void *ctx, const struct sq_db_job *row);

sq_err sq_db_job_insert(struct sq_db *db, const struct sq_db_job *row) SQ_MUST_CHECK;
sq_err sq_db_job_get(struct sq_db *db, const char *id, struct sq_db_job *out) SQ_MUST_CHECK;
sq_err sq_db_job_by_package(struct sq_db *db, const uint8_t object_id[16], struct sq_db_job *out) SQ_MUST_CHECK; /* whose package it is now; SQ_ENOTFOUND */
/** Newest first. @before_id: the last id of the page before (NULL: from the newest). @owner NULL: all. state 0: all. */
sq_err sq_db_job_list(struct sq_db *db, const uint8_t *owner, int state, const char *before_id, int limit,
                      sq_db_on_job on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_job_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n) SQ_MUST_CHECK;
/** Jobs of @owner (NULL: all) in queued, checking, running or sealing. */
sq_err sq_db_job_count_active(struct sq_db *db, const uint8_t *owner, int64_t *out_n) SQ_MUST_CHECK;
/** 1 for the next to start among queued jobs; 0 when it isn't queued. */
sq_err sq_db_job_queue_place(struct sq_db *db, const char *id, int64_t *out_place) SQ_MUST_CHECK;
sq_err sq_db_job_next_queued(struct sq_db *db, struct sq_db_job *out) SQ_MUST_CHECK; /* oldest; SQ_ENOTFOUND */
/** Change of state, with its time: history row, started_s (first checking), finished_s (done, failed, cancelled). */
sq_err sq_db_job_set_state(struct sq_db *db, const char *id, int state, int64_t now_ms) SQ_MUST_CHECK;
/** sq_db_job_set_state to failed, with why. */
sq_err sq_db_job_failed(struct sq_db *db, const char *id, const struct sq_db_why *why, int64_t now_ms) SQ_MUST_CHECK;
sq_err sq_db_job_set_progress(struct sq_db *db, const char *id, uint64_t done, uint64_t total) SQ_MUST_CHECK;
sq_err sq_db_job_set_expires(struct sq_db *db, const char *id, int64_t expires_s) SQ_MUST_CHECK;
sq_err sq_db_job_set_report(struct sq_db *db, const char *id, const uint8_t report_object_id[16]) SQ_MUST_CHECK; /* zero: none any more */
/** The signed receipt of the whole job, once it is erased. */
sq_err sq_db_job_set_receipt(struct sq_db *db, const char *id, const char *receipt) SQ_MUST_CHECK;
sq_err sq_db_job_receipt(struct sq_db *db, const char *id, struct sq_buf *out) SQ_MUST_CHECK; /* SQ_ENOTFOUND: none yet */
sq_err sq_db_job_set_counts(struct sq_db *db, const char *id, uint64_t samples, uint64_t variants_in, uint64_t kept,
                            uint64_t overlap, uint64_t out) SQ_MUST_CHECK;
sq_err sq_db_job_set_upload(struct sq_db *db, const char *id, const uint8_t upload_id[16]) SQ_MUST_CHECK; /* zero: forgotten */
/** The package of a job that is sealed to its owner's own key, while it is sealing; zero: none any more. */
sq_err sq_db_job_set_package(struct sq_db *db, const char *id, const uint8_t package_object_id[16]) SQ_MUST_CHECK;
/** -> claimed, with the package and the digest of its check entry; counts the claim. */
sq_err sq_db_job_claimed(struct sq_db *db, const char *id, const uint8_t package_object_id[16], const uint8_t check_sha256[32]) SQ_MUST_CHECK;
sq_err sq_db_job_set_claim(struct sq_db *db, const char *id, int claim_state) SQ_MUST_CHECK; /* none, confirmed; none forgets the package; confirmed without a claim: only with a key and a package */
/** Jobs in checking, running or sealing that began before @before_s and aren't marked late. */
sq_err sq_db_jobs_late(struct sq_db *db, int64_t before_s, int limit, sq_db_on_job on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_job_set_late(struct sq_db *db, const char *id, int64_t late_s) SQ_MUST_CHECK;
sq_err sq_db_job_next_fence(struct sq_db *db, const char *id, int64_t *out_fence) SQ_MUST_CHECK;
/** Jobs past expires_s that are neither erasing nor erased. */
sq_err sq_db_jobs_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_job on, void *ctx) SQ_MUST_CHECK;
/** With history, tasks and result files. SQ_ECONFLICT unless erased. */
sq_err sq_db_job_delete(struct sq_db *db, const char *id) SQ_MUST_CHECK;

struct sq_db_job_time {
    char job_id[SQ_DB_JOB_ID_BYTES];
    int state;
    int64_t at_ms;
};
typedef sq_err (*sq_db_on_job_time)(void *ctx, const struct sq_db_job_time *row);
sq_err sq_db_job_times(struct sq_db *db, const char *job_id, sq_db_on_job_time on, void *ctx) SQ_MUST_CHECK; /* in order */

/* ---- task ----------------------------------------------------------------------------------------------- */

struct sq_db_task {
    uint8_t id[SQ_DB_ID_BYTES];
    char job_id[SQ_DB_JOB_ID_BYTES];   /* empty: of an upload or of a panel alone */
    uint8_t upload_id[SQ_DB_ID_BYTES]; /* zero: of a job */
    int stage;                         /* number in jobs/stages.def */
    int state;                         /* SQ_DB_task_state_... */
    int64_t fence, tries;            /* tries: how often it was begun */
    int64_t crashes, misses, losses; /* how often it was tried again, and why: enum sq_db_again */
    int64_t lost_ms;                 /* the first of the losses; 0: none */
    int64_t created_ms, started_ms, ended_ms;
    uint32_t err;
    uint64_t cpu_ms, peak_kib;
    int64_t chunk;           /* of the job's stage, from 0 */
    uint64_t from_bp, to_bp; /* of the chunk; 0: from the start, to the end */
    uint64_t sites;          /* of the panel, written by it */
    uint32_t walls;          /* what its program found around itself: jobs/walls.def */
    bool has_worker_sha256;
    uint8_t worker_sha256[32];
};
typedef sq_err (*sq_db_on_task)(void *ctx, const struct sq_db_task *row);

sq_err sq_db_task_insert(struct sq_db *db, const struct sq_db_task *row) SQ_MUST_CHECK;
sq_err sq_db_task_get(struct sq_db *db, const uint8_t id[16], struct sq_db_task *out) SQ_MUST_CHECK;
/** Oldest first. @job_id NULL and @upload_id NULL: all. state 0: all. */
sq_err sq_db_task_list(struct sq_db *db, const char *job_id, const uint8_t *upload_id, int state, int limit,
                       sq_db_on_task on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_task_count(struct sq_db *db, int state, int64_t *out_n) SQ_MUST_CHECK;
/** The sandbox stage (below 200) to start next: owners take turns, each with his oldest. SQ_ENOTFOUND. */
sq_err sq_db_task_next_ready(struct sq_db *db, struct sq_db_task *out) SQ_MUST_CHECK;
/** What a task ran in and with; @worker_sha256 NULL: not known. */
sq_err sq_db_task_set_walls(struct sq_db *db, const uint8_t id[16], uint32_t walls, const uint8_t *worker_sha256) SQ_MUST_CHECK;
/** The oldest ready task of @stage (200 and above: no sandbox). SQ_ENOTFOUND. */
sq_err sq_db_task_next_of(struct sq_db *db, int stage, struct sq_db_task *out) SQ_MUST_CHECK;
sq_err sq_db_task_set_sites(struct sq_db *db, const uint8_t id[16], uint64_t sites) SQ_MUST_CHECK;
/** Of @stage that ended before @before_ms, at most 1000 at a time. */
sq_err sq_db_task_delete_ended(struct sq_db *db, int stage, int64_t before_ms, int64_t *out_n) SQ_MUST_CHECK;
/** ready -> running: tries + 1, fence + 1; both returned in *out. */
sq_err sq_db_task_start(struct sq_db *db, const uint8_t id[16], int64_t now_ms, struct sq_db_task *out) SQ_MUST_CHECK;
/** running -> done (err 0) or failed. SQ_ECONFLICT when @fence isn't the present one: a late answer of an old try. */
sq_err sq_db_task_end(struct sq_db *db, const uint8_t id[16], int64_t fence, uint32_t err, uint64_t cpu_ms,
                      uint64_t peak_kib, int64_t now_ms) SQ_MUST_CHECK;
/** Why a task is tried again. Each has a count of its own: what our processes' end cost isn't held against the data. */
enum sq_db_again {
    SQ_DB_AGAIN_crashed = 1, /* the program in the sandbox ended badly */
    SQ_DB_AGAIN_missed,      /* it couldn't be begun, or gave no sign of life */
    SQ_DB_AGAIN_lost,        /* a process of ours ended under it */
    SQ_DB_AGAIN_waits,       /* the operator's to mend: a full disk, a clock; not counted */
};
/** running -> ready: try again. */
sq_err sq_db_task_again(struct sq_db *db, const uint8_t id[16], enum sq_db_again why, int64_t now_ms) SQ_MUST_CHECK;
/** Ready and running tasks of a job or upload -> failed with @err: cancelled, erased. */
sq_err sq_db_task_cancel(struct sq_db *db, const char *job_id, const uint8_t *upload_id, uint32_t err, int64_t now_ms, int64_t *out_n) SQ_MUST_CHECK;
sq_err sq_db_task_delete(struct sq_db *db, const uint8_t id[16]) SQ_MUST_CHECK; /* with its ports */

struct sq_db_task_object {
    uint8_t task_id[SQ_DB_ID_BYTES];
    int port; /* number of the port in stages.def */
    uint8_t object_id[SQ_DB_ID_BYTES];
};
typedef sq_err (*sq_db_on_task_object)(void *ctx, const struct sq_db_task_object *row);
sq_err sq_db_task_object_put(struct sq_db *db, const struct sq_db_task_object *row) SQ_MUST_CHECK; /* replaces the port's */
sq_err sq_db_task_objects(struct sq_db *db, const uint8_t task_id[16], sq_db_on_task_object on, void *ctx) SQ_MUST_CHECK; /* by port */
/** Every object that a task of @job_id names (each once): what must go when the job goes. */
sq_err sq_db_job_objects(struct sq_db *db, const char *job_id, sq_db_on_object on, void *ctx) SQ_MUST_CHECK;
/** Those of the job and of its upload that have a receipt, by id. @after: the last id of the page before (NULL: from the first). */
sq_err sq_db_job_receipts(struct sq_db *db, const char *job_id, const uint8_t *after, int limit, sq_db_on_object on, void *ctx) SQ_MUST_CHECK;
/** How many of them have a receipt, how many have none yet, how many are being erased. */
sq_err sq_db_job_receipt_count(struct sq_db *db, const char *job_id, int64_t *out_n, int64_t *out_n_missing, int64_t *out_n_erasing) SQ_MUST_CHECK;

/* ---- result files --------------------------------------------------------------------------------------- */

struct sq_db_result_file {
    char job_id[SQ_DB_JOB_ID_BYTES];
    char name[64]; /* a name of ours, never the owner's */
    uint64_t plain_bytes; /* of all parts */
    bool has_sha256;
    uint8_t sha256[32];
};
typedef sq_err (*sq_db_on_result_file)(void *ctx, const struct sq_db_result_file *row);
sq_err sq_db_result_file_put(struct sq_db *db, const struct sq_db_result_file *row) SQ_MUST_CHECK; /* replaces */
sq_err sq_db_result_files(struct sq_db *db, const char *job_id, sq_db_on_result_file on, void *ctx) SQ_MUST_CHECK; /* by name */
sq_err sq_db_result_file_count(struct sq_db *db, const char *job_id, int64_t *out_n) SQ_MUST_CHECK;

struct sq_db_result_part {
    char job_id[SQ_DB_JOB_ID_BYTES];
    char name[64];
    int64_t part; /* from 0, without holes */
    uint8_t object_id[SQ_DB_ID_BYTES];
};
typedef sq_err (*sq_db_on_result_part)(void *ctx, const struct sq_db_result_part *row);
sq_err sq_db_result_part_put(struct sq_db *db, const struct sq_db_result_part *row) SQ_MUST_CHECK; /* of a file that is there; replaces */
sq_err sq_db_result_parts(struct sq_db *db, const char *job_id, sq_db_on_result_part on, void *ctx) SQ_MUST_CHECK; /* by name, then part */
sq_err sq_db_result_files_delete(struct sq_db *db, const char *job_id) SQ_MUST_CHECK;

/* ---- notices: what is still to be told, by mail or webhook ----------------------------------------------- */

struct sq_db_notice {
    int64_t no; /* 0 to insert: given by the database */
    uint8_t id[SQ_DB_ID_BYTES]; /* random; the same for each try */
    int channel, kind, state;   /* SQ_DB_notice_... */
    uint8_t user_id[SQ_DB_ID_BYTES];
    char job_id[SQ_DB_JOB_ID_BYTES];   /* empty: of an upload */
    uint8_t upload_id[SQ_DB_ID_BYTES]; /* zero: of a job */
    uint8_t link_id[SQ_DB_ID_BYTES];   /* a link that goes along; zero: none */
    struct sq_db_sealed mail_sealed;   /* goes there instead of to the account's address; emptied when it is over */
    int64_t tries, next_s;      /* not tried before next_s */
    int64_t created_s, ended_s;
    uint32_t last_end, last_code; /* lib/mail/ends.def; the server's number */
};
typedef sq_err (*sq_db_on_notice)(void *ctx, const struct sq_db_notice *row);
sq_err sq_db_notice_insert(struct sq_db *db, const struct sq_db_notice *row) SQ_MUST_CHECK;
/** The waiting one of @channel that is due first. SQ_ENOTFOUND: none by @now_s. */
sq_err sq_db_notice_next(struct sq_db *db, int channel, int64_t now_s, struct sq_db_notice *out) SQ_MUST_CHECK;
/** After a try: a new state with the time, or still waiting, not before @next_s. SQ_ECONFLICT: it didn't wait any more. */
sq_err sq_db_notice_tried(struct sq_db *db, int64_t no, int state, int64_t tries, int64_t next_s, uint32_t end, uint32_t code, int64_t now_s) SQ_MUST_CHECK;
sq_err sq_db_notice_of_user(struct sq_db *db, const uint8_t user_id[16], int limit, sq_db_on_notice on, void *ctx) SQ_MUST_CHECK; /* newest first */

/** How many of @kind this account was told, or is to be, since @since_s. */
sq_err sq_db_notice_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t since_s, int64_t *out_n) SQ_MUST_CHECK;

struct sq_db_notice_sum {
    int64_t n_waiting, n_given_up;
    int64_t oldest_s;         /* of those that wait and have failed before; 0: none */
    int64_t last_end, last_code; /* of the newest failure among those that wait, else among those given up; 0: none */
};
sq_err sq_db_notice_sum(struct sq_db *db, int channel, struct sq_db_notice_sum *out) SQ_MUST_CHECK;
sq_err sq_db_notice_delete_ended(struct sq_db *db, int64_t before_s, int64_t *out_n) SQ_MUST_CHECK;
/** Done jobs, not confirmed, that are erased within @ahead_s, were finished earlier than that, and have no reminder yet. */
sq_err sq_db_jobs_to_remind(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_job on, void *ctx) SQ_MUST_CHECK;
/** How many jobs name @upload_id. */
sq_err sq_db_upload_n_job(struct sq_db *db, const uint8_t upload_id[16], int64_t *out_n) SQ_MUST_CHECK;

/* ---- outbox: audit entries that are committed here but perhaps not yet in the log ----------------------- */

typedef sq_err (*sq_db_on_entry)(void *ctx, uint64_t no, struct sq_span entry);
/** SQ_EEXISTS when @no is there already. */
sq_err sq_db_outbox_put(struct sq_db *db, uint64_t no, struct sq_span entry) SQ_MUST_CHECK;
/** In order of number, at most @limit. */
sq_err sq_db_outbox_peek(struct sq_db *db, int limit, sq_db_on_entry on, void *ctx) SQ_MUST_CHECK;
/** Outside a transaction. Durable with the next commit, not by itself: after a crash they may be there again. */
sq_err sq_db_outbox_delete_upto(struct sq_db *db, uint64_t no) SQ_MUST_CHECK;
sq_err sq_db_outbox_count(struct sq_db *db, int64_t *out_n) SQ_MUST_CHECK;
/** Highest number ever put, also after deletion; 0: none. The next entry gets one more. */
sq_err sq_db_outbox_last(struct sq_db *db, uint64_t *out_no) SQ_MUST_CHECK;

/** After a rollback: the next entry gets @no + 1, whatever was given before; nobody's entries stand behind @no. SQ_ECONFLICT while entries wait. */
sq_err sq_db_outbox_set_last(struct sq_db *db, uint64_t no) SQ_MUST_CHECK;

/* ---- who touched what: where in the audit log a person's entries stand (deleted with the account) ------- */

sq_err sq_db_audit_ref_put(struct sq_db *db, uint64_t no, const uint8_t subject_id[16], const uint8_t object_id[16]) SQ_MUST_CHECK;
typedef sq_err (*sq_db_on_audit_ref)(void *ctx, uint64_t no);
/** Newest first, below @before_no (0: from the newest). @object NULL: all of the subject's. */
sq_err sq_db_audit_refs(struct sq_db *db, const uint8_t subject_id[16], const uint8_t *object_id, uint64_t before_no,
                        int limit, sq_db_on_audit_ref on, void *ctx) SQ_MUST_CHECK;
sq_err sq_db_audit_refs_delete(struct sq_db *db, const uint8_t subject_id[16]) SQ_MUST_CHECK;

/* ---- meta: small values of the service (checkpoint size, instance id, ...) ------------------------------ */

sq_err sq_db_meta_set(struct sq_db *db, const char *key, struct sq_span value) SQ_MUST_CHECK; /* at most 4 KiB */
sq_err sq_db_meta_get(struct sq_db *db, const char *key, struct sq_buf *out) SQ_MUST_CHECK; /* appended; SQ_ENOTFOUND */
sq_err sq_db_meta_set_no(struct sq_db *db, const char *key, int64_t value) SQ_MUST_CHECK;
sq_err sq_db_meta_get_no(struct sq_db *db, const char *key, int64_t *out) SQ_MUST_CHECK;
sq_err sq_db_meta_delete(struct sq_db *db, const char *key) SQ_MUST_CHECK; /* not there is fine */

#endif
