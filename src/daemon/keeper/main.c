/*
 * sequester-keeper
 *
 * Who I am: the one process that holds keys. I draw them, wrap them in the slab, hand out what is derived from them for one part
 * or one package entry at a time, and destroy them, on request and by myself when their time is over.
 *
 * What I hold: the slab's descriptor; the root key in locked memory while I am unsealed, and what a key file or token gave for it; for the time of one request an
 * owner's or object's key; grants and one-time passwords, in memory only.
 *
 * What I give away: to gateway, fresh keys of new parts of objects that are open for it. To runner, what the live
 * grant of its task covers. To registrar, signatures, sealed fields, checks. To courier, mail addresses. To nobody: root, owner or object keys.
 *
 * What I can't do: open a file, make a socket, run a program, see a payload byte. confine.c has every call I may make.
 *
 * What may go wrong: my disk may be torn, full or old. The slab finds damage by itself; what it can't find is said in
 * docs/formats/key-slab.md. I take every sender for hostile, registrar too: owners are checked in the slots, trees against the
 * last one signed, times against my own clock.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/identity/identity.h"
#include "lib/proc/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef SQ_TEST_HOOKS
#define EXPIRE_EVERY_S 1
#else
#define EXPIRE_EVERY_S 3600
#endif
#define REGISTRAR_THREADS 20 /* one may hash, twelve may wait to: the others go on */
#define RUNNER_THREADS 4
#define GATEWAY_THREADS 4

static _Noreturn void give_up(const char *what, sq_err err)
{
    sq_log(SQ_LOG_failed, SQ_LW("what", what), SQ_LW("code", sq_err_name(err)), SQ_LN("errno", errno));
    _exit(1);
}

/* ---- what is taken before confining ---- */

static int open_slab(void)
{
    struct stat st;
    int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st))
        give_up("state_dir", SQ_EIO);
    if (st.st_uid != geteuid() || (st.st_mode & 077))
        give_up("state_dir_must_be_own_and_0700", SQ_ECONFIG);
    int fd = openat(dir, "slab", O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        give_up("slab_open", SQ_EIO);
    if (flock(fd, LOCK_EX | LOCK_NB))
        give_up("slab_is_in_use", SQ_ECONFLICT);
    if (sq_fsync(dir))
        give_up("state_dir_sync", SQ_EIO);
    close(dir);
    return fd;
}

static void open_keeper(struct keeper *k, int slab_fd)
{
    sq_err err = sq_slab_open(slab_fd, &k->slab);
    if (err)
        give_up("slab", err);
    if (sq_slab_n_damaged(k->slab))
        sq_log(SQ_LOG_sweep, SQ_LN("damaged", sq_slab_n_damaged(k->slab)));
    keeper_clock_start(&k->clock, sq_slab_clock_s(k->slab));
    if ((err = keeper_grants_init(&k->grants)))
        give_up("grants", err);
    keeper_hash_pool_init(&k->hash_pool);
    keeper_proofs_init(&k->proofs);
    pthread_mutex_init(&k->backoff.lock, NULL);
    pthread_mutex_init(&k->relocking, NULL);
    pthread_mutex_init(&k->publics.lock, NULL);
    pthread_mutex_init(&k->signing, NULL);
}

/* 64 hex digits, maybe a line feed. */
static struct sq_key *read_key_file(int fd)
{
    const size_t n_hex = 2 * SQ_KEY_BYTES, n_text = n_hex + 2;
    uint8_t *text;
    struct sq_key *kek = NULL;
    size_t got = 0;
    sq_err err = sq_secret_new(n_text + SQ_KEY_BYTES, &text);
    if (err)
        give_up("key_file", err);
    err = sq_pread_full(fd, text, n_text, 0, &got);
    if (!err && got == n_hex + 1 && text[n_hex] == '\n')
        got = n_hex;
    if (!err && got != n_hex)
        err = sq_fail(SQ_ECONFIG);
    if (!err)
        err = sq_hex_decode((const char *)text, n_hex, text + n_text, SQ_KEY_BYTES);
    if (!err)
        err = sq_key_from(text + n_text, &kek);
    sq_secret_free(text, n_text + SQ_KEY_BYTES);
    if (err)
        give_up("key_file_must_be_64_hex_digits", err);
    return kek;
}

static enum sq_slab_backend wanted_backend(struct keeper *k)
{
    const char *name = sq_node_setting(k->node, "key_backend");
    if (name && !strcmp(name, "file"))
        return SQ_SLAB_FILE;
    return name && !strcmp(name, "pkcs11") ? SQ_SLAB_PKCS11 : SQ_SLAB_PASSPHRASE;
}

