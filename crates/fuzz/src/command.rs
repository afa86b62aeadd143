//! Commands and content: whatever a client says, the server says the same at every border between two reads, takes only
//! clean content, and writes only whole reply lines.

use std::sync::Arc;
use std::time::Instant;

use mailtier_smtp::{
    Connection, Extension, LinePolicy, Protocol, Question, SaslOffer, ServerAction, ServerConfig, ServerSession,
    TlsInfo, Verdict,
};
use mailtier_types::{SaslMechanism, reply};

/// The flag of inputs that may ask for TLS.
const STARTTLS: u8 = 32;
/// More replies than any input of a fuzzer's size can earn.
const MAX_STEPS: usize = 1_000_000;

pub(crate) fn run(data: &[u8]) {
    let Some((flags, said)) = data.split_first() else { return };
    let now = Instant::now();
    let whole = converse(*flags, said, said.len(), now);
    for step in [1, 2, 3, 64] {
        assert_eq!(converse(*flags, said, step, now), whole, "by {step}");
    }
}

/// What was said and taken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    replies: Vec<u8>,
    /// Contents that were accepted, each with whether it had lines.
    taken: Vec<(Vec<u8>, bool)>,
    open: Vec<u8>,
    binary: bool,
}

fn converse(flags: u8, said: &[u8], step: usize, now: Instant) -> Heard {
    let trusted = [Extension::XClient, Extension::XForward].into_iter().filter(|_| flags & 1 != 0);
    let connection = Connection { permitted: trusted.collect(), ..Connection::default() };
    let mut session = ServerSession::new(Arc::new(config(flags)), connection, now);
    let (mut heard, mut is_open) = (Heard::default(), settle(&mut session, &mut Heard::default(), now));
    // Whoever speaks on behind STARTTLS is told so, which depends on the borders and must: there a line is sent at a time.
    let parts: Vec<&[u8]> = match flags & STARTTLS {
        0 => vec![said],
        _ => said.split_inclusive(|octet| *octet == b'\n').collect(),
    };
    for piece in parts.into_iter().flat_map(|part| part.chunks(step.max(1))) {
        if !is_open {
            break;
        }
        session.handle_input(piece, now);
        is_open = settle(&mut session, &mut heard, now);
    }
    session.handle_eof();
    settle(&mut session, &mut heard, now);
    check(&heard);
    heard
}

fn config(flags: u8) -> ServerConfig {
    let mut config = ServerConfig::new("mx.example.org");
    config.protocol = if flags & 2 != 0 { Protocol::Lmtp } else { Protocol::Smtp };
    config.lines = if flags & 4 != 0 { LinePolicy::Normalize } else { LinePolicy::Strict };
    config.sasl = (flags & 8 != 0).then(|| SaslOffer {
        mechanisms: SaslMechanism::ALL.to_vec(),
        in_clear: true,
        required: flags & 16 != 0,
    });
    config.starttls = flags & STARTTLS != 0;
    config.max_hold_seconds = 1000;
    config.max_message_bytes = 2000;
    config.max_recipients = 3;
    config.extensions = config.extensions.with(Extension::Vrfy).with(Extension::Expn).with(Extension::Etrn);
    config
}

/// Until the session waits; whether it is open.
fn settle(session: &mut ServerSession, heard: &mut Heard, now: Instant) -> bool {
    for _ in 0..MAX_STEPS {
        match session.poll() {
            ServerAction::Send => {
                heard.replies.extend_from_slice(session.output());
                session.sent(session.output().len());
            }
            ServerAction::Ask(question) => {
                let verdict = decide(question, heard);
                session.answer(verdict, now);
            }
            ServerAction::Body(chunk) => heard.open.extend_from_slice(&chunk),
            ServerAction::Reset => heard.open.clear(),
            ServerAction::UpgradeTls => session.handle_tls(&TlsInfo::default(), now),
            ServerAction::NeedInput => return true,
            ServerAction::Close => return false,
        }
    }
    panic!("the session never rests");
}

fn decide(question: Question, heard: &mut Heard) -> Verdict {
    match question {
        Question::Mail(parameters) => {
            heard.binary = parameters.body == mailtier_smtp::BodyType::Binary;
            Verdict::Accept
        }
        Question::Rcpt(parameters) if parameters.mailbox.local_part().starts_with('n') => {
            Verdict::Reject(reply::RELAY_DENIED)
        }
        Question::SaslStart(_, None) => Verdict::Challenge(b"more".to_vec()),
        Question::SaslResponse(data) if data.0.len() % 2 == 0 => Verdict::Reject(reply::LOGIN_FAILED),
        Question::Data => {
            heard.open.clear();
            Verdict::Accept
        }
        Question::EndOfData { .. } => {
            heard.taken.push((std::mem::take(&mut heard.open), !heard.binary));
            Verdict::Accept
        }
        _ => Verdict::Accept,
    }
}

fn check(heard: &Heard) {
    for line in heard.replies.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() > 4, "a reply line: {}", line.escape_ascii());
        assert!(line.iter().take(3).all(u8::is_ascii_digit), "a reply code: {}", line.escape_ascii());
    }
    for (content, _) in heard.taken.iter().filter(|(_, has_lines)| *has_lines) {
        let line_feeds = content.iter().filter(|octet| **octet == b'\n').count();
        let returns = content.iter().filter(|octet| **octet == b'\r').count();
        let pairs = content.windows(2).filter(|pair| pair == b"\r\n").count();
        assert!(line_feeds == pairs && returns == pairs, "bare CR or LF was taken: {}", content.escape_ascii());
        assert!(!content.contains(&0), "a null octet was taken");
        assert!(content.split(|octet| *octet == b'\n').all(|line| line.len() <= 999), "a long line was taken");
    }
}
