/*
 * What this program finds around itself, before it reads a byte of input and before its own list of system calls. Each look is
 * an attempt, not a question: what should be impossible is tried. lib/jobs/walls.def has the meaning of each bit.
 */
#include "worker/worker.h"

#include "lib/jobs/stages.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_no_network(void)
{
    static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM};
    bool is_cut = true;
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
        int s = socket(AF_INET, kinds[i] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (s < 0)
            continue;
        /* refused would mean that somebody is there to refuse */
        bool is_unreachable = connect(s, (struct sockaddr *)&to, sizeof to) < 0 && errno != ECONNREFUSED && errno != EINPROGRESS;
        is_cut = is_cut && is_unreachable;
        close(s);
    }
    return is_cut;
}

static bool is_read_only(void)
{
    int fd = open("/sequester-was-here", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static bool sees_no_host(void)
{
    static const char *const of_host[] = {"/etc/passwd", "/etc/hostname", "/usr/bin/env", "/bin/sh", "/home", "/root", "/var", "/proc/2"};
    for (size_t i = 0; i < sizeof of_host / sizeof of_host[0]; i++)
        if (access(of_host[i], F_OK) == 0)
            return false;
    return true;
}

static bool has_no_capability(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &head, data))
        return false;
    return !(data[0].effective | data[1].effective | data[0].permitted | data[1].permitted);
}

uint32_t worker_walls(void)
{
    return (getpid() == 1 ? SQ_WALL_own_processes : 0) | (has_no_network() ? SQ_WALL_no_network : 0) | (is_read_only() ? SQ_WALL_read_only_root : 0) |
           (sees_no_host() ? SQ_WALL_no_host_files : 0) | (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? SQ_WALL_no_new_rights : 0) |
           (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 ? SQ_WALL_call_filter : 0) | (has_no_capability() ? SQ_WALL_no_capabilities : 0);
}