static void take_file_kek(struct keeper *k)
{
    int fd = sq_node_take(k->node, "keyfile");
    if (fd >= 0)
        k->file_kek = read_key_file(fd);
    else if (k->wanted == SQ_SLAB_FILE)
        give_up("key_file_missing", SQ_ECONFIG);
    sq_close(&fd);
}

/* The token is asked now, once: the vendor's program is reached by a socket, and this process will have none. */
static void take_token_kek(struct keeper *k)
{
    const char *server = sq_node_setting(k->node, "pkcs11_server");
    int pin = sq_node_take(k->node, "pkcs11_pin");
    struct sq_hsm *hsm = NULL;
    const char *why = "pkcs11";
    struct sq_slab_lock now = {.backend = 0};
    if (!sq_slab_is_new(k->slab))
        sq_slab_lock_of(k->slab, &now);
    bool is_needed = k->wanted == SQ_SLAB_PKCS11 || now.backend == SQ_SLAB_PKCS11; /* a token that nothing hangs on may be dead */
    if (!is_needed || !server || !*server || pin < 0) {
        sq_close(&pin);
        if (k->wanted == SQ_SLAB_PKCS11)
            give_up("pkcs11_server_or_pin_file_missing", SQ_ECONFIG);
        return;
    }
    sq_err err = sq_hsm_open(server, sq_node_setting(k->node, "pkcs11_token"), sq_node_setting(k->node, "pkcs11_key"), (unsigned)sq_node_setting_u64(k->node, "rsa_bits"), pin, &hsm, &why);
    k->token_lock = now;
    if (!err && now.backend == SQ_SLAB_PKCS11)
        err = sq_hsm_kek(hsm, &now, &k->token_kek);
    else if (!err)
        err = sq_hsm_new_kek(hsm, &k->token_lock, &k->token_kek);
    k->token_lock.kek = k->token_kek;
    sq_hsm_close(hsm);
    sq_close(&pin);
    if (err)
        give_up(why, err);
}

/* ---- after confining ---- */

static void *timer_main(void *arg)
{
    struct keeper *k = arg;
    for (;;) {
        const struct timespec pause_for = {.tv_sec = EXPIRE_EVERY_S};
        nanosleep(&pause_for, NULL);
        keeper_expire(k);
        if (EXPIRE_EVERY_S >= 60 && sq_slab_is_unsealed(k->slab) && !keeper_clock_is_held(&k->clock) &&
            sq_slab_set_clock(k->slab, keeper_clock_wall_s(), false))
            sq_log(SQ_LOG_failed, SQ_LW("what", "header_write"));
    }
    return NULL;
}

