//! Every metric that the reference names is recorded: dashboards and alerts rely on it. What a day's ordinary mail does not touch
//! is listed, with what does.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mailtier_telemetry::{Kind, Metric};
use mailtier_testkit::installation::{Installation, Plan, free_port, pause};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};

/// Longest wait for what is to be seen.
const LIMIT: Duration = Duration::from_secs(60);
/// Sessions that there may be at a time.
const SESSIONS: usize = 8;

/// What ordinary mail does not touch, and what does.
const ELSEWHERE: &[(Metric, &str)] = &[
    (Metric::InboundLogins, "a login: inbound/tests/it/logins.rs"),
    (Metric::InboundHellosRejected, "a stranger that goes by our name"),
    (Metric::InboundSendersRejected, "a sender beyond a rate, or of another user"),
    (Metric::InboundResubmissions, "a lost verdict of the queue"),
    (Metric::QueueHints, "a second replica: queue/tests/it/ownership.rs"),
    (Metric::QueuePoolAllowanceLeft, "a pool that warms up: queue/tests/it/pools.rs"),
    (Metric::QueueReports, "mail that came back: testkit/tests/it/feedback.rs"),
    (Metric::QueueTlsReported, "a report of TLS: testkit/tests/it/feedback.rs"),
    (Metric::QueueTlsReports, "reports of TLS of ours"),
    (Metric::QueueDatabaseErrors, "a database in trouble"),
    (Metric::OutboundProofs, "a host that has to prove who it is: outbound/tests/suite/identity.rs"),
    (Metric::OutboundStsFetches, "a domain with MTA-STS: outbound/tests/suite/identity.rs"),
    (Metric::OutboundTlsSessions, "a domain that asks for reports of TLS"),
    (Metric::ClusterCertificateExpiry, "TLS between the programs: service/src/certificates.rs, cluster_tls.rs"),
];

struct Watched {
    installation: Installation,
    http: [SocketAddr; 3],
}

impl Watched {
    fn start(counterpart: &Counterpart, recipients: &str, at_a_time: u32) -> Self {
        let http = [free_port().unwrap(), free_port().unwrap(), free_port().unwrap()];
        let providers = "[{ name = \"big\", exchangers = [\"big.example\"] }]";
        let plan = ["inbound", "queue", "outbound"].into_iter().zip(http).fold(
            Plan::new(counterpart.address())
                .set("inbound", "relay_domains", "[\"here.example\"]")
                .set("inbound", "recipients_file", format!("\"{recipients}\""))
                .set("inbound", "max_sessions", SESSIONS.to_string())
                .set("queue", "providers", providers)
                .set("outbound", "max_in_flight", at_a_time.to_string()),
            |plan, (section, address)| plan.set(section, "http_listen", format!("\"{address}\"")),
        );
        Self { installation: Installation::start(&plan).unwrap(), http }
    }

    /// All that the programs tell on `/metrics`.
    fn text(&self) -> String {
        self.http.iter().map(|address| ask(*address)).collect()
    }
}

fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The names of all series, as Prometheus has them.
fn names(text: &str) -> BTreeSet<&str> {
    let name = |line: &'_ str| line.split(['{', ' ']).next().unwrap_or_default().len();
    text.lines().filter(|line| !line.starts_with('#')).map(|line| &line[..name(line)]).collect()
}

fn series_of(metric: Metric) -> String {
    let end = if metric.kind() == Kind::Histogram { "_count" } else { "" };
    format!("{}{end}", metric.prometheus_name())
}

/// More clients than there may be: those beyond are told to come again.
fn crowd(server: SocketAddr) {
    let mut clients: Vec<_> = (0..=SESSIONS).map(|_| BufReader::new(TcpStream::connect(server).unwrap())).collect();
    let mut greeting = String::new();
    clients.last_mut().unwrap().read_line(&mut greeting).unwrap();
}

#[test]
fn every_metric_is_recorded() {
    let behaviour = Behaviour { defer_once: &["later.example"], reject: &["gone.example"], ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let recipients = folder.path().join("recipients");
    std::fs::write(&recipients, "known@here.example\n").unwrap();
    let watched = Watched::start(&counterpart, recipients.to_str().unwrap(), 100);
    let server = watched.installation.smtp();
    let content = b"Subject: watched\r\n\r\nHello.\r\n";
    for recipient in ["a@sink.example", "a@later.example", "a@gone.example"] {
        assert_eq!(send(server, "<s@client.example>", &[recipient], content).unwrap(), 250);
    }
    assert!(send(server, "<s@client.example>", &["unknown@here.example"], content).is_err(), "nobody there");
    let circle = "Received: from a by b; now\r\n".repeat(200) + "Subject: in a circle\r\n\r\nHello.\r\n";
    assert_eq!(send(server, "<s@client.example>", &["a@sink.example"], circle.as_bytes()).unwrap(), 554);
    crowd(server);

    let elsewhere: BTreeSet<String> = ELSEWHERE.iter().map(|(metric, _)| series_of(*metric)).collect();
    let expected: BTreeSet<String> =
        Metric::ALL.iter().map(|metric| series_of(*metric)).filter(|name| !elsewhere.contains(name)).collect();
    let began = Instant::now();
    let missing = loop {
        let text = watched.text();
        let seen = names(&text);
        let missing: Vec<&String> = expected.iter().filter(|name| !seen.contains(name.as_str())).collect();
        if missing.is_empty() || began.elapsed() > LIMIT {
            let seen_after_all: Vec<&String> = elsewhere.iter().filter(|name| seen.contains(name.as_str())).collect();
            assert!(seen_after_all.is_empty(), "no exception is needed for {seen_after_all:?}");
            break missing.into_iter().cloned().collect::<Vec<_>>();
        }
        pause();
    };
    assert!(missing.is_empty(), "nothing records {missing:?}");
    let known: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.prometheus_name()).collect();
    let text = watched.text();
    for name in names(&text).into_iter().filter(|name| name.starts_with("mailtier_") || name.starts_with("process_")) {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_known = known.contains(name) || of_histogram.is_some_and(|name| known.contains(name));
        assert!(is_known, "{name} is in no reference");
    }
    watched.installation.stop().unwrap();
}

/// Alerts and autoscalers ask how long mail has been due that nobody takes up.
#[test]
fn mail_that_no_worker_has_room_for_shows_its_age() {
    let slow = Behaviour { takes: Duration::from_secs(8), ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), slow).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let recipients = folder.path().join("recipients");
    std::fs::write(&recipients, "known@here.example\n").unwrap();
    let watched = Watched::start(&counterpart, recipients.to_str().unwrap(), 1);
    let sent = Instant::now();
    for recipient in ["a@one.example", "a@two.example"] {
        let content = b"Subject: waiting\r\n\r\nHello.\r\n";
        assert_eq!(send(watched.installation.smtp(), "<s@client.example>", &[recipient], content).unwrap(), 250);
    }
    let value = |text: &str, series: &str, attribute: &str| -> f64 {
        let mut lines = text.lines().filter(|line| line.starts_with(series) && line.contains(attribute));
        lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    };
    let (began, mut text) = (Instant::now(), String::new());
    while value(&text, "mailtier_queue_oldest_ready_seconds", "") < 3.0 && began.elapsed() < LIMIT {
        pause();
        text = ask(watched.http[1]);
    }
    let age = value(&text, "mailtier_queue_oldest_ready_seconds", "");
    assert!(age >= 3.0 && age <= sent.elapsed().as_secs_f64(), "{age}");
    for (series, attribute) in [
        ("mailtier_queue_depth", "state=\"ready\""),
        ("mailtier_queue_depth", "state=\"in_flight\""),
        ("mailtier_queue_provider_ready", "provider=\"other\""),
        ("mailtier_queue_provider_in_flight", "provider=\"other\""),
        ("mailtier_queue_dispatching", ""),
    ] {
        assert!((value(&text, series, attribute) - 1.0).abs() < 0.1, "{series} {attribute}: {text}");
    }
    assert_eq!(counterpart.wait_for_letters(2, LIMIT).len(), 2);
    watched.installation.stop().unwrap();
}
