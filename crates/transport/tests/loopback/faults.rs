//! Every way to fail at every stage of a conversation: what the client makes of it, and that it always ends.

use std::time::Duration;

use bytes::Bytes;
use mailtier_tls::ClientTls;
use mailtier_transport::client::{ConnectOptions, Connection, TlsMode, TlsUse};
use mailtier_types::{Cause, Stage, TroubleKind};
use tokio::io::AsyncWriteExt as _;

use crate::peers::{PATIENCE, Peer, impatient, remote, transaction};

const STAGES: [Stage; 7] =
    [Stage::Banner, Stage::Ehlo, Stage::StartTls, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Close,
    Stall,
    Temporary,
    Permanent,
    /// Says goodbye and closes (RFC 5321 section 3.8).
    Goodbye,
    /// A line that is no reply.
    Garbage,
    /// A reply code of no class.
    NoSuchCode,
    /// A line without an end.
    EndlessLine,
    /// A reply of lines without an end.
    Flood,
    /// A line that is not text.
    Nulls,
    /// The reply it should be, and another that nobody asked for.
    OneTooMany,
}

const WAYS: [Way; 11] = [
    Way::Close,
    Way::Stall,
    Way::Temporary,
    Way::Permanent,
    Way::Goodbye,
    Way::Garbage,
    Way::NoSuchCode,
    Way::EndlessLine,
    Way::Flood,
    Way::Nulls,
    Way::OneTooMany,
];

/// What is said at a stage where nothing is wrong.
const fn ordinary(stage: Stage) -> &'static str {
    match stage {
        Stage::Banner | Stage::StartTls => "220 go on",
        Stage::Ehlo => "250-mx.example.org\r\n250 STARTTLS",
        Stage::Data => "354 go on",
        _ => "250 ok",
    }
}

/// Plays a server that is in order up to a stage.
async fn play(mut peer: Peer, stage: Stage, way: Way) {
    for now in STAGES.iter().copied().filter(|now| *now != Stage::StartTls || stage == Stage::StartTls) {
        match now {
            Stage::Banner => String::new(),
            Stage::Final => peer.hear("\r\n.\r\n").await,
            _ => peer.hear("\r\n").await,
        };
        match way {
            Way::OneTooMany if now == stage => peer.say(&format!("{}\r\n250 and this\r\n", ordinary(now))).await,
            _ if now == stage => return fail(peer, stage, way).await,
            _ => peer.say(&format!("{}\r\n", ordinary(now))).await,
        }
    }
    until_gone(peer).await;
}

async fn until_gone(mut peer: Peer) {
    let _ = tokio::io::copy(&mut peer.0, &mut tokio::io::sink()).await;
}

async fn fail(mut peer: Peer, stage: Stage, way: Way) {
    // Whatever is said is said until the client has gone: it may go before all of it is out.
    let said = match way {
        Way::Close => return,
        Way::Stall => String::new(),
        Way::Temporary => "450 4.7.0 later\r\n".to_owned(),
        Way::Permanent => "550 5.7.1 never\r\n".to_owned(),
        Way::Goodbye => {
            let _ = peer.0.write_all(b"421 4.3.2 closing\r\n").await;
            return;
        }
        Way::Garbage => "what do you want?\r\n".to_owned(),
        Way::NoSuchCode => "777 lucky\r\n".to_owned(),
        Way::EndlessLine => format!("250 {}", "x".repeat(1 << 20)),
        Way::Flood => "250-and another thing\r\n".repeat(50_000),
        Way::Nulls => "\0\0\0\0\r\n".to_owned(),
        Way::OneTooMany => unreachable!("played along with the rest"),
    };
    let _ = peer.0.write_all(said.as_bytes()).await;
    if matches!(way, Way::Permanent) && stage == Stage::Ehlo {
        // HELO is tried (RFC 5321 section 3.2).
        peer.hear("\r\n").await;
        let _ = peer.0.write_all(said.as_bytes()).await;
    }
    until_gone(peer).await;
}

/// How far it came, what decided, and whether the connection is good for more.
async fn attempt(stage: Stage, way: Way) -> (Stage, String, bool) {
    let address = remote(move |peer, _| play(peer, stage, way)).await;
    let wait = if way == Way::Stall { Duration::from_millis(200) } else { PATIENCE };
    let tls = match stage {
        Stage::StartTls => TlsMode::Required(TlsUse::with_anyone(ClientTls::new().unwrap())),
        _ => TlsMode::Off,
    };
    let options = ConnectOptions { tls, ..impatient(wait) };
    let mut connection = match Connection::open(address, &options).await {
        Ok(connection) => connection,
        Err(failure) => return (failure.stage, word(&failure.cause), false),
    };
    let report = connection.deliver(transaction(&["b@example.org"], 7), &[Bytes::from_static(b"hello\r\n")]).await;
    let [recipient] = report.recipients.as_slice() else { panic!("{report:?}") };
    (recipient.stage, word(&recipient.cause), report.reusable)
}

fn word(cause: &Cause) -> String {
    match cause {
        Cause::Reply(reply) => reply.code.to_string(),
        Cause::Trouble(trouble) => format!("{:?}", trouble.kind),
    }
}

fn expected(stage: Stage, way: Way) -> (Stage, String, bool) {
    // Once the content is out, whatever is no reply leaves it open whether the remote has it.
    let or_unanswered = |kind| if stage == Stage::Final { TroubleKind::Unanswered } else { kind };
    let trouble = |kind: TroubleKind| (stage, format!("{:?}", or_unanswered(kind)), false);
    let before_mail = stage.is_before_mail();
    match way {
        Way::Close => trouble(TroubleKind::Closed),
        Way::Stall => trouble(TroubleKind::Timeout),
        Way::Temporary => (stage, "450".to_owned(), !before_mail),
        Way::Permanent => (stage, "550".to_owned(), !before_mail),
        Way::Goodbye => (stage, "421".to_owned(), false),
        // At the end the message was taken all the same; before, what comes too much shows itself with what is asked next.
        Way::OneTooMany => match stage {
            Stage::Final => (stage, "250".to_owned(), false),
            Stage::StartTls => trouble(TroubleKind::Protocol),
            _ => (stage, "too much".to_owned(), false),
        },
        Way::Garbage | Way::NoSuchCode | Way::EndlessLine | Way::Flood | Way::Nulls => trouble(TroubleKind::Protocol),
    }
}

#[tokio::test]
async fn every_way_to_fail_at_every_stage_ends_and_is_told_apart() {
    for stage in STAGES {
        for way in WAYS {
            let told = tokio::time::timeout(PATIENCE, attempt(stage, way)).await;
            let told = told.unwrap_or_else(|_| panic!("{stage:?} {way:?} does not end"));
            let expected = expected(stage, way);
            if expected.1 == "too much" {
                // A message is never taken for delivered on the word of a reply to something else.
                assert_eq!((told.1.as_str(), told.2), ("Protocol", false), "{stage:?} {way:?}: {told:?}");
            } else {
                assert_eq!(told, expected, "{stage:?} {way:?}");
            }
        }
    }
}
