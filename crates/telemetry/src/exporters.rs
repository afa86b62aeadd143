//! The ways to a collector: OTLP over gRPC for spans, metrics and log lines, with TLS where its URL asks for that and the
//! headers that it wants. Not responsible for what is sent.

use std::time::Duration;

use mailtier_config::{ConfigError, Secret, TelemetryConfig};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};

use crate::setup::TelemetryError;

/// How long one export may take.
pub(crate) const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where the collector is, where the configuration does not say so: for platforms that tell all programs.
const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where a collector is, and what it wants.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Who says so.
    key: &'static str,
    endpoint: String,
    headers: Vec<(String, Secret)>,
}

macro_rules! exporter {
    ($collector:expr, $builder:expr) => {{
        let builder = $builder.with_tonic().with_endpoint(&$collector.endpoint).with_timeout(EXPORT_TIMEOUT);
        let builder = builder.with_metadata($collector.metadata()?);
        let builder = match $collector.endpoint.starts_with("https://") {
            true => builder.with_tls_config(ClientTlsConfig::new().with_native_roots()),
            false => builder,
        };
        builder.build().map_err(|error| $collector.bad(&error))
    }};
}

impl Collector {
    /// The collector of this configuration, or of the environment.
    ///
    /// # Errors
    /// The headers cannot be read.
    pub(crate) fn of(config: &TelemetryConfig) -> Result<Option<Self>, TelemetryError> {
        let told = || std::env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty());
        let (key, endpoint) = match &config.otlp_endpoint {
            Some(endpoint) => ("telemetry.otlp_endpoint", Some(endpoint.clone())),
            None => (ENDPOINT_VARIABLE, told()),
        };
        let Some(endpoint) = endpoint else { return Ok(None) };
        let headers = config.headers().map_err(|error: ConfigError| TelemetryError::Headers(error.to_string()))?;
        Ok(Some(Self { key, endpoint, headers }))
    }

    /// For spans.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(crate) fn spans(&self) -> Result<SpanExporter, TelemetryError> {
        exporter!(self, SpanExporter::builder())
    }

    /// For metrics.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(crate) fn metrics(&self) -> Result<MetricExporter, TelemetryError> {
        exporter!(self, MetricExporter::builder())
    }

    /// For log lines.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(crate) fn logs(&self) -> Result<LogExporter, TelemetryError> {
        exporter!(self, LogExporter::builder())
    }

    fn metadata(&self) -> Result<MetadataMap, TelemetryError> {
        let mut headers = http::HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let unusable = || TelemetryError::Headers(format!("the header `{name}` cannot be sent"));
            let header = http::HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
            let mut value = http::HeaderValue::try_from(value.expose()).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(MetadataMap::from_headers(headers))
    }

    fn bad(&self, error: &ExporterBuildError) -> TelemetryError {
        TelemetryError::Endpoint { key: self.key, endpoint: self.endpoint.clone(), reason: error.to_string() }
    }
}
