/*
 * The keeper's handlers behind the decoder: what a captured registrar, gateway or runner may say, in any order.
 * Input: how | messages, each u16 LE number | u16 LE length | fields. how & 1: sealed, with a passphrase slab that is new. how & 2: proofs, tokens,
 * sealed passwords, factors and links are those that keeper gave a moment ago for this owner, so that what lies behind their tags is reached.
 * The daemon's own list of handlers is used (its main.c is compiled in); the node under it is played here.
 * Each request is answered exactly once, as its table row says; an answer that the encoder would refuse is a finding.
 * Messages reach a handler only as the decoder lets them through.
 */
#define main keeper_main
int main(void);
#include "daemon/keeper/main.c"
#undef main

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sq_ask {
    const struct sq_msg_row *row;
    enum sq_role from;
    bool is_answered;
};

struct sq_node {
    sq_on_fn on[SQ_MSG_MAX];
    bool is_unsealed;
};

/* ---- what keeper gave: who holds it says it again ---- */

static struct given {
    uint8_t proof[SQ_ID_BYTES], secret[SQ_ID_BYTES];
    struct {
        uint8_t p[2048];
        uint32_t n;
    } password, totp, hashes, link, mail, token;
    enum sq_msg_no asked; /* what the answer is to */
} given;

#define KEEP(what, span) (given.what.n = (span).n <= sizeof given.what.p ? (span).n : 0, (void)(given.what.n ? memcpy(given.what.p, (span).p, given.what.n) : NULL))
#define SAY(what) sq_span_of(given.what.p, given.what.n)

static void keep(const struct sq_msg *m)
{
    if (m->no == SQ_MSG_proof_is)
        memcpy(given.proof, m->u.proof_is.proof, SQ_ID_BYTES);
    else if (m->no == SQ_MSG_factor_is)
        memcpy(given.proof, m->u.factor_is.proof, SQ_ID_BYTES);
    else if (m->no == SQ_MSG_link_right)
        memcpy(given.proof, m->u.link_right.proof, SQ_ID_BYTES);
    else if (m->no == SQ_MSG_link_is)
        memcpy(given.secret, m->u.link_is.secret, SQ_ID_BYTES);
    else if (m->no == SQ_MSG_sealed_is && given.asked == SQ_MSG_password_hash)
        KEEP(password, m->u.sealed_is.sealed);
    else if (m->no == SQ_MSG_sealed_is && given.asked == SQ_MSG_link_make)
        KEEP(link, m->u.sealed_is.sealed);
    else if (m->no == SQ_MSG_sealed_is && given.asked == SQ_MSG_mail_seal)
        KEEP(mail, m->u.sealed_is.sealed);
    else if (m->no == SQ_MSG_totp_is)
        KEEP(totp, m->u.totp_is.sealed);
    else if (m->no == SQ_MSG_recovery_is)
        KEEP(hashes, m->u.recovery_is.hashes);
    else if (m->no == SQ_MSG_token_is)
        KEEP(token, m->u.token_is.token);
}

static void say_again(struct sq_msg *m)
{
    static const char owner[] = "owner 0000000000";
#define HIS(message) memcpy(m->u.message.owner_id, owner, SQ_ID_BYTES)
#define PROVEN(message) (HIS(message), memcpy(m->u.message.proof, given.proof, SQ_ID_BYTES))
    switch (m->no) {
    case SQ_MSG_password_hash:
        PROVEN(password_hash);
        break;
    case SQ_MSG_password_check:
        HIS(password_check);
        m->u.password_check.sealed = SAY(password);
        break;
    case SQ_MSG_token_sign:
        PROVEN(token_sign);
        break;
    case SQ_MSG_totp_make:
        PROVEN(totp_make);
        break;
    case SQ_MSG_totp_check:
        PROVEN(totp_check);
        m->u.totp_check.sealed = SAY(totp);
        break;
    case SQ_MSG_recovery_make:
        PROVEN(recovery_make);
        break;
    case SQ_MSG_recovery_check:
        PROVEN(recovery_check);
        m->u.recovery_check.hashes = SAY(hashes);
        break;
    case SQ_MSG_link_make:
        HIS(link_make);
        break;
    case SQ_MSG_link_open:
        HIS(link_open);
        m->u.link_open.sealed = SAY(link);
        break;
    case SQ_MSG_link_check:
        HIS(link_check);
        m->u.link_check.sealed = SAY(link);
        m->u.link_check.mail = SAY(mail);
        m->u.link_check.name = sq_span_of(NULL, 0);
        memcpy(m->u.link_check.secret, given.secret, SQ_ID_BYTES);
        break;
    case SQ_MSG_mail_seal:
        PROVEN(mail_seal);
        break;
    case SQ_MSG_mail_show:
        HIS(mail_show);
        m->u.mail_show.token = SAY(token);
        m->u.mail_show.sealed = SAY(mail);
        break;
    case SQ_MSG_fields_open:
        HIS(fields_open);
        m->u.fields_open.token = SAY(token);
        break;
    default:
        break;
    }
}

