#include "lib/audit/audit_internal.h"

/* C2SP signed-note and tlog-checkpoint with Ed25519 (signature type 0x01). Strict: one byte sequence for one meaning,
 * so whatever is signed can be compared as bytes. */

#define TYPE_ED25519 0x01
#define DASH "\xe2\x80\x94 " /* U+2014 and a space */
#define DASH_BYTES 4
#define SIG_BYTES (4 + SQ_ED25519_SIG_BYTES)

sq_err sq_audit_decimal(const char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (n == 0 || n > 20 || (p[0] == '0' && n > 1))
        return sq_fail(SQ_EAUDIT);
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, 10, &v)
            || __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
            return sq_fail(SQ_EAUDIT);
    }
    *out = v;
    return SQ_OK;
}

/* Our own names are plain ASCII; names in other keys' signature lines may be anything that can't break the line. */
static bool is_name(const char *p, size_t n, bool is_own)
{
    if (n == 0 || (is_own && n >= SQ_NOTE_NAME_BYTES))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c <= 0x20 || c == 0x7f || c == '+' || (is_own && c > 0x7e))
            return false;
    }
    return true;
}

/* RFC 3629, and no control byte but the line feed: what the note format allows. */
static bool is_note_text(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)p[i];
        unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 9;
        if ((c < 0x20 && c != '\n') || c == 0x7f || more > 3 || more > n - i - 1)
            return false;
        uint32_t v = more ? c & (0x3fU >> more) : c;
        for (unsigned k = 1; k <= more; k++) {
            unsigned char d = (unsigned char)p[i + k];
            if ((d & 0xc0) != 0x80)
                return false;
            v = v << 6 | (d & 0x3f);
        }
        if ((more == 2 && v < 0x800) || (more == 3 && (v < 0x10000 || v > 0x10ffff)) || (v >= 0xd800 && v < 0xe000))
            return false;
        i += 1 + more;
    }
    return true;
}

static sq_err decode64(const char *p, size_t n, uint8_t *out, size_t max, size_t *out_n)
{
    struct sq_buf b;
    sq_buf_init(&b, 2 * max + 8);
    sq_err e = sq_base64_decode(p, n, false, &b);
    if (e || b.n > max || (n && n != (b.n + 2) / 3 * 4))
        e = sq_fail(SQ_EAUDIT);
    if (!e) {
        memcpy(out, b.p, b.n);
        *out_n = b.n;
    }
    sq_buf_done(&b);
    return e;
}

/* ---- keys ---- */

static sq_err key_id(const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], uint8_t out[4])
{
    uint8_t b[SQ_NOTE_NAME_BYTES + 2 + SQ_ED25519_PUBLIC_BYTES], digest[SQ_SHA256_BYTES];
    size_t n = strlen(name);
    memcpy(b, name, n);
    b[n] = '\n';
    b[n + 1] = TYPE_ED25519;
    memcpy(b + n + 2, public_key, SQ_ED25519_PUBLIC_BYTES);
    sq_err e = sq_sha256_of(b, n + 2 + SQ_ED25519_PUBLIC_BYTES, digest);
    if (!e)
        memcpy(out, digest, 4);
    return e;
}

sq_err sq_vkey_encode(const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], char out[SQ_VKEY_BYTES])
{
    if (!is_name(name, strlen(name), true))
        return sq_fail(SQ_ERANGE);
    uint8_t id[4], typed[1 + SQ_ED25519_PUBLIC_BYTES] = {TYPE_ED25519};
    memcpy(typed + 1, public_key, SQ_ED25519_PUBLIC_BYTES);
    char hex[9];
    struct sq_buf b64;
    sq_buf_init(&b64, SQ_VKEY_BYTES);
    sq_err e = key_id(name, public_key, id);
    if (!e)
        e = sq_base64(typed, sizeof typed, false, &b64);
    if (!e) {
        sq_hex(id, sizeof id, hex);
        snprintf(out, SQ_VKEY_BYTES, "%s+%s+%.*s", name, hex, (int)b64.n, (const char *)b64.p);
    }
    sq_buf_done(&b64);
    return e;
}

