"""The configuration as typed, frozen sections: one for each stage, each field explained where it stands.

`postane config reference` prints this file as the reference page; `load` reads a YAML file into it and refuses an
unknown key. A stage is handed its own section and never sees the others.
Sizes are octets, durations seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]

KiB = 1024
MiB = 1024 * KiB
DAY = 86_400.0


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: frozen, unknown keys refused."""


class Listen(Section, frozen=True):
    """Where the SMTP service listens when systemd hands it no sockets; each entry is `address:port`."""

    smtp: Annotated[tuple[str, ...], Meta(description="Port 25: mail from other servers.")] = ("[::]:25",)
    submission: Annotated[tuple[str, ...], Meta(description="Port 587: STARTTLS, then a login.")] = ("[::]:587",)
    submissions: Annotated[tuple[str, ...], Meta(description="Port 465: TLS from the first octet.")] = ("[::]:465",)


class Limits(Section, frozen=True):
    """What one peer may ask of the SMTP service; every figure has a reply of its own when it is passed."""

    message_size: Annotated[Positive, Meta(description="Largest message, octets (SIZE); 552 beyond.")] = 30 * MiB
    recipients: Annotated[Positive, Meta(description="Recipients a transaction; 452 beyond.")] = 100
    command_line: Annotated[Positive, Meta(description="Longest command line, octets with CRLF; 500 beyond.")] = 4096
    text_line: Annotated[Positive, Meta(description="Longest line of a message, octets; 550 beyond.")] = 32_000
    bare_newline: Annotated[
        Literal["reject", "normalize"],
        Meta(description="A CR or LF alone in a message: 550, or made a CRLF. It never ends anything."),
    ] = "reject"
    errors: Annotated[Positive, Meta(description="Refused or unknown commands before 421 and close.")] = 20
    idle_commands: Annotated[
        Positive, Meta(description="NOOP, RSET, HELP, repeated EHLO since the last message before 421 and close.")
    ] = 100
    unknown_recipients: Annotated[Positive, Meta(description="Refused recipients a session before 421 and close.")] = 20
    logins: Annotated[Positive, Meta(description="Failed logins a session before 421 and close.")] = 3
    transactions: Annotated[Positive, Meta(description="Messages a session before 421 and close.")] = 10_000
    connections: Annotated[Positive, Meta(description="Open sessions, all workers; 421 4.3.2 beyond.")] = 20_000
    connections_per_peer: Annotated[
        Positive, Meta(description="Open sessions from one IPv4 address or one IPv6 /64, all workers; 421 beyond.")
    ] = 50
    received_hops: Annotated[Positive, Meta(description="Received lines that make a loop; 554.")] = 50
    handshake_timeout: Annotated[Seconds, Meta(description="A TLS handshake, from its first octet to its last.")] = 30.0
    hello_timeout: Annotated[Seconds, Meta(description="Wait for EHLO after the greeting or the handshake.")] = 300.0
    command_timeout: Annotated[
        Seconds, Meta(description="Wait for the next command, until it is whole (RFC 5321: 5 min).")
    ] = 300.0
    data_timeout: Annotated[Seconds, Meta(description="Wait for the next block of a message.")] = 180.0
    transaction_timeout: Annotated[
        Seconds, Meta(description="From MAIL to the end of the message, whatever the pace.")
    ] = 3600.0


class Smtp(Section, frozen=True):
    """The SMTP service: inbound and submission."""

    workers: Annotated[Count, Meta(description="Worker processes; 0: as many as cores.")] = 0
    listen: Listen = Listen()
    limits: Limits = Limits()
    banner: Annotated[str, Meta(description="Words after the host name in the greeting.")] = "ESMTP Postane"
    tag_separator: Annotated[str, Meta(min_length=1, max_length=1, description="Subaddress sign (RFC 5233).")] = "+"
    relay_from: Annotated[
        tuple[str, ...],
        Meta(description="Networks whose peers may send anywhere on port 25 without a login: the host's own programs."),
    ] = ()
    drain_timeout: Annotated[Seconds, Meta(description="How long SIGTERM waits for open sessions.")] = 25.0
    retire_timeout: Annotated[
        Seconds, Meta(description="How long sessions that were open at a reload go on beside the new workers.")
    ] = 300.0


class Tls(Section, frozen=True):
    """The certificate that SMTP shows; both empty: no TLS is offered (and so no login)."""

    certificate: Annotated[str, Meta(description="PEM file: certificate and chain.")] = ""
    key: Annotated[str, Meta(description="PEM file: private key.")] = ""


