//! The section of mailtier-inbound and the tables within it. Not responsible for reading them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use crate::networks;
use crate::section::section;
use crate::sections::{anywhere, loopback, loopback_networks};
use crate::words::words;

words! {
    /// What is spoken on a listener.
    #[derive(Default)]
    ListenerProtocol {
        /// SMTP between servers (RFC 5321).
        #[default]
        Smtp = "smtp",
        /// SMTP from the users' programs (RFC 6409): they log in, and their mail is completed.
        Submission = "submission",
        /// LMTP (RFC 2033).
        Lmtp = "lmtp",
    }
}

words! {
    /// TLS on a listener.
    #[derive(Default)]
    ListenerTls {
        /// Never.
        None = "none",
        /// STARTTLS is offered, where there is a certificate.
        #[default]
        Offered = "offered",
        /// Nothing is taken before STARTTLS.
        Required = "required",
        /// From the first octet (RFC 8314 §3.3).
        Implicit = "implicit",
    }
}

words! {
    /// Logins on a listener.
    LoginPolicy {
        /// None.
        Off = "off",
        /// Who wants to may log in.
        Offered = "offered",
        /// Nothing is taken before a login.
        Required = "required",
    }
}

words! {
    /// What is done about strangers that go by our own name.
    #[derive(Default)]
    HeloOwnName {
        /// They are taken for clients like others.
        #[default]
        Accept = "accept",
        /// They are refused.
        Refuse = "refuse",
    }
}

words! {
    /// What is done about content with bare CR or LF, null octets or lines beyond 998 octets.
    #[derive(Default)]
    ContentLines {
        /// It is refused.
        #[default]
        Strict = "strict",
        /// It is repaired, which breaks signatures over it.
        Normalize = "normalize",
    }
}

words! {
    /// What mail is for: it decides what goes first where one tenant has several messages for one destination.
    #[derive(Default)]
    MessageClass {
        /// Sent to many: it waits for everything else.
        Bulk = "bulk",
        /// Nothing is said about it.
        #[default]
        Normal = "normal",
        /// Somebody waits for it: it goes before everything else.
        Transactional = "transactional",
    }
}

impl MessageClass {
    /// The priority of mail that asks for none (RFC 6710), with room for what senders ask for on either side and between.
    #[must_use]
    pub const fn priority(self) -> i8 {
        match self {
            Self::Bulk => -4,
            Self::Normal => 0,
            Self::Transactional => 4,
        }
    }
}

section! {
    /// A listener with settings of its own. What is not set is as in `[inbound]`.
    ListenerConfig {
        /// What it is called in logs and metrics. Required.
        name: String = String::new(), "text", restart;
        /// Where it listens. Required.
        listen: Vec<SocketAddr> = Vec::new(), "list of addresses", restart;
        /// `smtp`, `submission` or `lmtp`.
        protocol: ListenerProtocol = ListenerProtocol::Smtp, "word";
        /// `none`, `offered`, `required` or `implicit`.
        tls: ListenerTls = ListenerTls::Offered, "word";
        /// `off`, `offered` or `required`; by default `required` for submission and `off` for others.
        login: Option<LoginPolicy> = None, "word";
        /// Load balancers that put a PROXY protocol header (version 1 or 2) before each connection. When there are any,
        /// nobody else is served here.
        #[serde(deserialize_with = "networks::list")]
        proxy_networks: Vec<IpNet> = Vec::new(), "list of networks";
        /// Networks whose clients may send to any recipient.
        #[serde(deserialize_with = "networks::optional")]
        relay_networks: Option<Vec<IpNet>> = None, "list of networks";
        /// Largest message.
        max_message_size: Option<ByteSize> = None, "size";
        /// Recipients of one transaction.
        max_recipients: Option<usize> = None, "number";
        /// `strict` or `normalize`.
        lines: Option<ContentLines> = None, "word";
        /// The wait before the greeting, at most 30s.
        #[serde(with = "humantime_serde")]
        greeting_delay: Option<Duration> = None, "duration";
        /// `bulk`, `normal` or `transactional`: what mail is for that says no MT-PRIORITY. A tenant's counts first, then a
        /// network's.
        class: Option<MessageClass> = None, "word";
    }
}

