//! How log lines look. Not responsible for what they say.

use mailtier_config::{LogFormat, TelemetryConfig};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::setup::TelemetryError;

/// The layer that writes lines to standard output.
pub(crate) fn layer<S>(config: &TelemetryConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| TelemetryError::Filter { filter: config.log_filter.clone(), reason: error.to_string() })?;
    let layer = tracing_subscriber::fmt::layer().with_span_events(FmtSpan::NONE);
    Ok(match config.log_format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(filter).boxed()
        }
        LogFormat::Text => layer.with_ansi(false).with_target(false).compact().with_filter(filter).boxed(),
    })
}