sq_err sq_vkey_decode(const char *vkey, char out_name[SQ_NOTE_NAME_BYTES], uint8_t out_id[4],
                      uint8_t out_public[SQ_ED25519_PUBLIC_BYTES])
{
    const char *plus = strchr(vkey, '+');
    size_t n = strlen(vkey), n_name = plus ? (size_t)(plus - vkey) : 0;
    if (!plus || !is_name(vkey, n_name, true) || n - n_name < 11 || plus[9] != '+')
        return sq_fail(SQ_EAUDIT);
    char name[SQ_NOTE_NAME_BYTES];
    uint8_t id[4], want[4], typed[1 + SQ_ED25519_PUBLIC_BYTES];
    size_t n_typed = 0;
    memcpy(name, vkey, n_name);
    name[n_name] = 0;
    for (size_t i = 1; i < 9; i++) /* one spelling only */
        if (plus[i] >= 'A' && plus[i] <= 'F')
            return sq_fail(SQ_EAUDIT);
    if (sq_hex_decode(plus + 1, 8, id, sizeof id))
        return sq_fail(SQ_EAUDIT);
    sq_err e = decode64(plus + 10, n - n_name - 10, typed, sizeof typed, &n_typed);
    if (e)
        return e;
    if (n_typed != sizeof typed || typed[0] != TYPE_ED25519)
        return sq_fail(SQ_EAUDIT);
    e = key_id(name, typed + 1, want);
    if (e)
        return e;
    if (memcmp(id, want, sizeof id) != 0)
        return sq_fail(SQ_EAUDIT);
    if (out_name)
        memcpy(out_name, name, n_name + 1);
    if (out_id)
        memcpy(out_id, id, sizeof id);
    if (out_public)
        memcpy(out_public, typed + 1, SQ_ED25519_PUBLIC_BYTES);
    return SQ_OK;
}

/* ---- checkpoint text ---- */

sq_err sq_note_text(const char *origin, uint64_t size, const uint8_t root[SQ_AUDIT_HASH_BYTES], struct sq_buf *out)
{
    if (!is_name(origin, strlen(origin), true))
        return sq_fail(SQ_ERANGE);
    struct sq_buf b64;
    sq_buf_init(&b64, 64);
    sq_err e = sq_base64(root, SQ_AUDIT_HASH_BYTES, false, &b64);
    if (!e)
        e = sq_buf_addf(out, "%s\n%llu\n%.*s\n", origin, (unsigned long long)size, (int)b64.n, (const char *)b64.p);
    sq_buf_done(&b64);
    return e;
}

static bool take_line(const char **p, const char *end, const char **out, size_t *out_n)
{
    const char *lf = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;
    if (!lf)
        return false;
    *out = *p;
    *out_n = (size_t)(lf - *p);
    *p = lf + 1;
    return true;
}

sq_err sq_note_text_read(const char *text, size_t n, struct sq_note_head *out)
{
    const char *p = text, *end = text + n, *origin = NULL, *size = NULL, *root = NULL;
    size_t n_origin = 0, n_size = 0, n_root = 0, got = 0;
    if (!take_line(&p, end, &origin, &n_origin) || !take_line(&p, end, &size, &n_size)
        || !take_line(&p, end, &root, &n_root) || p != end || !is_name(origin, n_origin, true))
        return sq_fail(SQ_EAUDIT);
    struct sq_note_head h = {.size = 0};
    memcpy(h.origin, origin, n_origin);
    sq_err e = sq_audit_decimal(size, n_size, &h.size);
    if (!e)
        e = decode64(root, n_root, h.root, sizeof h.root, &got);
    if (!e && got != sizeof h.root)
        e = sq_fail(SQ_EAUDIT);
    if (!e)
        *out = h;
    return e;
}

/* ---- notes ---- */

sq_err sq_note_sign(const struct sq_key *seed, const char *name, const char *text, size_t n, struct sq_buf *out)
{
    if (!is_name(name, strlen(name), true) || n < 2 || n > SQ_NOTE_MAX_BYTES - 512 || text[n - 1] != '\n'
        || !is_note_text(text, n))
        return sq_fail(SQ_ERANGE);
    uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], sig[SQ_ED25519_SIG_BYTES];
    size_t before = out->n;
    sq_err e = sq_ed25519_public(seed, public_key);
    if (!e)
        e = sq_ed25519_sign(seed, text, n, sig);
    if (!e)
        e = sq_buf_add(out, text, n);
    if (!e)
        e = sq_buf_add(out, "\n", 1);
    if (!e)
        e = sq_note_add_signature(name, public_key, sig, out);
    if (e)
        out->n = before;
    return e;
}

sq_err sq_note_add_signature(const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], const uint8_t sig[SQ_ED25519_SIG_BYTES], struct sq_buf *out)
{
    uint8_t both[SIG_BYTES];
    struct sq_buf b64;
    sq_buf_init(&b64, 256);
    sq_err e = is_name(name, strlen(name), true) ? key_id(name, public_key, both) : sq_fail(SQ_ERANGE);
    memcpy(both + 4, sig, SQ_ED25519_SIG_BYTES);
    if (!e)
        e = sq_base64(both, sizeof both, false, &b64);
    if (!e)
        e = sq_buf_addf(out, DASH "%s %.*s\n", name, (int)b64.n, (const char *)b64.p);
    sq_buf_done(&b64);
    return e;
}