class Directory(Section, frozen=True):
    """Where tenants, domains, accounts and aliases are kept."""

    url: Annotated[str, Meta(description="SQLAlchemy URL; empty: SQLite in the state folder.")] = ""
    cache_entries: Annotated[Positive, Meta(description="Resolved addresses kept in memory by each process.")] = 50_000
    cache_seconds: Annotated[Seconds, Meta(description="Life of a cached answer where changes cannot be seen.")] = 5.0


class Filters(Section, frozen=True):
    """Which filters judge a peer, a sender, a recipient and a message (see the reference of the filters)."""

    use: Annotated[tuple[str, ...], Meta(description="Their names; headers are put in this order.")] = ()
    seconds: Annotated[Seconds, Meta(description="Bound for one phase, all its filters together.")] = 30.0
    options: Annotated[dict[str, dict[str, Any]], Meta(description="Options of a filter, by its name.")] = {}
    suspect: Annotated[
        Literal["junk", "quarantine", "mark"],
        Meta(description="Where suspect mail goes: the Junk folder, the quarantine, or marked into the inbox."),
    ] = "junk"
    store: Annotated[
        str,
        Meta(
            description="What workers share (limits, greylisting): empty: a file of this host; with several hosts a "
            "Redis server: redis://host:port/0, rediss:// with TLS, or unix:///path."
        ),
    ] = ""
    store_password: Annotated[str, Meta(description="File with the password of that server; empty: it has none.")] = ""


class Spool(Section, frozen=True):
    """The durable spool."""

    segment_size: Annotated[Positive, Meta(description="Size of a log segment, octets, written ahead.")] = 16 * MiB
    large_message: Annotated[
        Positive, Meta(description="From this size on a message gets a file of its own, octets.")
    ] = 256 * KiB
    reserve: Annotated[Count, Meta(description="Free space below which no mail is taken (452), octets.")] = 64 * MiB


class Queue(Section, frozen=True):
    """Retries, expiry and the use of connections."""

    retry_first: Annotated[Seconds, Meta(description="Wait before the second attempt.")] = 300.0
    retry_factor: Annotated[float, Meta(ge=1, description="Each further wait is longer by this factor.")] = 1.8
    retry_most: Annotated[Seconds, Meta(description="Longest wait between attempts.")] = 4 * 3600.0
    retry_jitter: Annotated[float, Meta(ge=0, le=0.5, description="Random share of each wait.")] = 0.1
    local_retry_first: Annotated[Seconds, Meta(description="The same for local mailboxes: Dovecot is soon back.")] = 5.0
    local_retry_most: Annotated[Seconds, Meta(description="Longest wait for a local mailbox.")] = 300.0
    expire: Annotated[Seconds, Meta(description="Age at which an undelivered message bounces.")] = 5 * DAY
    expire_bounce: Annotated[Seconds, Meta(description="The same for mail with the null sender.")] = 1 * DAY
    delay_warning: Annotated[Seconds, Meta(description="Age at which the sender is told of the delay.")] = 4 * 3600.0
    concurrency: Annotated[Positive, Meta(description="Deliveries under way at once, all destinations.")] = 200
    concurrency_per_destination: Annotated[Positive, Meta(description="Deliveries to one destination at once.")] = 10
    concurrency_local: Annotated[Positive, Meta(description="Deliveries to Dovecot at once.")] = 20


class Delivery(Section, frozen=True):
    """Doors out: LMTP to the mailboxes, SMTP to the world."""

    local: Annotated[Literal["lmtp", "maildir"], Meta(description="How mail reaches a mailbox of this host.")] = "lmtp"
    lmtp: Annotated[str, Meta(description="Unix socket or host:port of LMTP.")] = "/run/dovecot/lmtp-postane"
    maildir: Annotated[str, Meta(description="Root of the mailboxes for local: maildir.")] = ""
    smtp_port: Annotated[Port, Meta(description="Port of other mail servers; only tests change it.")] = 25
    connect_timeout: Annotated[Seconds, Meta(description="Per address of a mail server.")] = 30.0
    command_timeout: Annotated[Seconds, Meta(description="Wait for a reply (RFC 5321 4.5.3.2).")] = 300.0
    data_timeout: Annotated[Seconds, Meta(description="Wait for the reply to the end of data.")] = 600.0
    ipv6: Annotated[bool, Meta(description="Try IPv6 addresses of mail servers.")] = True
    idle_seconds: Annotated[Seconds, Meta(description="A pooled connection unused this long is closed.")] = 10.0
    smarthost: Annotated[str, Meta(description="host:port that takes all remote mail; empty: by MX.")] = ""


