//! Whom mail goes to: every policy against every kind of certificate and every state of DNSSEC, with real zones, a real
//! validating resolver, real handshakes, and policies of MTA-STS served over HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mailtier_config::{Config, Dnssec, TlsPolicy};
use mailtier_tls::{CertificateFiles, ServerTls};
use mailtier_types::{Cause, Outcome, TroubleKind};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};
use tempfile::TempDir;

use crate::dns::{NameServer, addresses, mx, txt};
use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::signed::Zones;
use crate::tree::Tree;
use crate::web;
use crate::world::{Worker, letter, only};

/// A way to a domain, and what comes of it where the operator asks for `opportunistic`, `required`, `verified` and `dane`:
/// `clear`, `tls`, how the host proved who it is, or the kind of trouble.
struct Row {
    domain: &'static str,
    /// Which server its exchanger is.
    server: Server,
    /// The TLSA record of the exchanger: usage, selector and matching type, and what is published.
    tlsa: Option<(&'static str, Published)>,
    /// Mode and exchangers of its MTA-STS policy.
    sts: Option<(&'static str, &'static str)>,
    /// The exchanger is another row's: by its MX record, or as an alias.
    shared: Option<Shared>,
    expect: [&'static str; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    Exchanger(&'static str),
    Alias(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Shows a certificate that it made itself, for another name.
    SelfMade,
    /// Shows one by the authority that the worker trusts, for all names of exchangers.
    Issued,
    /// Shows one by that authority, for another name.
    Misnamed,
    /// Offers no TLS.
    Clear,
    /// Offers TLS and breaks off.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    /// The key that the self-made certificate has.
    SelfMade,
    /// The authority's certificate.
    Authority,
    /// The digest of nothing.
    Nothing,
}

const fn row(domain: &'static str, server: Server, expect: [&'static str; 4]) -> Row {
    Row { domain, server, tlsa: None, sts: None, shared: None, expect }
}

const fn shared(domain: &'static str, with: Shared, expect: [&'static str; 4]) -> Row {
    Row { shared: Some(with), ..row(domain, Server::SelfMade, expect) }
}

