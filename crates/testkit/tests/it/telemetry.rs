//! What an operator sees of a message: one trace from reception to delivery, log lines and metrics of all programs, by one
//! setting; and that mail does not care how the collector is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use mailtier_telemetry::{Kind, Metric, spans};
use mailtier_testkit::collector::{Collector, Received, ReceivedLine, ReceivedSpan};
use mailtier_testkit::installation::{Installation, Plan, pause};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Longest wait for mail.
const LIMIT: Duration = Duration::from_secs(30);
/// After which a program gives an export up. Mail that waited for one would take as long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// By so much a program may grow while nobody takes what it has to tell: what waits has its bounds.
const MOST_GROWN: f64 = 48.0 * 1024.0 * 1024.0;
/// The programs.
const SERVICES: [&str; 3] = ["mailtier-inbound", "mailtier-queue", "mailtier-outbound"];

/// What a message that is deferred once and then delivered leaves behind.
const USED: [(&str, &[Metric]); 3] = [
    (
        "mailtier-inbound",
        &[
            Metric::InboundSessions,
            Metric::InboundMessages,
            Metric::InboundBytes,
            Metric::InboundSubmitDuration,
            Metric::InboundSessionsActive,
        ],
    ),
    (
        "mailtier-queue",
        &[
            Metric::QueueAccepted,
            Metric::QueueAcceptBatch,
            Metric::QueueAcceptDuration,
            Metric::QueueShards,
            Metric::QueueWorkers,
            Metric::QueueDispatched,
            Metric::QueueSettled,
            Metric::QueueSettleBatch,
            Metric::QueueSettleDuration,
        ],
    ),
    (
        "mailtier-outbound",
        &[
            Metric::OutboundAttempts,
            Metric::OutboundAttemptDuration,
            Metric::OutboundConnections,
            Metric::OutboundTls,
            Metric::OutboundInFlight,
        ],
    ),
];

/// An installation whose metrics can be asked for.
struct Observed {
    installation: Installation,
    http: BTreeMap<&'static str, SocketAddr>,
}

impl Observed {
    fn start(plan: Plan) -> Self {
        let http: BTreeMap<_, _> = SERVICES.into_iter().zip([free_port(), free_port(), free_port()]).collect();
        let plan = ["inbound", "queue", "outbound"]
            .into_iter()
            .zip(SERVICES)
            .fold(plan, |plan, (section, service)| plan.set(section, "http_listen", format!("\"{}\"", http[service])));
        Self { installation: Installation::start(&plan).unwrap(), http }
    }

    fn metrics(&self, service: &str) -> String {
        let mut stream = TcpStream::connect(self.http[service]).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn plan(counterpart: &Counterpart, endpoint: &str) -> Plan {
    Plan::new(counterpart.address()).set("telemetry", "otlp_endpoint", format!("\"{endpoint}\""))
}

fn deferring_once() -> Counterpart {
    let behaviour = Behaviour { defer_once: &["later.example"], ..Behaviour::default() };
    Counterpart::start(&Ledger::default(), behaviour).unwrap()
}

fn send_to(observed: &Observed, recipient: &str) {
    let content = b"Subject: traced\r\n\r\nHello.\r\n";
    assert_eq!(send(observed.installation.smtp(), "<s@client.example>", &[recipient], content).unwrap(), 250);
}

fn named<'a>(received: &'a Received, name: &str) -> Vec<&'a ReceivedSpan> {
    let mut spans: Vec<_> = received.spans.iter().filter(|span| span.name == name).collect();
    spans.sort_by_key(|span| span.began_ns);
    spans
}

