/**
 * registrar - who may do what, and what happened: the database, the audit log, the plan of work, the deadlines.
 *
 * The rooms of this process, in the order a request passes them:
 *     api.c        a request comes in: token, right, route -> handler
 *     auth.c       who is asking, and may he
 *     password.c second_factors.c passkeys.c sessions.c     signing in, and staying so
 *     uploads.c jobs.c claim.c downloads.c account.c admin.c    what he asks for
 *     objects.c    sealed objects: create, close, destroy (DESIGN §2a)
 *     receipts.c   what says that they are gone
 *     package.c    what leaves: the result in one object, for a claim or for its owner's public key
 *     plan.c       which stage runs next
 *     plan_package.c   sealing to the owner's own key, the last work of a job that chose it
 *     plan_over.c  what a task's end means
 *     plan_runner.c    what runner says of it
 *     plan_watch.c     how far it is; what gives no sign of life is tried again
 *     deadlines.c  what must end, and ends
 *     recovery.c   what a crash left behind
 *     notices.c    what users, webhook and syslog are told, and account_mail.c, where to
 *     commit.c     the one way to change anything: rows and events in one transaction, then the log, then the answer
 *     view.c       rows as JSON
 */
#ifndef SQ_REGISTRAR_REGISTRAR_H
#define SQ_REGISTRAR_REGISTRAR_H

#include "lib/audit/audit.h"
#include "lib/core/address.h"
#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/log.h"
#include "lib/core/rates.h"
#include "lib/db/db.h"
#include "lib/http/routes.h"
#include "lib/identity/scope.h"
#include "lib/identity/strength.h"
#include "lib/jobs/stages.h"
#include "lib/proc/node.h"

#include <jansson.h>
#include <pthread.h>

#define CALL_MS 15000         /* keeper and storer answer within this, or are away */
#define MAX_QUEUED 50          /* jobs that one user may have waiting */
#define SETTLE_MS (600 * 1000) /* a large file's fsync on a slow disk */
#define ERASE_MS (3600 * 1000) /* overwriting a large object takes its time */
#define ID SQ_ID_BYTES
#define MAX_JOB_OBJECTS 512    /* that one job's tasks name */

extern const uint8_t no_id[ID]; /* 16 zero bytes: nobody, nothing; as an owner: the site itself (panels) */

/* Works of runner that are no sandbox stage; they share the task table's `stage` column (jobs/stages.def stays below 200). */
enum { WORK_PACKAGE = 200, WORK_STREAM = 201, WORK_IMPORT = 202 };

struct waiting; /* somebody waits for the end of a task; see plan.c */

struct registrar {
    struct sq_node *node;
    pthread_mutex_t lock; /* database and log: held by commit(), and by readers between db_lock and db_unlock */
    struct sq_db *db;
    struct sq_audit *log;
    struct sq_db_reserve *reserve;
    bool is_factor_required;  /* by the configuration, of everyone */
    bool is_seal_to_required; /* of every new job that makes a result */
    bool is_admin_sign_in;    /* at the operator's socket too */
    bool is_tight;        /* a reserve isn't whole: the disk is full, and only erasing goes on */
    int64_t full_until_ms; /* atomic: a task found the disk full; planning waits until then */
    uint64_t next_entry; /* number of the next audit entry */

    pthread_mutex_t queue_lock; /* commit.c: requests that wait for the next group */
    pthread_cond_t queue_wake;
    struct pending *first, *last;
    bool is_leading;

    pthread_mutex_t plan_lock;
    pthread_cond_t plan_wake, wait_wake;
    bool is_plan_wanted;
    struct waiting *waiting;

    pthread_mutex_t key_lock; /* what keeper_state told us */
    bool is_key_known;
    uint64_t n_forgotten; /* how often it was forgotten: an answer from before that isn't stored after it */
    uint8_t token_publics[SQ_JWT_MAX_KEYS][65]; /* what tokens are verified with, the present key first */
    size_t n_token_public;
    uint8_t note_public[32];

    int admin_fd;
    bool has_worker;
    uint8_t worker_sha256[32]; /* of the program that runs in sandboxes */
    bool is_recovered; /* atomic: the sweep is done; before it nothing is served but unseal and status */
    bool is_rollback;  /* atomic */

