//! The sections and their keys. Not responsible for reading them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use crate::pools::{EgressPoolConfig, PoolConfig, PoolRuleConfig};
use crate::routes::RouteConfig;
use crate::secret::Secret;
use crate::section::section;
use crate::shaping::{DestinationConfig, ProviderConfig, RetryConfig, SiteConfig, TenantLimitConfig, Unanswered};
use crate::words::words;

pub(crate) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(crate) const fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

pub(crate) fn loopback_networks() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}

/// The least memory for messages on their way, where it is limited at all: room for a few of ordinary size.
pub(crate) const LEAST_MEMORY: ByteSize = ByteSize::mib(16);

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

section! {
    /// What the programs of one installation share.
    ClusterConfig {
        /// The token services show the queue. Needed when `queue.listen` is not on loopback and takes calls without TLS.
        secret: Option<Secret> = None, "text", restart;
        /// The file with that token.
        secret_file: Option<PathBuf> = None, "path", restart;
        /// The token of the first operator, who is called `root` in the history, has the role admin, and makes tokens for
        /// the others (`mailtier token create`). Without it those made before are good.
        admin_secret: Option<Secret> = None, "text", restart;
        /// The file with that token.
        admin_secret_file: Option<PathBuf> = None, "path", restart;
        /// Reads the configuration again when its file changes, or one that it names; else on SIGHUP alone.
        watch_files: bool = true, "boolean";
        /// This program's certificate for TLS between the programs, PEM, its issuers after it; `tls_key` and `tls_ca` belong
        /// to it. Its role is the last segment of a URI in it, such as `spiffe://mailtier/inbound`: `inbound`, `queue` or
        /// `outbound`; see docs/cluster-tls.md. All three files are read again when they change.
        tls_certificate: Option<PathBuf> = None, "path", restart;
        /// The key of that certificate, PEM.
        tls_key: Option<PathBuf> = None, "path", restart;
        /// Who issues the certificates of this installation, PEM. Whatever it issues with a role has that role: use one for
        /// this alone.
        tls_ca: Option<PathBuf> = None, "path", restart;
        /// With a certificate, whether the queue refuses calls without TLS, but for health. `false` while an installation
        /// that runs is moved to TLS: then they are taken with the token, and replicas fall back to it among themselves.
        tls_required: bool = true, "boolean", restart;
    }
}

section! {
    /// PostgreSQL, used by mailtier-queue only.
    DatabaseConfig {
        /// `postgres://user:password@host/database`, with any parameter of libpq's URLs that matters here
        /// (`sslmode`, `host` for a Unix socket …).
        url: Option<Secret> = None, "text", restart;
        /// The file with that URL.
        url_file: Option<PathBuf> = None, "path", restart;
        /// Connections for questions and large bodies; nine more serve the loops of the queue.
        max_connections: u32 = 8, "number", restart;
        /// Longest time a statement may take.
        #[serde(with = "humantime_serde")]
        statement_timeout: Duration = Duration::from_secs(30), "duration", restart;
        /// Starts although the server has `fsync`, `full_page_writes` or `synchronous_commit` off, which loses mail when it
        /// crashes.
        allow_unsafe_durability: bool = false, "boolean", restart;
    }
}

words! {
    /// How log lines are written.
    #[derive(Default)]
    LogFormat {
        /// One JSON object a line.
        #[default]
        Json = "json",
        /// One line for people, with Postfix's fields.
        Text = "text",
        /// The lines that Postfix writes, for tools that read those.
        Postfix = "postfix",
    }
}

section! {
    /// Logs, traces and metrics.
    TelemetryConfig {
        /// `json`, `text`, or `postfix`: the lines that Postfix writes, for tools that read its log.
        log_format: LogFormat = LogFormat::Json, "word", restart;
        /// What is logged, in the syntax of tracing's EnvFilter.
        log_filter: String = "info".to_owned(), "text";
        /// An OpenTelemetry collector (OTLP over gRPC) for traces and metrics, such as `http://collector:4317`. With `https://`
        /// its certificate is checked against the authorities that the system trusts.
        otlp_endpoint: Option<String> = None, "URL", restart;
        /// Headers that the collector wants with each request, such as a token: `name=value`, with commas between.
        otlp_headers: Option<Secret> = None, "text", restart;
        /// The file with those headers.
        otlp_headers_file: Option<PathBuf> = None, "path", restart;
        /// How often metrics are sent.
        #[serde(with = "humantime_serde")]
        otlp_metrics_interval: Duration = Duration::from_secs(15), "duration", restart;
        /// Sends log lines as well. They name senders and recipients, so the collector must be one that may know them.
        otlp_logs: bool = false, "boolean", restart;
        /// The share of receptions whose trace is recorded. Without a collector none is.
        trace_sample_ratio: f64 = 1.0, "number from 0 to 1", restart;
    }
}