/* Text ends at the last empty line; what follows are signature lines and nothing else. */
static sq_err split_note(const char *note, size_t n, size_t *out_text, size_t *out_sigs)
{
    if (n < 2 || n > SQ_NOTE_MAX_BYTES || note[n - 1] != '\n' || !is_note_text(note, n))
        return sq_fail(SQ_EAUDIT);
    for (size_t i = n - 1; i > 0; i--) {
        if (note[i] == '\n' && note[i - 1] == '\n') {
            if (i + 1 == n || i == 1)
                return sq_fail(SQ_EAUDIT);
            *out_text = i;
            *out_sigs = i + 1;
            return SQ_OK;
        }
    }
    return sq_fail(SQ_EAUDIT);
}

struct sig_line {
    const char *name;
    size_t n_name, n_sig;
    uint8_t sig[512];
};

static sq_err read_sig_line(const char **p, const char *end, struct sig_line *out)
{
    const char *line = NULL;
    size_t n = 0;
    if (!take_line(p, end, &line, &n) || n < DASH_BYTES || memcmp(line, DASH, DASH_BYTES) != 0)
        return sq_fail(SQ_EAUDIT);
    line += DASH_BYTES;
    n -= DASH_BYTES;
    const char *space = memchr(line, ' ', n);
    size_t n_name = space ? (size_t)(space - line) : 0;
    if (!space || !is_name(line, n_name, false))
        return sq_fail(SQ_EAUDIT);
    out->name = line;
    out->n_name = n_name;
    sq_err e = decode64(space + 1, n - n_name - 1, out->sig, sizeof out->sig, &out->n_sig);
    return !e && out->n_sig < 5 ? sq_fail(SQ_EAUDIT) : e;
}

sq_err sq_note_open(const char *vkey, const char *note, size_t n, struct sq_span *out_text)
{
    char name[SQ_NOTE_NAME_BYTES];
    uint8_t id[4], public_key[SQ_ED25519_PUBLIC_BYTES];
    size_t n_text = 0, at = 0;
    sq_err e = sq_vkey_decode(vkey, name, id, public_key);
    if (!e)
        e = split_note(note, n, &n_text, &at);
    if (e)
        return e;
    const char *p = note + at, *end = note + n;
    unsigned n_line = 0, n_good = 0;
    while (p < end) {
        struct sig_line line;
        if (++n_line > SQ_NOTE_MAX_SIGS)
            return sq_fail(SQ_EAUDIT);
        e = read_sig_line(&p, end, &line);
        if (e)
            return e;
        if (line.n_name != strlen(name) || memcmp(line.name, name, line.n_name) != 0 || memcmp(line.sig, id, 4) != 0)
            continue; /* another key's */
        if (line.n_sig != SIG_BYTES || sq_ed25519_verify(public_key, note, n_text, line.sig + 4))
            return sq_fail(SQ_EAUDIT);
        n_good++;
    }
    if (!n_good)
        return sq_fail(SQ_EAUDIT);
    *out_text = sq_span_of(note, n_text);
    return SQ_OK;
}

sq_err sq_note_verify(const char *vkey, const char *note, size_t n, struct sq_note_head *out)
{
    struct sq_span text;
    struct sq_note_head h;
    char name[SQ_NOTE_NAME_BYTES];
    sq_err e = sq_note_open(vkey, note, n, &text);
    if (!e)
        e = sq_vkey_decode(vkey, name, NULL, NULL);
    if (!e)
        e = sq_note_text_read((const char *)text.p, text.n, &h);
    if (!e && strcmp(h.origin, name) != 0)
        e = sq_fail(SQ_EAUDIT);
    if (!e)
        *out = h;
    return e;
}

sq_err sq_note_head_read(const char *note, size_t n, struct sq_note_head *out)
{
    size_t n_text = 0, at = 0;
    sq_err e = split_note(note, n, &n_text, &at);
    if (e)
        return e;
    const char *p = note + at, *end = note + n;
    unsigned n_line = 0;
    while (p < end) {
        struct sig_line line;
        if (++n_line > SQ_NOTE_MAX_SIGS)
            return sq_fail(SQ_EAUDIT);
        e = read_sig_line(&p, end, &line);
        if (e)
            return e;
    }
    return sq_note_text_read(note, n_text, out);
}

/* ---- the checkpoints file: note, empty line, note, empty line ... ---- */

size_t sq_checkpoint_record(const char *p, size_t n)
{
    /* a record ends at the first empty line that follows a signature line */
    bool after_sig = false;
    for (size_t at = 0; at < n;) {
        const char *lf = memchr(p + at, '\n', n - at);
        if (!lf)
            return 0;
        size_t len = (size_t)(lf - (p + at));
        if (len == 0 && after_sig)
            return at + 1;
        after_sig = len >= DASH_BYTES && memcmp(p + at, DASH, DASH_BYTES) == 0;
        at += len + 1;
    }
    return 0;
}
