//! An OpenTelemetry collector for tests: takes traces, metrics and log lines by OTLP over gRPC, as real ones do, and keeps what
//! came. Not responsible for what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// `service.name` of the program it came from.
    pub service: String,
    /// The name.
    pub name: String,
    /// `Server`, `Client` …
    pub kind: SpanKind,
    /// 16 octets.
    pub trace_id: Vec<u8>,
    /// 8 octets.
    pub span_id: Vec<u8>,
    /// 8 octets, or none at the root.
    pub parent_id: Vec<u8>,
    /// Trace and span of what it is linked to.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// When it began, in nanoseconds of Unix time.
    pub began_ns: u64,
    /// Its attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Events within it.
    pub events: usize,
    /// Whether it says that it failed.
    pub is_error: bool,
}

/// A line of a log that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedLine {
    /// `service.name` of the program it came from.
    pub service: String,
    /// Its fields as text.
    pub attributes: BTreeMap<String, String>,
    /// 16 octets, or none outside of a trace.
    pub trace_id: Vec<u8>,
    /// 8 octets, or none outside of a trace.
    pub span_id: Vec<u8>,
}

/// All that came.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// In the order in which they came.
    pub spans: Vec<ReceivedSpan>,
    /// In the order in which they came.
    pub lines: Vec<ReceivedLine>,
    /// What requests had in their header `authorization`.
    pub authorizations: BTreeSet<String>,
    /// Names of metrics by `service.name`.
    pub metrics: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Store {
    received: Mutex<Received>,
    changed: Condvar,
}

impl Store {
    fn change(&self, change: impl FnOnce(&mut Received)) {
        change(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// A running collector. It is gone when this is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    store: Arc<Store>,
    runtime: Option<Runtime>,
}

impl Collector {
    /// Starts one on a free port of loopback, on a runtime of its own.
    ///
    /// # Errors
    /// No port is free, or no thread.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let store = Arc::new(Store::default());
        let server = Server::builder()
            .add_service(TraceServiceServer::new(Service(Arc::clone(&store))))
            .add_service(MetricsServiceServer::new(Service(Arc::clone(&store))))
            .add_service(LogsServiceServer::new(Service(Arc::clone(&store))))
            .serve_with_incoming(TcpIncoming::from(listener));
        runtime.spawn(server);
        Ok(Self { address, store, runtime: Some(runtime) })
    }

    /// For `telemetry.otlp_endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that came until now.
    #[must_use]
    pub fn received(&self) -> Received {
        self.store.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what came is enough, or until the limit, and returns it.
    #[must_use]
    pub fn wait(&self, limit: Duration, is_enough: impl Fn(&Received) -> bool) -> Received {
        let received = self.store.received.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.store.changed.wait_timeout_while(received, limit, |received| !is_enough(received));
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Service(Arc<Store>);

impl Service {
    fn note_authorization<T>(&self, request: &Request<T>) {
        let value = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if let Some(value) = value.map(str::to_owned) {
            self.0.change(|received| {
                received.authorizations.insert(value);
            });
        }
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.note_authorization(&request);
        let mut lines = Vec::new();
        for of_service in request.into_inner().resource_logs {
            let service = service_name(of_service.resource);
            for record in of_service.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                lines.push(ReceivedLine {
                    service: service.clone(),
                    attributes: texts(record.attributes),
                    trace_id: record.trace_id,
                    span_id: record.span_id,
                });
            }
        }
        self.0.change(|received| received.lines.append(&mut lines));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.note_authorization(&request);
        let mut spans = Vec::new();
        for of_service in request.into_inner().resource_spans {
            let service = service_name(of_service.resource);
            for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(ReceivedSpan {
                    service: service.clone(),
                    kind: span.kind(),
                    is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
                    name: span.name,
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent_id: span.parent_span_id,
                    links: span.links.into_iter().map(|link| (link.trace_id, link.span_id)).collect(),
                    began_ns: span.start_time_unix_nano,
                    events: span.events.len(),
                    attributes: texts(span.attributes),
                });
            }
        }
        self.0.change(|received| received.spans.append(&mut spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.note_authorization(&request);
        self.0.change(|received| {
            for of_service in request.into_inner().resource_metrics {
                let names = received.metrics.entry(service_name(of_service.resource)).or_default();
                names.extend(
                    of_service.scope_metrics.into_iter().flat_map(|scope| scope.metrics).map(|metric| metric.name),
                );
            }
        });
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn service_name(resource: Option<Resource>) -> String {
    let mut attributes = texts(resource.unwrap_or_default().attributes);
    attributes.remove("service.name").unwrap_or_default()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}
