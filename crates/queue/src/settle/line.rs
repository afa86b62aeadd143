//! One log line for each settled group of recipients, with the fields operators know from Postfix.

use std::time::Duration;

use mailtier_telemetry::in_trace;
use mailtier_types::{BounceClass, EventKind, MessageId, Outcome, Timestamp};

/// What a line says.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Of which message.
    pub(super) message: MessageId,
    /// Which attempt.
    pub(super) attempt: u16,
    /// From whom.
    pub(super) sender: String,
    /// What happened.
    pub(super) kind: EventKind,
    /// To whom.
    pub(super) recipients: Vec<String>,
    /// Why.
    pub(super) outcome: Option<Outcome>,
    /// Its bounce class, where it failed.
    pub(super) class: Option<BounceClass>,
    /// Where somebody ordered it: who.
    pub(super) operator: Option<String>,
    /// When the message came.
    pub(super) received_at: Timestamp,
    /// Of its reception, where that is recorded.
    pub(super) traceparent: Option<String>,
}

impl Line {
    /// How long it took, where something was attempted.
    pub(super) fn delays(&self) -> Option<Delays> {
        self.outcome.as_ref().map(|outcome| Delays::of(outcome, self.received_at))
    }

    /// Writes it, as part of the trace of its message.
    pub(super) fn log(&self) {
        if tracing::enabled!(tracing::Level::INFO) {
            in_trace(self.traceparent.as_deref(), || self.say());
        }
    }

    fn say(&self) {
        let Self { message, attempt, sender, .. } = self;
        let to = self.recipients.join(",");
        let status = self.kind.name();
        if let Some(operator) = &self.operator {
            tracing::info!(%message, from = sender, to, relay = "none", status, operator);
            return;
        }
        let Some(outcome) = &self.outcome else {
            let class = self.class.map(BounceClass::name);
            tracing::info!(%message, from = sender, to, relay = "none", attempt, status, class);
            return;
        };
        let relay = outcome.remote.as_ref().map_or_else(
            || "none".to_owned(),
            |remote| match remote.address {
                Some(address) => format!("{}[{address}]", remote.name),
                None => remote.name.clone(),
            },
        );
        let delays = Delays::of(outcome, self.received_at);
        let tls = outcome.tls.as_deref().unwrap_or("none");
        let egress = outcome.egress.as_ref();
        tracing::info!(
            %message,
            from = sender,
            to,
            relay,
            pool = egress.map(|egress| egress.pool.as_str()),
            source = egress.and_then(|egress| egress.source).map(|address| address.to_string()),
            tls,
            attempt,
            delay = seconds(delays.total),
            delays = delays.stages().map(seconds).join("/"),
            dsn = %outcome.status(),
            status,
            class = self.class.map(BounceClass::name),
            // A stranger's words: never where a line's own are expected.
            reply = outcome.cause.to_string(),
        );
    }
}

/// Postfix's delays: how long it took from the reception, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delays {
    /// All together.
    pub(super) total: Duration,
    /// Before the attempt that settled it came to a worker.
    queued: Duration,
    waiting: Duration,
    connecting: Duration,
    sending: Duration,
}

impl Delays {
    fn of(outcome: &Outcome, received_at: Timestamp) -> Self {
        let Outcome { waiting, connecting, sending, .. } = *outcome;
        let total = outcome.at.since(received_at);
        Self { total, queued: total.saturating_sub(waiting + connecting + sending), waiting, connecting, sending }
    }

    /// a/b/c/d.
    pub(super) const fn stages(self) -> [Duration; 4] {
        [self.queued, self.waiting, self.connecting, self.sending]
    }
}

/// Two significant digits, as Postfix has them.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 10.0 {
        format!("{seconds:.0}")
    } else if seconds >= 1.0 {
        format!("{seconds:.1}")
    } else if seconds >= 0.1 {
        format!("{seconds:.2}")
    } else {
        format!("{seconds:.3}")
    }
}
