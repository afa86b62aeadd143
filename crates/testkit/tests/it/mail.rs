//! What a user sees of the real programs: mail arrives as it was sent, comes later when the other side asks for that,
//! and comes back when it cannot arrive.

use std::time::Duration;

use mailtier_testkit::installation::{Installation, Plan};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, Letter, send};

/// Longest wait for something that happens at once.
const LIMIT: Duration = Duration::from_secs(30);

fn start(behaviour: Behaviour, adapt: impl Fn(Plan) -> Plan) -> (Installation, Counterpart) {
    let counterpart = Counterpart::start(&Ledger::default(), behaviour).unwrap();
    let installation = Installation::start(&adapt(Plan::new(counterpart.address()))).unwrap();
    (installation, counterpart)
}

/// The content below the Received field that we added.
fn as_sent(letter: &Letter) -> &[u8] {
    let content = &letter.content;
    assert!(content.starts_with(b"Received: from client.example"), "{}", String::from_utf8_lossy(content));
    let mut end = 0;
    loop {
        end += content[end..].windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        if !matches!(content[end], b' ' | b'\t') {
            return &content[end..];
        }
    }
}

#[test]
fn content_arrives_octet_by_octet() {
    let (installation, counterpart) = start(Behaviour::default(), |plan| plan);
    let mut every_octet: Vec<u8> = (1..=255).filter(|octet| !b"\r\n".contains(octet)).collect();
    every_octet.extend_from_slice(b"\r\n");
    let large = [&b"Subject: large\r\n\r\n"[..], &b"0123456789abcdef\r\n".repeat(200_000)].concat();
    let contents: Vec<Vec<u8>> = vec![
        b"Subject: plain\r\n\r\nHello.\r\n".to_vec(),
        b"Subject: dots\r\n\r\n.\r\n..\r\n...leading\r\n.\r\n\r\n".to_vec(),
        [&b"Subject: every octet\r\n\r\n"[..], &every_octet].concat(),
        b"\r\nno header at all\r\n".to_vec(),
        b"Subject: empty body\r\n\r\n".to_vec(),
        large,
    ];
    for content in &contents {
        let mail = "<sender@client.example> BODY=8BITMIME";
        assert_eq!(send(installation.smtp(), mail, &["someone@sink.example"], content).unwrap(), 250);
    }
    let letters = counterpart.wait_for_letters(contents.len(), LIMIT);
    assert_eq!(letters.len(), contents.len());
    for content in &contents {
        let arrived = letters.iter().any(|letter| as_sent(letter) == content.as_slice());
        assert!(arrived, "not as sent: {:?}", String::from_utf8_lossy(&content[..content.len().min(60)]));
    }
    for letter in &letters {
        // Declared where the content needs it (RFC 6152), whatever the client said.
        let is_declared = letter.mail.contains("BODY=8BITMIME");
        assert_eq!(is_declared, !letter.content.is_ascii(), "{}", letter.mail);
    }
    installation.stop().unwrap();
}

#[test]
fn internationalised_mail_arrives_with_its_addresses() {
    let (installation, counterpart) = start(Behaviour::default(), |plan| plan);
    let content = "Subject: Grüße\r\nFrom: Пётр <пётр@client.example>\r\n\r\nこんにちは\r\n".as_bytes();
    let mail = "<пётр@client.example> SMTPUTF8 BODY=8BITMIME";
    assert_eq!(send(installation.smtp(), mail, &["用户@sink.example"], content).unwrap(), 250);
    let letters = counterpart.wait_for_letters(1, LIMIT);
    assert_eq!(letters[0].recipients, ["用户@sink.example"]);
    assert!(letters[0].mail.contains("<пётр@client.example>") && letters[0].mail.contains("SMTPUTF8"));
    assert_eq!(as_sent(&letters[0]), content);
    installation.stop().unwrap();
}

#[test]
fn deferred_mail_arrives_later_and_the_trace_tells_the_story() {
    let behaviour = Behaviour { defer_once: &["later.example"], ..Behaviour::default() };
    let (installation, counterpart) = start(behaviour, |plan| plan);
    let recipients = ["a@later.example", "b@later.example"];
    let content = b"Subject: later\r\n\r\nHello.\r\n";
    assert_eq!(send(installation.smtp(), "<sender@client.example>", &recipients, content).unwrap(), 250);
    let letters = counterpart.wait_for_letters(1, LIMIT);
    let mut arrived: Vec<&String> = letters.iter().flat_map(|letter| &letter.recipients).collect();
    arrived.sort();
    assert_eq!(arrived, ["a@later.example", "b@later.example"], "both in one transaction, once each");
    assert_eq!(letters.len(), 1);
    let trace = installation.mailtier(&["trace", "a@later.example"]).unwrap();
    for word in ["accepted", "deferred", "come again", "4.3.0"] {
        assert!(trace.contains(word), "{word} is missing:\n{trace}");
    }
    assert!(!trace.contains("RCPT TO:"), "what was said is not shown unless it is asked for:\n{trace}");
    let trace = installation.mailtier(&["trace", "--transcript", "a@later.example"]).unwrap();
    for line in ["> RCPT TO:<a@later.example>", "> RCPT TO:<b@later.example>", "come again"] {
        let is_there = trace.lines().any(|shown| shown.starts_with("  ") && shown.contains(line));
        assert!(is_there, "{line} is missing:\n{trace}");
    }
    assert_eq!(trace.matches("> EHLO ").count(), 1, "once, and not for what was delivered:\n{trace}");
    installation.stop().unwrap();
}

