//! Puts logs, traces and metrics together for one process.

use std::time::Duration;

use mailtier_config::TelemetryConfig;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::logs::{self, LogFilter};
use crate::meters::Meters;
use crate::process;

/// How often metrics are pushed.
const METRICS_INTERVAL: Duration = Duration::from_secs(15);
/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// `telemetry.otlp_endpoint`.
    #[error("`telemetry.otlp_endpoint` is `{endpoint}`: {reason}")]
    Endpoint {
        /// The value.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
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
    meters: Meters,
    log_filter: LogFilter,
}

/// Starts logs, traces and metrics. A second call in one process (tests run several programs in one) keeps the first
/// one's logs and traces, and has metrics of its own. Must run within a tokio runtime.
///
/// # Errors
/// [`TelemetryError`] names the setting that cannot be used.
pub fn init(config: &TelemetryConfig, service: &'static str, instance: &str) -> Result<Telemetry, TelemetryError> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.namespace", "mailtier"),
        ])
        .build();
    let registry = Registry::new();
    let metrics = metrics(config, &registry, resource.clone())?;
    let traces = traces(config, resource)?;
    let (subscriber, log_filter) = subscriber(config, traces.as_ref())?;
    let _ = subscriber.try_init();
    let meters = Meters::new(&metrics);
    process::observe(&metrics);
    Ok(Telemetry { registry, metrics, traces, meters, log_filter })
}

/// What spans and events of this process go through. Without an exporter there must be no layer for it at all, not even
/// an empty one: that would keep spans enabled, as tracing-subscriber takes it for one that wants everything.
fn subscriber(
    config: &TelemetryConfig,
    traces: Option<&SdkTracerProvider>,
) -> Result<(impl tracing::Subscriber + Send + Sync + 'static, LogFilter), TelemetryError> {
    let (lines, log_filter) = logs::layer(config)?;
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
    Ok((tracing_subscriber::registry().with(layers), log_filter))
}

fn metrics(
    config: &TelemetryConfig,
    registry: &Registry,
    resource: Resource,
) -> Result<SdkMeterProvider, TelemetryError> {
    let pulled = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(pulled);
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = opentelemetry_otlp::MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| bad_endpoint(endpoint, &error))?;
        provider = provider.with_reader(PeriodicReader::builder(exporter).with_interval(METRICS_INTERVAL).build());
    }
    Ok(provider.build())
}

fn traces(config: &TelemetryConfig, resource: Resource) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| bad_endpoint(endpoint, &error))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.trace_sample_ratio)));
    let provider = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    Ok(Some(provider.with_batch_exporter(exporter).build()))
}

fn bad_endpoint(endpoint: &str, error: &dyn std::fmt::Display) -> TelemetryError {
    TelemetryError::Endpoint { endpoint: endpoint.to_owned(), reason: error.to_string() }
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
        let (metrics, traces) = (self.metrics.clone(), self.traces.clone());
        let flush = tokio::task::spawn_blocking(move || {
            let _ = metrics.shutdown();
            traces.map(|traces| traces.shutdown())
        });
        let _ = tokio::time::timeout(EXPORT_TIMEOUT, flush).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{spans, traceparent_of};

    /// One test, since whether a span is wanted is remembered for the whole process.
    #[test]
    fn a_message_carries_its_trace_where_there_is_a_collector() {
        without_a_collector_there_are_no_spans();
        with_a_collector_a_message_carries_its_trace();
    }

    fn without_a_collector_there_are_no_spans() {
        let (subscriber, _) = subscriber(&TelemetryConfig::default(), None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = spans::receive(IpAddr::V4(Ipv4Addr::LOCALHOST), "client.example");
            assert!(span.is_disabled());
            assert_eq!(traceparent_of(&span), None);
            assert!(tracing::enabled!(target: "mailtier_inbound", tracing::Level::INFO), "log lines are written");
        });
    }

    fn with_a_collector_a_message_carries_its_trace() {
        let provider = SdkTracerProvider::builder().build();
        let (subscriber, _) = subscriber(&TelemetryConfig::default(), Some(&provider)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let traceparent = traceparent_of(&spans::receive(IpAddr::V4(Ipv4Addr::LOCALHOST), "client.example"));
            assert!(traceparent.is_some_and(|text| text.starts_with("00-") && text.ends_with("-01")));
            let librarys = tracing::info_span!(target: "hyper", "connection");
            assert!(librarys.is_disabled());
        });
    }
}
