//! How log lines look. Not responsible for what they say. Lines say all they have to by themselves, so spans are none
//! of the log's business: without an exporter nobody asks for them, and they cost nothing.

use mailtier_config::{LogFormat, TelemetryConfig};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::setup::TelemetryError;

/// What strangers can make libraries say at will; a filter of the configuration that names the same goes before it.
const QUIET: &str = "rustls=error";

/// Whether the filter of log lines can be used.
///
/// # Errors
/// It cannot; the message says why.
pub fn check(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    filter(config).map(|_| ())
}

fn filter(config: &TelemetryConfig) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(format!("{QUIET},{}", config.log_filter))
        .map_err(|error| TelemetryError::Filter { filter: config.log_filter.clone(), reason: error.to_string() })
}

/// The layer that writes lines to standard output.
pub(crate) fn layer<S>(config: &TelemetryConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter = filter(config)?.and(filter_fn(|metadata| !metadata.is_span()));
    let layer = tracing_subscriber::fmt::layer();
    Ok(match config.log_format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(filter).boxed()
        }
        LogFormat::Text => layer.with_ansi(false).with_target(false).compact().with_filter(filter).boxed(),
    })
}
