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
    ConfigReloadSuccessful = "mailtier.config.reload.successful", Gauge, "{reload}", "", "1: the program runs with its configuration as it was last read; 0: that could not be used, and the one before stays (the log says why)";
    ConfigReloadTimestamp = "mailtier.config.reload.timestamp", Gauge, "s", "", "When the configuration that the program runs with was read, in seconds since 1970";
    ConfigHash = "mailtier.config.hash", Gauge, "{hash}", "", "A number for all that the program takes up of its configuration while it runs, secrets left out: replicas of one version that have the same configuration have the same number";
    InboundSessions = "mailtier.inbound.sessions", Counter, "{session}", "result", "SMTP sessions begun: accepted, refused (by policy, limits, proxy rules or a failed handshake) or shed (for lack of room)";
    InboundSessionsActive = "mailtier.inbound.sessions.active", Gauge, "{session}", "", "SMTP sessions now";
    InboundSessionsRefused = "mailtier.inbound.sessions.refused", Counter, "{session}", "reason", "Sessions refused or shed, by the reason: policy, limits, or what there was no room for";
    InboundSessionDuration = "mailtier.inbound.session.duration", Histogram, "s", "", "Duration of SMTP sessions";
    InboundTls = "mailtier.inbound.tls", Counter, "{session}", "version", "SMTP sessions over, by TLS version, none included";
    InboundReplicas = "mailtier.inbound.replicas", Gauge, "{replica}", "", "Queue replicas that this process can submit to now";
    InboundTransactions = "mailtier.inbound.transactions", Counter, "{transaction}", "", "Transactions begun: senders that were taken";
    InboundMessages = "mailtier.inbound.messages", Counter, "{message}", "result", "Messages at the end of data: accepted, deferred (4xx) or rejected (5xx)";
    InboundMessagesRefused = "mailtier.inbound.messages.refused", Counter, "{message}", "status", "Messages deferred or rejected at their content, by the enhanced status code of our reply (RFC 3463)";
    InboundRecipients = "mailtier.inbound.recipients", Counter, "{recipient}", "", "Recipients of accepted messages";
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
    QueueDepth = "mailtier.queue.depth", Gauge, "{delivery}", "state", "Deliveries by state. In the memory of this replica: waiting (not due yet, deferred ones among them), ready (due), resting (due, but the destination does not answer, somebody has suspended it, or its pool has no worker or nothing left of its day) and in_flight (handed out). In the whole installation, told by the replica that owns shard 0, others say 0: held";
    QueueStored = "mailtier.queue.stored", Gauge, "{delivery}", "", "Deliveries in the database as its statistics estimate them, told by the replica that owns shard 0; others say 0";
    QueueOldestReady = "mailtier.queue.oldest_ready", Gauge, "s", "", "How long the oldest delivery has been due that could go at once if a worker took it: no limit, suspension or dead host keeps it back; 0 where there is none";
    QueueOldestDue = "mailtier.queue.oldest_due", Gauge, "s", "", "How long the oldest delivery has been due that is not handed out, whatever limit keeps it back; suspended ones and those of dead hosts do not count";
    QueueOldestMessage = "mailtier.queue.oldest_message", Gauge, "s", "", "Age of the oldest message in the database, held ones included, told by the replica that owns shard 0; others say 0";
    QueueDispatching = "mailtier.queue.dispatching", Gauge, "{replica}", "", "1 while this replica may hand out deliveries, 0 while its lease is not certain or it drains";
    QueueSuspensions = "mailtier.queue.suspensions", Gauge, "{suspension}", "", "What operators have suspended, as this replica knows it: destinations, providers, tenants, pools, and everything";
    QueueDestinationsDead = "mailtier.queue.destinations.dead", Gauge, "{destination}", "", "Destinations of this replica's mail that do not answer";
    QueueSourcesBlocked = "mailtier.queue.sources.blocked", Gauge, "{address}", "", "Addresses of ours that are blocked by a destination or provider, as far as this replica knows";
    QueueShardsSpilled = "mailtier.queue.shards.spilled", Gauge, "{shard}", "", "Shards of this replica with mail that has no room in memory and is read when there is some";
    QueueSettling = "mailtier.queue.settling", Gauge, "{delivery}", "", "Deliveries with a result that is not durable yet";
    QueueScheduled = "mailtier.queue.scheduled", Gauge, "{delivery}", "", "Deliveries in the memory of this replica";
    QueueInFlight = "mailtier.queue.in_flight", Gauge, "{delivery}", "", "Deliveries handed to workers and not settled";
    QueueShards = "mailtier.queue.shards", Gauge, "{shard}", "", "Shards this replica owns";
    QueueWorkers = "mailtier.queue.workers", Gauge, "{worker}", "", "Connected workers";
    QueueLessorsSilent = "mailtier.queue.lessors.silent", Gauge, "{replica}", "", "Replicas that lease limits of providers, tenants and pools, and do not answer";
    QueueDispatched = "mailtier.queue.dispatched", Counter, "{delivery}", "pool", "Deliveries handed to workers";
    QueuePoolInFlight = "mailtier.queue.pool.in_flight", Gauge, "{delivery}", "pool", "Deliveries being attempted through an egress pool";
    QueuePoolReady = "mailtier.queue.pool.ready", Gauge, "{delivery}", "pool", "Deliveries that are due and wait, by the egress pool that the rules name for them";
    QueuePoolAllowanceLeft = "mailtier.queue.pool.allowance_left", Gauge, "{delivery}", "pool", "What the warm-up of an egress pool allows today beyond what has gone out, as far as this replica knows";
    QueueProviderReady = "mailtier.queue.provider.ready", Gauge, "{delivery}", "provider", "Deliveries that are due and not handed out, by the provider of their destination; other: of none, or not known yet";
    QueueProviderInFlight = "mailtier.queue.provider.in_flight", Gauge, "{delivery}", "provider", "Deliveries being attempted, by provider";
    QueueProviderThrottled = "mailtier.queue.provider.throttled", Gauge, "{provider}", "provider, by", "1 while mail to a provider waits for its limits (limit), because one of its hosts asked for a rest (rest), or because an operator has suspended it (operator); 0 otherwise";
    QueueProviderSettled = "mailtier.queue.provider.settled", Counter, "{recipient}", "provider, outcome", "Recipients settled after an attempt, by the provider whose host was met";
    QueueDeliveryDuration = "mailtier.queue.delivery.duration", Histogram, "s", "provider", "From reception to delivery, by provider";
    QueueDeliveryDelay = "mailtier.queue.delivery.delay", Histogram, "s", "provider, stage", "What deliveries spent their time with, as Postfix's delays=a/b/c/d: queued (before the last attempt), waiting (in the worker), connecting, sending";
    QueueSettled = "mailtier.queue.settled", Counter, "{recipient}", "outcome, class", "Recipients settled: delivered, deferred, failed, expired or removed; and the bounce class, none where nothing failed";
    QueueSettleBatch = "mailtier.queue.settle.batch", Histogram, "{delivery}", "", "Deliveries in one settling transaction";
    QueueSettleDuration = "mailtier.queue.settle.duration", Histogram, "s", "", "Duration of settling transactions";
    QueueNotifications = "mailtier.queue.notifications", Counter, "{message}", "", "Delivery status notifications written";
    QueueReports = "mailtier.queue.reports", Counter, "{event}", "kind", "What came back about mail that was taken: bounced, complained, answered or tls_reported";
    QueueTlsReported = "mailtier.queue.tls_reported", Counter, "{session}", "result", "TLS sessions that others report to have had with hosts of ours (RFC 8460): success, or what was wrong";
    QueueTlsReports = "mailtier.queue.tls_reports", Counter, "{report}", "result", "TLS reports of ours: mailed (queued as mail), posted (taken over HTTPS), retried, or given_up";
    QueueHints = "mailtier.queue.hints", Counter, "{delivery}", "", "Deliveries announced to their owners";
    QueueDatabaseErrors = "mailtier.queue.database.errors", Counter, "{error}", "operation", "Failed database operations";
    QueueDatabaseDuration = "mailtier.queue.database.duration", Histogram, "s", "operation", "How long PostgreSQL took for operations that succeeded, by what they were for; of those in a transaction all together";
    QueueDatabaseSessions = "mailtier.queue.database.sessions", Gauge, "{connection}", "", "Connections to PostgreSQL in use";
    QueueDatabaseSessionsMax = "mailtier.queue.database.sessions.max", Gauge, "{connection}", "", "Connections to PostgreSQL that this replica may use";
    QueueDatabaseSessionsWaiting = "mailtier.queue.database.sessions.waiting", Gauge, "{request}", "", "Requests that wait for a connection to PostgreSQL";
    OutboundAttempts = "mailtier.outbound.attempts", Counter, "{attempt}", "result", "Attempts: delivered, partial, deferred or failed";
    OutboundInFlight = "mailtier.outbound.in_flight", Gauge, "{delivery}", "", "Deliveries in hand";
    OutboundConnections = "mailtier.outbound.connections", Counter, "{connection}", "result", "Connections: opened, reused or failed";
    OutboundConnectionsActive = "mailtier.outbound.connections.active", Gauge, "{connection}", "", "Open connections";
    OutboundConnectDuration = "mailtier.outbound.connect.duration", Histogram, "s", "", "From beginning a connection to its being ready for mail, TLS and login included";
    OutboundSent = "mailtier.outbound.sent", Counter, "By", "", "Octets of content that remote hosts took";
    OutboundTls = "mailtier.outbound.tls", Counter, "{connection}", "version", "New connections by TLS version, none included";
    OutboundProofs = "mailtier.outbound.proofs", Counter, "{connection}", "result", "New connections to hosts that had to prove who they are: pkix, dane-ta, dane-ee, or unproven";
    OutboundStsFetches = "mailtier.outbound.mta_sts.fetches", Counter, "{policy}", "result", "MTA-STS policies: fetched or failed";
    OutboundTlsSessions = "mailtier.outbound.tls_sessions", Counter, "{session}", "result", "SMTP sessions counted for TLS reports: success, failure, or left_out (no room to tell them apart)";
    OutboundAttemptDuration = "mailtier.outbound.attempt.duration", Histogram, "s", "", "From dispatch to result";
    OutboundUnsettled = "mailtier.outbound.unsettled", Gauge, "{result}", "", "Results that no owner has settled yet";
    OutboundReplicas = "mailtier.outbound.replicas", Gauge, "{replica}", "", "Queue replicas that give this process work now";
    BuildInfo = "mailtier.build.info", Gauge, "{build}", "version", "1, with the version of the program";
    RuntimeTasks = "mailtier.runtime.tasks", Gauge, "{task}", "", "Asynchronous tasks that live in this process";
    FileDescriptorsMax = "mailtier.process.file_descriptors.max", Gauge, "{file_descriptor}", "", "File descriptors that this process may have open";
    ProcessCpuTime = "process.cpu.time", Counter, "s", "cpu.mode", "Processor time used: user, system";
    ProcessMemoryUsage = "process.memory.usage", Gauge, "By", "", "Physical memory in use";
    ProcessMemoryVirtual = "process.memory.virtual", Gauge, "By", "", "Virtual memory";
    ProcessThreadCount = "process.thread.count", Gauge, "{thread}", "", "Threads";
    ProcessFileDescriptors = "process.unix.file_descriptor.count", Gauge, "{file_descriptor}", "", "File descriptors open";
    ProcessUptime = "process.uptime", Gauge, "s", "", "Since the process began";
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
            assert!(name.starts_with("mailtier.") || name.starts_with("process."), "{name}");
            assert!(name.chars().all(|character| character.is_ascii_lowercase() || "._".contains(character)), "{name}");
            assert!(Metric::ALL.iter().filter(|other| other.name() == name).count() == 1, "{name} twice");
        }
    }
}
