/* Results sealed to the user's own public key: the key is read and checked here, so that a private one never leaves. */
#include "cli/cli.h"

#include "lib/core/file.h"
#include "lib/crypt/crypt.h"
#include "lib/crypt/recipient.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FILE_MAX_BYTES 4096

/* A file of that name, else the words are the key. The first byte that doesn't fit tells that it is neither. */
static int read_text(const struct cli *c, const char *given, char out[FILE_MAX_BYTES + 1], size_t *out_n)
{
    size_t n = 0;
    int fd = open(given, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && strncmp(given, "age1", 4) && strlen(given) != 44)
        return out_path_error(c, "the key is no age or Crypt4GH public key, and no file can be opened by that name", given);
    if (fd < 0) {
        n = strlen(given) <= FILE_MAX_BYTES ? strlen(given) : 0;
        memcpy(out, given, n);
    }
    ssize_t got = fd < 0 ? 0 : 1;
    while (got > 0 && n < FILE_MAX_BYTES) {
        got = read(fd, out + n, FILE_MAX_BYTES - n);
        n += got > 0 ? (size_t)got : 0;
    }
    sq_close(&fd);
    out[n] = 0;
    *out_n = n;
    return got < 0 ? out_path_error(c, "the key's file can't be read", given) : 0;
}

/* without empty lines and remarks, as age's own files of keys may have them */
static size_t without_remarks(char *text)
{
    char *to = text;
    for (char *line = text, *next; *line; line = next) {
        size_t n = strcspn(line, "\n");
        next = line + n + (line[n] == '\n');
        if (*line == '#' || !n)
            continue;
        memmove(to, line, (size_t)(next - line));
        to += next - line;
    }
    while (to > text && (to[-1] == '\n' || to[-1] == '\r' || to[-1] == ' '))
        to--;
    *to = 0;
    return (size_t)(to - text);
}

int seal_to_read(const struct cli *c, char out_key[201], char out_fingerprint[65])
{
    char text[FILE_MAX_BYTES + 1];
    uint8_t sha[SQ_SHA256_BYTES];
    struct sq_recipient to;
    size_t n;
    int rc = read_text(c, c->opt[OPT_seal_to], text, &n);
    if (!rc && sq_recipient_is_private(sq_span_of(text, n)))
        rc = out_error(c, SQ_EFIELD, "that is a private key: nothing was sent, and it must never leave you", "name its public half: `age-keygen -y key.txt`, or the .pub file of crypt4gh-keygen");
    n = rc ? 0 : without_remarks(text);
    if (!rc && (n > SQ_RECIPIENT_MAX_BYTES || sq_recipient_parse(sq_span_of(text, n), &to)))
        rc = out_error(c, SQ_EFIELD, "that is not one public key of age or Crypt4GH", "age1 and 58 letters, or the .pub file of crypt4gh-keygen");
    sq_err e = rc ? SQ_OK : sq_sha256_of(to.x25519, sizeof to.x25519, sha);
    if (e)
        rc = out_error(c, e, "the key's fingerprint can't be made", NULL);
    if (!rc) {
        memcpy(out_key, text, n + 1);
        sq_hex(sha, sizeof sha, out_fingerprint);
    }
    sq_wipe(text, sizeof text);
    return rc;
}

const char *seal_to_kind(const json_t *job)
{
    return out_text(json_object_get(job, "seal_to"), "kind");
}

const char *seal_to_suffix(const json_t *job)
{
    const char *kind = seal_to_kind(job);
    return !strcmp(kind, "age") ? "tar.age" : *kind ? "tar.c4gh" : "zip";
}

void seal_to_say_how(const json_t *job, const char *path)
{
    bool is_age = !strcmp(seal_to_kind(job), "age");
    printf(is_age ? "open it  age -d -i key.txt %s | tar x\n" : "open it  crypt4gh decrypt --sk key < %s | tar x\n", path);
    puts("Only your private key opens it: the server can't, and has no other copy of the result.");
}
