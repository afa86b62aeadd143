//! Puts logs, traces and metrics together for one process.

use mailtier_config::TelemetryConfig;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exporters::{Collector, EXPORT_TIMEOUT};
use crate::logs::{self, LogFilter};
use crate::meters::Meters;
use crate::process;
use crate::resource::resource;
use crate::sampler::ReceptionSampler;

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_filter`.
    #[error("`telemetry.log_filter` is `{filter}`: {reason}")]
    Filter {
        /// The value.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `telemetry.otlp_endpoint`, or the environment's.
    #[error("`{key}` is `{endpoint}`: {reason}")]
    Endpoint {
        /// Where it is set.
        key: &'static str,
        /// The value.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `telemetry.otlp_headers`.
    #[error("{0}")]
    Headers(String),
    /// The registry of metrics.
    #[error("metrics cannot be exported: {0}")]
    Metrics(String),
}

/// The telemetry of one process.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    metrics: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    meters: Meters,
    log_filter: LogFilter,
}

/// Starts logs, traces and metrics. A second call in one process (tests run several programs in one) keeps the first
/// one's logs and traces, and has metrics of its own. Must run within a tokio runtime.
///
/// # Errors
/// [`TelemetryError`] names the setting that cannot be used.
pub fn init(config: &TelemetryConfig, service: &'static str, instance: &str) -> Result<Telemetry, TelemetryError> {
    let resource = resource(service, instance);
    let registry = Registry::new();
    let collector = Collector::of(config)?;
    let metrics = metrics(config, collector.as_ref(), &registry, resource.clone())?;
    let traces = collector.as_ref().map(|collector| traces(config, collector, resource.clone())).transpose()?;
    let logs =
        collector.as_ref().filter(|_| config.otlp_logs).map(|collector| logs(collector, resource)).transpose()?;
    let writer = logs::Writer { service, host: instance };
    let (subscriber, log_filter) = subscriber(config, &writer, traces.as_ref(), logs.as_ref())?;
    let _ = subscriber.try_init();
    let meters = Meters::new(&metrics);
    process::observe(&metrics);
    Ok(Telemetry { registry, metrics, traces, logs, meters, log_filter })
}

/// What spans and events of this process go through. Without an exporter there must be no layer for it at all, not even
/// an empty one: that would keep spans enabled, as tracing-subscriber takes it for one that wants everything.
fn subscriber(
    config: &TelemetryConfig,
    writer: &logs::Writer<'_>,
    traces: Option<&SdkTracerProvider>,
    logs: Option<&SdkLoggerProvider>,
) -> Result<(impl tracing::Subscriber + Send + Sync + 'static, LogFilter), TelemetryError> {
    let (lines, mut log_filter) = logs::layer(config, writer)?;
    let mut layers = vec![lines];
    if let Some(provider) = traces {
        // Spans alone, and only our own: log lines name people, and a library's spans would cost on every message and
        // say nothing of mail.
        let ours = Targets::new().with_target("mailtier", LevelFilter::INFO);
        let exported = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("mailtier"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.and(filter_fn(|metadata| metadata.is_span())));
        layers.push(exported.boxed());
    }
    if let Some(provider) = logs {
        let (filter, exported) = logs::exported(config)?;
        layers.push(OpenTelemetryTracingBridge::new(provider).with_filter(filter).boxed());
        log_filter = log_filter.and(exported);
    }
    Ok((tracing_subscriber::registry().with(layers), log_filter))
}

fn metrics(
    config: &TelemetryConfig,
    collector: Option<&Collector>,
    registry: &Registry,
    resource: Resource,
) -> Result<SdkMeterProvider, TelemetryError> {
    let pulled = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(pulled);
    if let Some(collector) = collector {
        let reader = PeriodicReader::builder(collector.metrics()?).with_interval(config.otlp_metrics_interval);
        provider = provider.with_reader(reader.build());
    }
    Ok(provider.build())
}

fn traces(
    config: &TelemetryConfig,
    collector: &Collector,
    resource: Resource,
) -> Result<SdkTracerProvider, TelemetryError> {
    let sampler = ReceptionSampler::new(config.trace_sample_ratio);
    let provider = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    Ok(provider.with_batch_exporter(collector.spans()?).build())
}

fn logs(collector: &Collector, resource: Resource) -> Result<SdkLoggerProvider, TelemetryError> {
    Ok(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(collector.logs()?).build())
}

impl Telemetry {
    /// The handles of this process's metrics.
    #[must_use]
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// Takes up what may change while the process runs: what is logged.
    ///
    /// # Errors
    /// [`TelemetryError`] names the setting that cannot be used; nothing is changed then.
    pub fn reload(&self, config: &TelemetryConfig) -> Result<(), TelemetryError> {
        self.log_filter.replace(config)
    }

    /// All metrics in Prometheus's text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = Vec::new();
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Exports what is left, within the export's time limit. The exporters block their thread, so this runs on one
    /// that may be blocked.
    pub async fn shutdown(&self) {
        let (metrics, traces, logs) = (self.metrics.clone(), self.traces.clone(), self.logs.clone());
        let flush = tokio::task::spawn_blocking(move || {
            let _ = metrics.shutdown();
            let _ = traces.map(|traces| traces.shutdown());
            logs.map(|logs| logs.shutdown())
        });
        let _ = tokio::time::timeout(EXPORT_TIMEOUT, flush).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use mailtier_types::{DeliveryId, MessageId, Timestamp};
    use opentelemetry::trace::SpanId;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanExporter};

    use super::*;
    use crate::spans::AttemptFacts;
    use crate::{spans, traceparent_of};

    const WRITER: logs::Writer<'static> = logs::Writer { service: "mailtier-inbound", host: "mx1" };

    /// One test, since whether a span is wanted is remembered for the whole process.
    #[test]
    fn a_message_carries_its_trace_where_there_is_a_collector() {
        without_a_collector_there_are_no_spans();
        with_a_collector_a_message_carries_its_trace();
        late_attempts_have_a_trace_of_their_own();
    }

    fn without_a_collector_there_are_no_spans() {
        let (subscriber, _) = subscriber(&TelemetryConfig::default(), &WRITER, None, None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = spans::receive(IpAddr::V4(Ipv4Addr::LOCALHOST), "client.example");
            assert!(span.is_disabled());
            assert_eq!(traceparent_of(&span), None);
            assert!(tracing::enabled!(target: "mailtier_inbound", tracing::Level::INFO), "log lines are written");
        });
    }

    fn with_a_collector_a_message_carries_its_trace() {
        let provider = SdkTracerProvider::builder().build();
        let (subscriber, _) = subscriber(&TelemetryConfig::default(), &WRITER, Some(&provider), None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let traceparent = traceparent_of(&spans::receive(IpAddr::V4(Ipv4Addr::LOCALHOST), "client.example"));
            assert!(traceparent.is_some_and(|text| text.starts_with("00-") && text.ends_with("-01")));
            let librarys = tracing::info_span!(target: "hyper", "connection");
            assert!(librarys.is_disabled());
        });
    }

    fn ids(at: Timestamp) -> (MessageId, DeliveryId) {
        let number = MessageId::first_at(at);
        (MessageId::from_i64(number).unwrap(), DeliveryId::from_i64(number).unwrap())
    }

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// And it is recorded because the reception was, whatever share of receptions is recorded here.
    fn late_attempts_have_a_trace_of_their_own() {
        const RECEPTION: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let received = Timestamp::from_secs(1_800_000_000);
        let (message, delivery) = ids(received);
        let kept = Kept::default();
        let sampler = ReceptionSampler::new(0.0);
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(kept.clone()).build();
        let (subscriber, _) = subscriber(&TelemetryConfig::default(), &WRITER, Some(&provider), None).unwrap();
        let attempted_after = |seconds| {
            let now = received.after(Duration::from_secs(seconds));
            let turn = spans::schedule(RECEPTION, (message, delivery), 2, "worker", now);
            let turn_text = traceparent_of(&turn);
            drop(turn);
            let facts = AttemptFacts { message, delivery, destination: "b.example", number: 2, recipients: 1 };
            drop(spans::attempt(facts, turn_text.as_deref(), || None, now));
            drop(spans::attempt(facts, None, || Some(RECEPTION.to_owned()), now));
            std::mem::take(&mut *kept.0.lock().unwrap())
        };
        tracing::subscriber::with_default(subscriber, || {
            assert!(
                traceparent_of(&spans::receive(IpAddr::V4(Ipv4Addr::LOCALHOST), "c")).is_none(),
                "none is recorded"
            );
            let soon = attempted_after(3600);
            assert_eq!(soon.len(), 3);
            for span in &soon {
                assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
                assert_eq!(span.links.iter().count(), 0);
            }
            let [turn, attempt, unscheduled] = &attempted_after(3601)[..] else { panic!("three spans") };
            for begins in [turn, unscheduled] {
                assert_eq!(begins.parent_span_id, SpanId::INVALID);
                let links: Vec<String> =
                    begins.links.iter().map(|link| link.span_context.span_id().to_string()).collect();
                assert_eq!(links, ["b7ad6b7169203331"]);
                assert_ne!(begins.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
            }
            assert_eq!(attempt.span_context.trace_id(), turn.span_context.trace_id());
            assert_eq!(attempt.parent_span_id, turn.span_context.span_id());
        });
    }
}