/* ---- the node, played ---- */

void sq_node_on(struct sq_node *n, enum sq_msg_no no, sq_on_fn on)
{
    n->on[no] = on;
}
void sq_node_threads(struct sq_node *n, enum sq_role peer, unsigned n_thread)
{
    (void)n;
    (void)peer;
    (void)n_thread;
}
void sq_node_set_unsealed(struct sq_node *n, bool is_unsealed)
{
    n->is_unsealed = is_unsealed;
}
enum sq_role sq_ask_from(const struct sq_ask *ask)
{
    return ask->from;
}
void sq_ask_reply(struct sq_ask *ask, const struct sq_msg *m)
{
    struct sq_buf b;
    struct sq_fds fds = {.n = 0};
    struct sq_msg answer = *m;
    answer.call = 1;
    keep(m);
    sq_buf_init(&b, SQ_WIRE_MAX_BYTES);
    sq_assert(!ask->is_answered && (m->no == SQ_MSG_error_is || m->no == ask->row->reply));
    ask->is_answered = true;
    sq_assert(sq_wire_encode(SQ_ROLE_KEEPER, ask->from, &answer, &b, &fds) == SQ_OK);
    sq_buf_done(&b);
}
void sq_ask_ok(struct sq_ask *ask)
{
    struct sq_msg m = sq_msg_bare(ok);
    sq_ask_reply(ask, &m);
}
void sq_ask_fail(struct sq_ask *ask, sq_err code)
{
    struct sq_msg m = sq_msg_of(error_is, .code = (uint16_t)code);
    sq_assert(code != SQ_OK && code != SQ_EINTERNAL);
    sq_ask_reply(ask, &m);
}
void sq_ask_broke_protocol(struct sq_ask *ask)
{
    sq_assert(!ask->is_answered);
    ask->is_answered = true;
}
/* only main() calls these */
sq_err sq_node_open(enum sq_role me, struct sq_node **out_node)
{
    (void)me;
    (void)out_node;
    return SQ_ESYS;
}
int sq_node_take(struct sq_node *n, const char *name)
{
    (void)n;
    (void)name;
    return -1;
}
const char *sq_node_setting(const struct sq_node *n, const char *key)
{
    (void)n;
    (void)key;
    return NULL;
}
sq_err sq_node_start(struct sq_node *n, void *ctx)
{
    (void)n;
    (void)ctx;
    return SQ_ESYS;
}
void sq_node_serve(struct sq_node *n, const char *address)
{
    (void)n;
    (void)address;
}
sq_err sq_proc_begin(const char *name)
{
    (void)name;
    return SQ_ESYS;
}
sq_err keeper_confine(void)
{
    return SQ_ESYS;
}

/* ---- a keeper in memory ---- */

static struct sq_node node;
static struct keeper keeper;
static struct sq_buf fresh; /* a slab of a file backend, just made, with an owner and an object */

static struct sq_key *key_of_ours(void)
{
    uint8_t bytes[SQ_KEY_BYTES];
    struct sq_key *kek = NULL;
    for (uint8_t i = 0; i < SQ_KEY_BYTES; i++)
        bytes[i] = i;
    sq_assert(!sq_key_from(bytes, &kek));
    return kek;
}