    const char *origin;
    const char *public_url; /* "": not set */
    struct sq_password_rules password_rules;
    char site_names[3072]; /* of password_rules */
    int64_t retention_s, upload_life_s, token_life_s;
    uint64_t upload_max_bytes, quota_bytes, max_samples, max_variants, jobs_per_user, sandboxes, chunk_bp;
    int64_t watchdog_ms;

    pthread_mutex_t watch_lock;
    struct watched *watched; /* plan_watch.c */
};

/* ---- commit.c ---- */

struct tx {
    struct registrar *r;
    struct sq_db *db;
    unsigned n_routine; /* events that may not use the reserve (events.def) */
    struct sq_audit_entry last; /* rows_told.c: not in the outbox yet; number 0: none */
    uint8_t address[SQ_AUDIT_FIELD_MAX_BYTES];
    struct sq_audit_rows rows;
};
typedef sq_err (*tx_fn)(struct tx *tx, void *ctx);

/**
 * commit - run @fn inside the next transaction, append its events to the log, return when both are durable.
 * Requests that are ready together share one transaction and one fsync of the log. @fn may touch tx->db alone, must be
 * quick, calls no other process, and may run again from the start never: an error undoes its own part only.
 * Returns @fn's error, or SQ_ELOG, SQ_EFULL, SQ_EIO.
 */
sq_err commit(struct registrar *r, tx_fn fn, void *ctx) SQ_MUST_CHECK;

/** Who acts, where from; the address is sealed already. */
struct caller {
    uint8_t user[ID]; /* zero: nobody */
    int role;         /* SQ_DB_role_*, or 0 */
    int kind;         /* of his token: SQ_DB_token_kind_* */
    unsigned scopes;  /* enum sq_scope: what it lets; all in a session */
    int64_t factor_s; /* when a second factor was last given in this session, or in the one that made this API token; 0: none was */
    unsigned via;     /* enum via: how his token came */
    uint8_t jti[ID];
    uint8_t request[8];
    struct sq_span token;
    const char *address;   /* in clear, for sealing; never stored */
    uint8_t seal_owner[ID]; /* whose key seals the address: the user's, or this week's */
    struct sq_db_sealed address_sealed;
    enum sq_audit_role as;
};

struct event {
    enum sq_audit_event no;
    sq_err result;
    const struct caller *by; /* NULL: the service itself */
    const uint8_t *subject, *object; /* NULL: none */
    uint64_t a, b;
};
/** Inside a tx_fn: this event belongs to the transaction. Also noted for the subject's own history. */
sq_err tx_event(struct tx *tx, const struct event *ev) SQ_MUST_CHECK;
/** An event with nothing else to change. */
sq_err record(struct registrar *r, const struct event *ev) SQ_MUST_CHECK;
/* rows_told.c: what was done in the database, told with the event */
/** This thread begins with a request: what it reads from now on, until its entry, is read for that. */
void rows_ask(void);
struct sq_db_count *rows_asked(void); /* of this thread */
/** An entry of the transaction (at most one field, copied). */
sq_err rows_entry(struct tx *tx, const struct sq_audit_entry *entry) SQ_MUST_CHECK;
/** The transaction has done @n; who asked for it had read @read_before. Its last entry says so, or the service's own sum grows. */
sq_err rows_tell(struct tx *tx, const struct sq_db_count *n, const struct sq_db_count *read_before, bool *out_is_read_told) SQ_MUST_CHECK;
/** Append what is committed but not yet in the log. */
sq_err outbox_flush(struct registrar *r) SQ_MUST_CHECK;
/** Have keeper sign the log's present size; called every second and before stop. */
void checkpoint_now(struct registrar *r);

struct sq_db *db_lock(struct registrar *r); /* for reading */
void db_unlock(struct registrar *r);

/* ---- keeper and storer, as functions (objects.c) ---- */

struct object_sum {
    uint32_t n_part;
    uint64_t plain_bytes, sealed_bytes;
    uint8_t sha256[32];
};

/** Steps 1-3 of §2a *Create*: row and event, key slot, file. *out_fd: the file to write sealed bytes to. */
sq_err object_open(struct registrar *r, const uint8_t owner[ID], int kind, int64_t not_after_s, enum sq_role writer,
                   const struct caller *by, uint8_t out_id[ID], int *out_fd) SQ_MUST_CHECK;
