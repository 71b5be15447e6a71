/*
 * zip_tool write PASSWORD FILE [NAME=SIZE | NAME=?SIZE]...   package of pattern entries (? : size unknown at first) with
 *                                                            salts counted up and a fixed time: golden
 * zip_tool list FILE                                         NAME SIZE lines
 * zip_tool extract PASSWORD FILE NAME                        to standard output
 * zip_tool holes PASSWORD FILE SIZE                          two entries, the first of SIZE bytes; ciphertext of it is
 *                                                            left out as a hole (zip64 without the disk)
 * zip_tool speed MIB                                         MB/s into nothing
 * For zip_test.py. Exit code: the sq_err. PASSWORDs are the tests' own, so they may stand in argv.
 */
#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/vault/zip_ae2.h"
#include "lib/vault/zip_ae2_read.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TIME_S INT64_C(1795341600) /* 2026-11-22T10:00:00Z */

struct file_sink {
    int fd;
    bool is_hollow; /* skip 64 KiB writes */
};

static uint8_t buf[1 << 20];

static sq_err to_file(void *ctx, const void *p, size_t n)
{
    struct file_sink *f = ctx;
    if (f->is_hollow && n == 65536)
        return lseek(f->fd, (off_t)n, SEEK_CUR) < 0 ? SQ_EIO : SQ_OK;
    return sq_write_all(f->fd, p, n);
}

static sq_err to_nothing(void *ctx, const void *p, size_t n)
{
    *(uint64_t *)ctx += n;
    return SQ_OK;
}

static sq_err entry(struct sq_zip *z, const char *password, const char *name, uint64_t n, bool is_known, uint8_t no)
{
    uint8_t salt[SQ_ZIP_SALT_BYTES];
    struct sq_zip_keys keys;
    for (int i = 0; i < SQ_ZIP_SALT_BYTES; i++)
        salt[i] = (uint8_t)(16 * no + i);
    sq_err err = sq_zip_entry_keys(password, strlen(password), salt, &keys);
    if (!err)
        err = sq_zip_entry_begin(z, name, &keys, is_known ? n : SQ_ZIP_UNKNOWN_BYTES);
    for (uint64_t at = 0; at < n && !err;) {
        size_t take = n - at < sizeof buf ? (size_t)(n - at) : sizeof buf;
        for (size_t i = 0; i < take && at + i < 16 * sizeof buf; i++)
            buf[i] = (uint8_t)((at + i) % 251);
        err = sq_zip_write(z, buf, take);
        at += take;
    }
    return err ? err : sq_zip_entry_end(z);
}

static sq_err write_package(int argc, char **argv, struct file_sink *f)
{
    struct sq_zip *z = NULL;
    uint64_t total = 0;
    sq_err err = sq_zip_new(to_file, f, TIME_S, &z);
    for (int i = 4; i < argc && !err; i++) {
        char *size = strchr(argv[i], '=');
        if (!size)
            return SQ_EREQUEST;
        *size++ = 0;
        bool is_known = *size != '?';
        err = entry(z, argv[2], argv[i], strtoull(size + !is_known, NULL, 10), is_known, (uint8_t)(i - 4));
    }
    if (!err)
        err = sq_zip_close(z, &total);
    if (!err && total != (uint64_t)lseek(f->fd, 0, SEEK_CUR))
        err = SQ_EINTERNAL;
    sq_zip_free(z);
    return err;
}

static sq_err holes(char **argv, struct file_sink *f)
{
    struct sq_zip *z = NULL;
    f->is_hollow = true;
    sq_err err = sq_zip_new(to_file, f, TIME_S, &z);
    if (!err)
        err = entry(z, argv[2], "large.bin", strtoull(argv[4], NULL, 10), true, 0);
    f->is_hollow = false;
    if (!err)
        err = entry(z, argv[2], "behind.txt", 1000, false, 1);
    if (!err)
        err = sq_zip_close(z, NULL);
    sq_zip_free(z);
    return err;
}

static sq_err speed(uint64_t mib)
{
    struct sq_zip *z = NULL;
    struct sq_zip_keys keys = {.salt = {1}};
    uint64_t n = 0;
    sq_err err = sq_zip_new(to_nothing, &n, TIME_S, &z);
    if (!err)
        err = sq_zip_entry_begin(z, "x", &keys, mib << 20);
    int64_t from = sq_clock_steady_ms();
    for (uint64_t i = 0; i < mib && !err; i++)
        err = sq_zip_write(z, buf, 1 << 20);
    int64_t ms = sq_clock_steady_ms() - from;
    printf("%" PRIu64 " MB/s\n", (mib << 20) / 1000 / (uint64_t)(ms > 0 ? ms : 1));
    sq_zip_free(z);
    return err;
}

static sq_err list(int fd)
{
    struct sq_unzip *z = NULL;
    sq_err err = sq_unzip_open(fd, &z);
    for (size_t i = 0; !err && i < sq_unzip_n_entry(z); i++)
        printf("%s %" PRIu64 "\n", sq_unzip_entry(z, i).name, sq_unzip_entry(z, i).plain_bytes);
    sq_unzip_free(z);
    return err;
}

static sq_err extract(char **argv, int fd)
{
    struct sq_unzip *z = NULL;
    struct file_sink f = {.fd = 1};
    size_t i = 0;
    sq_err err = sq_unzip_open(fd, &z);
    if (!err)
        err = sq_unzip_find(z, argv[4], &i);
    if (!err)
        err = sq_unzip_extract(z, i, argv[2], strlen(argv[2]), to_file, &f);
    sq_unzip_free(z);
    return err;
}

int main(int argc, char **argv)
{
    if (argc < 3 || sq_crypt_start())
        return 255;
    const char *what = argv[1];
    if (strcmp(what, "speed") == 0)
        return (int)speed(strtoull(argv[2], NULL, 10));
    bool is_write = strcmp(what, "write") == 0 || strcmp(what, "holes") == 0;
    const char *path = strcmp(what, "list") == 0 ? argv[2] : argv[3];
    int fd = open(path, is_write ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return 254;
    struct file_sink f = {.fd = fd};
    sq_err err = strcmp(what, "write") == 0   ? write_package(argc, argv, &f)
                 : strcmp(what, "holes") == 0 ? holes(argv, &f)
                 : strcmp(what, "list") == 0  ? list(fd)
                                              : extract(argv, fd);
    close(fd);
    return (int)err;
}