section! {
    /// Clients with settings of their own. The smallest network that holds a client counts.
    NetworkConfig {
        /// Which clients. Required.
        #[serde(deserialize_with = "networks::list")]
        networks: Vec<IpNet> = Vec::new(), "list of networks";
        /// Refuses them, with this text: a line of at most 400 ASCII characters.
        refuse: Option<String> = None, "text";
        /// Whose mail it is, when nobody logs in.
        tenant: Option<i32> = None, "number";
        /// Largest message.
        max_message_size: Option<ByteSize> = None, "size";
        /// Recipients of one transaction.
        max_recipients: Option<usize> = None, "number";
        /// The wait before the greeting, at most 30s.
        #[serde(with = "humantime_serde")]
        greeting_delay: Option<Duration> = None, "duration";
        /// Sessions at a time from one client; 0: any number.
        client_sessions: Option<u32> = None, "number";
        /// Messages a minute from one client; 0: any number.
        client_messages_per_minute: Option<u32> = None, "number";
        /// `bulk`, `normal` or `transactional`, as for a listener.
        class: Option<MessageClass> = None, "word";
    }
}

section! {
    /// What one tenant may send through one replica.
    TenantConfig {
        /// Its number, as users and networks have it; 0 is for mail of no other tenant. Required.
        id: i32 = 0, "number";
        /// Sessions at a time; 0: any number. A session is the tenant's of its network, and after a login the user's.
        sessions: u32 = 0, "number";
        /// Messages an hour; 0: any number.
        messages_per_hour: u32 = 0, "number";
        /// Recipients an hour; 0: any number.
        recipients_per_hour: u32 = 0, "number";
        /// Largest message.
        max_message_size: Option<ByteSize> = None, "size";
        /// `bulk`, `normal` or `transactional`, as for a listener.
        class: Option<MessageClass> = None, "word";
    }
}

section! {
    /// A server that knows which recipients of some domains there are: it is asked with MAIL and RCPT before a recipient is
    /// taken, and its answers are remembered.
    CallAheadConfig {
        /// The domains, among `relay_domains`; `.example.com` means all below it. Required.
        domains: Vec<String> = Vec::new(), "list of domains";
        /// The server, `host:port`. Required.
        server: String = String::new(), "host:port";
        /// It speaks LMTP.
        lmtp: bool = false, "boolean";
        /// How long it may take.
        #[serde(with = "humantime_serde")]
        timeout: Duration = Duration::from_secs(10), "duration";
        /// How long a recipient that exists is remembered.
        #[serde(with = "humantime_serde")]
        remember_known: Duration = Duration::from_secs(3600), "duration";
        /// How long one that does not exist is remembered.
        #[serde(with = "humantime_serde")]
        remember_unknown: Duration = Duration::from_secs(300), "duration";
    }
}

section! {
    /// Tokens for the mechanisms OAUTHBEARER and XOAUTH2 (RFC 7628).
    OauthConfig {
        /// The issuer's keys: a file (JWKS, RFC 7517), read at the start and again each minute.
        jwks_file: Option<PathBuf> = None, "path";
        /// The same by HTTPS, fetched again each ten minutes, and when a token names a key that is not there.
        jwks_url: Option<String> = None, "URL";
        /// Who must have issued a token (`iss`). Required.
        issuer: String = String::new(), "text";
        /// For whom it must be (`aud`). Required.
        audience: String = String::new(), "text";
        /// The claim that names the user.
        user_claim: String = "email".to_owned(), "text";
    }
}

