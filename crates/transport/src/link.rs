//! A stream with its timer, driven by an engine of either role. Each step moves octets once, or waits until it can, and
//! gives the word back to the engine. Not responsible for what the engine wants: its driver asks it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use mailtier_smtp::{ClientSession, ServerSession};
use tokio::time::Sleep;

use crate::stream::Stream;

/// How long the end of a connection may take once everything was said.
const LINGER: Duration = Duration::from_secs(2);
/// What a peer may still send meanwhile, in octets.
const LINGER_OCTETS: usize = 1024 * 1024;

/// What moves octets and time, the same for both roles.
pub(crate) trait Engine {
    fn output(&self) -> &[u8];
    fn sent(&mut self, octets: usize, now: Instant);
    fn input(&mut self, data: &[u8], now: Instant);
    fn end_of_input(&mut self);
    fn next_timeout(&self) -> Option<Instant>;
    fn time_passed(&mut self, now: Instant);
}

impl Engine for ServerSession {
    fn output(&self) -> &[u8] {
        Self::output(self)
    }
    fn sent(&mut self, octets: usize, _now: Instant) {
        Self::sent(self, octets);
    }
    fn input(&mut self, data: &[u8], now: Instant) {
        self.handle_input(data, now);
    }
    fn end_of_input(&mut self) {
        self.handle_eof();
    }
    fn next_timeout(&self) -> Option<Instant> {
        Self::next_timeout(self)
    }
    fn time_passed(&mut self, now: Instant) {
        self.handle_timeout(now);
    }
}

impl Engine for ClientSession {
    fn output(&self) -> &[u8] {
        Self::output(self)
    }
    fn sent(&mut self, octets: usize, now: Instant) {
        Self::sent(self, octets, now);
    }
    fn input(&mut self, data: &[u8], now: Instant) {
        self.handle_input(data, now);
    }
    fn end_of_input(&mut self) {
        self.handle_eof(now());
    }
    fn next_timeout(&self) -> Option<Instant> {
        Self::next_timeout(self)
    }
    fn time_passed(&mut self, now: Instant) {
        self.handle_timeout(now);
    }
}

/// The time of engines and timers.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What ended a wait for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The engine was given input, or its end, or the time.
    Engine,
    /// What else was waited for came.
    Other,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    timer: Timer,
    /// TLS may hold octets that were not written to the socket.
    unflushed: bool,
}

impl Link {
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { stream, timer: Timer { sleep: None }, unflushed: false }
    }

    /// Writes output until there is none, time passes, or, where `reading`, the peer says something before it takes
    /// everything: neither side may block the other for ever (RFC 2920 §3.1).
    pub(crate) async fn write(&mut self, engine: &mut impl Engine, reading: bool) -> io::Result<()> {
        poll_fn(|context| {
            if let Poll::Ready(result) = self.poll_write_all(context, engine) {
                return Poll::Ready(result);
            }
            if reading && let Poll::Ready(result) = self.poll_input(context, engine) {
                return Poll::Ready(result);
            }
            self.poll_time(context, engine).map(Ok)
        })
        .await
    }

    /// Waits for input, the engine's time, or something else.
    pub(crate) async fn read(
        &mut self,
        engine: &mut impl Engine,
        mut other: Pin<&mut impl Future<Output = ()>>,
    ) -> io::Result<Waited> {
        poll_fn(|context| {
            if self.unflushed
                && let Poll::Ready(Err(error)) = self.poll_flush(context)
            {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(result) = self.poll_input(context, engine) {
                return Poll::Ready(result.map(|()| Waited::Engine));
            }
            if self.poll_time(context, engine).is_ready() {
                return Poll::Ready(Ok(Waited::Engine));
            }
            other.as_mut().poll(context).map(|()| Ok(Waited::Other))
        })
        .await
    }

    /// Gives the engine what can be read without waiting. Whether there was anything, the end of the stream included.
    pub(crate) fn read_at_once(&mut self, engine: &mut impl Engine) -> bool {
        self.poll_input(&mut Context::from_waker(Waker::noop()), engine).is_ready()
    }

    /// Waits for a future that is not the engine's, no longer than the engine would.
    pub(crate) async fn within<T>(&mut self, engine: &impl Engine, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.timer.poll(context, engine.next_timeout()).map(|()| None),
        })
        .await
    }

    /// Closes so that the last words arrive: with input unread, closing would reset the connection, and the peer might
    /// never see them. Bounded, and at the usual end without a system call more than the close itself.
    pub(crate) async fn close(mut self) {
        let mut discard = Discard::default();
        self.read_at_once(&mut discard);
        if discard.octets > 0 || (self.stream.is_tls() && !discard.ended) {
            let _ = Box::pin(tokio::time::timeout(LINGER, self.linger(discard))).await;
        }
    }

    async fn linger(&mut self, mut discard: Discard) -> io::Result<()> {
        poll_fn(|context| self.stream.poll_shutdown(context)).await?;
        while discard.octets > 0 && !discard.ended && discard.octets < LINGER_OCTETS {
            poll_fn(|context| self.poll_input(context, &mut discard)).await?;
        }
        Ok(())
    }

    fn poll_write_all(&mut self, context: &mut Context<'_>, engine: &mut impl Engine) -> Poll<io::Result<()>> {
        while !engine.output().is_empty() {
            self.unflushed = self.stream.is_tls();
            match ready!(self.stream.poll_write(context, engine.output()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                octets => engine.sent(octets, now()),
            }
        }
        self.poll_flush(context)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_input(&mut self, context: &mut Context<'_>, engine: &mut impl Engine) -> Poll<io::Result<()>> {
        if ready!(self.stream.poll_read(context, |data| engine.input(data, now())))? == 0 {
            engine.end_of_input();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_time(&mut self, context: &mut Context<'_>, engine: &mut impl Engine) -> Poll<()> {
        ready!(self.timer.poll(context, engine.next_timeout()));
        engine.time_passed(now());
        Poll::Ready(())
    }
}

/// Waits until a deadline that moves with every command. Deadlines mostly move away: the timer stays where it is then,
/// and is set anew only when it has gone off too early.
#[derive(Debug)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// Takes whatever comes.
#[derive(Default)]
struct Discard {
    octets: usize,
    ended: bool,
}

impl Engine for Discard {
    fn output(&self) -> &[u8] {
        &[]
    }
    fn sent(&mut self, _octets: usize, _now: Instant) {}
    fn input(&mut self, data: &[u8], _now: Instant) {
        self.octets += data.len();
    }
    fn end_of_input(&mut self) {
        self.ended = true;
    }
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
    fn time_passed(&mut self, _now: Instant) {}
}
