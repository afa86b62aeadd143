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
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::logs;
use crate::meters::Meters;

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
    let exported = traces.as_ref().map(|provider| {
        // Only our own spans at info: a library's would cost on every message and say nothing of mail.
        let ours = Targets::new().with_target("mailtier", LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("mailtier")).with_filter(ours)
    });
    let _ = tracing_subscriber::registry().with(exported).with(logs::layer(config)?).try_init();
    let meters = Meters::new(&metrics);
    Ok(Telemetry { registry, metrics, traces, meters })
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
