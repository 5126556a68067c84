/* The load generator: one thread, epoll, one small state machine a connection.
 *
 * It speaks as a normal client does: it waits for the greeting, says EHLO, sends MAIL, RCPT and DATA in one write where
 * PIPELINING is offered (one by one where it is not), sends the text after 354, waits for the 250, and says QUIT.
 * It is in C so that on two cores it is never what limits the server beside it: about 0.03 ms of CPU a message.
 *
 *   load send --port P [--connections 50] [--messages N] [--seconds S] [--per-connection 1] [--size 4096]
 *             [--to u%u@demo.test] [--to-count 10] [--domains 1]
 *       sends until N messages were begun or S seconds are over, and lets those under way end.
 *       In --to, %u becomes the number of the mailbox (0 … to-count - 1) and %d that of the domain (0 … domains - 1).
 *   load idle --port P --connections N [--seconds S]
 *       opens N sessions (greeting, EHLO), each from a loopback address of its own, writes a line "holding", and holds
 *       them for S seconds or until its standard input ends.
 *   load slow --port P --connections N --seconds S
 *       N peers that drip one octet a second, each from an address of its own; ten times a second a further peer
 *       connects and measures the time until the greeting.
 *
 * All print one JSON object on the last line of standard output. Latencies are milliseconds.
 * Exit code 0, also where messages failed: they are counted in "errors", and "first_error" has the peer's words.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum state { FREE, GREETING, EHLO, ENVELOPE, TEXT, QUIT, HOLDING };

struct connection {
    int fd;
    enum state state;
    int pipelining;      /* the peer offers it */
    int awaited;         /* replies of the envelope still to come */
    long number;         /* of the message under way, from 1 */
    unsigned left;       /* messages this connection may still send */
    uint64_t dialled;    /* when this socket began to connect */
    uint64_t begun;      /* of the message under way: connect for the first one, the envelope for the others */
    char command[1024];  /* what is being sent: commands, or the header of the text */
    size_t command_length;
    int with_body;       /* the shared body follows the command */
    size_t sent;         /* of command and body together */
    char line[1024];     /* the reply line being read; what does not fit is cut, the code stands in front */
    size_t line_length;
    int want_out;
};

static struct {
    int port, connections, to_count, domains;
    unsigned per_connection;
    long messages;
    double seconds;
    size_t size;
    const char *to;
} option = {.port = 2525, .connections = 50, .to_count = 10, .domains = 1, .per_connection = 1, .messages = 0,
            .seconds = 0, .size = 4096, .to = "u%u@demo.test"};

static int poller;
static struct connection *all;
static char *body;
static size_t body_length;
static long begun_messages, done_messages, failed_messages, redialled;
static char first_error[1200];
static uint32_t *latency; /* microseconds */
static size_t latency_count, latency_room;
static uint64_t started, deadline;

/* What each of the connections that run side by side has got through, and when the last was. */
static struct lane {
    long done;
    uint64_t last;
} *lanes;
static int active;

static uint64_t now(void) { /* microseconds */
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000u + (uint64_t)at.tv_nsec / 1000u;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(71);
}

static void note(uint64_t microseconds) {
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 65536;
        latency = realloc(latency, latency_room * sizeof *latency);
        if (!latency) die("memory");
    }
    latency[latency_count++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double share) { /* of the sorted latencies, in milliseconds: the nearest rank */
    if (!latency_count) return 0;
    size_t rank = (size_t)(share * (double)latency_count);
    return latency[rank >= latency_count ? latency_count - 1 : rank] / 1000.0;
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char octet = (unsigned char)*text;
        if (octet == '"' || octet == '\\') printf("\\%c", octet);
        else if (octet >= ' ' && octet < 127) putchar(octet);
        else if (octet != '\r') putchar(' ');
    }
    putchar('"');
}

