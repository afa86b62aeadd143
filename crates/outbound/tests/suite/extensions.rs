//! What remotes offer and lack, and what is made of it.

use mailtier_types::{Cause, Stage, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{TEXT, Worker, letter, lines, only, smarthost, with_body};

const EIGHT_BIT: &str = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\n\r\ngrüße\r\n";

fn old_server() -> Script {
    Script::with_extensions(&["PIPELINING", "ENHANCEDSTATUSCODES"])
}

#[tokio::test]
async fn a_small_message_goes_in_one_go_where_chunking_is_offered() {
    let peer = Peer::start(Script::new().extension("CHUNKING")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    for _ in 0..2 {
        let result = queue.deliver(letter(&["a@d.example", "b@d.example"])).await;
        assert_eq!(lines(&result), ["a,b: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)"]);
    }
    let seen = peer.seen();
    assert_eq!((seen.sessions, seen.taken.len()), (1, 2));
    assert!(seen.taken.iter().all(|taken| taken.content == TEXT), "octet by octet, without dot-stuffing");
    assert_eq!(seen.commands[4], format!("BDAT {} LAST", TEXT.len()));
    let large = format!("{TEXT}{}", "0123456789\r\n".repeat(10_000));
    queue.deliver(with_body(&["a@d.example"], &large, |_| {})).await;
    assert_eq!(peer.seen().commands.iter().filter(|command| *command == "DATA").count(), 1, "a large one is not");
}

#[tokio::test]
async fn chunking_can_be_turned_off() {
    let peer = Peer::start(Script::new().extension("CHUNKING")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.chunking = false;
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    assert!(peer.seen().commands.contains(&"DATA".to_owned()));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_although_the_content_went_with_the_envelope() {
    let peer = Peer::start(Script::new().extension("CHUNKING").once("MAIL", "250 ok").close_on("MAIL")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    let result = queue.deliver(letter(&["b@d.example"])).await;
    let outcome = only(&result);
    let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
    assert_eq!((outcome.stage, trouble.kind), (Stage::Mail, TroubleKind::Closed), "{outcome}");
    assert_eq!(peer.seen().sessions, 2, "the idle one, and a new one that fares no better");
}

#[tokio::test]
async fn eight_bit_content_is_converted_for_a_server_that_does_not_take_it() {
    let peer = Peer::start(old_server()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    for binary in [false, true] {
        let letter =
            with_body(&["a@d.example"], EIGHT_BIT, |options| (options.eight_bit, options.binary) = (!binary, binary));
        assert!(only(&queue.deliver(letter).await).is_delivered());
    }
    let seen = peer.seen();
    let expected = EIGHT_BIT.replace("8bit", "quoted-printable").replace("grüße", "gr=C3=BC=C3=9Fe");
    for taken in &seen.taken {
        assert_eq!(taken.content, expected);
        assert!(!taken.mail.contains("BODY"), "{}", taken.mail);
    }
    assert_eq!(seen.taken.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_converted_or_is_not_to_be_is_returned() {
    let in_header = EIGHT_BIT.replace("Subject: x", "Subject: ü");
    for (text, converts, why) in [
        (
            in_header.as_str(),
            true,
            ", and it cannot be converted: octets above 127 are in its header fields or between",
        ),
        (EIGHT_BIT, false, "8BITMIME (host"),
    ] {
        let peer = Peer::start(old_server()).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.mime_conversion = converts;
        })
        .await;
        let result = queue.deliver(with_body(&["a@d.example"], text, |options| options.eight_bit = true)).await;
        let outcome = only(&result);
        assert_eq!((outcome.stage, outcome.status().to_string()), (Stage::Mail, "5.6.3".to_owned()), "{outcome}");
        assert!(outcome.to_string().contains(why), "{outcome}");
        assert_eq!(peer.seen().taken.len(), 0);
    }
}

#[tokio::test]
async fn limits_that_a_server_states_are_kept_to() {
    let peer = Peer::start(Script::new().extension("LIMITS RCPTMAX=2 MAILMAX=2").recipients_limit(2)).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let recipients =
        ["a@d.example", "b@d.example", "c@d.example", "d@d.example", "e@d.example", "f@d.example", "g@d.example"];
    let result = queue.deliver(letter(&recipients)).await;
    assert_eq!(lines(&result), ["a,b,c,d,e,f,g: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)"]);
    let seen = peer.until(|seen| seen.commands.iter().filter(|command| *command == "QUIT").count() == 2).await;
    let taken: Vec<_> = seen.taken.iter().map(|taken| (taken.session, taken.recipients.len())).collect();
    assert_eq!(taken, [(1, 2), (1, 2), (2, 2), (2, 1)]);
    assert_eq!(seen.commands.iter().filter(|command| command.starts_with("RCPT")).count(), 7, "none is said in vain");
}

#[tokio::test]
async fn recipients_whose_turn_has_not_come_are_tried_elsewhere_or_later() {
    let script = Script::new().extension("LIMITS RCPTMAX=1").once("MAIL", "250 ok").close_on("MAIL");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(letter(&["a@d.example", "b@d.example", "c@d.example"])).await;
    let expected = [
        "a: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
        "b,c: mail connection lost while sending the envelope (host 127.0.0.1, mail)",
    ];
    assert_eq!(lines(&result), expected);
}

#[tokio::test]
async fn an_end_of_content_that_is_not_answered_is_an_outcome_of_its_own() {
    for script in [
        Script::new().close_on("DATA-END"),
        Script::new().on("DATA-END", "what?"),
        Script::new().extension("CHUNKING").close_on("DATA-END"),
    ] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((outcome.stage, trouble.kind), (Stage::Final, TroubleKind::Unanswered), "{outcome}");
        assert_eq!(peer.seen().contents, 1, "and no other host gets it in the same attempt");
    }
}

#[tokio::test]
async fn where_a_message_came_from_is_told_over_routes_that_say_so() {
    for tells in [true, false] {
        let peer = Peer::start(Script::new().extension("XFORWARD NAME ADDR PROTO HELO SOURCE")).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.routes[0].xforward = tells;
        })
        .await;
        let letter = with_body(&["a@d.example"], TEXT, |options| {
            options.client_address = "192.0.2.7".to_owned();
            options.client_helo = "client.example".to_owned();
            options.protocol = "ESMTPS".to_owned();
        });
        assert!(only(&queue.deliver(letter).await).is_delivered());
        let seen = peer.seen();
        let said: Vec<_> = seen.commands.iter().filter(|command| command.starts_with("XFORWARD")).collect();
        let place = "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7";
        let rest = "XFORWARD PROTO=ESMTP HELO=client.example SOURCE=REMOTE";
        assert_eq!(said, if tells { vec![place, rest] } else { Vec::new() });
    }
}