/** What was opened will never be closed: it is erased, if it is still `opening`. Zero ids are skipped. */
void object_abandon(struct registrar *r, const uint8_t id[ID]);
/** Step 3: the file is durable under its name, no further part key. The row becomes live in the caller's transaction. */
sq_err object_settle(struct registrar *r, const uint8_t id[ID], const uint8_t owner[ID], uint64_t sealed_bytes) SQ_MUST_CHECK;
/** Step 4, inside a transaction. */
sq_err tx_object_live(struct tx *tx, const uint8_t id[ID], const uint8_t owner[ID], const struct object_sum *sum) SQ_MUST_CHECK;
/** A sealed file for reading. */
sq_err object_read(struct registrar *r, const struct sq_db_object *object, int *out_fd) SQ_MUST_CHECK;
/** Step 1 of *Destroy*, inside a transaction: from now on reads answer 410. Idempotent; unknown or zero ids are skipped. */
sq_err tx_object_erase(struct tx *tx, const uint8_t id[ID], const struct caller *by) SQ_MUST_CHECK;
/** Steps 3-6 for every object in state erasing: keys first, then files. Woken by erase_wake, and by the clock. */
void erase_wake(struct registrar *r);
void *eraser_main(void *r);
/** Keys of all objects of @owner in state erasing, now, before the answer: the rest follows. */
void destroy_keys_now(struct registrar *r, const uint8_t owner[ID]);

sq_err keeper_do(struct registrar *r, const struct sq_msg *m) SQ_MUST_CHECK;
/** What keeper said of its keys is asked for anew. */
void keys_forget(struct registrar *r);
/** SQ_EDOWN also while keys are replaced again and again. */
sq_err keeper_learn(struct registrar *r, bool *out_is_unsealed, uint64_t *out_tree_size) SQ_MUST_CHECK;
/** Texts of @owner sealed (max 256; each <= 500 bytes), and opened with the owner's own token. */
sq_err fields_seal(struct registrar *r, const uint8_t owner[ID], const struct sq_span *text, size_t n, struct sq_db_sealed *out) SQ_MUST_CHECK;
struct opened {
    struct sq_buf text; /* one after another, each ended by NUL */
    const char *at[256];
    size_t n;
};
sq_err fields_open(struct registrar *r, const struct caller *by, const struct sq_db_sealed *const *sealed, size_t n, struct opened *out) SQ_MUST_CHECK;
void opened_done(struct opened *o);
sq_err grant(struct registrar *r, const uint8_t task[ID], int64_t fence, const uint8_t owner[ID], int64_t for_s,
             const uint8_t (*reads)[ID], size_t n_read, const uint8_t (*writes)[ID], size_t n_write) SQ_MUST_CHECK;
void grant_end(struct registrar *r, const uint8_t task[ID]);

/* ---- auth.c ---- */
struct api;
enum via { VIA_NONE, VIA_HEADER, VIA_COOKIE }; /* as message `api` says */
/** Who holds @token: verified signature, live row, present epoch, able account, a session that isn't idle. SQ_EAUTH; SQ_ENETWORK, audited. Seals the address. */
sq_err caller_from_token(struct registrar *r, struct sq_span token, unsigned via, const char *address, const uint8_t request[8], struct caller *out) SQ_MUST_CHECK;
/** Nobody: the address is sealed under this week's key. */
sq_err caller_nobody(struct registrar *r, const char *address, const uint8_t request[8], struct caller *out) SQ_MUST_CHECK;
sq_err caller_operator(struct registrar *r, unsigned uid, struct caller *out) SQ_MUST_CHECK;
/** May @c ask for this route? SQ_EDENIED, SQ_ESCOPE, SQ_ENOFACTOR, SQ_ESTEPUP. */
sq_err caller_may(const struct registrar *r, const struct caller *c, const struct sq_route_row *row) SQ_MUST_CHECK;
/** The same, and a refusal has its event. */
sq_err caller_admit(struct registrar *r, const struct caller *c, const struct sq_route_row *row) SQ_MUST_CHECK;
enum sq_audit_role audit_role(int role);
/** Neither disabled, nor pending, nor past its end. */
bool user_is_able(const struct sq_db_user *u);