const fn dane(
    domain: &'static str,
    server: Server,
    record: &'static str,
    published: Published,
    expect: [&'static str; 4],
) -> Row {
    Row { tlsa: Some((record, published)), ..row(domain, server, expect) }
}

const fn sts(
    domain: &'static str,
    server: Server,
    mode: &'static str,
    exchangers: &'static str,
    expect: [&'static str; 4],
) -> Row {
    Row { sts: Some((mode, exchangers)), ..row(domain, server, expect) }
}

use Published::{Authority, Nothing, SelfMade as Key};
use Server::{Broken, Clear, Issued, Misnamed, SelfMade};
use Shared::{Alias, Exchanger};

const ROWS: &[Row] = &[
    // Nothing is published: the operator's word alone.
    row("selfmade.plain.test", SelfMade, ["tls", "tls", "Tls", "Tls"]),
    row("issued.plain.test", Issued, ["tls", "tls", "pkix", "Tls"]),
    row("misnamed.plain.test", Misnamed, ["tls", "tls", "Tls", "Tls"]),
    row("clear.plain.test", Clear, ["clear", "Tls", "Tls", "Tls"]),
    row("broken.plain.test", Broken, ["clear", "Tls", "Tls", "Tls"]),
    row("selfmade.signed.test", SelfMade, ["tls", "tls", "Tls", "Tls"]),
    row("clear.signed.test", Clear, ["clear", "Tls", "Tls", "Tls"]),
    row("any.bogus.test", Issued, ["DnsTemporary"; 4]),
    // RFC 7672: records that DNSSEC vouches for bind every policy.
    dane("ee.signed.test", SelfMade, "3 1 1", Key, ["dane-ee"; 4]),
    dane("ta.signed.test", Issued, "2 0 1", Authority, ["dane-ta"; 4]),
    dane("ta-name.signed.test", Misnamed, "2 0 1", Authority, ["Tls"; 4]),
    dane("mismatch.signed.test", SelfMade, "3 1 1", Nothing, ["Tls"; 4]),
    dane("mismatch-issued.signed.test", Issued, "3 1 1", Nothing, ["Tls"; 4]),
    dane("stripped.signed.test", Clear, "3 1 1", Key, ["Tls"; 4]),
    dane("cut.signed.test", Broken, "3 1 1", Key, ["Tls"; 4]),
    dane("unusable.signed.test", SelfMade, "1 1 1", Key, ["tls", "tls", "Tls", "Tls"]),
    dane("unusable-issued.signed.test", Issued, "0 0 1", Authority, ["tls", "tls", "pkix", "Tls"]),
    dane("unusable-clear.signed.test", Clear, "1 1 1", Key, ["Tls"; 4]),
    dane("hidden.signed.test", SelfMade, "3 1 1", Key, ["DnsTemporary"; 4]),
    // Records of unsigned zones are nobody's word, and cannot do harm either.
    dane("ignored.plain.test", SelfMade, "3 1 1", Nothing, ["tls", "tls", "Tls", "Tls"]),
    dane("ignored-clear.plain.test", Clear, "3 1 1", Key, ["clear", "Tls", "Tls", "Tls"]),
    // RFC 7672 section 2.2: DNSSEC has to vouch for the MX record, the address and the TLSA record.
    shared("foreign.plain.test", Exchanger("mx.ee.signed.test"), ["tls", "tls", "Tls", "Tls"]),
    shared("foreign.signed.test", Exchanger("mx.ee.signed.test"), ["dane-ee"; 4]),
    shared("outside.signed.test", Exchanger("mx.ignored.plain.test"), ["tls", "tls", "Tls", "Tls"]),
    shared("alias.signed.test", Alias("mx.ee.signed.test"), ["dane-ee"; 4]),
    shared("alias-outside.signed.test", Alias("mx.ignored.plain.test"), ["tls", "tls", "Tls", "Tls"]),
    // RFC 8461.
    sts("sts.plain.test", Issued, "enforce", "mx.sts.plain.test", ["pkix", "pkix", "pkix", "Tls"]),
    sts("sts-wild.plain.test", Issued, "enforce", "*.sts-wild.plain.test", ["pkix", "pkix", "pkix", "Tls"]),
    sts("sts-selfmade.plain.test", SelfMade, "enforce", "mx.sts-selfmade.plain.test", ["Tls"; 4]),
    sts("sts-misnamed.plain.test", Misnamed, "enforce", "mx.sts-misnamed.plain.test", ["Tls"; 4]),
    sts("sts-clear.plain.test", Clear, "enforce", "mx.sts-clear.plain.test", ["Tls"; 4]),
    sts("sts-broken.plain.test", Broken, "enforce", "mx.sts-broken.plain.test", ["Tls"; 4]),
    sts("sts-unnamed.plain.test", Issued, "enforce", "mx.elsewhere.test", ["Tls"; 4]),
    sts("sts-testing.plain.test", SelfMade, "testing", "mx.elsewhere.test", ["tls", "tls", "Tls", "Tls"]),
    sts("sts-testing-issued.plain.test", Issued, "testing", "mx.elsewhere.test", ["pkix", "pkix", "pkix", "Tls"]),
    sts("sts-testing-clear.plain.test", Clear, "testing", "mx.elsewhere.test", ["clear", "Tls", "Tls", "Tls"]),
    sts("sts-none.plain.test", SelfMade, "none", "mx.elsewhere.test", ["tls", "tls", "Tls", "Tls"]),
    sts("sts-garbage.plain.test", SelfMade, "perhaps", "mx.elsewhere.test", ["tls", "tls", "Tls", "Tls"]),
    // RFC 8461 section 2: DANE goes before MTA-STS, in both directions.
    Row {
        sts: Some(("enforce", "mx.elsewhere.test")),
        ..dane("both.signed.test", SelfMade, "3 1 1", Key, ["dane-ee"; 4])
    },
    Row {
        sts: Some(("enforce", "mx.both-mismatch.signed.test")),
        ..dane("both-mismatch.signed.test", Issued, "3 1 1", Nothing, ["Tls"; 4])
    },
];

/// Certificates, and the files that servers read.
pub(crate) struct Certificates {
    folder: TempDir,
    authority: CertificateParams,
    authority_key: KeyPair,
    root: Vec<u8>,
    self_made_key: KeyPair,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        let root = authority.self_signed(&authority_key).unwrap();
        std::fs::write(folder.path().join("roots.pem"), root.pem()).unwrap();
        let (root, self_made_key) = (root.der().to_vec(), KeyPair::generate().unwrap());
        Self { folder, authority, authority_key, root, self_made_key }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    pub(crate) fn issued(&self, file: &str, names: Vec<String>) -> Arc<ServerTls> {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.authority, &self.authority_key);
        let own = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let root = std::fs::read_to_string(self.roots()).unwrap();
        self.load(file, &format!("{}{root}", own.pem()), &key)
    }

    pub(crate) fn self_made(&self) -> Arc<ServerTls> {
        let params = CertificateParams::new(vec!["elsewhere.test".to_owned()]).unwrap();
        let own = params.self_signed(&self.self_made_key).unwrap();
        self.load("self-made", &own.pem(), &self.self_made_key)
    }

    fn load(&self, file: &str, chain: &str, key: &KeyPair) -> Arc<ServerTls> {
        let path = |end: &str| self.folder.path().join(format!("{file}.{end}"));
        std::fs::write(path("pem"), chain).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        ServerTls::load(&[CertificateFiles { certificate: path("pem"), key: path("key") }], None).unwrap()
    }

    /// The data of a TLSA record of this selector with SHA-256.
    fn data(&self, published: Published) -> String {
        let digest = match published {
            Published::SelfMade => digest(&SHA256, &self.self_made_key.subject_public_key_info()),
            Published::Authority => digest(&SHA256, &self.root),
            Published::Nothing => digest(&SHA256, b""),
        };
        digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

const fn address(server: Server) -> &'static str {
    match server {
        Server::SelfMade => "127.0.0.2",
        Server::Issued => "127.0.0.3",
        Server::Misnamed => "127.0.0.4",
        Server::Clear => "127.0.0.5",
        Server::Broken => "127.0.0.6",
    }
}

/// What DNS says of all rows.
fn records(certificates: &Certificates, port: u16) -> Vec<String> {
    let mut lines = Vec::new();
    for Row { domain, server, tlsa, sts, shared, .. } in ROWS {
        let exchanger = match shared {
            Some(Shared::Exchanger(host)) => format!("{domain}. MX 10 {host}."),
            _ => format!("{domain}. MX 10 mx.{domain}."),
        };
        let host = match shared {
            Some(Shared::Alias(host)) => format!("mx.{domain}. CNAME {host}."),
            _ => format!("mx.{domain}. A {}", address(*server)),
        };
        lines.extend([exchanger, host]);
        if let Some((numbers, published)) = tlsa {
            lines.push(format!("_{port}._tcp.mx.{domain}. TLSA {numbers} {}", certificates.data(*published)));
        }
        if sts.is_some() {
            lines.push(format!("_mta-sts.{domain}. TXT \"v=STSv1; id=1\""));
            lines.push(format!("mta-sts.{domain}. A 127.0.0.1"));
        }
    }
    lines
}

/// Serves policies, each at the host that its domain's is looked for at.
async fn serve_policies(tls: Arc<ServerTls>, policy: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> u16 {
    web::serve(tls, move |head, _| answer(head, &policy)).await
}

fn answer(head: &str, policy: &dyn Fn(&str) -> Option<String>) -> String {
    let host = head.lines().find_map(|line| line.strip_prefix("host: mta-sts.")).unwrap_or_default();
    let domain = host.split(':').next().unwrap_or_default();
    let is_asked_for = head.starts_with("GET /.well-known/mta-sts.txt ");
    let Some(policy) = policy(domain).filter(|_| is_asked_for) else {
        return "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{policy}",
        policy.len()
    )
}

fn policy(mode: &str, mx: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n")
}

/// In the words of the rows.
fn told(outcome: &Outcome) -> String {
    match (&outcome.cause, outcome.tls.as_deref()) {
        (Cause::Trouble(trouble), _) => format!("{:?}", trouble.kind),
        (Cause::Reply(_), None) => "clear".to_owned(),
        (Cause::Reply(_), Some(tls)) => tls.split(' ').nth(2).unwrap_or("tls").to_owned(),
    }
}

/// A worker that asks this name server and trusts the authority of the test.
pub(crate) async fn worker(
    queue: &Queue,
    (names, port): (SocketAddr, u16),
    certificates: &Certificates,
    change: impl FnOnce(&mut Config),
) -> Worker {
    Worker::start(queue, |config| {
        let outbound = &mut config.outbound;
        outbound.dns_servers = vec![names];
        outbound.smtp_port = port;
        outbound.allow_private_addresses = true;
        outbound.trusted_roots = Some(certificates.roots());
        change(config);
    })
    .await
}

/// The servers of all rows, what DNS says of them, and their policies.
struct Rows {
    certificates: Certificates,
    port: u16,
    peers: Vec<Peer>,
    zones: Zones,
    policies_port: u16,
}

impl Rows {
    async fn start(more: impl Fn(&Row) -> Option<String>) -> Self {
        let certificates = Certificates::new();
        let names =
            ROWS.iter().flat_map(|row| [format!("mx.{}", row.domain), format!("mta-sts.{}", row.domain)]).collect();
        let issued = certificates.issued("issued", names);
        let misnamed = certificates.issued("misnamed", vec!["elsewhere.test".to_owned()]);
        let (port, peers) = Peer::several([
            (address(SelfMade), Script::new().with_tls(certificates.self_made())),
            (address(Issued), Script::new().with_tls(Arc::clone(&issued))),
            (address(Misnamed), Script::new().with_tls(misnamed)),
            (address(Clear), Script::new()),
            (address(Broken), Script::new().with_broken_tls()),
        ])
        .await;
        let mut lines = records(&certificates, port);
        lines.extend(ROWS.iter().filter_map(more));
        let zones = Zones::start(&lines, &["_tcp.mx.hidden.signed.test"]).await;
        let of_row = |domain: &str| ROWS.iter().find(|row| row.domain == domain)?.sts;
        let policies_port =
            serve_policies(issued, move |domain| of_row(domain).map(|(mode, mx)| policy(mode, mx))).await;
        Self { certificates, port, peers: peers.into_iter().collect(), zones, policies_port }
    }

    async fn worker(&self, queue: &Queue, change: impl FnOnce(&mut Config)) -> Worker {
        worker(queue, (self.zones.resolver, self.port), &self.certificates, |config| {
            config.outbound.mta_sts_port = self.policies_port;
            change(config);
        })
        .await
    }
}

#[tokio::test]
async fn each_policy_meets_each_certificate_in_each_state_of_dnssec() {
    let rows = Rows::start(|_| None).await;
    for (place, policy) in
        [TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Verified, TlsPolicy::Dane].into_iter().enumerate()
    {
        let queue = Queue::start().await;
        let _worker = rows.worker(&queue, |config| config.outbound.tls = policy).await;
        for Row { domain, expect, .. } in ROWS {
            let result = queue.deliver(letter(&[&format!("a@{domain}")])).await;
            let outcome = only(&result);
            assert_eq!(told(outcome), expect[place], "{domain} with {policy:?}: {outcome}");
            if let Cause::Trouble(trouble) = &outcome.cause {
                assert!(trouble.kind.is_temporary(), "{domain} with {policy:?}: nothing bounces for it: {outcome}");
            }
        }
    }
    assert!(rows.peers.iter().all(|peer| peer.seen().taken.iter().all(|taken| !taken.content.is_empty())));
}

/// What is reported of rows where the operator asks for nothing: the kind of policy and `good`, or what was wrong.
const REPORTED: &[(&str, &str)] = &[
    ("selfmade.plain.test", "no-policy-found good"),
    ("clear.plain.test", "no-policy-found starttls-not-supported"),
    ("broken.plain.test", "no-policy-found validation-failure"),
    ("ee.signed.test", "tlsa good"),
    ("ta-name.signed.test", "tlsa certificate-host-mismatch"),
    ("mismatch.signed.test", "tlsa validation-failure"),
    ("stripped.signed.test", "tlsa starttls-not-supported"),
    ("cut.signed.test", "tlsa validation-failure"),
    ("unusable.signed.test", "tlsa tlsa-invalid"),
    ("hidden.signed.test", "tlsa dnssec-invalid"),
    ("ignored.plain.test", "no-policy-found good"),
    ("sts.plain.test", "sts good"),
    ("sts-selfmade.plain.test", "sts certificate-not-trusted"),
    ("sts-misnamed.plain.test", "sts certificate-host-mismatch"),
    ("sts-clear.plain.test", "sts starttls-not-supported"),
    ("sts-unnamed.plain.test", "sts validation-failure"),
    ("sts-testing.plain.test", "sts validation-failure"),
    ("sts-none.plain.test", "no-policy-found good"),
    ("sts-garbage.plain.test", "sts sts-policy-invalid"),
    ("both.signed.test", "tlsa good"),
];

/// Whoever asks for reports gets to know what came of each session, and nobody else is told.
#[tokio::test]
async fn sessions_are_counted_for_domains_that_want_reports() {
    let wants = |domain: &str| REPORTED.iter().any(|(wanted, _)| *wanted == domain);
    let record = |row: &Row| {
        let domain = row.domain;
        wants(domain).then(|| format!("_smtp._tls.{domain}. TXT \"v=TLSRPTv1; rua=mailto:r@{domain}\""))
    };
    let rows = Rows::start(record).await;
    let queue = Queue::start().await;
    // Rows share servers, and mail over a connection that stands is no session.
    let alone = |config: &mut Config| {
        crate::world::with_tls_reports(config);
        config.outbound.idle_timeout = Duration::ZERO;
    };
    let mut worker = rows.worker(&queue, alone).await;
    let optional = |domain: &str| {
        crate::world::with_body(&[&format!("a@{domain}")], crate::world::TEXT, |options| options.tls_optional = true)
    };
    for (domain, expected) in [("sts-selfmade.plain.test", "tls"), ("stripped.signed.test", "clear")] {
        let result = queue.deliver(optional(domain)).await;
        assert_eq!(told(only(&result)), expected, "{domain}: RFC 8689 section 5");
    }
    for domain in REPORTED.iter().map(|(domain, _)| *domain).chain(["issued.plain.test"]) {
        queue.deliver(letter(&[&format!("a@{domain}")])).await;
    }
    worker.shut_down();
    worker.ended().await;
    let counted = queue.told().counted;
    assert_eq!(counted.len(), REPORTED.len(), "{counted:?}");
    for (domain, expected) in REPORTED {
        let counts = counted.iter().find(|counts| counts.domain == *domain).unwrap();
        assert_eq!(counts.destinations, [format!("mailto:r@{domain}")]);
        let [policy] = counts.policies.as_slice() else { panic!("{counts:?}") };
        let told = match (policy.successes, policy.failures.as_slice()) {
            (1, []) => "good".to_owned(),
            (0, [(failure, 1)]) => failure.fault.word().to_owned(),
            _ => format!("{policy:?}"),
        };
        assert_eq!(format!("{} {told}", policy.policy.kind.word()), *expected, "{domain}");
        if let [(failure, _)] = policy.failures.as_slice() {
            assert_eq!(failure.host, format!("mx.{domain}"));
        }
    }
    let policy = |domain: &str| counted.iter().find(|counts| counts.domain == domain).unwrap().policies[0].clone();
    let sts = policy("sts.plain.test").policy;
    assert_eq!(sts.lines, ["version: STSv1", "mode: enforce", "mx: mx.sts.plain.test", "max_age: 86400"]);
    assert_eq!(sts.hosts, ["mx.sts.plain.test"]);
    assert_eq!(policy("ee.signed.test").policy.lines, [format!("3 1 1 {}", rows.certificates.data(Key))]);
    let failure = &policy("sts-selfmade.plain.test").failures[0].0;
    assert_eq!((failure.host_address, failure.sending_address.is_some()), (address(SelfMade).parse().ok(), true));

    queue.until(|told| !told.linked).await;
    let mut worker = rows.worker(&queue, crate::world::with_tls_reports).await;
    for _ in 0..3 {
        queue.deliver(letter(&["a@ee.signed.test"])).await;
    }
    worker.shut_down();
    worker.ended().await;
    let last = queue.told().counted.pop().unwrap();
    assert_eq!(
        (last.domain.as_str(), last.policies[0].successes),
        ("ee.signed.test", 1),
        "one connection, one session"
    );
}

#[tokio::test]
async fn requiretls_goes_to_hosts_that_are_certain_or_nowhere() {
    let certificates = Certificates::new();
    let names = ["plain", "signed"].iter().map(|zone| format!("mx.issued.{zone}.test")).collect();
    let (port, _peers) = Peer::several([
        (address(SelfMade), Script::new().with_tls(certificates.self_made()).extension("REQUIRETLS")),
        (address(Issued), Script::new().with_tls(certificates.issued("issued", names)).extension("REQUIRETLS")),
    ])
    .await;
    let host = |name: &str, server| [format!("{name}. MX 10 mx.{name}."), format!("mx.{name}. A {}", address(server))];
    let mut lines = [
        host("issued.plain.test", Issued),
        host("issued.signed.test", Issued),
        host("selfmade.signed.test", SelfMade),
        host("dane.signed.test", SelfMade),
    ]
    .concat();
    lines.push(format!("_{port}._tcp.mx.dane.signed.test. TLSA 3 1 1 {}", certificates.data(Key)));
    let zones = Zones::start(&lines, &[]).await;
    let queue = Queue::start().await;
    let _worker = worker(&queue, (zones.resolver, port), &certificates, |_| {}).await;
    for (domain, expected) in [
        ("issued.plain.test", "RequireTls"),
        ("issued.signed.test", "pkix"),
        ("selfmade.signed.test", "Tls"),
        ("dane.signed.test", "dane-ee"),
    ] {
        let dispatch = crate::world::with_body(&[&format!("a@{domain}")], crate::world::TEXT, |options| {
            options.require_tls = true;
        });
        let result = queue.deliver(dispatch).await;
        assert_eq!(told(only(&result)), expected, "{domain}: {}", only(&result));
    }
    assert_eq!(TroubleKind::RequireTls.enhanced().to_string(), "5.7.30", "RFC 8689 section 5");
}

#[tokio::test]
async fn workers_that_validate_themselves_find_what_hosts_must_prove_where_the_resolver_does_not_validate() {
    let certificates = Certificates::new();
    let (port, _peers) = Peer::several([
        (address(SelfMade), Script::new().with_tls(certificates.self_made())),
        (address(Misnamed), Script::new().with_tls(certificates.issued("misnamed", vec!["elsewhere.test".to_owned()]))),
    ])
    .await;
    let lines: Vec<_> = [
        ("signed.test", SelfMade),
        ("forged.signed.test", Misnamed),
        ("plain.test", SelfMade),
        ("a.b.sub.plain.test", Misnamed),
        ("bogus.test", SelfMade),
    ]
    .iter()
    .flat_map(|&(domain, server)| {
        [
            format!("{domain}. MX 10 mx.{domain}."),
            format!("mx.{domain}. A {}", address(server)),
            format!("_{port}._tcp.mx.{domain}. TLSA 3 1 1 {}", certificates.data(Key)),
        ]
    })
    .collect();
    let tree = Tree::start(&lines).await;
    for (dnssec, expected) in [
        (Dnssec::Own, ["dane-ee", "Tls", "tls", "tls", "DnsTemporary"]),
        (Dnssec::Resolver, ["tls", "tls", "tls", "tls", "tls"]),
    ] {
        let queue = Queue::start().await;
        let _worker = worker(&queue, (tree.resolver, port), &certificates, |config| {
            config.outbound.dnssec = dnssec;
            config.outbound.trust_anchors = (dnssec == Dnssec::Own).then(|| tree.anchors[1].clone());
        })
        .await;
        let domains = ["signed.test", "forged.signed.test", "plain.test", "a.b.sub.plain.test", "bogus.test"];
        for (domain, expected) in domains.into_iter().zip(expected) {
            let result = queue.deliver(letter(&[&format!("a@{domain}")])).await;
            let outcome = only(&result);
            assert_eq!(told(outcome), expected, "{domain} with {dnssec:?}: {outcome}");
            if let Cause::Trouble(trouble) = &outcome.cause {
                assert!(trouble.kind.is_temporary(), "{domain}: nothing bounces for it: {outcome}");
            }
            if expected == "DnsTemporary" {
                let text = "DNSSEC validation of MX of bogus.test failed";
                assert!(outcome.to_string().contains(text), "an operator reads where: {outcome}");
            }
        }
    }
}

/// A domain with a policy of MTA-STS, whose exchanger made its certificate itself; and a worker.
struct WithPolicy {
    names: NameServer,
    served: Arc<Mutex<Option<String>>>,
    queue: Queue,
    worker: Worker,
    certificates: Certificates,
    /// Of the exchanger, and of the policy host.
    ports: (u16, u16),
}

impl WithPolicy {
    async fn start(policy: String) -> Self {
        Self::with(policy, Queue::start().await).await
    }

    async fn with(policy: String, queue: Queue) -> Self {
        let certificates = Certificates::new();
        let peer = Peer::start(Script::new().with_tls(certificates.self_made())).await;
        let served = Arc::new(Mutex::new(Some(policy)));
        let serving = Arc::clone(&served);
        let tls = certificates.issued("policies", vec!["mta-sts.d.test".to_owned()]);
        let policies_port = serve_policies(tls, move |_| serving.lock().unwrap().clone()).await;
        let names = NameServer::start([
            ("d.test", mx(&[(10, "mx.d.test")])),
            ("mx.d.test", addresses(&["127.0.0.1"])),
            ("mta-sts.d.test", addresses(&["127.0.0.1"])),
            ("_mta-sts.d.test", txt("v=STSv1; id=1")),
        ])
        .await;
        let ports = (peer.address.port(), policies_port);
        let with_policies = |config: &mut Config| config.outbound.mta_sts_port = policies_port;
        let worker = worker(&queue, (names.address, ports.0), &certificates, with_policies).await;
        Self { names, served, queue, worker, certificates, ports }
    }

    /// The worker ends, and another begins.
    async fn restart(&mut self) {
        self.worker.shut_down();
        self.worker.ended().await;
        self.queue.until(|told| !told.linked).await;
        let (port, policies_port) = self.ports;
        let with_policies = |config: &mut Config| config.outbound.mta_sts_port = policies_port;
        self.worker = worker(&self.queue, (self.names.address, port), &self.certificates, with_policies).await;
    }

    fn serve(&self, policy: Option<String>) {
        *self.served.lock().unwrap() = policy;
    }

    async fn outcome(&self) -> String {
        told(only(&self.queue.deliver(letter(&["a@d.test"])).await))
    }
}

#[tokio::test]
async fn a_policy_that_was_fetched_is_not_taken_away_by_who_takes_away_its_record_or_host() {
    let domain = WithPolicy::start(policy("enforce", "mx.d.test")).await;
    assert_eq!(domain.outcome().await, "Tls", "the exchanger made its certificate itself");
    for record in [None, Some(txt("nothing of this kind")), Some(crate::dns::Say::ServFail)] {
        domain.names.set("_mta-sts.d.test", record);
        assert_eq!(domain.outcome().await, "Tls", "RFC 8461 section 5.1");
    }
    domain.serve(None);
    domain.names.set("_mta-sts.d.test", Some(txt("v=STSv1; id=2")));
    assert_eq!(domain.outcome().await, "Tls");
}

#[tokio::test]
async fn a_new_policy_is_followed_soon() {
    let domain = WithPolicy::start(policy("enforce", "mx.d.test")).await;
    assert_eq!(domain.outcome().await, "Tls");
    domain.serve(Some(policy("testing", "mx.d.test")));
    domain.names.set("_mta-sts.d.test", Some(txt("v=STSv1; id=2")));
    let followed = async { while domain.outcome().await != "tls" {} };
    tokio::time::timeout(Duration::from_secs(60), followed).await.expect("the new policy is never heeded");
}

/// RFC 8461 section 5.1, also for who waits until a worker is started anew.
#[tokio::test]
async fn a_policy_outlives_the_worker_that_fetched_it() {
    let mut domain = WithPolicy::start(policy("enforce", "mx.d.test")).await;
    assert_eq!(domain.outcome().await, "Tls");
    domain.queue.until(|told| told.policies.contains_key("d.test")).await;
    domain.serve(None);
    domain.restart().await;
    assert_eq!(domain.outcome().await, "Tls", "nobody serves the policy any more");
    domain.names.set("_mta-sts.d.test", None);
    domain.restart().await;
    assert_eq!(domain.outcome().await, "Tls", "nor is there a record");
    domain.serve(Some(policy("none", "mx.d.test")));
    domain.names.set("_mta-sts.d.test", Some(txt("v=STSv1; id=3")));
    let followed = async { while domain.outcome().await != "tls" {} };
    tokio::time::timeout(Duration::from_secs(60), followed).await.expect("the end of the policy is never heeded");
    domain.queue.until(|told| told.policies["d.test"].id == "3").await;
    domain.restart().await;
    assert_eq!(domain.outcome().await, "tls", "its end outlives a worker as well");
}

#[tokio::test]
async fn a_queue_of_an_earlier_version_keeps_no_policies_and_holds_nothing_up() {
    let mut domain = WithPolicy::with(policy("enforce", "mx.d.test"), Queue::of_an_earlier_version().await).await;
    assert_eq!(domain.outcome().await, "Tls");
    domain.serve(None);
    domain.restart().await;
    assert_eq!(domain.outcome().await, "tls");
}
