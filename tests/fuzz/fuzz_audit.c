/* Entries of the audit log, and signed notes. Input: 0 entry | 1 a whole note | 2 a text, which is signed here first, as what
 * stands behind a good signature can't be guessed. What is read must be written the same. */
#include "lib/audit/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char golden_vkey[] = "log.example/sequester+358516aa+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";

static void entry(const uint8_t *p, size_t n)
{
    struct sq_audit_entry e;
    struct sq_buf b;
    if (sq_audit_entry_decode(sq_span_of(p, n), &e))
        return;
    sq_buf_init(&b, 0);
    sq_assert(sq_audit_entry_encode(&e, &b) == SQ_OK && b.n == n && memcmp(b.p, p, n) == 0);
    for (int is_json = 0; is_json < 2; is_json++) {
        sq_buf_clear(&b);
        sq_assert(sq_audit_entry_print(&e, is_json, &b) == SQ_OK && !memchr(b.p, '\n', b.n));
    }
    sq_buf_done(&b);
}

static void note(const char *p, size_t n)
{
    struct sq_note_head head;
    struct sq_span text;
    if (!sq_note_open(golden_vkey, p, n, &text))
        sq_assert(text.n <= n && text.n && text.p[text.n - 1] == '\n');
    (void)!sq_note_head_read(p, n, &head);
    (void)!sq_note_verify(golden_vkey, p, n, &head);
    static struct sq_note_keys keys;
    sq_assert(sq_note_keys_from(golden_vkey, p, n, &keys) == SQ_OK && keys.n >= 1); /* nobody here has its seed: no key follows */
}

static void vkey(const uint8_t *p, size_t n)
{
    char text[2 * SQ_VKEY_BYTES], name[SQ_NOTE_NAME_BYTES], again[SQ_VKEY_BYTES];
    uint8_t id[4], public_key[SQ_ED25519_PUBLIC_BYTES];
    if (n >= sizeof text)
        return;
    memcpy(text, p, n);
    text[n] = 0;
    if (!sq_vkey_decode(text, name, id, public_key))
        sq_assert(sq_vkey_encode(name, public_key, again) == SQ_OK && strcmp(again, text) == 0);
}

static void signed_text(const struct sq_key *seed, const char *text, size_t n)
{
    struct sq_buf b, again;
    struct sq_note_head head;
    struct sq_span opened;
    char own[SQ_VKEY_BYTES];
    uint8_t public_key[SQ_ED25519_PUBLIC_BYTES];
    sq_buf_init(&b, 0);
    sq_buf_init(&again, 0);
    sq_assert(sq_ed25519_public(seed, public_key) == SQ_OK && sq_vkey_encode("fuzz.example", public_key, own) == SQ_OK);
    if (!sq_note_sign(seed, "fuzz.example", text, n, &b) && b.n <= SQ_NOTE_MAX_BYTES) {
        const char *p = (const char *)b.p;
        sq_assert(sq_note_open(own, p, b.n, &opened) == SQ_OK && opened.n == n && memcmp(opened.p, text, n) == 0);
        (void)!sq_note_verify(own, p, b.n, &head);
        if (!sq_note_head_read(p, b.n, &head))
            sq_assert(sq_note_text(head.origin, head.size, head.root, &again) == SQ_OK && again.n <= n &&
                      memcmp(again.p, text, again.n) == 0);
    }
    sq_buf_done(&b);
    sq_buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sq_key *seed;
    static const uint8_t seed_bytes[SQ_KEY_BYTES] = {7};
    if (!seed)
        sq_assert(sq_crypt_start() == SQ_OK && sq_key_from(seed_bytes, &seed) == SQ_OK);
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        entry(data + 1, size - 1);
        break;
    case 1:
        note((const char *)data + 1, size - 1);
        break;
    case 2:
        signed_text(seed, (const char *)data + 1, size - 1);
        break;
    default:
        vkey(data + 1, size - 1);
    }
    return 0;
}
