//! HTTP/1.1 for programs that answer requests: connections, limits, timeouts, names of requests. Not responsible for
//! what is answered, nor for who may ask: a function is handed each whole request and gives the whole answer.
//!
//! hyper itself and not axum's `serve`, which waits for ever for the header of a request and takes any number of
//! connections. With a certificate it is HTTPS, and nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use mailtier_tls::ServerTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificates::keep_server_certificate;

/// Connections at a time; more wait to be taken.
const MAX_CONNECTIONS: usize = 64;
/// The largest body of a request: a thousand ids have 16 KB.
const MAX_BODY_BYTES: usize = 256 << 10;
/// The largest header.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long a connection may be silent before a request, and how long a header may take.
const HEADER_WITHIN: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// How long an answer may take to be found.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long what is being answered is waited for when all ends.
const END_WITHIN: Duration = Duration::from_secs(5);
/// After a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// Names a request, in answers and in logs.
const REQUEST_ID: &str = "x-request-id";
/// The longest name that a client may give its request.
const MAX_REQUEST_ID_OCTETS: usize = 64;

/// Answers every request by `answer` until cancelled; then what is being answered ends. A certificate is read again when it
/// changes.
pub async fn serve_json<F, Answering>(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    answer: F,
    end: CancellationToken,
) where
    F: Fn(Request<Bytes>) -> Answering + Clone + Send + Sync + 'static,
    Answering: Future<Output = Response<Bytes>> + Send + 'static,
{
    if let Some(tls) = tls.clone() {
        tokio::spawn(keep_server_certificate(tls, end.clone()));
    }
    let (places, connections) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), TaskTracker::new());
    loop {
        let accepting = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            taken = accepting => taken,
            () = end.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (answer, end) = (answer.clone(), end.clone());
                let tls = tls.clone();
                connections.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    match tls {
                        None => serve_connection(stream, answer, end).await,
                        Some(tls) => {
                            if let Some(stream) = shaken(stream, &tls, &end).await {
                                serve_connection(stream, answer, end).await;
                            }
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(END_WITHIN, connections.wait()).await;
}

/// The connection after its handshake; nothing where there is none in time.
async fn shaken(
    stream: TcpStream,
    tls: &ServerTls,
    end: &CancellationToken,
) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let shaking = tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream));
    match end.run_until_cancelled(shaking).await? {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS handshake with a client of the HTTP API: does it use https://?")
        }
        Err(_) => tracing::debug!("no TLS handshake with a client of the HTTP API in time"),
    }
    None
}

async fn serve_connection<S, F, Answering>(stream: S, answer: F, end: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Fn(Request<Bytes>) -> Answering + Clone + Send + Sync + 'static,
    Answering: Future<Output = Response<Bytes>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer_one(request, answer).await.map(Full::new)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

async fn answer_one<F, Answering>(request: Request<Incoming>, answer: F) -> Response<Bytes>
where
    F: Fn(Request<Bytes>) -> Answering,
    Answering: Future<Output = Response<Bytes>>,
{
    let (mut head, body) = request.into_parts();
    let id = request_id(head.headers.get(REQUEST_ID));
    // RFC 9112 §3.2.
    let names_host = head.headers.contains_key(HOST) || head.version != Version::HTTP_11;
    head.headers.insert(REQUEST_ID, id.clone());
    let mut answered = match tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        _ if !names_host => refusal(StatusCode::BAD_REQUEST, "the request has no field Host"),
        Ok(Ok(body)) => {
            let answering = answer(Request::from_parts(head, body.to_bytes()));
            let late = "no answer in time: what was asked for may still be done";
            let answered = tokio::time::timeout(ANSWER_WITHIN, answering).await;
            answered.unwrap_or_else(|_| refusal(StatusCode::GATEWAY_TIMEOUT, late))
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 262144 octets")
        }
        Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "the body cannot be read to its end"),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    answered.headers_mut().insert(REQUEST_ID, id);
    answered
}

