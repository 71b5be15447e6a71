/* lib/crypt: where keys lie, what guards them, and that nothing opens a file once sq_crypt_start() has run. */
#include "lib/crypt/crypt.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* a sanitizer's runtime replaces mlock by nothing: what is about locking can't be seen there */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NEEDS_MLOCK() return /* not skip(): cmocka 1.1 writes a skip as "not ok" */
#else
#define NEEDS_MLOCK() ((void)0)
#endif

/* what a child that touches @p dies of; 0: it lives */
static int signal_of_read(const volatile uint8_t *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL); /* cmocka and sanitizers catch it */
        signal(SIGBUS, SIG_DFL);
        (void)*p;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* the VmFlags line of the mapping that holds @p, from /proc/self/smaps */
static void vm_flags(const void *p, char *out, size_t size)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    char line[512];
    bool is_inside = false;
    out[0] = 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            is_inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        if (is_inside && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(out, size, "%.255s", line + 8);
    }
    fclose(f);
}

static void keys_are_locked_and_undumpable(void **state)
{
    NEEDS_MLOCK();
    struct sq_key *key = NULL;
    uint8_t *secret = NULL;
    char flags[256];
    assert_int_equal(sq_key_new(&key), SQ_OK);
    vm_flags(sq_key_bytes(key), flags, sizeof flags);
    assert_non_null(strstr(flags, " lo"));
    assert_non_null(strstr(flags, " dd"));
    assert_int_equal(sq_secret_new(100, &secret), SQ_OK);
    vm_flags(secret, flags, sizeof flags);
    assert_non_null(strstr(flags, " lo"));
    assert_non_null(strstr(flags, " dd"));
    sq_secret_free(secret, 100);
    sq_key_free(key);
}

static void guards(void **state)
{
    struct sq_key *key = NULL;
    uint8_t *secret = NULL;
    assert_int_equal(sq_key_new(&key), SQ_OK);
    const uint8_t *p = sq_key_bytes(key);
    assert_int_equal(signal_of_read(p), 0);
    /* the arena is four pages: from any key, the guards lie within four pages on both sides */
    const uint8_t *page = p - (uintptr_t)p % 4096;
    int low = 0, high = 0;
    for (int i = 1; i <= 4 && !low; i++)
        low = signal_of_read(page - i * 4096);
    for (int i = 1; i <= 4 && !high; i++)
        high = signal_of_read(page + i * 4096);
    assert_int_equal(low, SIGSEGV);
    assert_int_equal(high, SIGSEGV);
    sq_key_free(key);

    assert_int_equal(sq_secret_new(4096 + 32, &secret), SQ_OK);
    memset(secret, 1, 4096 + 32);
    assert_int_equal(signal_of_read(secret + 4096 + 31), 0);
    assert_int_equal(signal_of_read(secret + 4096 + 32), SIGSEGV); /* the very next byte */
    sq_secret_free(secret, 4096 + 32);
    assert_int_equal(signal_of_read(secret), SIGSEGV); /* gone */
    sq_secret_free(NULL, 5);
    assert_int_equal(sq_secret_new((1u << 20) + 1, &secret), SQ_ERANGE);
}

static void freed_keys_are_zero(void **state)
{
    uint8_t bytes[32], zero[32] = {0};
    memset(bytes, 0xa7, sizeof bytes);
    struct sq_key *keep = NULL, *key = NULL;
    assert_int_equal(sq_key_new(&keep), SQ_OK);
    assert_int_equal(sq_key_from(bytes, &key), SQ_OK);
    const uint8_t *p = sq_key_bytes(key);
    assert_memory_equal(p, bytes, 32);
    sq_key_free(key);
    assert_memory_equal(p, zero, 32); /* the arena stays mapped, so this may be looked at */
    sq_key_free(keep);
    sq_key_free(NULL);
}

