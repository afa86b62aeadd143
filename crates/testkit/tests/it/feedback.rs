//! What comes back to the real programs: a bounce and a complaint become events and put their recipient on the list, a
//! forgery does nothing, and whoever is on the list gets nothing more.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use mailtier_message::tls_report::TlsReport;
use mailtier_testkit::installation::{Installation, Plan, pause};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, Letter, send};
use mailtier_types::{PolicyCounts, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind};

/// Longest wait for something that happens at once, or within seconds.
const LIMIT: Duration = Duration::from_secs(60);
const CONTENT: &[u8] = b"Subject: news\r\nMessage-ID: <1@client.example>\r\n\r\nHello.\r\n";
const SENDER: &str = "<sender@client.example>";

/// Everyone here is a client of tenant 7, whose mail has signed return paths.
fn start(mode: &str, behaviour: Behaviour) -> (Installation, Counterpart) {
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let plan = Plan::new(counterpart.address())
        .set("inbound", "networks", "[{ networks = [\"127.0.0.0/8\"], tenant = 7 }]")
        .set("feedback", "return_path_domain", "\"bounces.system.example\"")
        .set("feedback", "return_path_keys", format!("\"{}\"", "0123456789abcdef".repeat(4)))
        .set("feedback", "return_path_tenants", "[7]")
        .set("feedback", "report_addresses", "[\"fbl@system.example\"]")
        .set("suppression", "mode", format!("\"{mode}\""));
    (Installation::start(&plan).unwrap(), counterpart)
}

/// The return path of the letter to a recipient.
fn return_path(letters: &[Letter], recipient: &str) -> String {
    let letter = letters.iter().find(|letter| letter.recipients == [recipient]).unwrap();
    let path = letter.mail.split(['<', '>']).nth(1).unwrap();
    assert!(path.starts_with("bounces+") && path.ends_with("@bounces.system.example"), "{}", letter.mail);
    path.to_owned()
}