section! {
    /// mailtier-queue: the queue.
    QueueConfig {
        /// Where gRPC is served.
        listen: SocketAddr = loopback(7070), "address", restart;
        /// Where other replicas reach this one, host:port; `listen` when not set, with the system's name where that is
        /// every address.
        advertise: Option<String> = None, "host:port", restart;
        /// Where health and metrics are served.
        http_listen: SocketAddr = loopback(9102), "address", restart;
        /// What this replica is called in logs; the system's name when not set.
        name: Option<String> = None, "text", restart;
        /// The host name in notifications; the system's name when that has a dot.
        hostname: Option<String> = None, "host name", restart;
        /// Suspends everything before anything is attempted, for a database that was restored from a backup: until
        /// `mailtier queue resume --all`, also over restarts. Take it out again before that.
        start_paused: bool = false, "boolean", restart;
        /// How long ownership of a shard lasts without a renewal: after a replica was killed the others wait so long.
        #[serde(with = "humantime_serde")]
        lease: Duration = Duration::from_secs(6), "duration", restart;
        /// How often ownership is renewed; at most a third of `lease`.
        #[serde(with = "humantime_serde")]
        renew_every: Duration = Duration::from_secs(2), "duration", restart;
        /// How long a worker that is gone may take to come back before its work is given to another.
        #[serde(with = "humantime_serde")]
        worker_grace: Duration = Duration::from_secs(10), "duration", restart;
        /// A delivery that so many workers were lost with is held, for an operator to look at: it may be what ends them.
        /// From the second on it is attempted alone among such. A worker that ends as it should does not count; 0: never.
        quarantine_after: u16 = 4, "number", restart;
        /// The wait after the first failed attempt; it doubles with each.
        #[serde(with = "humantime_serde")]
        retry_first: Duration = minutes(5), "duration";
        /// The longest wait between attempts.
        #[serde(with = "humantime_serde")]
        retry_max: Duration = Duration::from_secs(4000), "duration";
        /// How far a wait may differ at random, as a share of it.
        retry_jitter: f32 = 0.1, "number from 0 to 1";
        /// What becomes of a message that a host was sent all of and that it did not answer: it may have it, or not. `retry` or
        /// `fail`.
        unanswered: Unanswered = Unanswered::Retry, "word";
        /// How long a message is tried before it is returned.
        #[serde(with = "humantime_serde")]
        lifetime: Duration = days(5), "duration";
        /// The same for notifications, which are then dropped.
        #[serde(with = "humantime_serde")]
        bounce_lifetime: Duration = days(5), "duration";
        /// When a sender is told that a message is not delivered yet (RFC 3461 NOTIFY=DELAY).
        #[serde(with = "humantime_serde")]
        delay_warning: Duration = Duration::from_secs(4 * 3600), "duration";
        /// Deliveries to one destination at a time, once it has shown that it takes so many.
        destination_concurrency: u32 = 20, "number";
        /// The same to begin with: each success allows a little more, each refused connection half as much.
        initial_concurrency: u32 = 5, "number";
        /// Deliveries in a row that could not reach a destination, after which it is probed with one at a time, as seldom as
        /// one delivery would be tried, and the rest of its mail waits; 0: never.
        dead_after: u16 = 5, "number";
        /// A file of rules of what replies mean, which come before the built-in ones: docs/classification.md. Read
        /// again when it changes.
        classification: Option<PathBuf> = None, "path", restart;
        /// Waits after failures of some classes, see below.
        retries: Vec<RetryConfig> = Vec::new(), "list of tables";
        /// Where one tenant has several deliveries ready for one destination, those of higher priority go first; but one
        /// that has waited for so much longer goes before one whose priority is higher by one, so that nothing waits for
        /// ever. Bulk mail is 4 below ordinary mail and transactional mail 4 above it.
        #[serde(with = "humantime_serde")]
        priority_step: Duration = Duration::from_secs(3600), "duration", restart;
        /// Destinations with limits of their own, see below.
        destinations: Vec<DestinationConfig> = Vec::new(), "list of tables";
        /// Providers, see below.
        providers: Vec<ProviderConfig> = Vec::new(), "list of tables";
        /// Mail exchangers whose names do not say whose they are, see below.
        sites: Vec<SiteConfig> = Vec::new(), "list of tables";
        /// Tenants with limits of their own, see below.
        tenants: Vec<TenantLimitConfig> = Vec::new(), "list of tables";
        /// Egress pools, see below.
        pools: Vec<PoolConfig> = Vec::new(), "list of tables", restart;
        /// Whose mail goes through which pool, see below.
        pool_rules: Vec<PoolRuleConfig> = Vec::new(), "list of tables", restart;
        /// Deliveries kept in memory, at least 1000; the rest waits in PostgreSQL.
        max_entries: usize = 1_400_000, "number", restart;
        /// The same for one destination.
        max_entries_per_destination: usize = 500_000, "number", restart;
        /// Memory for bodies just accepted, kept for their first attempt.
        body_cache: ByteSize = ByteSize::mib(64), "size", restart;
        /// Bodies up to this size, at most 16MiB, travel with their delivery; larger ones are fetched.
        inline_body: ByteSize = ByteSize::mib(1), "size", restart;
        /// How long history is kept, in whole days, at least one.
        #[serde(with = "humantime_serde")]
        event_retention: Duration = days(14), "duration", restart;
        /// Failed logins of one account in a window, after which none are checked until it is over; at least 1. Ten times as
        /// many where the user has logged in before: others cannot shut him out.
        login_failures_per_account: u32 = 50, "number", restart;
        /// The same of one client (an IPv4 address, or an IPv6 /64) that is not in `inbound.relay_networks`.
        login_failures_per_client: u32 = 20, "number", restart;
        /// How long failed logins count, at least 1m.
        #[serde(with = "humantime_serde")]
        login_failure_window: Duration = minutes(15), "duration", restart;
        /// How often an owner looks for deliveries it was not told of.
        #[serde(with = "humantime_serde")]
        catch_up_every: Duration = Duration::from_secs(10), "duration", restart;
        /// How often an owner reads all its shards again.
        #[serde(with = "humantime_serde")]
        reconcile_every: Duration = minutes(5), "duration", restart;
        /// After a signal, how long deliveries in flight may take to be settled.
        #[serde(with = "humantime_serde")]
        drain_timeout: Duration = Duration::from_secs(30), "duration", restart;
        /// Where the HTTP API is served; off when not set. Elsewhere than on loopback only where there is a token to be shown.
        api_listen: Option<SocketAddr> = None, "address", restart;
        /// The HTTP API's certificate, PEM, its issuers after it; it is served without TLS when not set. Read again when it
        /// changes.
        api_tls_certificate: Option<PathBuf> = None, "path", restart;
        /// The key of that certificate, PEM.
        api_tls_key: Option<PathBuf> = None, "path", restart;
        /// Calls of operators at a time, gRPC and HTTP together, at least 1; more wait. Each takes a connection of
        /// `database.max_connections`: keep it below that, so that operators hold up no mail.
        api_calls: u32 = 4, "number", restart;
        /// Worker threads; 0: one for each core.
        threads: usize = 0, "number", restart;
    }
}