class Quarantine(Section, frozen=True):
    """Suspect mail that is kept apart, and how its owners are told of it (see howto/quarantine.md)."""

    days: Annotated[float, Meta(gt=0, description="After so many days a message is forgotten.")] = 30.0
    undo_days: Annotated[
        float, Meta(ge=0, description="For so many days what was released or deleted is still there: `restore`.")
    ] = 3.0
    mailbox_size: Annotated[Positive, Meta(description="Octets kept for one mailbox; the oldest give way.")] = 200 * MiB
    mailbox_messages: Annotated[Positive, Meta(description="Messages kept for one mailbox; likewise.")] = 5000
    digest: Annotated[
        Literal["daily", "weekly", "never"], Meta(description="How often an owner is told of what is new.")
    ] = "daily"
    digest_hour: Annotated[
        int, Meta(ge=0, le=23, description="Hour, by the host's clock, from which digests are sent; weekly: on Monday.")
    ] = 7
    digest_spread: Annotated[
        float, Meta(ge=1, le=43_200, description="Seconds over which the digests of all mailboxes are spread.")
    ] = 3600.0
    digest_messages: Annotated[Positive, Meta(description="Messages shown in one digest; the others are counted.")] = 50
    language: Annotated[Literal["en", "tr"], Meta(description="Of digests, where nothing nearer says otherwise.")] = (
        "en"
    )
    operator_only: Annotated[
        tuple[str, ...],
        Meta(description="What these filters kept back only the operator lets out: an owner may delete it."),
    ] = ("attachments", "clamav")
    url: Annotated[
        str, Meta(description="Where the API is reached from outside; empty: https://panel.<domain of the host>/.")
    ] = ""
    link_days: Annotated[float, Meta(gt=0, le=365, description="Life of the links in a digest.")] = 30.0
    learn_url: Annotated[
        str, Meta(description="Rspamd's controller, as http://host:port or the path of a socket; empty: no learning.")
    ] = ""
    learn_secret_file: Annotated[
        str, Meta(description="File with the controller's password; empty: it needs none.")
    ] = ""


class DnsTarget(Section, frozen=True):
    """A place where records of hosted domains are put."""

    type: Annotated[
        Literal["knot", "rfc2136", "octodns", "manual"],
        Meta(
            description="knot: the name server of this host; rfc2136: DNS UPDATE; octodns: a provider by its API; "
            "manual: a person."
        ),
    ]
    server: Annotated[str, Meta(description="rfc2136: address or address:port of the primary.")] = ""
    key_name: Annotated[str, Meta(description="rfc2136: name of the TSIG key; empty: none, by address.")] = ""
    key_algorithm: Annotated[str, Meta(description="rfc2136: algorithm of the TSIG key.")] = "hmac-sha256"
    key_file: Annotated[str, Meta(description="rfc2136: file with the TSIG secret in Base64.")] = ""
    timeout: Annotated[Seconds, Meta(description="rfc2136: for one transfer or update.")] = 10.0
    provider: Annotated[
        str, Meta(description="octodns: class of the provider, such as octodns_cloudflare.CloudflareProvider.")
    ] = ""
    options: Annotated[
        dict[str, Any], Meta(description="octodns: the provider's own options; secrets belong into secret_files.")
    ] = {}
    secret_files: Annotated[
        dict[str, str],
        Meta(description="octodns: the provider's options whose values lie in files of their own (token: FILE)."),
    ] = {}
    zone_timeout: Annotated[
        Seconds, Meta(description="octodns: for reading or changing one zone, all calls together.")
    ] = 60.0
    at_once: Annotated[Positive, Meta(description="octodns: zones that are worked on side by side.")] = 1
    per_minute: Annotated[Count, Meta(description="octodns: most zones read or changed in a minute; 0: any.")] = 0
    text_limit: Annotated[Count, Meta(description="Longest text of a TXT record it takes; 0: any.")] = 0
    least_ttl: Annotated[Count, Meta(description="Shortest TTL it takes, seconds; shorter ones become it.")] = 0