static void report(uint64_t ended) {
    qsort(latency, latency_count, sizeof *latency, by_value);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    double seconds = (double)(ended - started) / 1e6;
    double rate = 0;
    if (deadline) {
        /* Each lane's messages over its own time, added up: where the time is over, most lanes are in the midst of a
         * message and end it at different times, and neither to cut these off nor to wait for the last is fair. */
        for (int at = 0; at < option.connections; at++)
            if (lanes[at].done) rate += (double)lanes[at].done / ((double)(lanes[at].last - started) / 1e6);
    } else if (seconds > 0) rate = (double)done_messages / seconds;
    printf("{\"messages\": %ld, \"errors\": %ld, \"seconds\": %.4f, \"rate\": %.1f, \"p50\": %.3f, \"p90\": %.3f, "
           "\"p99\": %.3f, \"max\": %.3f, \"redialled\": %ld, \"client_cpu\": %.4f, \"first_error\": ",
           done_messages, failed_messages, seconds, rate, quantile(0.5),
           quantile(0.9), quantile(0.99), quantile(1), redialled, cpu);
    print_text(first_error);
    printf("}\n");
}

/* Sending */

static void watch(struct connection *one, int out) {
    if (one->want_out == out) return;
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event)) die("epoll_ctl");
    one->want_out = out;
}

static void close_connection(struct connection *one) {
    close(one->fd);
    one->fd = -1;
    one->state = FREE;
    active--;
}

static void failed(struct connection *one, const char *why) {
    if (!*first_error) snprintf(first_error, sizeof first_error, "%s", why);
    /* A connection that breaks after its last 250 has failed no message. */
    if (one->state != QUIT) failed_messages++;
    close_connection(one);
}

static int flush(struct connection *one) { /* 0 if the connection is gone */
    size_t total = one->command_length + (one->with_body ? body_length : 0);
    while (one->sent < total) {
        struct iovec part[2];
        int parts = 0;
        if (one->sent < one->command_length)
            part[parts++] = (struct iovec){one->command + one->sent, one->command_length - one->sent};
        if (one->with_body) {
            size_t from = one->sent > one->command_length ? one->sent - one->command_length : 0;
            part[parts++] = (struct iovec){body + from, body_length - from};
        }
        ssize_t written = writev(one->fd, part, parts);
        if (written < 0) {
            if (errno == EAGAIN) {
                watch(one, 1);
                return 1;
            }
            if (errno == EINTR) continue;
            failed(one, strerror(errno));
            return 0;
        }
        one->sent += (size_t)written;
    }
    watch(one, 0);
    return 1;
}

static int say(struct connection *one, int with_body) {
    one->command_length = strlen(one->command);
    one->with_body = with_body;
    one->sent = 0;
    return flush(one);
}

static void recipient(char *into, size_t room, long number) {
    char *end = into + room - 1;
    for (const char *at = option.to; *at && into < end; at++) {
        if (at[0] == '%' && (at[1] == 'u' || at[1] == 'd')) {
            long of = at[1] == 'u' ? option.to_count : option.domains;
            int wrote = snprintf(into, (size_t)(end - into), "%ld", number % of);
            into += wrote < end - into ? wrote : end - into - 1;
            at++;
        } else *into++ = *at;
    }
    *into = 0;
}

static int may_begin(void) {
    if (option.messages && begun_messages >= option.messages) return 0;
    return !deadline || now() < deadline;
}

static int quit(struct connection *one) {
    one->state = QUIT;
    strcpy(one->command, "QUIT\r\n");
    return say(one, 0);
}

static int envelope(struct connection *one, int first) {
    /* The first message of a connection was counted when the connection began. */
    if (!first) {
        one->number = ++begun_messages;
        one->begun = now();
    }
    one->left--;
    char to[256];
    recipient(to, sizeof to, one->number);
    one->state = ENVELOPE;
    if (one->pipelining) {
        one->awaited = 3;
        snprintf(one->command, sizeof one->command, "MAIL FROM:<sender@far.test>\r\nRCPT TO:<%s>\r\nDATA\r\n", to);
        return say(one, 0);
    }
    one->awaited = 3; /* RCPT and DATA follow from `replied` */
    strcpy(one->command, "MAIL FROM:<sender@far.test>\r\n");
    return say(one, 0);
}