words! {
    /// Which address families are used towards remote hosts, and which first.
    #[derive(Default)]
    IpPreference {
        /// Both, in turn.
        #[default]
        Both = "both",
        /// IPv4 only.
        Ipv4 = "ipv4",
        /// IPv6 only.
        Ipv6 = "ipv6",
    }
}

words! {
    /// Of which attempts it is kept what was said.
    #[derive(Default)]
    Transcripts {
        /// Of none.
        None = "none",
        /// Of those that did not deliver to somebody.
        #[default]
        Failures = "failures",
        /// Of all.
        All = "all",
    }
}

words! {
    /// TLS towards remote hosts.
    #[derive(Default)]
    TlsPolicy {
        /// Where it is offered, with any certificate (RFC 7435).
        #[default]
        Opportunistic = "opportunistic",
        /// Always, with any certificate; a host without it is not used.
        Required = "required",
        /// Always, with a certificate for the host's name by a root of this system, or as its TLSA records say.
        Verified = "verified",
        /// Always, with a certificate as the host's TLSA records say (RFC 7672); a host without them is not used.
        Dane = "dane",
        /// Never.
        Off = "off",
    }
}

words! {
    /// Whose word on DNSSEC counts.
    #[derive(Default)]
    Dnssec {
        /// That of the name servers: they validate, and the way to them is one that nobody else writes on.
        #[default]
        Resolver = "resolver",
        /// That of the workers: they validate themselves (RFC 4035 section 5).
        Own = "own",
    }
}