class Dns(Section, frozen=True):
    """The resolver that Postane asks."""

    nameservers: Annotated[tuple[str, ...], Meta(description="host or host:port; empty: /etc/resolv.conf.")] = ()
    timeout: Annotated[Seconds, Meta(description="For one question, all servers together.")] = 10.0
    publish: Annotated[Literal["none", "knot"], Meta(description="Where records of hosted domains are put.")] = "none"
    knot_socket: Annotated[str, Meta(description="Control socket of Knot.")] = "/run/knot/knot.sock"
    name_servers: Annotated[tuple[str, ...], Meta(description="NS names of hosted zones; empty: the host's.")] = ()
    addresses: Annotated[tuple[str, ...], Meta(description="IPv4 and IPv6 addresses of this host for A and AAAA.")] = ()
    targets: Annotated[dict[str, DnsTarget], Meta(description="Where records can be put, by name.")] = {}


class Domains(Section, frozen=True):
    """What Postane keeps in the DNS for hosted domains; a domain may have settings of its own."""

    kinds: Annotated[
        tuple[str, ...],
        Meta(
            description="Kinds of record: mx, spf, dkim, dmarc, mta_sts, tls_rpt, autoconfig, autodiscover, srv, caa, "
            "pacc, tlsa, verification, address, acme, reverse; empty: all but pacc."
        ),
    ] = ()
    target: Annotated[str, Meta(description="Default of dns.targets; empty: dns.publish, else manual.")] = ""
    ttl: Annotated[Positive, Meta(description="TTL of records, seconds.")] = 3600
    spf: Annotated[str, Meta(description="How SPF names our servers: mx, a, ip or include:NAME.")] = "mx"
    dmarc: Annotated[
        Literal["none", "quarantine", "reject"], Meta(description="DMARC policy of domains that have none.")
    ] = "none"
    dmarc_reports: Annotated[str, Meta(description="Address for DMARC reports; empty: the domain's postmaster.")] = ""
    tls_reports: Annotated[str, Meta(description="Address for TLS reports; empty: the domain's postmaster.")] = ""
    issuers: Annotated[tuple[str, ...], Meta(description="CAA names of those who issue our certificates.")] = (
        "letsencrypt.org",
    )
    delegation: Annotated[
        str, Meta(description="Zone that customers' CNAMEs lead into; empty: records stand in their own zones.")
    ] = ""
    resolvers: Annotated[
        tuple[str, ...], Meta(description="Resolvers (address or address:port) whose view of an MX is compared.")
    ] = ()
    look_timeout: Annotated[Seconds, Meta(description="For all questions about one domain.")] = 15.0
    watch_every: Annotated[Seconds, Meta(description="Between two comparisons of a domain with the world.")] = (
        6 * 3600.0
    )
    repair: Annotated[bool, Meta(description="Put back what Postane made and somebody took away.")] = True
    alarm_to: Annotated[str, Meta(description="Address that is told of drift; empty: nobody is.")] = ""
    alarm_language: Annotated[Literal["en", "tr"], Meta(description="Of that mail.")] = "en"


class Certificates(Section, frozen=True):
    """Certificates of hosted domains, from an authority that speaks ACME (see certificates.md)."""

    directory: Annotated[str, Meta(description="URL of the authority's directory; empty: none are asked for.")] = ""
    staging: Annotated[str, Meta(description="The same of a trial authority, for `renew --staging`.")] = (
        "https://acme-staging-v02.api.letsencrypt.org/directory"
    )
    account_email: Annotated[str, Meta(description="Where the authority writes to; empty: nowhere.")] = ""
    ca_bundle: Annotated[
        str, Meta(description="PEM file with the roots that the directory itself is judged by; empty: the system's.")
    ] = ""
    external_account: Annotated[
        str, Meta(description="File with the external account binding (RFC 8555 7.3.4): key id and HMAC key, by words.")
    ] = ""
    challenge: Annotated[
        Literal["auto", "http", "dns"], Meta(description="How names are proved; auto: http first, then dns.")
    ] = "auto"
    webroot: Annotated[
        str,
        Meta(description="Folder served as /.well-known/acme-challenge/; empty: acme-challenge in the state folder."),
    ] = ""
    wildcard: Annotated[bool, Meta(description="One *.domain instead of single names, where its DNS is ours.")] = False
    names: Annotated[
        tuple[Annotated[str, Meta(pattern="^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")], ...],
        Meta(description="Service names of a domain, as far as they lead to this host."),
    ] = ("mail", "autoconfig", "autodiscover", "mta-sts", "webmail", "ua-auto-config")
    dns_wait: Annotated[
        float, Meta(ge=0, le=600, description="Longest wait for a domain's servers to show a dns challenge, seconds.")
    ] = 60.0
    order_seconds: Annotated[
        Seconds, Meta(description="Longest wait for the authority, for each of an order's steps.")
    ] = 90.0
    at_once: Annotated[int, Meta(ge=1, le=32, description="Orders under way at the same time.")] = 4
    orders: Annotated[Positive, Meta(description="Orders within order_window; more wait for the next run.")] = 250
    order_window: Annotated[Seconds, Meta(description="Seconds over which orders are counted.")] = 3 * 3600.0
    ending_days: Annotated[
        float, Meta(gt=0, description="Days before its end from which a certificate is an alarm.")
    ] = 10.0


