//! What a session keeps in memory, whatever the peer sends: seen from inside, because no user can see it.

use std::sync::Arc;
use std::time::Instant;

use super::{Connection, ServerAction, ServerConfig, ServerSession, Verdict};

/// More than a session may ever hold, beyond what it is handed at a time.
const BOUND_OCTETS: usize = 80 << 10;

impl ServerSession {
    fn held_octets(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
fn greeted() -> (ServerSession, Instant) {
    let now = Instant::now();
    let mut session = ServerSession::new(Arc::new(ServerConfig::new("mx.example.org")), Connection::default(), now);
    run(&mut session, now);
    (session, now)
}

/// Drives the session until it needs input. Says how much it replied.
fn run(session: &mut ServerSession, now: Instant) -> usize {
    let mut replied = 0;
    loop {
        match session.poll() {
            ServerAction::Ask(_) => session.answer(Verdict::Accept, now),
            ServerAction::Send => {
                replied += session.output().len();
                session.sent(session.output().len());
            }
            ServerAction::Body(_) | ServerAction::Reset => {}
            _ => return replied,
        }
    }
}

#[test]
fn a_long_line_costs_nothing_and_one_without_end_is_not_heard_out() {
    let (mut session, now) = greeted();
    let piece = vec![b'x'; 1 << 16];
    let deadline = session.next_timeout();
    let drop_pieces = |session: &mut ServerSession| {
        for _ in 0..16 {
            session.handle_input(&piece, now + std::time::Duration::from_secs(1));
            assert_eq!(run(session, now), 0);
            assert!(session.held_octets() < piece.len() + BOUND_OCTETS);
        }
    };
    drop_pieces(&mut session);
    assert_eq!(session.next_timeout(), deadline, "a line that does not end does not keep a session open");
    // One octet fewer than what ends the session.
    session.handle_input(b"\nNOOP\r\n", now);
    assert_eq!(run(&mut session, now), "500 5.5.2 Lines must end with <CR><LF>, and neither may stand alone\r\n".len());

    let (mut session, now) = greeted();
    drop_pieces(&mut session);
    session.handle_input(b"x", now);
    assert_eq!(run(&mut session, now), "500 5.5.6 Line too long\r\n".len());
    assert!(!session.wants_input());
    assert!(session.held_octets() < BOUND_OCTETS);
}

#[test]
fn refused_content_is_not_heard_out_for_ever() {
    let limit = ServerConfig::new("mx.example.org").max_message_bytes;
    for (commands, piece, told) in [
        (&b"DATA\r\n"[..], &b"a\n"[..], "550 5.6.0 Content has a bare <CR> or <LF>\r\n"),
        (b"BDAT 18446744073709551615 LAST\r\n", b"abc\r\n", "552 5.3.4 Message exceeds the size limit\r\n"),
        (b"RSET\r\nBDAT 18446744073709551615\r\n", b"abc\r\n", "552 5.3.4 Message exceeds the size limit\r\n"),
    ] {
        let (mut session, now) = greeted();
        session.handle_input(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n", now);
        session.handle_input(commands, now);
        run(&mut session, now);
        let (piece, mut read, mut said) = (piece.repeat(100_000), 0, 0);
        while session.wants_input() && read < 4 * limit {
            session.handle_input(&piece, now);
            said += run(&mut session, now);
            read += piece.len() as u64;
        }
        assert_eq!(said, told.len(), "{told}");
        assert!((limit..=2 * limit + (4 << 20)).contains(&read), "{read} octets were read");
    }
}

#[test]
fn content_passes_through() {
    let (mut session, now) = greeted();
    session.handle_input(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", now);
    run(&mut session, now);
    for piece in [vec![b'x'; 8192], b"..\r\n".repeat(2048), vec![0; 8192], vec![b'.'; 8192]] {
        for _ in 0..100 {
            session.handle_input(&piece, now);
            run(&mut session, now);
            assert!(session.input.is_empty(), "content is not kept");
            assert!(session.held_octets() < BOUND_OCTETS);
        }
    }
}

#[test]
fn an_idle_session_keeps_next_to_nothing() {
    let (mut session, now) = greeted();
    Arc::make_mut(&mut session.config).limits.junk_commands = u32::MAX;
    session.handle_input(&b"EHLO client.example.com\r\nRSET\r\n".repeat(3000), now);
    run(&mut session, now);
    assert!(session.held_octets() <= 1024, "{}", session.held_octets());
}