/* ---- password.c ---- */
/** The password of @user is @password: SQ_OK and keeper's proof of it, SQ_EPASSWORD (audited; with back-off), SQ_EBUSY. @user NULL: nobody; the same work. */
sq_err password_ok(struct registrar *r, const struct caller *c, const struct sq_db_user *user, struct sq_span password, uint8_t out_proof[ID]) SQ_MUST_CHECK;
sq_err password_hash(struct registrar *r, const uint8_t owner[ID], const uint8_t proof[ID], struct sq_span password, struct sq_db_sealed *out) SQ_MUST_CHECK;
/** What a new password must be, from the settings; the operator's list of stolen ones, which parent opened. SQ_ECONFIG. */
sq_err password_rules_open(struct registrar *r) SQ_MUST_CHECK;
/** May @password be chosen by the account with this name and address (NULL, "": none)? SQ_EWEAK with @why. Every way of choosing one comes here. */
sq_err password_choose(struct registrar *r, struct sq_span password, const char *name, const char *mail, struct sq_why *why) SQ_MUST_CHECK;
/** The caller's own password and, if he has one, second factor again, from the body's @key and `code`: a proof for whatever needs one. */
/** ECONFLICT with @a->why when he has as many API tokens as one may have. */
sq_err tokens_have_room(struct api *a) SQ_MUST_CHECK;
/** Another value after each change of the password. */
sq_err password_mark(const struct sq_db_user *user, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK;
sq_err reauthenticate(struct api *a, const char *key, struct sq_db_user *out_user, uint8_t out_proof[ID]) SQ_MUST_CHECK;
/** Of an address, for recognising it; of IPv6 the /64. */
sq_err address_hmac(struct registrar *r, const char *address, uint8_t out[32]) SQ_MUST_CHECK;
sq_err user_load(struct registrar *r, const uint8_t id[ID], struct sq_db_user *out) SQ_MUST_CHECK;
sq_err lookup(struct registrar *r, const char *text, uint8_t out[32]) SQ_MUST_CHECK;

/** A second factor may be tried, or he has to wait (SQ_ECODE); and what came of it. */
sq_err factor_may_try(struct registrar *r, const struct caller *c, const struct sq_db_user *user) SQ_MUST_CHECK;
sq_err factor_tried(struct registrar *r, const struct caller *c, const struct sq_db_user *user, sq_err how) SQ_MUST_CHECK;

/* ---- admin_keys.c ---- */
/** What keeper says of former keys of the log and of receipts, into the log's directory. */
sq_err note_keys_take(struct registrar *r) SQ_MUST_CHECK;

/* ---- reseal.c ---- */
struct resealed {
    uint64_t n, n_left; /* values sealed anew; not opened by any key of their owner's */
};
sq_err reseal_all(struct registrar *r, struct resealed *out) SQ_MUST_CHECK;

/* ---- second_factors.c ---- */
/** Live second factors of an account, recovery codes aside. */
sq_err factor_count(struct registrar *r, const uint8_t user[ID], int64_t *out_n) SQ_MUST_CHECK;
bool factor_is_required(const struct registrar *r, int role);
/** SQ_ECONFLICT when he has as many as one may have. */
sq_err factor_has_room(struct registrar *r, const uint8_t user[ID]) SQ_MUST_CHECK;
/** A new factor counts from now on, by keeper's @proof of its first use; with the first one, recovery codes. Answers. @is_new: it has no row yet; else it was begun. */
sq_err factor_add(struct api *a, struct sq_db_factor *row, const uint8_t proof[ID], bool is_new) SQ_MUST_CHECK;
/** The body's `code` or `passkey`, whichever is there: what @before proved, and that. @context: what a passkey's challenge was asked for. SQ_ECODE, SQ_EPASSKEY, SQ_ECLONED. */
sq_err second_factor(struct api *a, const struct sq_db_user *user, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID]) SQ_MUST_CHECK;
/** @code is of one of his authenticators, or a recovery code, and wasn't used before: what @before (zero: nothing) proved, and that. SQ_ECODE. */
sq_err factor_check(struct registrar *r, const struct caller *c, const struct sq_db_user *user, const char *code, const uint8_t before[ID], uint8_t out_proof[ID]) SQ_MUST_CHECK;
/** keeper signs on his password alone again; proofs as message factor_forget has them. */
sq_err factor_forget(struct registrar *r, const uint8_t user[ID], const uint8_t proof[ID], const uint8_t link_proof[ID]) SQ_MUST_CHECK;
/** keeper knows that he has one: after it was added, and whenever that may have been cut off. */
sq_err factor_mark(struct registrar *r, const uint8_t user[ID]) SQ_MUST_CHECK;

