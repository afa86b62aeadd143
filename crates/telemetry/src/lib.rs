//! Logs, traces and metrics: one set-up for every program.
//!
//! Responsible for tracing-subscriber, OTLP export, the Prometheus text, W3C trace context, and the names of all
//! metrics and spans. Not responsible for what is worth saying: that is each program's. A slow or dead collector never
//! slows mail: spans, metrics and log lines are exported from queues that drop when full.

mod context;
mod exporters;
mod logs;
mod meters;
mod metric;
mod output;
mod postfix;
mod process;
mod resource;
mod sampler;
mod setup;
pub mod spans;
mod text;
mod traced;

pub use context::{in_trace, traceparent_of};
pub use logs::check;
pub use meters::Meters;
pub use metric::{Kind, Metric, reference_markdown};
pub use output::together;
pub use setup::{Telemetry, TelemetryError, init};