static void start(void)
{
    struct sq_slab *slab = NULL;
    size_t n;
    setenv("SQ_LOG", "error", 1);
    sq_assert(!sq_crypt_start() && !sq_identity_start());
    keeper.node = &node;
    keeper.origin = "test.example/log";
    listen_to_all(&node);
    int fd = fuzz_file(NULL, 0);
    struct sq_key *kek = key_of_ours();
    sq_assert(!sq_slab_open(fd, &slab) && !sq_slab_create(slab, &(struct sq_slab_lock){.backend = SQ_SLAB_FILE, .kek = kek}, keeper_clock_wall_s()));
    sq_assert(!sq_slab_add(slab, SQ_SLAB_OWNER, (const uint8_t *)"owner 0000000000", NULL, 0, 0, keeper_clock_wall_s()));
    for (int role = 0; role < 2; role++)
        sq_assert(!sq_slab_add(slab, SQ_SLAB_OBJECT, (const uint8_t *)(role ? "object 111111111" : "object 000000000"),
                               (const uint8_t *)"owner 0000000000", 0, role ? SQ_ROLE_RUNNER : SQ_ROLE_GATEWAY, keeper_clock_wall_s()));
    sq_slab_close(slab);
    sq_key_free(kek);
    uint8_t *p = fuzz_content(fd, &n);
    sq_buf_init(&fresh, 0);
    sq_assert(!sq_buf_add(&fresh, p, n));
    free(p);
}

static void keeper_begin(bool is_sealed)
{
    keeper.wanted = is_sealed ? SQ_SLAB_PASSPHRASE : SQ_SLAB_FILE;
    if (!keeper.file_kek)
        keeper.file_kek = key_of_ours();
    keeper.shares.n = 0;
    keeper.publics.is_known = false;
    node.is_unsealed = false;
    open_keeper(&keeper, fuzz_file(fresh.p, is_sealed ? 0 : fresh.n));
    keeper.backoff.n_failure = 0;
    keeper.backoff.not_before_steady_ms = 0;
    sq_assert(!keeper_unseal_self(&keeper));
}

static void keeper_end(void)
{
    sq_slab_close(keeper.slab);
    keeper_grants_done(&keeper.grants);
    keeper.slab = NULL;
}

/* hashing takes as long as ten thousand other messages: one an input, three where one leads to the next */
static bool is_slow(unsigned no)
{
    return no == SQ_MSG_password_hash || no == SQ_MSG_password_check || no == SQ_MSG_unseal || no == SQ_MSG_key_rotate ||
           no == SQ_MSG_key_passphrase || no == SQ_MSG_key_split;
}

static void say(const struct sq_msg_row *row, struct sq_packet *pkt, bool is_chained)
{
    struct sq_msg m;
    enum sq_role from = row->from == SQ_ROLE_ANYONE ? SQ_ROLE_REGISTRAR : row->from;
    struct sq_ask ask = {.row = row, .from = from};
    if (sq_wire_decode(from, SQ_ROLE_KEEPER, pkt, &m) || !node.on[m.no])
        return;
    if (row->when == SQ_WHEN_UNSEALED && !node.is_unsealed)
        return;
    if (is_chained)
        say_again(&m);
    given.asked = m.no;
    node.on[m.no](&keeper, &ask, &m);
    sq_assert(ask.is_answered || row->reply == SQ_MSG_none);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sq_packet *pkt;
    unsigned n_slow = 0, n_said = 0;
    if (!pkt) {
        sq_assert(pkt = sq_packet_new());
        start();
    }
    if (size < 1)
        return 0;
    given = (struct given){.asked = SQ_MSG_none};
    keeper_begin(data[0] & 1);
    for (size_t at = 1; at + 4 <= size && n_said < 64; n_said++) {
        const struct sq_msg_row *row = sq_msg_row_of(sq_get_le16(data + at));
        size_t n = sq_get_le16(data + at + 2);
        at += 4;
        n = n < size - at ? n : size - at;
        n = n < SQ_WIRE_MAX_BYTES - 12 ? n : SQ_WIRE_MAX_BYTES - 12;
        if (row && row->to == SQ_ROLE_KEEPER && (!is_slow(row->no) || n_slow++ < (data[0] & 2 ? 3 : 1))) {
            sq_put_le16(pkt->bytes, (uint16_t)row->no);
            sq_put_le16(pkt->bytes + 2, 0);
            sq_put_le64(pkt->bytes + 4, row->reply == SQ_MSG_none ? 0 : 1);
            memcpy(pkt->bytes + 12, data + at, n);
            pkt->n = 12 + n;
            pkt->n_fd = pkt->n_fd_used = 0;
            say(row, pkt, data[0] & 2);
        }
        at += n;
    }
    keeper_end();
    return 0;
}
