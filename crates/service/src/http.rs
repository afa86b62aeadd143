//! Health and metrics over HTTP: `/healthz/live`, `/healthz/ready`, `/metrics`. Nothing here changes anything, so
//! nothing asks for a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use mailtier_telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

#[derive(Clone)]
struct Shared {
    health: Health,
    telemetry: Arc<Telemetry>,
}

/// Binds and serves until cancelled; returns where.
pub(crate) async fn serve(
    address: SocketAddr,
    health: Health,
    telemetry: Arc<Telemetry>,
    end: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz/live", get(|| async { "live\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Shared { health, telemetry });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
    Ok(bound)
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.health.not_ready_because() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.telemetry.metrics_text())
}

#[cfg(test)]
mod tests {
    use mailtier_config::TelemetryConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get_path(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn health_and_metrics_can_be_asked_for() {
        let config = TelemetryConfig::default();
        let telemetry = Arc::new(mailtier_telemetry::init(&config, "test", "test").unwrap());
        let (health, end) = (Health::default(), CancellationToken::new());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(loopback, health.clone(), Arc::clone(&telemetry), end.clone()).await.unwrap();
        assert!(get_path(address, "/healthz/live").await.starts_with("HTTP/1.1 200"));
        let starting = get_path(address, "/healthz/ready").await;
        assert!(starting.starts_with("HTTP/1.1 503") && starting.contains("starting"), "{starting}");
        health.set_ready();
        assert!(get_path(address, "/healthz/ready").await.starts_with("HTTP/1.1 200"));
        health.set_not_ready("draining");
        assert!(get_path(address, "/healthz/ready").await.contains("draining"));
        telemetry.meters().queue_accepted.add(3, &[]);
        let metrics = get_path(address, "/metrics").await;
        assert!(metrics.contains("mailtier_queue_accepted") && metrics.contains(" 3"), "{metrics}");
        end.cancel();
    }
}
