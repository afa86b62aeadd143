//! What the process itself uses: processor, memory, file descriptors, threads, tasks; by OpenTelemetry's conventions for
//! processes. Read when somebody collects, and not before. Not responsible for what the programs do.
//!
//! Where the system does not tell (no `/proc`), the metric is absent.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process, Stat};
use tokio::runtime::Handle;

use crate::metric::Metric;

/// Registers them with a provider. Must run within a tokio runtime.
pub(crate) fn observe(provider: &dyn MeterProvider) {
    let meter = provider.meter("mailtier");
    gauge(&meter, Metric::ProcessMemoryUsage, || Some(stat()?.rss_bytes().get()));
    gauge(&meter, Metric::ProcessMemoryVirtual, || Some(stat()?.vsize));
    gauge(&meter, Metric::ProcessThreadCount, || u64::try_from(stat()?.num_threads).ok());
    gauge(&meter, Metric::ProcessFileDescriptors, || u64::try_from(Process::myself().ok()?.fd_count().ok()?).ok());
    gauge(&meter, Metric::FileDescriptorsMax, max_file_descriptors);
    let runtime = Handle::current();
    gauge(&meter, Metric::RuntimeTasks, move || u64::try_from(runtime.metrics().num_alive_tasks()).ok());
    uptime(&meter);
    cpu_time(&meter);
    let version = [KeyValue::new("version", env!("CARGO_PKG_VERSION"))];
    let build = meter.u64_observable_gauge(Metric::BuildInfo.name()).with_unit(Metric::BuildInfo.unit());
    build.with_description(Metric::BuildInfo.help()).with_callback(move |seen| seen.observe(1, &version)).build();
}

fn gauge(meter: &Meter, metric: Metric, read: impl Fn() -> Option<u64> + Send + Sync + 'static) {
    let observe = move |seen: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
        if let Some(value) = read() {
            seen.observe(value, &[]);
        }
    };
    let gauge = meter.u64_observable_gauge(metric.name()).with_unit(metric.unit()).with_description(metric.help());
    gauge.with_callback(observe).build();
}

fn uptime(meter: &Meter) {
    let (metric, began) = (Metric::ProcessUptime, Instant::now());
    let gauge = meter.f64_observable_gauge(metric.name()).with_unit(metric.unit()).with_description(metric.help());
    gauge.with_callback(move |seen| seen.observe(began.elapsed().as_secs_f64(), &[])).build();
}

fn cpu_time(meter: &Meter) {
    let metric = Metric::ProcessCpuTime;
    let [user, system] = ["user", "system"].map(|mode| [KeyValue::new("cpu.mode", mode)]);
    let counter = meter.f64_observable_counter(metric.name()).with_unit(metric.unit());
    counter
        .with_description(metric.help())
        .with_callback(move |seen| {
            if let Some(stat) = stat() {
                seen.observe(seconds(stat.utime), &user);
                seen.observe(seconds(stat.stime), &system);
            }
        })
        .build();
}

fn stat() -> Option<Stat> {
    Process::myself().ok()?.stat().ok()
}

/// Of the system's ticks.
fn seconds(ticks: u64) -> f64 {
    Duration::from_millis(ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1)).as_secs_f64()
}

fn max_file_descriptors() -> Option<u64> {
    match Process::myself().ok()?.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(value) => Some(value),
        LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::*;

    #[tokio::test]
    async fn a_process_tells_what_it_uses() {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        observe(&provider);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let value = |metric: Metric| -> f64 {
            let name = metric.prometheus_name();
            let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(&name));
            line.unwrap_or_else(|| panic!("{name}: {text}")).rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value(Metric::ProcessMemoryUsage) > 1_048_576.0, "a test takes more than a mebibyte");
        assert!(value(Metric::ProcessMemoryVirtual) >= value(Metric::ProcessMemoryUsage));
        assert!(value(Metric::ProcessFileDescriptors) >= 3.0);
        assert!(value(Metric::FileDescriptorsMax) > value(Metric::ProcessFileDescriptors));
        assert!(value(Metric::ProcessThreadCount) >= 1.0);
        assert!(value(Metric::ProcessUptime) >= 0.0 && value(Metric::ProcessCpuTime) >= 0.0);
        assert!(value(Metric::RuntimeTasks) >= 0.0);
        assert!((value(Metric::BuildInfo) - 1.0).abs() < f64::EPSILON);
        assert!(text.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{text}");
    }

    #[test]
    fn ticks_are_told_in_seconds() {
        assert!((seconds(procfs::ticks_per_second() * 3 / 2) - 1.5).abs() < f64::EPSILON);
    }
}