static void double_free_is_found(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        struct sq_key *key = NULL;
        if (sq_key_new(&key))
            _exit(1);
        sq_key_free(key);
        sq_key_free(key);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void many_keys(void **state)
{
    enum { N = 5000 };
    static struct sq_key *keys[N];
    for (int i = 0; i < N; i++)
        assert_int_equal(sq_key_new(&keys[i]), SQ_OK);
    for (int i = 1; i < N; i++)
        assert_memory_not_equal(sq_key_bytes(keys[i]), sq_key_bytes(keys[i - 1]), 32);
    for (int i = 0; i < N; i += 2)
        sq_key_free(keys[i]);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(sq_key_new(&keys[i]), SQ_OK);
    for (int i = 0; i < N; i++)
        sq_key_free(keys[i]);
}

/* without the right to lock memory there is no key, rather than an unlocked one */
static void no_lock_no_key(void **state)
{
    NEEDS_MLOCK();
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        uint8_t *secret = NULL;
        if (setrlimit(RLIMIT_MEMLOCK, &none) || (geteuid() == 0 && setresuid(65534, 65534, 65534)))
            _exit(2);
        _exit(sq_secret_new(10, &secret) == SQ_ENOMEM ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *worker(void *arg)
{
    for (int i = 0; i < 200; i++) {
        struct sq_key *key = NULL, *other = NULL;
        uint8_t sealed[16 + SQ_BOX_EXTRA_BYTES], out[16];
        if (sq_key_new(&key) || sq_key_from(sq_key_bytes(key), &other) ||
            sq_box_seal(key, "a", 1, "0123456789abcdef", 16, sealed) ||
            sq_box_open(other, "a", 1, sealed, sizeof sealed, out) || memcmp(out, "0123456789abcdef", 16))
            return arg;
        sq_key_free(key);
        sq_key_free(other);
    }
    return NULL;
}

static void threads(void **state)
{
    pthread_t t[4];
    int token = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, &token), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(t[i], &failed);
        assert_null(failed);
    }
}

/* kill the process at the first open of any kind, socket or exec */
static void forbid_open(void)
{
    static const unsigned banned[] = {
#ifdef SYS_open
        SYS_open, SYS_creat,
#endif
        SYS_openat, SYS_openat2, SYS_socket, SYS_execve};
    enum { N = sizeof banned / sizeof *banned };
    struct sock_filter f[2 * N + 2];
    unsigned n = 0;
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < N; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, banned[i], 0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(100);
}

static int use_everything(void)
{
    uint8_t buf[256], sig[64], public_key[65], salt[16] = {0};
    char phc[SQ_PHC_MAX_BYTES];
    struct sq_key *key = NULL, *es = NULL, *derived = NULL;
    struct sq_x509_pair ca = {0}, server = {0};
    int64_t not_after = 0;
    if (sq_random(buf, sizeof buf) || sq_key_new(&key) || sq_es256_new(&es) || sq_hkdf(key, NULL, 0, "x", 1, &derived))
        return 1;
    if (sq_password_hash("x", 1, 64, 1, phc) || sq_password_check("y", 1, phc) != SQ_EPASSWORD ||
        sq_pbkdf2_sha1("x", 1, salt, 16, 1000, buf, 66) || sq_hmac_sha256(key, "x", 1, buf))
        return 2;
    if (sq_ed25519_public(key, public_key) || sq_ed25519_sign(key, "x", 1, sig) ||
        sq_ed25519_verify(public_key, "y", 1, sig) != SQ_ETAMPERED || sq_es256_public(es, public_key) ||
        sq_es256_sign(es, "x", 1, sig) || sq_es256_verify(public_key, "y", 1, sig) != SQ_ETAMPERED)
        return 3;
    if (sq_box_seal(key, NULL, 0, "x", 1, buf) || sq_box_open(derived, NULL, 0, buf, 29, buf + 64) != SQ_ETAMPERED)
        return 4;
    if (sq_x509_ca("test", 10, &ca) || sq_x509_server(&ca, "localhost", 10, &server) ||
        sq_x509_look(server.cert_pem.p, server.cert_pem.n, buf, &not_after))
        return 5;
    return 0;
}

static void nothing_is_opened_after_start(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        forbid_open();
        _exit(use_everything());
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status)); /* SIGSYS: it did open something */
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_locked_and_undumpable),
        cmocka_unit_test(guards),
        cmocka_unit_test(freed_keys_are_zero),
        cmocka_unit_test(double_free_is_found),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(no_lock_no_key),
        cmocka_unit_test(threads),
        cmocka_unit_test(nothing_is_opened_after_start),
    };
    if (sq_crypt_start())
        return 1;
    return cmocka_run_group_tests_name("crypt_keys", tests, NULL, NULL);
}