#[test]
fn a_message_is_one_trace_through_all_programs() {
    let (collector, counterpart) = (Collector::start().unwrap(), deferring_once());
    let observed = Observed::start(plan(&counterpart, &collector.endpoint()));
    send_to(&observed, "a@later.example");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    let received = collector.wait(LIMIT, |received| received.spans.len() >= 6);

    let [receive] = named(&received, spans::RECEIVE)[..] else { panic!("one reception: {received:#?}") };
    let [commit] = named(&received, spans::COMMIT)[..] else { panic!("one commit: {received:#?}") };
    let [schedule, again] = named(&received, spans::SCHEDULE)[..] else { panic!("two turns: {received:#?}") };
    let [deferred, delivered] = named(&received, spans::ATTEMPT)[..] else { panic!("two attempts: {received:#?}") };
    assert_eq!(received.spans.len(), 6, "and nothing besides: {received:#?}");

    assert_eq!((receive.service.as_str(), receive.kind), ("mailtier-inbound", SpanKind::Server));
    assert!(receive.parent_id.is_empty() && receive.trace_id.iter().any(|octet| *octet != 0));
    assert!(!receive.is_error);
    for (span, service, kind, parent, number) in [
        (commit, "mailtier-queue", SpanKind::Internal, receive, None),
        (schedule, "mailtier-queue", SpanKind::Producer, receive, Some("1")),
        (deferred, "mailtier-outbound", SpanKind::Client, schedule, Some("1")),
        (again, "mailtier-queue", SpanKind::Producer, receive, Some("2")),
        (delivered, "mailtier-outbound", SpanKind::Client, again, Some("2")),
    ] {
        assert_eq!((span.service.as_str(), span.kind), (service, kind));
        assert_eq!((&span.trace_id, &span.parent_id), (&receive.trace_id, &parent.span_id), "{span:#?}");
        assert_eq!(span.attributes.get("mail.attempt").map(String::as_str), number);
        assert_eq!(span.attributes["mail.message.id"], receive.attributes["mail.message.id"]);
        assert!(span.links.is_empty(), "what is soon after the reception is part of its trace");
    }
    assert_eq!((commit.attributes["db.operation.batch.size"].as_str(), commit.is_error), ("1", false));
    tells_what_happened(receive, deferred, delivered);
    assert!(received.spans.iter().all(|span| span.events == 0), "log lines stay in the log");
    let text = format!("{:?}", received.spans);
    assert!(!text.contains("s@client.example") && !text.contains("a@later.example"), "no addresses: {text}");
    observed.installation.stop().unwrap();
}

fn tells_what_happened(receive: &ReceivedSpan, deferred: &ReceivedSpan, delivered: &ReceivedSpan) {
    let is = |span: &ReceivedSpan, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            assert_eq!(span.attributes.get(*name).map(String::as_str), Some(*value), "{name} of {span:#?}");
        }
    };
    let client = [("client.address", "127.0.0.1"), ("smtp.helo", "client.example"), ("network.protocol.name", "smtp")];
    is(receive, &client);
    is(receive, &[("smtp.reply.code", "250"), ("mail.recipients", "1")]);
    let refusal = [("smtp.reply.code", "451"), ("smtp.reply.enhanced_code", "4.3.0"), ("smtp.stage", "rcpt")];
    is(deferred, &refusal);
    is(deferred, &[("mail.result", "deferred"), ("error.type", "4.3.0"), ("network.peer.address", "127.0.0.1")]);
    is(delivered, &[("mail.result", "delivered"), ("smtp.reply.code", "250"), ("smtp.stage", "final")]);
    assert!(deferred.is_error && !delivered.is_error);
}