static int text(struct connection *one) {
    one->state = TEXT;
    snprintf(one->command, sizeof one->command,
             "From: <sender@far.test>\r\nTo: <someone@demo.test>\r\nSubject: load %010ld\r\n"
             "Message-ID: <%ld.%lx@far.test>\r\nDate: Tue, 07 Jan 2025 10:00:00 +0000\r\n\r\n",
             one->number, one->number, (unsigned long)started);
    return say(one, 1);
}

/* Replies */

static int replied(struct connection *one, int code) { /* 0 if the connection is gone */
    static const int wanted_by_envelope[] = {354, 250, 250}; /* by what is still awaited */
    switch (one->state) {
    case GREETING:
        if (code != 220) break;
        one->state = EHLO;
        strcpy(one->command, "EHLO far.test\r\n");
        return say(one, 0);
    case EHLO:
        if (code != 250) break;
        if (one->left == 0) {
            one->state = HOLDING;
            return 1;
        }
        return envelope(one, 1);
    case ENVELOPE:
        if (code != wanted_by_envelope[one->awaited - 1]) break;
        if (--one->awaited == 0) return text(one);
        if (!one->pipelining) {
            char to[256];
            recipient(to, sizeof to, one->number);
            if (one->awaited == 2) snprintf(one->command, sizeof one->command, "RCPT TO:<%s>\r\n", to);
            else strcpy(one->command, "DATA\r\n");
            return say(one, 0);
        }
        return 1;
    case TEXT:
        if (code != 250) break;
        note(now() - one->begun);
        done_messages++;
        lanes[one - all].done++;
        lanes[one - all].last = now();
        if (one->left && may_begin()) return envelope(one, 0);
        return quit(one);
    case QUIT:
        close_connection(one);
        return 0;
    case HOLDING: /* a slow peer's NOOP is complete; anything else ends the session */
        if (code == 250) return 1;
        break;
    default:
        break;
    }
    failed(one, one->line);
    return 0;
}

static void readable(struct connection *one) {
    char block[8192];
    ssize_t got = read(one->fd, block, sizeof block);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        failed(one, got ? strerror(errno) : "closed by the peer");
        return;
    }
    for (char *at = block; at < block + got; at++) {
        if (*at != '\n') {
            if (one->line_length < sizeof one->line - 1) one->line[one->line_length++] = *at;
            continue;
        }
        one->line[one->line_length] = 0;
        size_t length = one->line_length;
        one->line_length = 0;
        if (one->state == EHLO && length >= 14 && !strncasecmp(one->line + 4, "PIPELINING", 10)) one->pipelining = 1;
        if (length >= 4 && one->line[3] == '-') continue;
        if (!replied(one, atoi(one->line))) return;
    }
}

/* Connecting */

/* Each connection comes from an address of its own, as from many peers: 127.0.0.1 … 127.0.0.250 for those that send (the
 * servers can know these by name, see peer.py), 127.1.0.1 … for the thousands that are idle or slow. */
static uint32_t address_of_sender(const struct connection *one) { return 0x7f000001u + (uint32_t)((one - all) % 250); }
static uint32_t address_in_crowd(int number) { return 0x7f010001u + (uint32_t)number; }