section! {
    /// mailtier-outbound: delivery.
    OutboundConfig {
        /// Queue replicas, `http://host:port`, or `https://host:port` with `cluster.tls_certificate`; a worker connects to every
        /// address of a name.
        queue: Vec<String> = vec!["http://127.0.0.1:7070".to_owned()], "list of URLs", restart;
        /// Where health and metrics are served.
        http_listen: SocketAddr = loopback(9103), "address", restart;
        /// The name in EHLO; the system's name when that has a dot.
        ehlo_name: Option<String> = None, "host name";
        /// What this worker is called in logs; the system's name when not set.
        name: Option<String> = None, "text", restart;
        /// Name servers; those of the system when empty.
        dns_servers: Vec<SocketAddr> = Vec::new(), "list of addresses", restart;
        /// How long one name server may take to answer; each is asked twice.
        #[serde(with = "humantime_serde")]
        dns_timeout: Duration = Duration::from_secs(4), "duration", restart;
        /// The port of remote hosts.
        smtp_port: u16 = 25, "number";
        /// Deliveries in hand at a time.
        max_in_flight: u32 = 200, "number", restart;
        /// Connections to remote hosts at a time, idle ones included.
        max_connections: usize = 500, "number", restart;
        /// Idle connections kept open to one address.
        idle_connections: usize = 200, "number";
        /// How long a connection is kept open for the next delivery.
        #[serde(with = "humantime_serde")]
        idle_timeout: Duration = Duration::from_secs(5), "duration";
        /// Deliveries over one connection, at least 1.
        deliveries_per_connection: u32 = 1000, "number";
        /// `both`, `ipv4` or `ipv6`.
        ip_preference: IpPreference = IpPreference::Both, "word";
        /// `opportunistic`, `required`, `verified`, `dane` or `off`.
        tls: TlsPolicy = TlsPolicy::Opportunistic, "word";
        /// Who validates DNSSEC: `resolver`, which is to believe what `dns_servers` say of it, best one on the machine itself; or
        /// `own`, the workers themselves, where the name servers do not validate or the way to them is not ours. They have to
        /// pass on signatures.
        dnssec: Dnssec = Dnssec::Resolver, "word", restart;
        /// A file with the keys of the root that `dnssec = "own"` begins with, as DNSKEY or DS records; those that IANA
        /// publishes when not set.
        trust_anchors: Option<PathBuf> = None, "file", restart;
        /// Heeds TLSA records (RFC 7672) that DNSSEC vouches for, see `dnssec`.
        dane: bool = true, "boolean";
        /// Heeds MTA-STS policies of recipients' domains (RFC 8461).
        mta_sts: bool = true, "boolean", restart;
        /// The port at which policies of MTA-STS are fetched.
        mta_sts_port: u16 = 443, "number", restart;
        /// A file with the certificates of the authorities that are trusted, in PEM; those of the system when not set.
        trusted_roots: Option<PathBuf> = None, "file", restart;
        /// Converts 8-bit and binary content for hosts that do not take it (RFC 6152 section 3), which no signature survives;
        /// else it is returned.
        mime_conversion: bool = true, "boolean";
        /// Sends small messages in one go with their envelopes, with BDAT, where hosts offer that (RFC 3030).
        chunking: bool = true, "boolean";
        /// Of which attempts the history keeps what was said, without content and passwords, 4 KiB at the most: `failures`,
        /// `all` or `none`.
        transcripts: Transcripts = Transcripts::Failures, "word";
        /// Longest wait for a connection to one address.
        #[serde(with = "humantime_serde")]
        connect_timeout: Duration = Duration::from_secs(30), "duration";
        /// Delivers to loopback, private and link-local addresses that DNS names; routes may name them always.
        allow_private_addresses: bool = false, "boolean", restart;
        /// Names by which MX records may mean this system, beside `ehlo_name` and `inbound.hostname`: mail is never sent
        /// from itself to itself.
        own_names: Vec<String> = Vec::new(), "list of host names";
        /// The same, by address: those at which the world reaches `inbound`.
        own_addresses: Vec<IpAddr> = Vec::new(), "list of IP addresses";
        /// Memory for messages being sent, at least 16MiB; more wait.
        memory_budget: ByteSize = ByteSize::mib(256), "size", restart;
        /// After a signal, how long deliveries in flight may take.
        #[serde(with = "humantime_serde")]
        drain_timeout: Duration = Duration::from_secs(60), "duration";
        /// Egress pools that this worker serves, see below; `default` alone when empty.
        pools: Vec<EgressPoolConfig> = Vec::new(), "list of tables", restart;
        /// Ways for some mail, see below; other mail goes to the mail exchangers of its domain.
        routes: Vec<RouteConfig> = Vec::new(), "list of tables";
        /// Worker threads; 0: one for each core.
        threads: usize = 0, "number", restart;
    }
}
