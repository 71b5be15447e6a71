/*
 * The yardstick of bench/service: libmicrohttpd with GnuTLS, set up as src/lib/http/http_server.c sets it up, and nothing else.
 *     service_bare CERTIFICATE KEY DIRECTORY     POST anything: the body goes to DIRECTORY/upload, one fdatasync, 201
 *                                                GET: DIRECTORY/file, from its descriptor
 * Prints its port. No check of anything: never run it where others can reach it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char priorities[] = "NONE:+VERS-TLS1.3:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+COMP-NULL:+CTYPE-X509:"
                                 "+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:"
                                 "+SIGN-EDDSA-ED25519:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:%NO_TICKETS";
static int dir;

static void must(bool is_ok, const char *what)
{
    if (is_ok)
        return;
    perror(what);
    exit(1);
}

static char *read_text(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && !fstat(fd, &st), path);
    char *text = calloc(1, (size_t)st.st_size + 1);
    must(text && read(fd, text, (size_t)st.st_size) == (ssize_t)st.st_size, path);
    close(fd);
    return text;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, struct MHD_Response *r)
{
    enum MHD_Result ok = r ? MHD_queue_response(c, status, r) : MHD_NO;
    if (r)
        MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                 const char *data, size_t *n_data, void **state)
{
    (void)cls, (void)url, (void)version;
    int *fd = *state;
    if (!fd) {
        must((fd = calloc(1, sizeof *fd)) != NULL, "memory");
        *fd = strcmp(method, "POST") ? -1 : openat(dir, "upload", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        *state = fd;
        return MHD_YES;
    }
    if (*n_data) {
        for (size_t at = 0; at < *n_data;) {
            ssize_t n = write(*fd, data + at, *n_data - at);
            must(n > 0, "write");
            at += (size_t)n;
        }
        *n_data = 0;
        return MHD_YES;
    }
    if (*fd >= 0) {
        must(!fdatasync(*fd), "fdatasync");
        close(*fd);
        *fd = -1;
        return answer(c, 201, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
    }
    struct stat st;
    int file = openat(dir, "file", O_RDONLY | O_CLOEXEC);
    must(file >= 0 && !fstat(file, &st), "file");
    return answer(c, 200, MHD_create_response_from_fd64((uint64_t)st.st_size, file));
}

static void on_completed(void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how)
{
    (void)cls, (void)c, (void)how;
    free(*state);
    *state = NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    must(argc == 4, "service_bare CERTIFICATE KEY DIRECTORY");
    mallopt(M_ARENA_MAX, 1);
    dir = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(dir >= 0 && fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 64) &&
             !getsockname(fd, (struct sockaddr *)&a, &n), "listen");
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC | MHD_USE_TLS, 0, NULL, NULL,
        on_access, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_MEM_CERT, read_text(argv[1]), MHD_OPTION_HTTPS_MEM_KEY,
        read_text(argv[2]), MHD_OPTION_HTTPS_PRIORITIES, priorities, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(96U << 10),
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)(16U << 10), MHD_OPTION_THREAD_STACK_SIZE, (size_t)(256U << 10),
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    must(d != NULL, "MHD_start_daemon");
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (char c; read(0, &c, 1) > 0;)
        ; /* until whoever started us ends */
    MHD_stop_daemon(d);
    return 0;
}