static void listen_to_all(struct sq_node *n)
{
    sq_node_on(n, SQ_MSG_part_key, on_part_key);
    sq_node_on(n, SQ_MSG_task_seal_key, on_task_seal_key);
    sq_node_on(n, SQ_MSG_task_open_key, on_task_open_key);
    sq_node_on(n, SQ_MSG_entry_keys, on_entry_keys);
    sq_node_on(n, SQ_MSG_keeper_state, on_keeper_state);
    sq_node_on(n, SQ_MSG_unseal, on_unseal);
    sq_node_on(n, SQ_MSG_clock_confirm, on_clock_confirm);
    sq_node_on(n, SQ_MSG_key_state, on_key_state);
    sq_node_on(n, SQ_MSG_key_rotate, on_key_rotate);
    sq_node_on(n, SQ_MSG_key_passphrase, on_key_passphrase);
    sq_node_on(n, SQ_MSG_key_split, on_key_split);
    sq_node_on(n, SQ_MSG_key_replace, on_key_replace);
    sq_node_on(n, SQ_MSG_reseal, on_reseal);
    sq_node_on(n, SQ_MSG_note_keys, on_note_keys);
    sq_node_on(n, SQ_MSG_owner_create, on_owner_create);
    sq_node_on(n, SQ_MSG_owner_destroy, on_owner_destroy);
    sq_node_on(n, SQ_MSG_slot_create, on_slot_create);
    sq_node_on(n, SQ_MSG_slot_close, on_slot_close);
    sq_node_on(n, SQ_MSG_slot_extend, on_slot_extend);
    sq_node_on(n, SQ_MSG_slot_destroy, on_slot_destroy);
    sq_node_on(n, SQ_MSG_slot_list, on_slot_list);
    sq_node_on(n, SQ_MSG_tree_reset, on_tree_reset);
    sq_node_on(n, SQ_MSG_grant, on_grant);
    sq_node_on(n, SQ_MSG_grant_end, on_grant_end);
    sq_node_on(n, SQ_MSG_one_time_password, on_one_time_password);
    sq_node_on(n, SQ_MSG_password_hash, on_password_hash);
    sq_node_on(n, SQ_MSG_password_check, on_password_check);
    sq_node_on(n, SQ_MSG_token_sign, on_token_sign);
    sq_node_on(n, SQ_MSG_totp_make, on_totp_make);
    sq_node_on(n, SQ_MSG_totp_check, on_totp_check);
    sq_node_on(n, SQ_MSG_factor_needed, on_factor_needed);
    sq_node_on(n, SQ_MSG_factor_forget, on_factor_forget);
    sq_node_on(n, SQ_MSG_recovery_make, on_recovery_make);
    sq_node_on(n, SQ_MSG_recovery_check, on_recovery_check);
    sq_node_on(n, SQ_MSG_passkey_challenge, on_passkey_challenge);
    sq_node_on(n, SQ_MSG_passkey_add, on_passkey_add);
    sq_node_on(n, SQ_MSG_passkey_check, on_passkey_check);
    sq_node_on(n, SQ_MSG_link_make, on_link_make);
    sq_node_on(n, SQ_MSG_link_open, on_link_open);
    sq_node_on(n, SQ_MSG_link_check, on_link_check);
    sq_node_on(n, SQ_MSG_download_link_make, on_download_link_make);
    sq_node_on(n, SQ_MSG_download_link_check, on_download_link_check);
    sq_node_on(n, SQ_MSG_fields_seal, on_fields_seal);
    sq_node_on(n, SQ_MSG_fields_open, on_fields_open);
    sq_node_on(n, SQ_MSG_lookup, on_lookup);
    sq_node_on(n, SQ_MSG_mail_seal, on_mail_seal);
    sq_node_on(n, SQ_MSG_mail_show, on_mail_show);
    sq_node_on(n, SQ_MSG_mail_open, on_mail_open);
    sq_node_on(n, SQ_MSG_checkpoint, on_checkpoint);
    sq_node_on(n, SQ_MSG_receipt_sign, on_receipt_sign);
    sq_node_threads(n, SQ_ROLE_REGISTRAR, REGISTRAR_THREADS);
    sq_node_threads(n, SQ_ROLE_RUNNER, RUNNER_THREADS);
    sq_node_threads(n, SQ_ROLE_GATEWAY, GATEWAY_THREADS);
}

int main(void)
{
    static struct keeper k;
    sq_err err = sq_proc_begin("keeper");
    if (!err)
        err = sq_crypt_start();
    if (!err)
        err = sq_identity_start();
    if (!err)
        err = sq_node_open(SQ_ROLE_KEEPER, &k.node);
    if (err)
        give_up("start", err);

    int hooks = sq_node_take(k.node, "hooks");
#ifdef SQ_TEST_HOOKS
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    sq_close(&hooks);
    if (!(k.origin = sq_node_setting(k.node, "origin")))
        give_up("origin_missing", SQ_ECONFIG);
    const char *smtp = sq_node_setting(k.node, "smtp_url");
    k.sends_mail = smtp && *smtp;
    k.totp_beside = (unsigned)sq_node_setting_u64(k.node, "totp_beside");
    k.is_totp_sha256 = !strcmp(sq_node_setting(k.node, "totp_hash"), "sha256");
    k.has_passkey_rsa = !strcmp(sq_node_setting(k.node, "passkey_rsa"), "yes");
    k.has_site = sq_passkey_site(sq_node_setting(k.node, "public_url"), &k.site) == SQ_OK;
    k.wanted = wanted_backend(&k);
    open_keeper(&k, open_slab());
    take_file_kek(&k);
    take_token_kek(&k);

    mallopt(M_ARENA_MAX, 1); /* with more, malloc opens files: /sys to count cores, /proc/sys/vm before it shrinks one */
    if ((err = keeper_confine()))
        give_up("confine", err);

    sq_node_set_unsealed(k.node, false);
    keeper_expire(&k);
    if ((err = keeper_unseal_self(&k)))
        give_up("unseal_by_key_file_or_token", err);
    if (!sq_slab_is_unsealed(k.slab))
        sq_log(SQ_LOG_key_service, SQ_LW("state", sq_slab_is_new(k.slab) ? "new" : "sealed"));
    if (keeper_clock_is_held(&k.clock))
        sq_log(SQ_LOG_key_service, SQ_LW("state", "clock_held"));

    listen_to_all(k.node);
    pthread_t timer;
    if (pthread_create(&timer, NULL, timer_main, &k))
        give_up("timer", SQ_ESYS);
    if ((err = sq_node_start(k.node, &k)))
        give_up("node", err);
    sq_node_serve(k.node, "");

    sq_node_set_unsealed(k.node, false);
    _exit(0); /* handlers may be at work: the kernel wipes locked pages before anyone else gets them */
}