/* ---- passkeys.c ---- */
/** What a browser is told: PublicKeyCredentialRequestOptionsJSON, with a challenge for @context. @user zero: whoever answers signs in with it alone. */
sq_err passkey_options(struct api *a, const uint8_t user[ID], const uint8_t context[ID], json_t **out) SQ_MUST_CHECK;
/** The body's `passkey` answers a challenge of @context with a passkey of @user's. */
sq_err passkey_check(struct api *a, const struct sq_db_user *user, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID]) SQ_MUST_CHECK;

/* ---- register.c ---- */
void *register_main(void *r);
/** A link of this kind for @user; not in the database yet. */
sq_err link_make(struct registrar *r, const uint8_t user[ID], int kind, int64_t for_s, struct sq_db_link *out) SQ_MUST_CHECK;
/** The link of this kind of @user's whose code this is: keeper has looked. SQ_ELINK: it isn't one, isn't his, is used or too old. */
sq_err link_of_code(struct registrar *r, const char *code, int kind, const uint8_t user[ID], struct sq_db_link *out) SQ_MUST_CHECK;
bool has_mail_server(const struct registrar *r);
/** An account without a password: its key at keeper, its row not in the database yet. */
sq_err user_prepare(struct registrar *r, const char *name, const char *mail, int role, struct sq_db_user *row) SQ_MUST_CHECK;
/** Second factors of @user are about to be taken away: keeper knows, or @out is the link that is to be mailed for its owner to confirm it. SQ_ECONFLICT: he has no address. */
sq_err factors_reset_begin(struct registrar *r, const struct sq_db_user *user, struct sq_db_link *out) SQ_MUST_CHECK;
/** It gets a mail with a link to choose its password. */
sq_err user_invite(struct registrar *r, const struct caller *by, struct sq_db_user *row, bool is_new, int64_t for_s) SQ_MUST_CHECK;
/** Accounts that never came to life go, their keys first. */
void accounts_forget(struct registrar *r);

/* ---- staff.c ---- */
struct account_change { /* what is to become of an account: any of these */
    struct sq_db_user user; /* as it was, then as it is */
    const struct caller *by;
    bool is_local; /* the operator at the local socket may also stop the last one: he can make another */
    bool set_disabled, is_disabled, set_expires, set_networks, revoke, reset_factors;
    char networks[SQ_CIDR_LIST_BYTES];
    int64_t expires_s;
    int role;  /* 0: as it is */
    struct sq_db_link link; /* to confirm the reset by; its id zero: no mail is sent here, so nobody confirms it */
    int64_t n; /* sessions and tokens that ended */
};
sq_err account_change(struct registrar *r, struct account_change *x) SQ_MUST_CHECK;
/** The JSON list @networks into @x (NULL: not asked for). SQ_EFIELD with @why. */
sq_err account_networks(const json_t *networks, struct account_change *x, struct sq_why *why) SQ_MUST_CHECK;
sq_err tx_account_change(struct tx *tx, void *x) SQ_MUST_CHECK;
sq_err revoke_everybody(struct registrar *r, const struct caller *by, int64_t *out_n) SQ_MUST_CHECK;
json_t *account_json(struct registrar *r, const struct sq_db_user *u);
/** "a,b" as a list; @between: what stands between two. */
json_t *view_words(const char *text, const char *between);

/* ---- sessions.c ---- */
/* The caller's own token of this kind that the parameter names, not revoked; SQ_ENOTFOUND, and recorded as denied where it is another's. */
sq_err token_by_param(struct api *a, int kind, struct sq_db_token *out) SQ_MUST_CHECK;
struct issuing { /* a token on its way: the row, and who asked */
    bool is_step_up;
    struct sq_db_token row;
    struct caller by;
    uint8_t address_hmac[32]; /* of a session that begins with a password: remembered; else zero */
    uint8_t replaces[ID];     /* this one ends; zero: none */
    uint8_t password[SQ_SHA256_BYTES]; /* password_mark() of the account as it was proved; another one by now: SQ_EPROOF */
    const char *scope;
    char token[2049];         /* the caller's to wipe */
};
/** A new session of @user's by keeper's @proof; answers. */
sq_err begin_session(struct api *a, const struct sq_db_user *user, const uint8_t proof[ID], bool has_factor) SQ_MUST_CHECK;
/** Sign and insert @x->row for @user (row.kind, expires_s and scopes are set), by keeper's @proof; @previous: see message token_sign. */
sq_err issue(struct registrar *r, struct issuing *x, const struct sq_db_user *user, const uint8_t proof[ID], struct sq_span previous) SQ_MUST_CHECK;