fn bounce(recipient: &str) -> Vec<u8> {
    format!(
        "From: MAILER-DAEMON@sink.example\r\nSubject: Undelivered\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; store.sink.example\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\n\
         Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user here\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}

fn complaint(path: &str) -> Vec<u8> {
    format!(
        "From: staff@provider.example\r\nSubject: complaint\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\n\r\nA complaint.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Provider/1.0\r\nVersion: 1\r\nOriginal-Mail-From: <{path}>\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: news\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        pause();
    }
}

/// A recipient is refused, once what inbound remembers of it is old.
fn until_refused(server: SocketAddr, recipient: &str) -> String {
    until("the recipient is refused", || {
        send(server, SENDER, &[recipient], CONTENT).err().map(|error| error.to_string())
    })
}

#[test]
fn a_bounce_that_comes_back_is_an_event_and_the_next_message_is_refused() {
    let (installation, counterpart) = start("reject", Behaviour::default());
    let server = installation.smtp();
    let recipient = "Gone@sink.example";
    assert_eq!(send(server, SENDER, &[recipient], CONTENT).unwrap(), 250);
    let path = return_path(&counterpart.wait_for_letters(1, LIMIT), recipient);

    // Nobody can make one, and whoever tries hears what he would hear of anybody.
    let last = path.find('@').unwrap() - 1;
    let other = if path.as_bytes()[last] == b'a' { "b" } else { "a" };
    let mut forged = path.clone();
    forged.replace_range(last..=last, other);
    let refused = send(server, "<>", &[&forged], &bounce(recipient)).unwrap_err();
    assert!(refused.to_string().contains("550"), "{refused}");
    let untouched = installation.mailtier(&["trace", recipient]).unwrap();
    assert!(!untouched.contains("bounced") && !untouched.contains("answered"), "{untouched}");
    let nobody = installation.mailtier(&["suppression", "list"]).unwrap();
    assert!(nobody.contains("nobody is on a suppression list"), "{nobody}");

    assert_eq!(send(server, "<>", &[&path], &bounce(recipient)).unwrap(), 250);
    let trace = installation.mailtier(&["trace", recipient, "--wait", "bounced"]).unwrap();
    let line = trace.lines().find(|line| line.contains("bounced")).unwrap();
    for part in [
        "to=<Gone@sink.example>",
        "class=invalid_mailbox",
        "host=store.sink.example",
        "550 5.1.1 no such user here",
        "report=",
    ] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    let listed = installation.mailtier(&["suppression", "list", "--tenant", "7"]).unwrap();
    assert!(listed.contains("tenant 7  gone@sink.example  bounce by mailtier"), "{listed}");
    let refused = until_refused(server, recipient);
    assert!(refused.contains("550"), "{refused}");

    // The sender hears of it as he would without a signed return path.
    let letters = until("the bounce arrives", || {
        let letters = counterpart.wait_for_letters(2, LIMIT);
        letters.iter().any(|letter| letter.recipients == ["sender@client.example"]).then_some(letters)
    });
    let passed_on = letters.iter().find(|letter| letter.recipients == ["sender@client.example"]).unwrap();
    assert!(passed_on.mail.contains("<>"), "{}", passed_on.mail);
    assert!(String::from_utf8_lossy(&passed_on.content).contains("no such user here"));

    installation.mailtier(&["suppression", "remove", "--tenant", "7", recipient]).unwrap();
    until("the recipient is taken again", || send(server, SENDER, &[recipient], CONTENT).ok());
    until("nothing is left to be accounted for", || installation.audit().unwrap().is_empty().then_some(()));
    installation.stop().unwrap();
}

#[test]
fn of_several_recipients_each_answers_for_itself_alone() {
    let (installation, counterpart) = start("reject", Behaviour::default());
    let server = installation.smtp();
    let recipients = ["one@sink.example", "two@sink.example", "three@sink.example"];
    assert_eq!(send(server, SENDER, &recipients, CONTENT).unwrap(), 250);
    let letters = counterpart.wait_for_letters(recipients.len(), LIMIT);
    let paths = recipients.map(|recipient| return_path(&letters, recipient));

    // Neither a complaint without a name nor a bounce with another's is about anybody else.
    assert_eq!(send(server, "<staff@provider.example>", &["fbl@system.example"], &complaint(&paths[1])).unwrap(), 250);
    assert_eq!(send(server, "<>", &[&paths[2]], &bounce(recipients[0])).unwrap(), 250);
    let complained = installation.mailtier(&["trace", recipients[1], "--wait", "complained"]).unwrap();
    assert!(complained.contains("to=<two@sink.example>"), "{complained}");
    let bounced = installation.mailtier(&["trace", recipients[2], "--wait", "bounced"]).unwrap();
    assert!(bounced.contains("to=<three@sink.example>") && bounced.contains("about one@sink.example"), "{bounced}");
    let listed = installation.mailtier(&["suppression", "list", "--tenant", "7"]).unwrap();
    let is_listed = recipients.map(|recipient| listed.contains(recipient));
    assert_eq!(is_listed, [false, true, true], "{listed}");
    until("nothing is left to be accounted for", || installation.audit().unwrap().is_empty().then_some(()));
    installation.stop().unwrap();
}

#[test]
fn a_complaint_is_an_event_of_the_message_it_names_and_one_that_names_none_is_kept() {
    let (installation, counterpart) = start("reject", Behaviour::default());
    let server = installation.smtp();
    assert_eq!(send(server, SENDER, &["user@sink.example"], CONTENT).unwrap(), 250);
    let path = return_path(&counterpart.wait_for_letters(1, LIMIT), "user@sink.example");
    assert_eq!(send(server, "<staff@provider.example>", &["fbl@system.example"], &complaint(&path)).unwrap(), 250);
    let trace = installation.mailtier(&["trace", "user@sink.example", "--wait", "complained"]).unwrap();
    assert!(trace.contains("(abuse, by Provider/1.0)"), "{trace}");
    let listed = installation.mailtier(&["suppression", "list"]).unwrap();
    assert!(
        listed.contains("user@sink.example  complaint by mailtier") && listed.contains("until it is taken off"),
        "{listed}"
    );
    assert!(until_refused(server, "user@sink.example").contains("550"));

    assert_eq!(
        send(server, "<other@provider.example>", &["fbl@system.example"], &complaint("who@knows.example")).unwrap(),
        250
    );
    let kept = installation.mailtier(&["trace", "other@provider.example", "--wait", "answered"]).unwrap();
    assert!(kept.contains("belongs to no message: no signed return path stands in it"), "{kept}");
    assert_eq!(installation.audit().unwrap(), []);
    installation.stop().unwrap();
}

/// A message with this as an attached report.
fn with_tls_report(packed: &[u8]) -> Vec<u8> {
    let mut mail = "From: tls@provider.example\r\nSubject: Report Domain: system.example\r\n\
        Content-Type: multipart/report; report-type=tlsrpt; boundary=b\r\n\r\n--b\r\n\r\nSee there.\r\n\
        --b\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        .to_owned();
    for line in STANDARD.encode(packed).as_bytes().chunks(76) {
        mail.push_str(&format!("{}\r\n", String::from_utf8_lossy(line)));
    }
    mail.push_str("\r\n--b--\r\n");
    mail.into_bytes()
}

#[test]
fn a_report_of_tls_is_an_event_and_one_that_would_burst_is_kept() {
    let (installation, _counterpart) = start("off", Behaviour::default());
    let server = installation.smtp();
    let failure =
        TlsFailure { host: "mx.system.example".to_owned(), ..TlsFailure::untold(TlsFault::CertificateExpired) };
    let counts =
        PolicyCounts { policy: TlsPolicyFound::untold(TlsPolicyKind::Sts), successes: 5, failures: vec![(failure, 2)] };
    let report = TlsReport {
        organization: "Provider".to_owned(),
        contact: "tls@provider.example".to_owned(),
        id: "1@provider.example".to_owned(),
        begins_at: Timestamp::from_secs(1_800_000_000),
        ends_at: Timestamp::from_secs(1_800_086_399),
        policies: vec![("system.example".to_owned(), counts)],
    };
    let mail = with_tls_report(&report.packed().unwrap());
    assert_eq!(send(server, "<tls@provider.example>", &["fbl@system.example"], &mail).unwrap(), 250);
    let trace = installation.mailtier(&["trace", "tls@provider.example", "--wait", "tls_reported"]).unwrap();
    let told = "domain=system.example policy=sts successes=5 failures=2 by=\"Provider\"; \
                2 certificate-expired host=mx.system.example";
    assert!(trace.contains(told), "{trace}");

    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    (0..256).for_each(|_| bomb.write_all(&vec![b' '; 1 << 20]).unwrap());
    let mail = with_tls_report(&bomb.finish().unwrap());
    assert_eq!(send(server, "<bomb@provider.example>", &["fbl@system.example"], &mail).unwrap(), 250);
    let kept = installation.mailtier(&["trace", "bomb@provider.example", "--wait", "answered"]).unwrap();
    assert!(kept.contains("a report of TLS that cannot be read: it unpacks to more than"), "{kept}");
    assert_eq!(installation.audit().unwrap(), []);
    installation.stop().unwrap();
}

#[test]
fn where_it_is_to_fail_the_others_get_it_and_the_sender_is_told() {
    let behaviour = Behaviour { reject: &["never.example"], ..Behaviour::default() };
    let (installation, counterpart) = start("fail", behaviour);
    let server = installation.smtp();
    installation
        .mailtier(&["suppression", "add", "--tenant", "7", "gone@sink.example", "--reason", "they left"])
        .unwrap();
    // A failed delivery puts its recipient there too.
    assert_eq!(send(server, SENDER, &["b@never.example"], CONTENT).unwrap(), 250);
    until("the failure is on the list", || {
        let listed = installation.mailtier(&["suppression", "list", "--json"]).unwrap();
        (listed.contains("\"b@never.example\"") && listed.contains("\"failure\"")).then_some(())
    });
    let letters = counterpart.wait_for_letters(1, LIMIT).len();
    let recipients = ["gone@sink.example", "there@sink.example", "b@never.example", "only@other.example"];
    assert_eq!(send(server, SENDER, &recipients, CONTENT).unwrap(), 250);
    let letters = counterpart.wait_for_letters(letters + 3, LIMIT);
    let reached: Vec<&str> = letters.iter().flat_map(|one| &one.recipients).map(String::as_str).collect();
    assert!(reached.contains(&"there@sink.example") && reached.contains(&"only@other.example"), "{reached:?}");
    assert!(!reached.contains(&"gone@sink.example"), "{reached:?}");
    let told = letters.iter().map(|one| String::from_utf8_lossy(&one.content).into_owned());
    let told = told.filter(|text| text.contains("suppression list")).collect::<Vec<_>>();
    let [told] = told.as_slice() else { panic!("one notification: {told:?}") };
    for part in ["Final-Recipient: rfc822; gone@sink.example", "Final-Recipient: rfc822; b@never.example", "they left"]
    {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let trace = installation.mailtier(&["trace", "gone@sink.example"]).unwrap();
    assert!(trace.contains("failed") && trace.contains("class=administrative"), "{trace}");
    // Nobody else is left: there is no delivery, and the sender is told all the same.
    let before = letters.len();
    assert_eq!(send(server, SENDER, &["GONE@sink.example"], CONTENT).unwrap(), 250);
    let last = counterpart.wait_for_letters(before + 1, LIMIT).pop().unwrap();
    assert_eq!(last.recipients, ["sender@client.example"]);
    assert!(String::from_utf8_lossy(&last.content).contains("Final-Recipient: rfc822; GONE@sink.example"));
    until("nothing is left to be accounted for", || installation.audit().unwrap().is_empty().then_some(()));
    installation.stop().unwrap();
}