class Dkim(Section, frozen=True):
    """Signing of what is submitted."""

    sign: Annotated[bool, Meta(description="Sign mail of hosted domains.")] = True
    selector_prefix: Annotated[str, Meta(description="First part of a selector.")] = "p"


class Clients(Section, frozen=True):
    """What mail programs are told (see howto/clients.md), and policy files for servers that send to us."""

    provider: Annotated[
        str,
        Meta(
            max_length=60,
            pattern="^[^\\x00-\\x1f\\x7f]*$",
            description="Name of the provider as programs show it; empty: the domain that the host lies in.",
        ),
    ] = ""
    short_name: Annotated[
        str,
        Meta(max_length=20, pattern="^[^\\x00-\\x1f\\x7f]*$", description="The same, short; empty: as it is."),
    ] = ""
    services: Annotated[
        tuple[Literal["submissions", "submission", "imaps", "pop3s", "sieve"], ...],
        Meta(description="What people of hosted domains have here; of the others they are told that they are not."),
    ] = ("submissions", "submission", "imaps", "pop3s", "sieve")
    url: Annotated[
        str, Meta(description="Where programs reach the API in HTTPS; empty: https://panel.<domain of the host>/.")
    ] = ""
    webmail: Annotated[
        str, Meta(description="URL of web mail; empty: https://webmail.<domain of the host>/; -: there is none.")
    ] = ""
    help: Annotated[str, Meta(description="URL of a page that explains how to set up a program; empty: none.")] = ""
    mta_sts: Annotated[
        Literal["none", "testing", "enforce"],
        Meta(description="MTA-STS mode (RFC 8461) of domains that have none of their own."),
    ] = "testing"
    mta_sts_max_age: Annotated[
        int, Meta(ge=86_400, le=31_557_600, description="For how many seconds senders keep that policy.")
    ] = 604_800
    security_contact: Annotated[
        str, Meta(description="URI for security.txt (RFC 9116); empty: mailto:postmaster@<domain of the host>.")
    ] = ""
    change_password: Annotated[
        str, Meta(description="URL that /.well-known/change-password leads to; empty: there is none.")
    ] = ""


class Api(Section, frozen=True):
    """The API and panel."""

    listen: Annotated[str, Meta(description="host:port where systemd hands no socket.")] = "127.0.0.1:8025"


class Log(Section, frozen=True):
    """Structured logs on standard error, one JSON object a line (journald keeps them)."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level written.")] = "info"
    format: Annotated[Literal["json", "text"], Meta(description="text is for a terminal.")] = "json"


class Config(Section, frozen=True):
    """The whole of /etc/postane/postane.yml."""

    host: Annotated[str, Meta(min_length=1, description="This host's name: greeting, EHLO, Received, DSN.")]
    state: Annotated[str, Meta(description="State folder: directory, spool, keys.")] = "/var/lib/postane"
    runtime: Annotated[str, Meta(description="Sockets between the daemon's processes.")] = "/run/postane"
    smtp: Smtp = Smtp()
    tls: Tls = Tls()
    directory: Directory = Directory()
    filters: Filters = Filters()
    spool: Spool = Spool()
    queue: Queue = Queue()
    delivery: Delivery = Delivery()
    quarantine: Quarantine = Quarantine()
    dns: Dns = Dns()
    domains: Domains = Domains()
    certificates: Certificates = Certificates()
    dkim: Dkim = Dkim()
    clients: Clients = Clients()
    api: Api = Api()
    log: Log = Log()
