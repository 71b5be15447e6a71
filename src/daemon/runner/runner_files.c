#include "daemon/runner/runner.h"

#include <fcntl.h>
#include <sys/stat.h>

sq_err sq_file_check(int fd, enum sq_file_use use)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return sq_fail(SQ_EPROTO);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH)) /* storer hands out append-only files for writing: the better */
        return sq_fail(SQ_EPROTO);
    int mode = flags & O_ACCMODE;
    bool is_right = use == SQ_FILE_READ ? mode == O_RDONLY : mode == O_WRONLY || mode == O_RDWR;
    return is_right ? SQ_OK : sq_fail(SQ_EPROTO);
}

sq_err sq_task_take_files(struct sq_task *t, struct sq_ask *ask, struct sq_ids objects, struct sq_span sealed_bytes,
                          const struct sq_fds *files, const bool *is_input)
{
    if (objects.n > SQ_RUNNER_MAX_FILES || files->n != objects.n || sealed_bytes.n != objects.n * 8)
        return sq_fail(SQ_EPROTO);
    for (uint32_t i = 0; i < objects.n; i++) {
        const uint8_t *id = objects.p + (size_t)i * SQ_ID_BYTES;
        for (uint32_t k = 0; k < i; k++)
            if (!memcmp(id, objects.p + (size_t)k * SQ_ID_BYTES, SQ_ID_BYTES))
                return sq_fail(SQ_EPROTO); /* one object can't be two ports */
        uint64_t n_bytes = sq_get_be64(sealed_bytes.p + (size_t)i * 8);
        sq_err e = sq_file_check(files->fd[i], is_input[i] ? SQ_FILE_READ : SQ_FILE_WRITE);
        if (!e && is_input[i] != (n_bytes > 0))
            e = sq_fail(SQ_EPROTO);
        if (e)
            return e;
        t->file[i].sealed_bytes = n_bytes;
        memcpy(t->file[i].object_id, id, SQ_ID_BYTES);
    }
    for (uint32_t i = 0; i < objects.n; i++) {
        sq_ask_keep_fd(ask, files->fd[i]);
        t->file[i].fd = files->fd[i];
    }
    t->n_file = objects.n;
    return SQ_OK;
}