/* ---- api.c: what a handler gets and gives ---- */
/* user_rates.c: what is left to an account of the limit that a request was counted against; quota 0: of none */
struct user_rate {
    uint32_t quota, window_s, left, full_s;
    unsigned wait_s; /* not 0: refused */
};
sq_err user_rates_open(struct registrar *r) SQ_MUST_CHECK;
sq_err user_rate_take(const struct caller *c, enum sq_rate rate, struct user_rate *out) SQ_MUST_CHECK; /* SQ_EBUSY: none left. Nobody isn't counted here. */

struct api {
    struct registrar *r;
    const struct sq_route_row *route;
    struct caller caller;
    char param[64 + 1];  /* the path's id */
    json_t *body;        /* object, or NULL */
    const char *query;
    /* the answer */
    int status;          /* 0: 200 */
    char session[2049];  /* what the cookie becomes; empty: it stays; "-": it goes */
    uint32_t session_s;
    char location[128];
    unsigned retry_after_s;
    const char *oauth;   /* the error as OAuth 2 names it; NULL: none */
    json_t *answer;      /* owned */
    struct user_rate user_rate;
    const struct sq_why *why; /* more about an error */
    struct sq_why why_store;
    bool is_audited;     /* the handler recorded the route's event itself */
    uint64_t n_row;      /* rows shown, for list and view events */
    uint8_t object[ID];  /* for the event; zero: none */
};
typedef sq_err (*api_fn)(struct api *a);
void on_api(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/** Names of handlers: api_<route name>. */
#define SQ_ROUTE(name, no, method, path, who, needs, rate, kind, event, text) sq_err api_##name(struct api *a);
#include "lib/http/routes.def"
#undef SQ_ROUTE
/** Where a handler writes more about an error: it goes along with the answer if there is one. */
struct sq_why *api_why(struct api *a);
/** Finish an api_is answer for other messages (upload_close): status and JSON from error or a->answer. */
void api_answer(struct sq_ask *ask, struct api *a, sq_err e);
const char *body_text(struct api *a, const char *key, size_t max); /* NULL and a->why when missing */
int64_t query_number(const char *query, const char *key, int64_t fallback, int64_t most);
bool query_text(const char *query, const char *key, char *out, size_t size);

/* ---- uploads.c ---- */
void on_upload_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_upload_close(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_upload_abort(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void uploads_of_dead_gateway(struct registrar *r);
sq_err upload_by_param(struct api *a, struct sq_db_upload *out) SQ_MUST_CHECK;
/** Inside a transaction: all objects of an upload go, its state is erased. */
sq_err tx_upload_erase(struct tx *tx, const struct sq_db_upload *u, const struct caller *by) SQ_MUST_CHECK;

/* ---- receipts.c ---- */
/** keeper's signature under a receipt's @text; @out: the note, and a NUL behind it. */
sq_err receipt_sign(struct registrar *r, const struct sq_buf *text, struct sq_buf *out) SQ_MUST_CHECK;
/** The receipt of a whole job (as above; stays empty when nothing was ever kept); *out_is_ready false: objects of it are not erased yet. */
sq_err job_receipt_make(struct registrar *r, const struct sq_db_job *job, bool *out_is_ready, struct sq_buf *out) SQ_MUST_CHECK;

/* ---- jobs.c ---- */
sq_err job_by_param(struct api *a, struct sq_db_job *out) SQ_MUST_CHECK;
sq_err tx_job_state(struct tx *tx, const struct sq_db_job *job, int state, const struct caller *by) SQ_MUST_CHECK;
sq_err tx_job_failed(struct tx *tx, const struct sq_db_job *job, const struct sq_db_why *why) SQ_MUST_CHECK;
/** Inside a transaction: stop its tasks, erase every object of the job (and of its upload), state erasing. */
sq_err tx_job_erase(struct tx *tx, const struct sq_db_job *job, const struct caller *by) SQ_MUST_CHECK;
/** Audit object of a job: first 16 bytes of SHA-256 of its id. */
void job_audit_id(const char *job_id, uint8_t out[ID]);

/* ---- package.c, claim.c, downloads.c ---- */
sq_err package_ended(struct registrar *r, const struct sq_db_task *task, sq_err code, const struct object_sum *sum) SQ_MUST_CHECK;
void on_download_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_download_end(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void streams_of_dead_gateway(struct registrar *r);
void streams_stale(struct registrar *r);
/** Rows of downloads that ended a day ago go: the audit log knows them. */
void streams_forget(struct registrar *r);
/** Cut what @user (NULL: anybody) is downloading, and what is downloaded by his links: his tokens were revoked. */
void streams_stop(struct registrar *r, const uint8_t *user);
/** Cut what began with this token (its jti) or download link: it was revoked. */
void streams_stop_by(struct registrar *r, const uint8_t by[ID]);
/* download_links.c */
/** The path's @text is a good link: whose package, and the link's id. SQ_ELINK for whatever is wrong with it. */
sq_err download_link_follow(struct registrar *r, const char *text, const char *address, struct sq_db_job *out_job, uint8_t out_link[ID]) SQ_MUST_CHECK;
/** Inside a transaction: SQ_ELINK when it was revoked meanwhile. */
sq_err tx_download_link_used(struct tx *tx, const uint8_t link[ID]) SQ_MUST_CHECK;
/** A task that ended with @code: when that means a damaged object, it is recorded with its job. */
void task_saw_damage(struct registrar *r, const struct sq_db_task *task, sq_err code);

/* ---- plan.c ---- */
void plan_wake(struct registrar *r);
void *planner_main(void *r);
/** The impute tasks of a job, one a chunk. */
sq_err tx_chunks_add(struct tx *tx, const struct sq_db_job *job) SQ_MUST_CHECK;
sq_err tx_task_add(struct tx *tx, const char *job_id, const uint8_t *upload_id, int stage, uint8_t out_id[ID]) SQ_MUST_CHECK;
/** A task's end, whichever way: its outputs become live or go, the next stage is planned, or it is tried again. */
struct task_result;
sq_err task_over(struct registrar *r, const struct sq_db_task *task, struct task_result *t) SQ_MUST_CHECK;
unsigned task_retry_ms(const struct sq_db_task *task); /* longer each time */
/* plan_watch.c */
#define WATCH_PROGRESS_TOTAL 10000 /* of a job */
#define WATCH_LATE_S SQ_DAY_S      /* a job at work for longer is an alarm */
void watch_init(struct registrar *r);
/** This try of a task runs from now on. */
void watch_begin(struct registrar *r, const struct sq_db_task *task);
/** Look for tasks without a sign of life, and for jobs that take longer than a day; called every second. */
void watch_turn(struct registrar *r);
void on_task_progress(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
/* plan_runner.c */
void on_task_ended(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void tasks_of_dead_runner(struct registrar *r);
/** Tell runner to stop what a job or upload has running (after the rows say so). */
void tasks_stop(struct registrar *r, const char *job_id, const uint8_t *upload_id);

struct task_result { /* what task_ended said */
    sq_err code;
    struct sq_why why;
    uint64_t cpu_ms, peak_kib;
    uint32_t walls; /* lib/jobs/walls.def */
    size_t n_sum;
    struct object_sum sum[SQ_STAGE_MAX_PORTS];
    uint8_t format, is_phased;
    char chrom[17], build[33], populations[257]; /* the last two: of panel */
    uint64_t n_sample, n_variant, n_kept, n_in_panel, n_excluded, first_bp, last_bp, n_haplotype, n_site;
};
/** For admin's imports: send @m (a task message) to runner and wait for its end. */
sq_err task_run_and_wait(struct registrar *r, const uint8_t task[ID], const struct sq_msg *m, unsigned timeout_ms, struct task_result *out) SQ_MUST_CHECK;

/* ---- notices.c, account_mail.c ---- */
#define SYSLOG_CURSOR_KEY "syslog.entry" /* of meta: the last entry that the collector has */
/** Inside a transaction: whoever is to be told of this change will be. One of @job_id and @upload_id; the other NULL. */
sq_err tx_notice(struct tx *tx, int kind, const uint8_t owner[ID], const char *job_id, const uint8_t *upload_id) SQ_MUST_CHECK;
/** Reminders of results that will be erased within 48 hours. */
void notices_remind(struct registrar *r);
/** Tokens and accounts that end soon: their owners are told, once. */
void notices_ending(struct registrar *r);
/** A mail about the account itself, whatever it chose to be told; @link NULL: without one. */
sq_err tx_account_notice(struct tx *tx, int kind, const uint8_t user[ID], const uint8_t *link) SQ_MUST_CHECK;
/** The same to an address that the account had until now, or is to have. */
sq_err tx_account_notice_to(struct tx *tx, int kind, const uint8_t user[ID], const struct sq_db_sealed *to, const uint8_t *link) SQ_MUST_CHECK;
/** The same, unless one of this kind was made within a day: what strangers can cause. */
sq_err tx_account_notice_daily(struct tx *tx, int kind, const uint8_t user[ID]) SQ_MUST_CHECK;
sq_err tx_notices_chores(struct tx *tx) SQ_MUST_CHECK;
void *mail_main(void *r);
void *webhook_main(void *r);
void *syslog_main(void *r);
json_t *notices_status(struct registrar *r);
/** One mail to @address now; what the server answered. */
json_t *notices_mail_test(struct registrar *r, const char *address);
json_t *notices_of_user(struct registrar *r, const uint8_t user[ID]);
/** SQ_EFIELD with @why: not an address. */
/** The address of who asks, opened by his own token; "" when he has none. */
sq_err mail_of(struct api *a, const struct sq_db_user *user, char out[SQ_MAIL_MAX_BYTES + 1]) SQ_MUST_CHECK;
sq_err mail_seal(struct registrar *r, const uint8_t owner[ID], const uint8_t proof[ID], const char *address, struct sq_db_sealed *out, struct sq_why *why) SQ_MUST_CHECK;

/* ---- attestation.c ---- */
/** Which program works in the sandboxes: its digest, read from the descriptor that parent handed out. */
void worker_measure(struct registrar *r, int fd);

/* ---- deadlines.c, recovery.c, admin.c, account.c ---- */
void *deadlines_main(void *r);
void *recovery_main(void *r);
void *admin_main(void *r);
sq_err user_add(struct registrar *r, const struct caller *by, const char *name, int role, struct sq_span password, const char *mail, struct sq_why *why, uint8_t out_id[ID]) SQ_MUST_CHECK; /* mail NULL: none */
sq_err user_by_name(struct registrar *r, const char *name, struct sq_db_user *out) SQ_MUST_CHECK;
/** SQ_EEXISTS: an account other than @user has this as its name or its mail address: one signs in with either. */
sq_err address_is_free(struct sq_db *db, const uint8_t hmac[32], const uint8_t user[ID]) SQ_MUST_CHECK;
/** The same, but for an unconfirmed registration, which gives way to who has shown that the mailbox is his: *out_before is_pending then. */
sq_err address_may_move(struct sq_db *db, const uint8_t hmac[32], const uint8_t user[ID], struct sq_db_user *out_before) SQ_MUST_CHECK;
/** rollback.c: what is missing and which choices there are; going on by the operator's word. */
sq_err rollback_show(struct registrar *r, json_t **out) SQ_MUST_CHECK;
sq_err rollback_accept(struct registrar *r, const json_t *args, const struct caller *by, struct sq_why *why) SQ_MUST_CHECK;
bool rollback_keeps(struct registrar *r);
/** The operator has looked at what was kept, and has it destroyed. */
sq_err rollback_kept_goes(struct registrar *r) SQ_MUST_CHECK;
/** check.c: findings of all passes as JSON; @args {"mend": true} mends what is safe. */
sq_err admin_check(struct registrar *r, const json_t *args, const struct caller *by, json_t **out) SQ_MUST_CHECK;
void on_refused(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* ---- certificate.c ---- */
void on_tls_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void certificate_on_parent(void *ctx, struct sq_packet *pkt, const struct sq_msg *m);
/** Does the served certificate end soon? Told once for each stage; called every second. */
void certificate_look(struct registrar *r);
json_t *certificate_status(void);

/* ---- view.c ---- */
json_t *view_upload(const struct sq_db_upload *u, const char *name);
json_t *view_job(struct registrar *r, const struct sq_db_job *j, const char *name, bool is_whole);
json_t *view_job_compat(struct registrar *r, const struct sq_db_job *j, const char *name);
json_t *view_why(sq_err code, const struct sq_why *why);
json_t *view_time(int64_t unix_s);
json_t *view_id(const uint8_t id[ID]);
void why_from_db(const struct sq_db_why *in, struct sq_why *out);

bool is_zero(const uint8_t id[ID]);
sq_err id_new(uint8_t out[ID]) SQ_MUST_CHECK;
bool has_recovered(const struct registrar *r);
int confine_registrar(void);

#endif
