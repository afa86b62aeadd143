//! The names, units and meanings of all metrics, in one place, following OpenTelemetry's conventions for names.

use std::fmt::Write as _;

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

macro_rules! metrics {
    ($($variant:ident = $name:literal, $kind:ident, $unit:literal, $attributes:literal, $help:literal;)*) => {
        /// Every metric the programs export.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as OpenTelemetry has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How it counts.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Its unit (UCUM).
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// The attributes it carries; each has few values, whatever the mail.
            #[must_use]
            pub const fn attributes(self) -> &'static str {
                match self { $(Self::$variant => $attributes,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    InboundSessions = "mailtier.inbound.sessions", Counter, "{session}", "result", "SMTP sessions begun: accepted, refused (by policy, limits, proxy rules or a failed handshake) or shed (for lack of room)";
    InboundSessionsActive = "mailtier.inbound.sessions.active", Gauge, "{session}", "", "SMTP sessions now";
    InboundMessages = "mailtier.inbound.messages", Counter, "{message}", "result", "Messages at the end of data: accepted, deferred (4xx) or rejected (5xx)";
    InboundLogins = "mailtier.inbound.logins", Counter, "{login}", "result", "Logins: succeeded, failed, or deferred (too many failures or sessions, or nobody to ask)";
    InboundHellosRejected = "mailtier.inbound.hellos.rejected", Counter, "{hello}", "reason", "Names in HELO and EHLO refused by policy";
    InboundSendersRejected = "mailtier.inbound.senders.rejected", Counter, "{sender}", "reason", "Senders refused by policy";
    InboundRecipientsRejected = "mailtier.inbound.recipients.rejected", Counter, "{recipient}", "reason", "Recipients refused by policy";
    InboundBytes = "mailtier.inbound.message.size", Histogram, "By", "", "Size of accepted messages";
    InboundSubmitDuration = "mailtier.inbound.submit.duration", Histogram, "s", "", "From the end of data to the queue's verdict";
    InboundResubmissions = "mailtier.inbound.resubmissions", Counter, "{message}", "", "Messages submitted again because a verdict was lost";
    InboundMemory = "mailtier.inbound.memory", Gauge, "By", "", "Message octets held in memory";
    QueueAccepted = "mailtier.queue.accepted", Counter, "{message}", "", "Messages committed";
    QueueAcceptBatch = "mailtier.queue.accept.batch", Histogram, "{message}", "", "Messages in one accept transaction";
    QueueAcceptDuration = "mailtier.queue.accept.duration", Histogram, "s", "", "Duration of accept transactions";
    QueueScheduled = "mailtier.queue.scheduled", Gauge, "{delivery}", "", "Deliveries in the memory of this replica";
    QueueInFlight = "mailtier.queue.in_flight", Gauge, "{delivery}", "", "Deliveries handed to workers and not settled";
    QueueShards = "mailtier.queue.shards", Gauge, "{shard}", "", "Shards this replica owns";
    QueueWorkers = "mailtier.queue.workers", Gauge, "{worker}", "", "Connected workers";
    QueueLessorsSilent = "mailtier.queue.lessors.silent", Gauge, "{replica}", "", "Replicas that lease limits of providers, tenants and pools, and do not answer";
    QueueDispatched = "mailtier.queue.dispatched", Counter, "{delivery}", "pool", "Deliveries handed to workers";
    QueuePoolInFlight = "mailtier.queue.pool.in_flight", Gauge, "{delivery}", "pool", "Deliveries being attempted through an egress pool";
    QueuePoolReady = "mailtier.queue.pool.ready", Gauge, "{delivery}", "pool", "Deliveries that are due and wait, by the egress pool that the rules name for them";
    QueuePoolAllowanceLeft = "mailtier.queue.pool.allowance_left", Gauge, "{delivery}", "pool", "What the warm-up of an egress pool allows today beyond what has gone out, as far as this replica knows";
    QueueSettled = "mailtier.queue.settled", Counter, "{recipient}", "outcome, class", "Recipients settled: delivered, deferred, failed, expired or removed; and the bounce class, none where nothing failed";
    QueueSettleBatch = "mailtier.queue.settle.batch", Histogram, "{delivery}", "", "Deliveries in one settling transaction";
    QueueSettleDuration = "mailtier.queue.settle.duration", Histogram, "s", "", "Duration of settling transactions";
    QueueNotifications = "mailtier.queue.notifications", Counter, "{message}", "", "Delivery status notifications written";
    QueueReports = "mailtier.queue.reports", Counter, "{event}", "kind", "What came back about mail that was taken: bounced, complained, answered or tls_reported";
    QueueTlsReported = "mailtier.queue.tls_reported", Counter, "{session}", "result", "TLS sessions that others report to have had with hosts of ours (RFC 8460): success, or what was wrong";
    QueueTlsReports = "mailtier.queue.tls_reports", Counter, "{report}", "result", "TLS reports of ours: mailed (queued as mail), posted (taken over HTTPS), retried, or given_up";
    QueueHints = "mailtier.queue.hints", Counter, "{delivery}", "", "Deliveries announced to their owners";
    QueueDatabaseErrors = "mailtier.queue.database.errors", Counter, "{error}", "operation", "Failed database operations";
    OutboundAttempts = "mailtier.outbound.attempts", Counter, "{attempt}", "result", "Attempts: delivered, partial, deferred or failed";
    OutboundInFlight = "mailtier.outbound.in_flight", Gauge, "{delivery}", "", "Deliveries in hand";
    OutboundConnections = "mailtier.outbound.connections", Counter, "{connection}", "result", "Connections: opened, reused or failed";
    OutboundConnectionsActive = "mailtier.outbound.connections.active", Gauge, "{connection}", "", "Open connections";
    OutboundTls = "mailtier.outbound.tls", Counter, "{connection}", "version", "New connections by TLS version, none included";
    OutboundProofs = "mailtier.outbound.proofs", Counter, "{connection}", "result", "New connections to hosts that had to prove who they are: pkix, dane-ta, dane-ee, or unproven";
    OutboundStsFetches = "mailtier.outbound.mta_sts.fetches", Counter, "{policy}", "result", "MTA-STS policies: fetched or failed";
    OutboundTlsSessions = "mailtier.outbound.tls_sessions", Counter, "{session}", "result", "SMTP sessions counted for TLS reports: success, failure, or left_out (no room to tell them apart)";
    OutboundAttemptDuration = "mailtier.outbound.attempt.duration", Histogram, "s", "", "From dispatch to result";
    OutboundUnsettled = "mailtier.outbound.unsettled", Gauge, "{result}", "", "Results that no owner has settled yet";
    ClusterCertificateExpiry = "mailtier.cluster.certificate.expiry", Gauge, "s", "", "When the certificate for TLS between the programs ends, in Unix time; not there without one";
}

impl Metric {
    /// The name on `/metrics`: dots are underscores, seconds and bytes are said, counters end in `_total`.
    #[must_use]
    pub fn prometheus_name(self) -> String {
        let unit = match self.unit() {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let end = if self.kind() == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{end}", self.name().replace('.', "_"))
    }
}

/// docs/metrics.md.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         <!-- Generated from the types by `make generate`; edit those. -->\n\n\
         Exported by OTLP, and as Prometheus text on `/metrics` of each program's `http_listen`, under the second\n\
         name; there a histogram is `_bucket`, `_sum` and `_count`.\n\n\
         | OTLP | Prometheus | kind | unit | attributes | meaning |\n|---|---|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let kind = format!("{:?}", metric.kind()).to_lowercase();
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {kind} | `{}` | {} | {} |",
            metric.name(),
            metric.prometheus_name(),
            metric.unit(),
            metric.attributes(),
            metric.help()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_opentelemetry() {
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("mailtier."), "{name}");
            assert!(name.chars().all(|character| character.is_ascii_lowercase() || "._".contains(character)), "{name}");
            assert!(Metric::ALL.iter().filter(|other| other.name() == name).count() == 1, "{name} twice");
        }
    }
}
