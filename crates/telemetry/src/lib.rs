//! Logs, traces and metrics: one set-up for every program.
//!
//! Responsible for tracing-subscriber, OTLP export, the Prometheus text, W3C trace context, and the names of all
//! metrics and spans. Not responsible for what is worth saying: that is each program's. A slow or dead collector never
//! slows mail: spans and metrics are exported from queues that drop when full.

mod context;
mod logs;
mod meters;
mod metric;
mod process;
mod setup;
pub mod spans;
mod text;

pub use context::traceparent_of;
pub use logs::check;
pub use meters::Meters;
pub use metric::{Kind, Metric, reference_markdown};
pub use setup::{Telemetry, TelemetryError, init};
