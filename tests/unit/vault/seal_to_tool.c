/* `seal_to_tool KEY NAME...`: the files as a tar, sealed to KEY, on standard output. `seal_to_tool --check`: what a recipient is. */
#include "lib/core/file.h"
#include "lib/vault/seal_to.h"
#include "lib/vault/tar.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static sq_err to_stdout(void *ctx, const void *p, size_t n)
{
    (void)ctx;
    return sq_write_all(STDOUT_FILENO, p, n);
}

static sq_err add_file(struct sq_seal_to *s, const char *path)
{
    static uint8_t bytes[100003], zeros[SQ_TAR_BLOCK_BYTES];
    uint8_t head[SQ_TAR_BLOCK_BYTES];
    const char *slash = strrchr(path, '/');
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    sq_err err = fd < 0 || fstat(fd, &st) ? sq_fail(SQ_EIO) : sq_tar_header(slash ? slash + 1 : path, (uint64_t)st.st_size, 1700000000, head);
    if (!err)
        err = sq_seal_to_write(s, head, sizeof head);
    for (size_t got = 1; !err && got;) {
        err = sq_read_full(fd, bytes, sizeof bytes, &got);
        if (!err && got)
            err = sq_seal_to_write(s, bytes, got);
    }
    if (!err)
        err = sq_seal_to_write(s, zeros, sq_tar_padding((uint64_t)st.st_size));
    sq_close(&fd);
    return err;
}

int main(int argc, char **argv)
{
    static const uint8_t zeros[2 * SQ_TAR_BLOCK_BYTES];
    struct sq_recipient to;
    struct sq_seal_to *s = NULL;
    if (argc < 2 || sq_crypt_start())
        return 2;
    sq_err err = sq_recipient_parse(sq_span_str(argv[1]), &to);
    if (err || argc == 2) {
        puts(err ? sq_err_name(err) : sq_recipient_suffix(to.kind));
        return err != SQ_OK;
    }
    bool is_raw = !strcmp(argv[2], "--raw"); /* standard input as it is, no tar */
    err = sq_seal_to_new(&to, to_stdout, NULL, &s);
    if (is_raw) {
        static uint8_t bytes[70001];
        for (size_t got = 1; !err && got;) {
            err = sq_read_full(STDIN_FILENO, bytes, sizeof bytes, &got);
            if (!err && got)
                err = sq_seal_to_write(s, bytes, got);
        }
    }
    for (int i = 2; i < argc && !err && !is_raw; i++)
        err = add_file(s, argv[i]);
    if (!err && !is_raw)
        err = sq_seal_to_write(s, zeros, sizeof zeros);
    if (!err)
        err = sq_seal_to_close(s);
    sq_seal_to_free(s);
    return err ? 1 : 0;
}
