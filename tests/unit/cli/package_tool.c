/* package_tool PASSWORD PACKAGE NAME=FILE...: writes a result package with the files' contents, as runner would. */
#include "lib/core/file.h"
#include "lib/vault/zip_ae2.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static sq_err to_fd(void *ctx, const void *p, size_t n)
{
    return sq_write_all(*(int *)ctx, p, n);
}

static sq_err add(struct sq_zip *z, const char *password, char *name_and_file)
{
    struct sq_zip_keys keys;
    uint8_t salt[SQ_ZIP_SALT_BYTES];
    struct sq_buf text;
    char *file = strchr(name_and_file, '=');
    sq_buf_init(&text, 1 << 24);
    sq_err e = file ? sq_random(salt, sizeof salt) : SQ_EFIELD;
    if (!e) {
        *file++ = 0;
        e = sq_file_read(AT_FDCWD, file, &text);
    }
    if (!e)
        e = sq_zip_entry_keys(password, strlen(password), salt, &keys);
    if (!e)
        e = sq_zip_entry_begin(z, name_and_file, &keys, text.n);
    if (!e)
        e = sq_zip_write(z, text.p, text.n);
    if (!e)
        e = sq_zip_entry_end(z);
    sq_buf_done(&text);
    return e;
}

int main(int argc, char **argv)
{
    struct sq_zip *z = NULL;
    if (argc < 3 || sq_crypt_start())
        return 255;
    int fd = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    sq_err e = fd < 0 ? SQ_EIO : sq_zip_new(to_fd, &fd, 1800000000, &z);
    for (int i = 3; i < argc && !e; i++)
        e = add(z, argv[1], argv[i]);
    if (!e)
        e = sq_zip_close(z, NULL);
    sq_zip_free(z);
    close(fd);
    return (int)e;
}