/// Lines of a log are sent only where that is asked for: they name people. They are of the same trace as the message's spans,
/// and so are those on standard output.
#[test]
fn log_lines_are_of_the_trace_of_their_message() {
    let (collector, counterpart) = (Collector::start().unwrap(), deferring_once());
    let plan = plan(&counterpart, &collector.endpoint()).set("telemetry", "otlp_logs", "true").set(
        "telemetry",
        "otlp_headers",
        "\"Authorization=Bearer s3cret\"",
    );
    let observed = Observed::start(plan);
    send_to(&observed, "a@later.example");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    let of_message = |received: &Received, status: &str| {
        let is_it = |line: &&ReceivedLine| line.attributes.get("status").is_some_and(|known| known == status);
        received.lines.iter().find(is_it).cloned()
    };
    let told = ["accepted", "deferred", "delivered"];
    let is_told = |received: &Received| told.iter().all(|status| of_message(received, status).is_some());
    let received = collector.wait(LIMIT, |received| is_told(received) && !named(received, spans::RECEIVE).is_empty());
    let [receive] = named(&received, spans::RECEIVE)[..] else { panic!("one reception: {received:#?}") };
    for status in told {
        let line = of_message(&received, status).unwrap_or_else(|| panic!("{status}: {:#?}", received.lines));
        assert_eq!((&line.trace_id, &line.span_id), (&receive.trace_id, &receive.span_id), "{line:#?}");
    }
    assert_eq!(received.authorizations, BTreeSet::from(["Bearer s3cret".to_owned()]));
    let log = observed.installation.log();
    observed.installation.stop().unwrap();
    let trace: String = receive.trace_id.iter().map(|octet| format!("{octet:02x}")).collect();
    let line = log.lines().find(|line| line.contains("status=\"delivered\"")).unwrap();
    assert!(line.contains(&format!("trace_id={trace}")), "{line}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn log_lines_stay_here_unless_they_are_asked_for() {
    let (collector, counterpart) = (Collector::start().unwrap(), deferring_once());
    let observed = Observed::start(plan(&counterpart, &collector.endpoint()));
    send_to(&observed, "a@sink.example");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    // What a program has is exported before it ends.
    observed.installation.stop().unwrap();
    let received = collector.received();
    assert_eq!((received.lines, received.spans.is_empty()), (Vec::new(), false));
}

#[test]
fn metrics_arrive_and_can_be_asked_for() {
    let (collector, counterpart) = (Collector::start().unwrap(), deferring_once());
    let observed = Observed::start(plan(&counterpart, &collector.endpoint()));
    send_to(&observed, "a@later.example");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    let is_told = |received: &Received| {
        USED.iter().all(|(service, metrics)| {
            let names = received.metrics.get(*service);
            metrics.iter().all(|metric| names.is_some_and(|names| names.contains(metric.name())))
        })
    };
    let received = collector.wait(LIMIT, is_told);
    assert!(is_told(&received), "{:#?}", received.metrics);
    let known: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    for name in received.metrics.values().flatten() {
        assert!(known.contains(name.as_str()), "{name} is in no reference");
    }
    for (service, metrics) in USED {
        let text = observed.metrics(service);
        for metric in metrics {
            let name = metric.prometheus_name();
            let name = if metric.kind() == Kind::Histogram { format!("{name}_count") } else { name };
            let line = text.lines().find(|line| line.starts_with(&name) && line[name.len()..].starts_with(['{', ' ']));
            assert!(line.is_some(), "{name} is missing of {service}:\n{text}");
        }
    }
    observed.installation.stop().unwrap();
}

/// What is not sampled at the reception is nowhere: no attempt starts a trace of its own.
#[test]
fn a_trace_is_whole_or_absent() {
    let (collector, counterpart) = (Collector::start().unwrap(), deferring_once());
    // Only the reception decides, so the other programs have the same setting here and would record on their own.
    let observed =
        Observed::start(plan(&counterpart, &collector.endpoint()).set("telemetry", "trace_sample_ratio", "0.5"));
    for number in 0..20 {
        send_to(&observed, &format!("{number}@sink.example"));
    }
    assert_eq!(counterpart.wait_for_letters(20, LIMIT).len(), 20);
    // What a program has is exported before it ends.
    observed.installation.stop().unwrap();
    let received = collector.received();
    let count = |name| named(&received, name).len();
    assert!((1..20).contains(&count(spans::RECEIVE)), "a share: {}", count(spans::RECEIVE));
    let traces_of = |name| -> BTreeSet<_> { named(&received, name).iter().map(|span| span.trace_id.clone()).collect() };
    assert_eq!(traces_of(spans::COMMIT), traces_of(spans::RECEIVE));
    assert_eq!(traces_of(spans::SCHEDULE), traces_of(spans::RECEIVE));
    assert_eq!(traces_of(spans::ATTEMPT), traces_of(spans::RECEIVE));
    assert_eq!((count(spans::SCHEDULE), count(spans::ATTEMPT)), (count(spans::RECEIVE), count(spans::RECEIVE)));
}

#[test]
fn mail_does_not_notice_that_nobody_collects() {
    does_not_slow_mail(&format!("http://{}", free_port()));
}

#[test]
fn mail_does_not_notice_a_collector_that_never_answers() {
    // Connections are completed by the kernel, and nobody reads them.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    does_not_slow_mail(&format!("http://{}", mute.local_addr().unwrap()));
}

/// Postfix's users have tools that read its log.
#[test]
fn pflogsumm_understands_the_log() {
    let behaviour = Behaviour { defer_once: &["later.example"], reject: &["gone.example"], ..Behaviour::default() };
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let plan = Plan::new(counterpart.address()).set("telemetry", "log_format", "\"postfix\"");
    let observed = Observed::start(plan);
    for recipient in ["a@sink.example", "a@later.example", "a@gone.example"] {
        send_to(&observed, recipient);
    }
    // The notification is the third.
    assert_eq!(counterpart.wait_for_letters(3, LIMIT).len(), 3);
    let began = Instant::now();
    while observed.installation.log().matches("status=sent").count() < 3 && began.elapsed() < LIMIT {
        pause();
    }
    let log = observed.installation.path("log");
    let summary = Command::new("pflogsumm").arg("--syslog-name=mailtier").arg(&log).output();
    let summary = summary.expect("pflogsumm is there: `make clients`");
    let summary = String::from_utf8(summary.stdout).unwrap();
    let counted = |word: &str| {
        let line = summary.lines().find(|line| line.split_whitespace().nth(1) == Some(word));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok())
    };
    let counts = ["received", "delivered", "deferred", "bounced"].map(counted);
    assert_eq!(counts, [Some(3), Some(3), Some(1), Some(1)], "{summary}");
    observed.installation.stop().unwrap();
}

