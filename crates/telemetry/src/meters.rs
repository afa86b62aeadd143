//! Typed handles of all metrics, built once per program so that the hot path looks nothing up.

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry::{KeyValue, Value};

use crate::metric::Metric;

/// Histogram borders for durations, in seconds: 100 µs to 10 min.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0,
];
/// For what mail waits for, in seconds: 10 ms to 5 days.
const DELAYS: &[f64] =
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 432_000.0];
/// For batch sizes.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// For message sizes, in bytes.
const BYTES: &[f64] =
    &[1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

macro_rules! meters {
    (
        counters { $($counter:ident = $counter_metric:ident;)* }
        gauges { $($gauge:ident = $gauge_metric:ident;)* }
        seconds { $($seconds:ident = $seconds_metric:ident;)* }
        histograms { $($histogram:ident = $histogram_metric:ident, $borders:ident;)* }
    ) => {
        /// The handles; cheap to clone.
        #[derive(Clone, Debug)]
        pub struct Meters {
            $(#[doc = concat!("See [`Metric::", stringify!($counter_metric), "`].")] pub $counter: Counter<u64>,)*
            $(#[doc = concat!("See [`Metric::", stringify!($gauge_metric), "`].")] pub $gauge: Gauge<u64>,)*
            $(#[doc = concat!("See [`Metric::", stringify!($seconds_metric), "`].")] pub $seconds: Gauge<f64>,)*
            $(#[doc = concat!("See [`Metric::", stringify!($histogram_metric), "`].")] pub $histogram: Histogram<f64>,)*
        }

        impl Meters {
            /// Handles that record with a provider.
            #[must_use]
            pub fn new(provider: &dyn MeterProvider) -> Self {
                let meter = provider.meter("mailtier");
                Self {
                    $($counter: counter(&meter, Metric::$counter_metric),)*
                    $($gauge: gauge(&meter, Metric::$gauge_metric),)*
                    $($seconds: seconds(&meter, Metric::$seconds_metric),)*
                    $($histogram: histogram(&meter, Metric::$histogram_metric, $borders),)*
                }
            }
        }
    };
}

meters! {
    counters {
        inbound_sessions = InboundSessions;
        inbound_sessions_refused = InboundSessionsRefused;
        inbound_tls = InboundTls;
        inbound_transactions = InboundTransactions;
        inbound_messages = InboundMessages;
        inbound_messages_refused = InboundMessagesRefused;
        inbound_recipients = InboundRecipients;
        inbound_logins = InboundLogins;
        inbound_hellos_rejected = InboundHellosRejected;
        inbound_senders_rejected = InboundSendersRejected;
        inbound_recipients_rejected = InboundRecipientsRejected;
        inbound_resubmissions = InboundResubmissions;
        queue_accepted = QueueAccepted;
        queue_dispatched = QueueDispatched;
        queue_settled = QueueSettled;
        queue_provider_settled = QueueProviderSettled;
        queue_notifications = QueueNotifications;
        queue_reports = QueueReports;
        queue_tls_reported = QueueTlsReported;
        queue_tls_reports = QueueTlsReports;
        queue_hints = QueueHints;
        queue_database_errors = QueueDatabaseErrors;
        outbound_attempts = OutboundAttempts;
        outbound_connections = OutboundConnections;
        outbound_tls = OutboundTls;
        outbound_sent = OutboundSent;
        outbound_proofs = OutboundProofs;
        outbound_sts_fetches = OutboundStsFetches;
        outbound_tls_sessions = OutboundTlsSessions;
    }
    gauges {
        config_reload_successful = ConfigReloadSuccessful;
        config_reload_timestamp = ConfigReloadTimestamp;
        config_hash = ConfigHash;
        inbound_sessions_active = InboundSessionsActive;
        inbound_replicas = InboundReplicas;
        inbound_memory = InboundMemory;
        queue_scheduled = QueueScheduled;
        queue_in_flight = QueueInFlight;
        queue_shards = QueueShards;
        queue_depth = QueueDepth;
        queue_stored = QueueStored;
        queue_dispatching = QueueDispatching;
        queue_suspensions = QueueSuspensions;
        queue_destinations_dead = QueueDestinationsDead;
        queue_sources_blocked = QueueSourcesBlocked;
        queue_shards_spilled = QueueShardsSpilled;
        queue_settling = QueueSettling;
        queue_workers = QueueWorkers;
        queue_lessors_silent = QueueLessorsSilent;
        queue_pool_in_flight = QueuePoolInFlight;
        queue_pool_ready = QueuePoolReady;
        queue_pool_allowance_left = QueuePoolAllowanceLeft;
        queue_provider_ready = QueueProviderReady;
        queue_provider_in_flight = QueueProviderInFlight;
        queue_provider_throttled = QueueProviderThrottled;
        queue_database_sessions = QueueDatabaseSessions;
        queue_database_sessions_max = QueueDatabaseSessionsMax;
        queue_database_sessions_waiting = QueueDatabaseSessionsWaiting;
        outbound_in_flight = OutboundInFlight;
        outbound_connections_active = OutboundConnectionsActive;
        outbound_unsettled = OutboundUnsettled;
        outbound_replicas = OutboundReplicas;
        cluster_certificate_expiry = ClusterCertificateExpiry;
    }
    seconds {
        queue_oldest_ready = QueueOldestReady;
        queue_oldest_due = QueueOldestDue;
        queue_oldest_message = QueueOldestMessage;
    }
    histograms {
        inbound_message_size = InboundBytes, BYTES;
        inbound_submit_duration = InboundSubmitDuration, SECONDS;
        inbound_session_duration = InboundSessionDuration, SECONDS;
        queue_accept_batch = QueueAcceptBatch, COUNTS;
        queue_accept_duration = QueueAcceptDuration, SECONDS;
        queue_settle_batch = QueueSettleBatch, COUNTS;
        queue_settle_duration = QueueSettleDuration, SECONDS;
        queue_database_duration = QueueDatabaseDuration, SECONDS;
        queue_delivery_duration = QueueDeliveryDuration, DELAYS;
        queue_delivery_delay = QueueDeliveryDelay, DELAYS;
        outbound_attempt_duration = OutboundAttemptDuration, SECONDS;
        outbound_connect_duration = OutboundConnectDuration, SECONDS;
    }
}

impl Meters {
    /// Handles that record nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self::new(&opentelemetry::metrics::noop::NoopMeterProvider::new())
    }

    /// One attribute, for counters that carry one.
    #[must_use]
    pub fn attribute(name: &'static str, value: impl Into<Value>) -> [KeyValue; 1] {
        [KeyValue::new(name, value)]
    }
}

fn counter(meter: &Meter, metric: Metric) -> Counter<u64> {
    meter.u64_counter(metric.name()).with_unit(metric.unit()).with_description(metric.help()).build()
}

fn gauge(meter: &Meter, metric: Metric) -> Gauge<u64> {
    meter.u64_gauge(metric.name()).with_unit(metric.unit()).with_description(metric.help()).build()
}

fn seconds(meter: &Meter, metric: Metric) -> Gauge<f64> {
    meter.f64_gauge(metric.name()).with_unit(metric.unit()).with_description(metric.help()).build()
}

fn histogram(meter: &Meter, metric: Metric, borders: &[f64]) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name())
        .with_unit(metric.unit())
        .with_description(metric.help())
        .with_boundaries(borders.to_vec())
        .build()
}