section! {
    /// mailtier-inbound: reception.
    InboundConfig {
        /// Where SMTP is served with the settings of this section.
        listen: Vec<SocketAddr> = vec![anywhere(2525)], "list of addresses", restart;
        /// Further listeners, see below.
        listeners: Vec<ListenerConfig> = Vec::new(), "list of tables", restart;
        /// Clients with settings of their own, see below.
        networks: Vec<NetworkConfig> = Vec::new(), "list of tables";
        /// Where health and metrics are served.
        http_listen: SocketAddr = loopback(9101), "address", restart;
        /// The name in greetings and Received fields; the system's name when that has a dot.
        hostname: Option<String> = None, "host name";
        /// Queue replicas, `http://host:port`, or `https://host:port` with `cluster.tls_certificate`; every address of a name
        /// is used.
        queue: Vec<String> = vec!["http://127.0.0.1:7070".to_owned()], "list of URLs", restart;
        /// Networks whose clients may send to any recipient. They are not limited by client either.
        #[serde(deserialize_with = "networks::list")]
        relay_networks: Vec<IpNet> = loopback_networks(), "list of networks";
        /// In a container, `relay_networks` may hold its gateway. Only where forwarded connections keep their clients'
        /// addresses: else everyone seems to come from there, and may send to anyone.
        trust_gateway: bool = false, "boolean";
        /// Domains whose mail is accepted from anyone; `.example.com` means all below it.
        relay_domains: Vec<String> = Vec::new(), "list of domains";
        /// Who reads what is sent to the postmaster of this host: mail to `<postmaster>` and to `postmaster` at
        /// `hostname` is accepted from anyone and goes there (RFC 5321 §4.5.1). Without it that mail is refused to
        /// strangers, unless `hostname` is among `relay_domains`.
        postmaster: Option<String> = None, "mail address";
        /// The recipients there are in `relay_domains`, a line each: `user@example.com`, or `@example.com` for all of a
        /// domain. Read again when it changes. Without a file, table or server that knows better, all are taken.
        recipients_file: Option<PathBuf> = None, "path";
        /// Who gets mail for whom, a line each: `user@example.com: other@example.com, third@example.net`;
        /// `@example.com:` is for every recipient of a domain that is not named. Read again when it changes.
        aliases_file: Option<PathBuf> = None, "path";
        /// Asks the queue's database too: recipients and aliases managed with `mailtier address`.
        recipients_in_database: bool = false, "boolean";
        /// Servers that know which recipients there are, see below.
        call_ahead: Vec<CallAheadConfig> = Vec::new(), "list of tables";
        /// What separates a user from a detail: with `+`, what is sent to `user+detail` is taken where `user` is known, and
        /// an alias of `user` is one of it. One of `+-=_.#~^`; empty: nothing does.
        recipient_delimiter: String = "+".to_owned(), "text";
        /// Largest message (RFC 1870), 64KiB to 1GiB.
        max_message_size: ByteSize = ByteSize::mib(50), "size";
        /// Recipients of one transaction; RFC 5321 asks for at least 100.
        max_recipients: usize = 1000, "number";
        /// Transactions of one session; 0: any number.
        max_transactions: usize = 0, "number";
        /// Sessions at a time, at least 1; more are answered with 421. Fewer where the system allows fewer files to be open.
        max_sessions: usize = 10_000, "number", restart;
        /// Sessions at a time from one client (one IPv4 address, or one IPv6 /64); 0: any number.
        client_sessions: u32 = 50, "number";
        /// New sessions a minute from one client; 0: any number.
        client_sessions_per_minute: u32 = 0, "number";
        /// Messages a minute from one client; 0: any number.
        client_messages_per_minute: u32 = 0, "number";
        /// Recipients a minute from one client; 0: any number.
        client_recipients_per_minute: u32 = 0, "number";
        /// Sessions at a time of one user; 0: any number.
        user_sessions: u32 = 50, "number";
        /// Messages an hour of one user; 0: any number.
        user_messages_per_hour: u32 = 0, "number";
        /// Recipients an hour of one user; 0: any number.
        user_recipients_per_hour: u32 = 0, "number";
        /// How long a user who has logged in may go on before the queue is asked again whether he still exists, and with
        /// which addresses; at most 1d.
        #[serde(with = "humantime_serde")]
        user_recheck: Duration = Duration::from_secs(60), "duration";
        /// What tenants may send, see below.
        tenants: Vec<TenantConfig> = Vec::new(), "list of tables";
        /// Errors after which a session is closed, at least 1.
        max_errors: u32 = 20, "number";
        /// Received fields after which a message is taken for a loop, 10 to 1000.
        max_received_hops: u32 = 50, "number";
        /// Memory for messages on their way, at least 16MiB; more are answered with 452. A message takes as much as it is
        /// long, and 4MiB at most. 0: a quarter of what the machine or its cgroup has.
        memory_budget: ByteSize = ByteSize::b(0), "size", restart;
        /// How long the queue may take to store a message before the client is told to try again, 1s to 5m.
        #[serde(with = "humantime_serde")]
        submit_timeout: Duration = Duration::from_secs(30), "duration";
        /// After a signal, how long transactions may take to finish.
        #[serde(with = "humantime_serde")]
        drain_timeout: Duration = Duration::from_secs(30), "duration";
        /// How long a client may be silent, at least 10s (RFC 5321 §4.5.3.2.7 asks for 5 minutes).
        #[serde(with = "humantime_serde")]
        command_timeout: Duration = Duration::from_secs(300), "duration";
        /// The wait before the greeting, at most 30s; who speaks meanwhile is turned away. Clients of `relay_networks` do not wait.
        #[serde(with = "humantime_serde")]
        greeting_delay: Duration = Duration::ZERO, "duration";
        /// What is done about clients that say in HELO or EHLO that they are us, by `hostname` or by the address they
        /// connected to: `accept` or `refuse`. Clients of `relay_networks` and users are never refused; where logins are
        /// offered, others are refused at MAIL. Not for LMTP.
        helo_own_name: HeloOwnName = HeloOwnName::Accept, "word";
        /// What is done about content with bare CR or LF, null octets or long lines: `strict` or `normalize`.
        lines: ContentLines = ContentLines::Strict, "word";
        /// The certificate chain for TLS (PEM). Certificates and keys are read again each minute.
        tls_certificate: Option<PathBuf> = None, "path";
        /// Its key (PEM).
        tls_key: Option<PathBuf> = None, "path";
        /// Further chains, each `chain.pem:key.pem`; a client that names a host is shown the one for that name.
        tls_certificates: Vec<String> = Vec::new(), "list of pairs of paths";
        /// Who issues certificates that say who a client is (PEM), for the mechanism EXTERNAL.
        tls_client_ca: Option<PathBuf> = None, "path";
        /// Mechanisms of logins, the first is what clients should prefer: `SCRAM-SHA-256-PLUS`, `SCRAM-SHA-256`, `PLAIN`,
        /// `LOGIN`, `EXTERNAL`, `OAUTHBEARER`, `XOAUTH2`.
        sasl_mechanisms: Vec<String> =
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"].map(str::to_owned).to_vec(), "list of words";
        /// Offers logins without TLS.
        sasl_in_clear: bool = false, "boolean";
        /// Tokens, see below.
        oauth: Option<OauthConfig> = None, "table";
        /// Extensions that are not offered, by their EHLO keyword.
        discard_ehlo_keywords: Vec<String> = Vec::new(), "list of words";
        /// The longest time a message that is submitted may be held (RFC 4865); 0: none is.
        #[serde(with = "humantime_serde")]
        max_hold: Duration = Duration::ZERO, "duration";
        /// Answers VRFY (RFC 5321 §3.5) to clients of `relay_networks` and to users; else it says neither yes nor no.
        vrfy: bool = false, "boolean";
        /// Answers EXPN to the same clients.
        expn: bool = false, "boolean";
        /// Networks whose clients may ask for the delivery of waiting mail with ETRN (RFC 1985).
        #[serde(deserialize_with = "networks::list")]
        etrn_networks: Vec<IpNet> = Vec::new(), "list of networks";
        /// Proxies that may say with XCLIENT who is behind them.
        #[serde(deserialize_with = "networks::list")]
        xclient_networks: Vec<IpNet> = Vec::new(), "list of networks";
        /// Filters that may say with XFORWARD whom they had mail from.
        #[serde(deserialize_with = "networks::list")]
        xforward_networks: Vec<IpNet> = Vec::new(), "list of networks";
        /// Worker threads; 0: one for each core.
        threads: usize = 0, "number", restart;
    }
}
