/* vault_tool seal|open FILE - seal standard input into FILE, or open FILE to standard output, with the key and id of
 * docs/formats/sealed-object.md. For oracle_test.py. Exit code: the sq_err. */
#include "lib/core/file.h"
#include "lib/vault/vault_open.h"
#include "lib/vault/vault_seal.h"
#include "vault_keys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t buf[100000];

static sq_err seal(struct test_keeper *keeper, int fd)
{
    struct sq_vault_sealer *s = NULL;
    struct sq_vault_sum sum;
    size_t n = 1;
    sq_err err = sq_vault_sealer_new(keeper->object_id, fd, test_key_seal, keeper, &s);
    while (!err && n)
        if (!(err = sq_read_full(0, buf, sizeof buf, &n)))
            err = sq_vault_seal(s, buf, n);
    if (!err)
        err = sq_vault_seal_close(s, &sum);
    sq_vault_sealer_free(s);
    return err;
}

static sq_err open_to_stdout(struct test_keeper *keeper, int fd)
{
    struct sq_vault_opener *o = NULL;
    struct stat st;
    size_t n = 1;
    if (fstat(fd, &st))
        return SQ_EIO;
    sq_err err = sq_vault_opener_new(keeper->object_id, fd, (uint64_t)st.st_size, test_key_open, keeper, &o);
    for (uint64_t at = 0; !err && n; at += n)
        if (!(err = sq_vault_read(o, at, buf, sizeof buf, &n)))
            err = sq_write_all(1, buf, n);
    sq_vault_opener_free(o);
    return err;
}

int main(int argc, char **argv)
{
    struct test_keeper keeper;
    if (argc != 3 || sq_crypt_start() || test_keeper_init(&keeper))
        return 255;
    bool is_seal = argv[1][0] == 's';
    int fd = open(argv[2], is_seal ? O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return 255;
    sq_err err = is_seal ? seal(&keeper, fd) : open_to_stdout(&keeper, fd);
    close(fd);
    sq_key_free(keeper.object_key);
    return (int)err;
}
