//! How log lines look. Not responsible for what they say. Lines say all they have to by themselves, so spans are none
//! of the log's business: without an exporter nobody asks for them, and they cost nothing.

use mailtier_config::{LogFormat, TelemetryConfig};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{EnvFilter, Layer, reload};

use crate::output::Output;
use crate::postfix::Postfix;
use crate::setup::TelemetryError;
use crate::text::TextFields;
use crate::traced::Traced;

/// What strangers can make libraries say at will, and what is said twice of an export that failed; a filter of the
/// configuration that names the same goes before it.
const QUIET: &str = "rustls=error,hickory_net::dnssec=off,opentelemetry-otlp=error";

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

/// What is logged, for as long as the process runs: on standard output, and by the collector where there is one.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter(Vec<reload::Handle<EnvFilter, Registry>>);

impl LogFilter {
    /// Logs what this says from now on.
    ///
    /// # Errors
    /// It cannot be used, and the one before stays.
    pub(crate) fn replace(&self, config: &TelemetryConfig) -> Result<(), TelemetryError> {
        filter(config)?;
        for handle in &self.0 {
            // Where another subscriber came first in this process, nothing is left to be replaced.
            let _ = handle.reload(filter(config)?);
        }
        Ok(())
    }

    /// Both of them.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// What is sent to a collector of log lines, and what changes it: what is written, but for what is said on the way there,
/// which would not end.
pub(crate) fn exported(
    config: &TelemetryConfig,
) -> Result<(impl Filter<Registry> + Send + Sync + 'static, LogFilter), TelemetryError> {
    const ON_THE_WAY: [&str; 5] = ["opentelemetry", "tonic", "h2", "hyper", "tower"];
    let is_ours = |metadata: &tracing::Metadata<'_>| {
        !metadata.is_span() && !ON_THE_WAY.iter().any(|library| metadata.target().starts_with(library))
    };
    let (filter, handle) = reload::Layer::new(filter(config)?);
    Ok((filter.and(filter_fn(is_ours)), LogFilter(vec![handle])))
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// The program.
    pub(crate) service: &'static str,
    /// The system that it runs on.
    pub(crate) host: &'a str,
}

/// The layer that writes lines to standard output, and what changes which.
pub(crate) fn layer(config: &TelemetryConfig, writer: &Writer<'_>) -> Result<(LogLayer, LogFilter), TelemetryError> {
    layer_to(config, writer, Output)
}