fn memory_of(observed: &Observed, service: &str) -> f64 {
    let (text, name) = (observed.metrics(service), Metric::ProcessMemoryUsage.prometheus_name());
    let line = text.lines().find(|line| line.starts_with(&name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn does_not_slow_mail(endpoint: &str) {
    let counterpart = deferring_once();
    let observed = Observed::start(plan(&counterpart, endpoint).set("telemetry", "otlp_logs", "true"));
    send_to(&observed, "first@sink.example");
    assert_eq!(counterpart.wait_for_letters(1, LIMIT).len(), 1);
    let memory = SERVICES.map(|service| memory_of(&observed, service));
    let (mut sent, started) = (1, Instant::now());
    // Long enough for exports of spans to be tried and given up in between.
    while started.elapsed() < 2 * EXPORT_TIMEOUT {
        let begun = Instant::now();
        send_to(&observed, &format!("{sent}@sink.example"));
        sent += 1;
        let took = begun.elapsed();
        assert!(took < EXPORT_TIMEOUT, "message {sent} took {took:?}");
        let arrived = counterpart.wait_for_letters(sent, EXPORT_TIMEOUT);
        assert_eq!(arrived.len(), sent, "delivered at once");
    }
    for (service, before) in SERVICES.into_iter().zip(memory) {
        let grown = memory_of(&observed, service) - before;
        assert!(grown < MOST_GROWN, "{service} has grown by {grown} octets over {sent} messages");
    }
    assert!(observed.metrics("mailtier-outbound").contains(&Metric::OutboundAttempts.prometheus_name()));
    let stopping = Instant::now();
    observed.installation.stop().unwrap();
    // Three programs, one after the other, each with one export's time for what is left.
    let took = stopping.elapsed();
    assert!(took < 3 * EXPORT_TIMEOUT + LIMIT, "stopped in {took:?}");
}
