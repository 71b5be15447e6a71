/*
 * Tries what worker_confine_folders() should forbid, each in a child: run_folders read|write INSIDE OUTSIDE. "yes" it could, "no" it was
 * refused, "killed" the list of system calls ended it.
 */
#include "worker/worker.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int inside, outside;
static bool is_write;

static bool can_read(int dir)
{
    char text[8];
    int fd = openat(dir, "sub/file", O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, text, sizeof text) == 5;
}

static bool read_inside(void)
{
    return can_read(inside);
}

static bool read_outside(void)
{
    return can_read(outside);
}

static bool can_list(int dir)
{
    int fd = openat(dir, "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    return d && readdir(d);
}

static bool list_inside(void)
{
    return can_list(inside);
}

static bool list_outside(void)
{
    return can_list(outside);
}

/* openat2, whose flags a list of calls can't see: Landlock says no */
static bool write_inside(void)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {.flags = O_WRONLY | O_CLOEXEC};
    return syscall(SYS_openat2, inside, "sub/file", &how, sizeof how) >= 0;
}

static bool make_inside(void)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {.flags = O_WRONLY | O_CREAT | O_CLOEXEC, .mode = 0600};
    char name[32];
    snprintf(name, sizeof name, "sub/new%d", is_write);
    return syscall(SYS_openat2, inside, name, &how, sizeof how) >= 0;
}

static bool make_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool start_program(void)
{
    return execl("/bin/true", "true", (char *)NULL) != -1;
}

static bool make_process(void)
{
    return syscall(SYS_fork) >= 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*can)(void);
    } tries[] = {{"read inside", read_inside}, {"list inside", list_inside}, {"read outside", read_outside}, {"list outside", list_outside}, {"write inside", write_inside},
                 {"make inside", make_inside}, {"socket", make_socket}, {"exec", start_program}, {"fork", make_process}};
    if (argc != 4)
        return 2;
    is_write = !strcmp(argv[1], "write");
    inside = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    outside = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inside < 0 || outside < 0)
        return 2;
#ifdef __SANITIZE_ADDRESS__
    printf("skipped: no list of calls is loaded in a sanitizer build\n");
    return 0;
#endif
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 3) {
        printf("skipped: this kernel's Landlock is too old\n");
        return 0;
    }
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        int status = 0;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            if (worker_confine_folders(is_write ? -1 : inside, is_write ? inside : -1))
                _exit(9);
            _exit(tries[i].can() ? 0 : 1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return 2;
        printf("%s: %s\n", tries[i].name, WIFSIGNALED(status) ? "killed" : WEXITSTATUS(status) == 0 ? "yes" : WEXITSTATUS(status) == 1 ? "no" : "not confined");
    }
    return 0;
}