/// A layer over the registry.
pub(crate) type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer_to<W>(
    config: &TelemetryConfig,
    writer: &Writer<'_>,
    output: W,
) -> Result<(LogLayer, LogFilter), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(config)?);
    let filter = filter.and(filter_fn(|metadata| !metadata.is_span()));
    let layer = tracing_subscriber::fmt::layer().with_writer(output);
    let layer: LogLayer = match config.log_format {
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            layer.map_event_format(|format| Traced { format, is_json: true }).with_filter(filter).boxed()
        }
        LogFormat::Text => {
            let layer = layer.with_ansi(false).with_target(false).compact().fmt_fields(TextFields);
            layer.map_event_format(|format| Traced { format, is_json: false }).with_filter(filter).boxed()
        }
        LogFormat::Postfix => {
            let format = Postfix::new(writer.service, writer.host);
            layer.with_ansi(false).fmt_fields(TextFields).event_format(format).with_filter(filter).boxed()
        }
    };
    Ok((layer, LogFilter(vec![handle])))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const WRITER: Writer<'static> = Writer { service: "mailtier-queue", host: "mx1" };
    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What is written without its time.
    fn written(log_format: LogFormat, say: impl FnOnce()) -> String {
        let output = Output::default();
        let to = output.clone();
        let config = TelemetryConfig { log_format, ..TelemetryConfig::default() };
        let (layer, _) = layer_to(&config, &WRITER, move || to.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        match log_format {
            LogFormat::Text => text.split_once("Z ").unwrap().1.to_owned(),
            LogFormat::Json | LogFormat::Postfix => text,
        }
    }

    const FORGED: &str = "x user=\"ceo\" status=\"accepted\"\n\u{9b}2J\u{202e}gro\u{2028}é";

    #[test]
    fn strangers_cannot_make_a_line_say_what_did_not_happen() {
        let line = written(LogFormat::Text, || {
            tracing::info!(client = %"192.0.2.1", helo = %FORGED, user = FORGED, reply = %"550 No", from = %"<a@b.example>", status = "rejected");
        });
        let escaped = r#""x user=\"ceo\" status=\"accepted\"\n\u{9b}2J\u{202e}gro\u{2028}é""#;
        assert_eq!(
            line,
            format!(
                " INFO client=192.0.2.1 helo={escaped} user={escaped} reply=\"550 No\" from=<a@b.example> status=\"rejected\"\n"
            )
        );
        let message = written(LogFormat::Text, || tracing::info!(n = 1, "a library says {}", "\u{1b}[2J\n\u{202e}"));
        assert_eq!(message, " INFO a library says \\u{1b}[2J\\n\\u{202e} n=1\n");
        let plain = written(LogFormat::Text, || tracing::warn!(r#type = ?Some(1), left = 2.5, "it's \"so\""));
        assert_eq!(plain, " WARN it's \"so\" type=Some(1) left=2.5\n");
    }

    #[test]
    fn the_causes_of_an_error_are_told() {
        let error = io::Error::other(TelemetryError::Metrics("no".into()));
        let error = io::Error::other(error);
        let line = written(LogFormat::Text, || tracing::info!(error = &error as &dyn std::error::Error));
        assert_eq!(line, " INFO error=\"metrics cannot be exported: no\"\n");
    }

    #[test]
    fn lines_say_of_which_trace_they_are() {
        let say = || crate::in_trace(Some(TRACEPARENT), || tracing::info!(status = "accepted"));
        let text = written(LogFormat::Text, say);
        let ids = "trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331";
        assert_eq!(text, format!(" INFO status=\"accepted\" {ids}\n"));
        let json = written(LogFormat::Json, say);
        let end = r#","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"}"#;
        assert_eq!(json.trim_end().strip_suffix(end).and_then(|start| start.chars().last()), Some('"'), "{json}");
        let unrecorded = TRACEPARENT.replace("-01", "-00");
        let without = written(LogFormat::Text, || crate::in_trace(Some(&unrecorded), || tracing::info!(n = 1)));
        assert_eq!(without, " INFO n=1\n", "nobody finds a trace that was not recorded");
    }

    #[test]
    fn what_postfix_has_no_line_for_is_in_its_manner() {
        let line = written(LogFormat::Postfix, || tracing::warn!(error = %"it \n broke", "database trouble"));
        let (frame, said) = line.split_once("]: ").unwrap();
        assert!(frame.contains(" mx1 mailtier/qmgr["), "{frame}");
        assert_eq!(said, "warning: database trouble error=\"it \\n broke\"\n");
    }

    #[test]
    fn json_is_as_it_was() {
        let line = written(LogFormat::Json, || tracing::info!(helo = %"a\"b\u{202e}", status = "rejected", "said"));
        let (_, fields) = line.split_once("\"level\"").unwrap();
        let expected = ":\"INFO\",\"message\":\"said\",\"helo\":\"a\\\"b\u{202e}\",\"status\":\"rejected\",\"target\":\"mailtier_telemetry::logs::tests\"}\n";
        assert_eq!(fields, expected);
    }

    #[test]
    fn another_filter_counts_from_then_on() {
        let output = Output::default();
        let to = output.clone();
        let (layer, filter) = layer_to(&TelemetryConfig::default(), &WRITER, move || to.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let say = |n: u8| tracing::debug!(n, "said");
            say(1);
            let with = |text: &str| TelemetryConfig { log_filter: text.to_owned(), ..TelemetryConfig::default() };
            filter.replace(&with("debug")).unwrap();
            say(2);
            assert!(filter.replace(&with("mailtier=loud")).is_err());
            say(3);
            filter.replace(&with("info")).unwrap();
            say(4);
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let said: Vec<_> = (1..=4).filter(|n| text.contains(&format!("\"n\":{n}"))).collect();
        assert_eq!(said, [2, 3]);
    }
}