static int dial(uint32_t address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    /* The port is chosen at connect, when the peer is known: so ports do not run out. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    return fd;
}

static void open_socket(struct connection *one, uint32_t address) {
    one->dialled = now();
    one->fd = dial(address);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event)) die("epoll_ctl");
}

static void begin(struct connection *one, uint32_t address, unsigned messages) {
    memset(one, 0, sizeof *one);
    one->begun = now();
    one->state = GREETING;
    one->left = messages;
    if (messages) one->number = ++begun_messages;
    open_socket(one, address);
    active++;
}

/* A server with a short listen queue (OpenSMTPD: 5) drops the end of some handshakes, and where the kernel answered
 * with a SYN cookie nobody remembers that connection: the client would wait for a greeting for ever. So who has heard
 * nothing for a second dials again. The latency goes on counting, and the figures say how often it was.
 * For the same reason the connections are not opened in one burst (see send_all). */
static void redial(void) {
    uint64_t at_now = now();
    int over = deadline && at_now > deadline;
    for (int at = 0; at < option.connections; at++) {
        struct connection *one = &all[at];
        if (one->fd < 0 || one->state != GREETING) continue;
        if (over) {
            close_connection(one); /* the time is over before a word was said: nothing was begun */
            begun_messages--;
        } else if (at_now - one->dialled > 1000000) {
            close(one->fd);
            open_socket(one, address_of_sender(one));
            redialled++;
        }
    }
}

static void handle(const struct epoll_event *event) {
    struct connection *one = event->data.ptr;
    if (one->fd < 0) return;
    if (event->events & EPOLLOUT && !flush(one)) return;
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(one);
}

/* The three ways to load */

static void send_all(void) {
    struct epoll_event events[256];
    uint64_t heard = now(), looked = heard, opened = 0;
    int to_open = option.connections;
    while (active || (to_open && may_begin())) {
        int count = epoll_wait(poller, events, 256, to_open ? 1 : 100);
        uint64_t at_now = now();
        if (to_open && at_now - opened > 1000 && may_begin()) {
            to_open--;
            begin(&all[to_open], address_of_sender(&all[to_open]), option.per_connection);
            opened = at_now;
        }
        if (count) heard = at_now;
        else if (at_now - heard > 30000000) {
            /* Half a minute without an octet from anybody: what is under way has failed. */
            for (int at = 0; at < option.connections; at++)
                if (all[at].fd >= 0 && all[at].state != FREE) failed(&all[at], "no reply within 30 s");
            break;
        }
        if (at_now - looked > 100000) {
            redial();
            looked = at_now;
        }
        for (int at = 0; at < count; at++) {
            struct connection *one = events[at].data.ptr;
            handle(&events[at]);
            if (one->fd < 0 && may_begin()) begin(one, address_of_sender(one), option.per_connection);
        }
    }
    report(now());
}

static int turn(int milliseconds) {
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, milliseconds);
    for (int at = 0; at < count; at++) handle(&events[at]);
    return count;
}

static int in_state(enum state state) {
    int count = 0;
    for (int at = 0; at < option.connections; at++) count += all[at].fd >= 0 && all[at].state == state;
    return count;
}

/* Opens sessions up to EHLO, in groups: a listen queue holds some hundreds only, and the time to open them is not what
 * is measured. Gives up where a group does not get through within ten seconds. Returns how many are open. */
static int open_all(void) {
    for (int at = 0; at < option.connections; at++) {
        begin(&all[at], address_in_crowd(at), 0);
        if (at % 100 != 99 && at != option.connections - 1) continue;
        for (uint64_t end = now() + 10000000; now() < end && in_state(HOLDING) < active;) turn(5);
        if (in_state(HOLDING) < at + 1) break;
    }
    return in_state(HOLDING);
}

static void hold_idle(void) {
    int opened = open_all();
    printf("holding %d\n", opened);
    fflush(stdout);
    uint64_t end = now() + (uint64_t)(option.seconds * 1e6);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while ((!option.seconds || now() < end) && !(poll(&input, 1, 0) > 0)) turn(100);
    printf("{\"opened\": %d, \"held\": %d, \"first_error\": ", opened, in_state(HOLDING));
    print_text(first_error);
    printf("}\n");
}