#[test]
fn mail_that_is_refused_comes_back_once_with_the_reason() {
    let behaviour = Behaviour { reject: &["never.example"], ..Behaviour::default() };
    let (installation, counterpart) = start(behaviour, |plan| plan);
    let recipients = ["a@never.example", "b@never.example", "c@sink.example"];
    let content = b"Subject: never\r\nX-Mark: original\r\n\r\nsecret body\r\n";
    assert_eq!(send(installation.smtp(), "<sender@client.example>", &recipients, content).unwrap(), 250);
    let letters = counterpart.wait_for_letters(2, LIMIT);
    assert_eq!(letters.len(), 2, "the message for c and one notification: {letters:?}");
    let returned = letters.iter().find(|letter| letter.recipients == ["sender@client.example"]).unwrap();
    assert!(returned.mail.contains("<>"), "the null sender (RFC 3464): {}", returned.mail);
    let text = String::from_utf8_lossy(&returned.content);
    for expected in
        ["multipart/report", "a@never.example", "b@never.example", "5.1.1", "no such user", "X-Mark: original"]
    {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
    assert!(!text.contains("c@sink.example"), "c was not refused:\n{text}");
    installation.stop().unwrap();
}

#[test]
fn mail_with_the_null_sender_is_never_answered() {
    let behaviour = Behaviour { reject: &["never.example"], ..Behaviour::default() };
    let (installation, counterpart) = start(behaviour, |plan| plan);
    assert_eq!(send(installation.smtp(), "<>", &["a@never.example"], b"Subject: x\r\n\r\ny\r\n").unwrap(), 250);
    let trace = || installation.mailtier(&["trace", "a@never.example"]).unwrap();
    wait_until(|| trace().contains("failed"));
    assert_eq!(
        send(installation.smtp(), "<s@client.example>", &["b@sink.example"], b"Subject: z\r\n\r\n").unwrap(),
        250
    );
    let letters = counterpart.wait_for_letters(1, LIMIT);
    assert_eq!(letters[0].recipients, ["b@sink.example"], "nothing came before it: {letters:?}");
    installation.stop().unwrap();
}

#[test]
fn mail_that_waits_too_long_expires_and_comes_back() {
    let behaviour = Behaviour { defer_always: &["later.example"], ..Behaviour::default() };
    let (installation, counterpart) = start(behaviour, |plan| plan.set("queue", "lifetime", "\"2s\""));
    let content = b"Subject: expires\r\n\r\nHello.\r\n";
    assert_eq!(send(installation.smtp(), "<s@client.example>", &["a@later.example"], content).unwrap(), 250);
    let letters = counterpart.wait_for_letters(1, LIMIT);
    let text = String::from_utf8_lossy(&letters[0].content);
    assert!(letters[0].mail.contains("<>") && text.contains("come again"), "{text}");
    wait_until(|| installation.mailtier(&["trace", "a@later.example"]).unwrap().contains("expired"));
    installation.stop().unwrap();
}

#[test]
fn the_queue_can_be_seen_and_steered() {
    let behaviour = Behaviour { defer_always: &["later.example"], ..Behaviour::default() };
    let (installation, _counterpart) =
        start(behaviour, |plan| plan.set("queue", "retry_first", "\"1h\"").set("queue", "retry_max", "\"1h\""));
    let content = b"Subject: q\r\nMessage-ID: <q@client.example>\r\n\r\nbody q\r\n";
    for recipient in ["a@later.example", "b@later.example"] {
        assert_eq!(send(installation.smtp(), "<s@client.example>", &[recipient], content).unwrap(), 250);
    }
    let list = || installation.mailtier(&["queue", "list"]).unwrap();
    wait_until(|| list().matches("come again").count() == 2);
    let listed = list();
    let id = listed.lines().find(|line| line.contains("a@later.example")).unwrap().split_whitespace().next().unwrap();
    assert!(installation.mailtier(&["queue", "show", id, "--content"]).unwrap().contains("body q"));
    the_queue_is_looked_at(&installation, id);
    installation.mailtier(&["queue", "retry", id]).unwrap();
    let attempts = || installation.mailtier(&["trace", id]).unwrap().matches("come again").count();
    wait_until(|| attempts() >= 2);
    let of_later = ["--destination", "Later.example"];
    let suspension = |verb| installation.mailtier(&["queue", verb, of_later[0], of_later[1]]);
    suspension("suspend").unwrap();
    assert!(list().contains("waits: destination later.example is suspended"));
    assert!(
        installation.mailtier(&["queue", "suspensions"]).unwrap().contains("destination later.example  suspended by")
    );
    suspension("resume").unwrap();
    let refused = suspension("resume").unwrap_err().to_string();
    assert!(refused.contains("exit status: 65") && refused.contains("is not suspended"), "{refused}");
    installation.mailtier(&["queue", "delete", id]).unwrap();
    wait_until(|| !list().contains("a@later.example"));
    assert!(list().contains("b@later.example"));
    assert!(installation.mailtier(&["trace", id]).unwrap().contains("removed"));
    assert!(installation.mailtier(&["queue", "show", "0123456789abc"]).is_err(), "an id that is not there");
    installation.stop().unwrap();
}

#[test]
fn what_is_queued_can_be_changed_by_filters_and_each_change_bears_a_name() {
    let behaviour = Behaviour { defer_always: &["later.example"], ..Behaviour::default() };
    let (installation, counterpart) =
        start(behaviour, |plan| plan.set("queue", "retry_first", "\"1h\"").set("queue", "retry_max", "\"1h\""));
    let relay = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let queue = |words: &[&str]| installation.mailtier(&[&["queue"], words].concat()).unwrap();
    for recipient in ["a@later.example", "b@later.example", "c@later.example"] {
        let content = b"Subject: q\r\n\r\nbody q\r\n";
        assert_eq!(send(installation.smtp(), "<s@client.example>", &[recipient], content).unwrap(), 250);
    }
    wait_until(|| queue(&["list"]).matches("come again").count() == 3);
    let of_b = ["--recipient", "b@later.example"];

    let tried = queue(&["hold", "--dry-run", of_b[0], of_b[1]]);
    assert!(tried.contains("b@later.example") && tried.contains("1 held if it were no trial"), "{tried}");
    assert!(queue(&["list", "--state", "held"]).contains("nothing like that"));
    assert!(queue(&["hold", "--reason", "who is that?", of_b[0], of_b[1]]).contains("1 held; what a worker"));
    assert!(queue(&["hold", of_b[0], of_b[1]]).contains("0 held; 1 held already"));
    let held = queue(&["list", "--state", "held"]);
    assert!(held.contains("b@later.example") && held.contains("who is that?") && !held.contains("a@later"), "{held}");

    // Another way for one of them, to where it is taken.
    let to = relay.address().to_string();
    assert!(queue(&["route", "--to", &to, "--recipient", "a@later.example"]).contains(&format!("1 rerouted to {to}")));
    assert!(queue(&["retry", "--destination", "Later.example"]).contains("2 due now; 1 due already, or held"));
    assert_eq!(relay.wait_for_letters(1, LIMIT)[0].recipients, ["a@later.example"]);

    let bounced = queue(&["bounce", "--reason", "a wrong list", "--recipient", "c@later.example"]);
    assert!(bounced.contains("1 given up; senders are notified"), "{bounced}");
    let returned = counterpart.wait_for_letters(1, LIMIT);
    let text = String::from_utf8_lossy(&returned[0].content);
    assert!(returned[0].recipients == ["s@client.example"] && text.contains("a wrong list"), "{text}");

    assert!(queue(&["release", "--state", "held"]).contains("1 released"));
    queue(&["delete", "--all"]);
    let trace = installation.mailtier(&["trace", "b@later.example"]).unwrap();
    for word in ["held", "by=root (", "(who is that?)", "released", "removed"] {
        assert!(trace.contains(word), "{word} is missing:\n{trace}");
    }
    let refused = installation.mailtier(&["queue", "delete"]).unwrap_err().to_string();
    assert!(refused.contains("exit status: 64") && refused.contains("say which deliveries are meant"), "{refused}");
    installation.mailtier(&["audit"]).unwrap();
    installation.stop().unwrap();
}

/// Two messages wait, both deferred, with the subject `q` and the same Message-ID.
fn the_queue_is_looked_at(installation: &Installation, id: &str) {
    let ask = |words: &str| installation.mailtier(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
    let told = |words: &str, expected: &[&str]| {
        let answer = ask(words);
        assert!(expected.iter().all(|expected| answer.contains(expected)), "{words}: {answer}");
    };
    told("queue count --deferred --code 4xx --newer-than 1h", &["2 deliveries, 2 recipients"]);
    told("queue count --reply nothing-like-that", &["0 deliveries"]);
    told("queue list --recipient a@later.example", &["to=<a@later.example>", "come again"]);
    told("queue list --sender @elsewhere.example", &["nothing like that is queued"]);
    told("queue top --by reply", &["come again", "TOTAL"]);
    told("queue shape", &["T  5 10 20 40 80 160 320 640 1280 1280+", "later.example  2  2  0"]);
    told("queue status", &["shards", "in memory: 2 waiting, 0 ready", "worker", "replica"]);
    told("queue shards --json", &["\"replicas\":[{", "\"clean\":false"]);
    told(&format!("queue show {id}"), &["Subject: q", "deferred"]);
    assert!(!ask(&format!("queue show {id} --no-headers")).contains("Subject: q"));
    told("trace <q@client.example>", &[id, "accepted", "deferred", "come again", "delays=", "next="]);
}

fn wait_until(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "not in {LIMIT:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