/// The client's own name for its request, where that is plain; else a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let is_plain = |value: &&HeaderValue| {
        let octets = value.as_bytes();
        let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"._-".contains(octet);
        !octets.is_empty() && octets.len() <= MAX_REQUEST_ID_OCTETS && octets.iter().all(is_plain)
    };
    let made = || {
        let id = uuid::Uuid::new_v4().simple().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    };
    given.filter(is_plain).cloned().unwrap_or_else(made)
}

/// A problem (RFC 9457) of these words, which have nothing to be escaped.
fn refusal(status: StatusCode, detail: &'static str) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or_default();
    let text =
        format!(r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#, status.as_u16());
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use mailtier_tls::{CertificateFiles, ClientTls, KeyExchange};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Says what it was asked, and with how many octets.
    async fn started() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        started_with(None).await
    }

    async fn started_with(tls: Option<Arc<ServerTls>>) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let answer = |request: Request<Bytes>| async move {
            let text = format!("{} {} {}", request.method(), request.uri(), request.body().len());
            Response::new(Bytes::from(text))
        };
        (address, end.clone(), tokio::spawn(serve_json(listener, tls, answer, end)))
    }

    async fn asked(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        // Who is refused in the middle of what he says may find the connection reset behind the reply.
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    #[tokio::test]
    async fn whole_requests_are_answered_and_named() {
        let (address, end, served) = started().await;
        let head = "POST /v1/x?y=z HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
        let reply = asked(address, &format!("{head}X-Request-Id: mine-1\r\nContent-Length: 5\r\n\r\nhello")).await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("POST /v1/x?y=z 5"), "{reply}");
        assert!(reply.contains("x-request-id: mine-1"), "{reply}");
        let reply = asked(address, &format!("{head}X-Request-Id: two words\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(reply.contains("x-request-id: ") && !reply.contains("two words"), "{reply}");
        let reply = asked(address, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("no field Host"), "{reply}");
        end.cancel();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn bodies_are_bounded_whether_or_not_they_say_how_large_they_are() {
        let (address, end, served) = started().await;
        let head = "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
        let chunk = "x".repeat(MAX_BODY_BYTES + 1);
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n", chunk.len());
        let sized = format!("{head}Content-Length: {}\r\n\r\n{chunk}", chunk.len());
        for text in [chunked, sized] {
            let reply = asked(address, &text).await;
            assert!(reply.starts_with("HTTP/1.1 413") && reply.contains("application/problem+json"), "{reply}");
            assert!(reply.contains(&MAX_BODY_BYTES.to_string()), "it says how large: {reply}");
        }
        // Without an end, so that it is not complete when the limit is reached, however it arrives.
        let header = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(MAX_HEADER_BYTES));
        assert!(asked(address, &header).await.starts_with("HTTP/1.1 431"));
        end.cancel();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_end() {
        let (address, end, served) = started().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert!(asked(address, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.contains("GET / 0"));
        end.cancel();
        tokio::time::timeout(END_WITHIN, served).await.expect("before it is cut").unwrap();
        assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
    }

    /// What an HTTPS client is shown, and what it is answered.
    async fn shown(address: SocketAddr) -> (Vec<u8>, String) {
        let name = ClientTls::server_name("localhost", address.ip());
        let tcp = TcpStream::connect(address).await.unwrap();
        let client = ClientTls::new().unwrap();
        let mut stream = client.connector(KeyExchange::Classical).connect(name, tcp).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        (certificate, reply)
    }

    #[tokio::test]
    async fn https_is_served_and_a_renewed_certificate_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let issue = || {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
            std::fs::write(&files.certificate, made.cert.pem()).unwrap();
            made.cert.der().to_vec()
        };
        let first = issue();
        let tls = ServerTls::load(std::slice::from_ref(&files), None).unwrap();
        let (address, end, served) = started_with(Some(tls)).await;
        let (certificate, reply) = shown(address).await;
        assert_eq!(certificate, first);
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("GET / 0"), "{reply}");
        let clear = asked(address, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
        assert!(!clear.contains("HTTP/1.1"), "nothing is answered in clear: {clear}");
        let second = issue();
        let renewed = async {
            let mut beat = tokio::time::interval(Duration::from_millis(100));
            while shown(address).await.0 != second {
                beat.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), renewed).await.unwrap();
        end.cancel();
        served.await.unwrap();
    }
}