static void drip(void) {
    static const char words[] = "NOOP drip drip drip drip drip drip drip drip drip drip\r\n";
    int opened = open_all(), next_address = option.connections;
    uint64_t begin_at = now(), end = begin_at + (uint64_t)(option.seconds * 1e6), last_probe = begin_at;
    long dripped = 0;
    int probe = -1;
    uint64_t probe_begun = 0;
    while (now() < end) {
        /* Each peer has its instant in the second, so that octets arrive evenly. */
        uint64_t at_now = now();
        long due = (long)((double)(at_now - begin_at) / 1e6 * option.connections);
        for (; dripped < due; dripped++) {
            struct connection *one = &all[dripped % option.connections];
            size_t place = (size_t)(dripped / option.connections) % (sizeof words - 1);
            if (one->fd >= 0 && one->state == HOLDING && write(one->fd, words + place, 1) < 0 && errno != EAGAIN)
                failed(one, strerror(errno));
        }
        if (probe < 0 && at_now - last_probe > 100000) {
            last_probe = probe_begun = at_now;
            probe = dial(address_in_crowd(next_address++));
        }
        /* The probe is read without epoll: poll both, and wake for the next octet. */
        struct pollfd two[] = {{.fd = poller, .events = POLLIN}, {.fd = probe, .events = POLLIN}};
        poll(two, probe < 0 ? 1 : 2, 1);
        if (probe >= 0 && two[1].revents) {
            char greeting[512];
            if (read(probe, greeting, sizeof greeting) > 3 && !memcmp(greeting, "220", 3)) {
                note(now() - probe_begun);
                done_messages++;
            } else failed_messages++;
            close(probe);
            probe = -1;
        }
        if (two[0].revents)
            for (int room = 4; room && turn(0); room--) {}
    }
    if (probe >= 0) failed_messages++;
    started = begin_at;
    printf("{\"opened\": %d, \"held\": %d, \"slow\": ", opened, in_state(HOLDING));
    report(now());
    printf("}\n");
}

static void make_body(void) {
    static const char line[] = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusm.\r\n";
    size_t header = 190, want = option.size > header + 80 ? option.size - header : 80;
    body = malloc(want + sizeof line + 8);
    if (!body) die("memory");
    while (body_length + sizeof line - 1 <= want) {
        memcpy(body + body_length, line, sizeof line - 1);
        body_length += sizeof line - 1;
    }
    memcpy(body + body_length, ".\r\n", 3);
    body_length += 3;
}

int main(int count, char **words) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},    {"connections", 1, 0, 'c'}, {"messages", 1, 0, 'n'}, {"seconds", 1, 0, 's'},
        {"per-connection", 1, 0, 'k'}, {"size", 1, 0, 'z'}, {"to", 1, 0, 't'},       {"to-count", 1, 0, 'u'},
        {"domains", 1, 0, 'd'}, {0, 0, 0, 0}};
    const char *mode = count > 1 && words[1][0] != '-' ? words[1] : "";
    for (int got; (got = getopt_long(count, words, "", known, NULL)) != -1;) {
        switch (got) {
        case 'p': option.port = atoi(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 'n': option.messages = atol(optarg); break;
        case 's': option.seconds = atof(optarg); break;
        case 'k': option.per_connection = (unsigned)atoi(optarg); break;
        case 'z': option.size = (size_t)atol(optarg); break;
        case 't': option.to = optarg; break;
        case 'u': option.to_count = atoi(optarg); break;
        case 'd': option.domains = atoi(optarg); break;
        default: return 64;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)option.connections, sizeof *all);
    lanes = calloc((size_t)option.connections, sizeof *lanes);
    if (poller < 0 || !all || !lanes) die("start");
    for (int at = 0; at < option.connections; at++) all[at].fd = -1;
    make_body();
    started = now();
    if (!strcmp(mode, "send")) {
        if (option.seconds > 0) deadline = started + (uint64_t)(option.seconds * 1e6);
        if (!option.messages && !deadline) option.messages = 1000;
        send_all();
    } else if (!strcmp(mode, "idle")) hold_idle();
    else if (!strcmp(mode, "slow")) drip();
    else {
        fprintf(stderr, "load: say send, idle or slow\n");
        return 64;
    }
    return 0;
}
