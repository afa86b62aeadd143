//! Messages that are posted to a web server.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use mailtier_api::work::Dispatch;
use mailtier_config::{RouteConfig, Secret};
use mailtier_types::{BodyEncoding, Cause, Outcome, ReversePath, Stage, TroubleKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{TEXT, Worker, letter, only, with_body};

/// A request as it came.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {:?}", self.headers);
        all[0]
    }
}

/// A web server that answers everything with the same octets; none: it never answers.
struct Web {
    url: String,
    seen: Arc<watch::Sender<Vec<Request>>>,
}

impl Web {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Self {
            url: format!("http://{}/in?x=1", listener.local_addr().unwrap()),
            seen: Arc::new(watch::Sender::default()),
        };
        let seen = Arc::clone(&web.seen);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let (mut head, mut octet) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_exact(&mut octet).await.is_err() {
                            return;
                        }
                        head.push(octet[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let mut lines = head.trim_end().split("\r\n");
                    let line = lines.next().unwrap().to_owned();
                    let header =
                        |line: &str| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
                    let mut request = Request { line, headers: lines.filter_map(header).collect(), body: Vec::new() };
                    let mut body = vec![0; request.one("content-length").parse().unwrap()];
                    stream.read_exact(&mut body).await.unwrap();
                    request.body = body;
                    seen.send_modify(|seen| seen.push(request));
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        web
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.borrow().clone()
    }

    fn route(&self) -> RouteConfig {
        RouteConfig { url: Some(self.url.clone()), ..RouteConfig::default() }
    }
}

async fn posted(route: RouteConfig, letter: Dispatch) -> Outcome {
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| config.outbound.routes = vec![route]).await;
    only(&queue.deliver(letter).await).clone()
}

#[tokio::test]
async fn a_message_is_posted_as_it_is_with_its_envelope_and_signed() {
    let web = Web::start("HTTP/1.1 202 Accepted\r\ncontent-length: 6\r\n\r\nqueued").await;
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let route = RouteConfig { token: secret("hidden-token"), signing_key: secret("key"), ..web.route() };
    let dispatch =
        Dispatch { tenant: mailtier_types::TenantId(7), attempt: 3, ..letter(&["a@d.example", "ä@d.example"]) };
    let message = dispatch.message;
    let outcome = posted(route, dispatch).await;
    assert_eq!(outcome.to_string(), "host 127.0.0.1 said: 250 2.0.0 HTTP 202 Accepted: queued (in reply to final)");
    assert!(outcome.is_delivered());
    let request = &web.seen()[0];
    assert_eq!((request.line.as_str(), request.body.as_slice()), ("POST /in?x=1 HTTP/1.1", TEXT.as_bytes()));
    assert_eq!(request.one("content-type"), "message/rfc822");
    assert_eq!(request.one("authorization"), "Bearer hidden-token");
    assert_eq!(request.one("mailtier-sender"), "sender@from.example");
    assert_eq!(request.all("mailtier-recipient"), ["a@d.example", "ä@d.example"]);
    assert_eq!((request.one("mailtier-message"), request.one("mailtier-attempt")), (message.to_string().as_str(), "3"));
    assert_eq!(request.one("mailtier-tenant"), "7");
    let signed = format!(
        "{}\n{message}\nsender@from.example\na@d.example\nä@d.example\n\n{TEXT}",
        request.one("mailtier-timestamp")
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), signed.as_bytes());
    let hex: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(request.one("mailtier-signature"), format!("v1={hex}"));
}

#[tokio::test]
async fn a_large_message_in_pieces_arrives_whole_and_many_recipients_in_several_posts() {
    let web = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let text = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(50_000));
    let to: Vec<String> = (0..45).map(|n| format!("r{n}@d.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let (one, two) = text.split_at(77_777);
    let mut dispatch = with_body(&to, &text, |options| (options.encoding, options.chunks) = (BodyEncoding::Zstd, 2));
    let frame = |piece: &str| Bytes::from(zstd::bulk::compress(piece.as_bytes(), 1).unwrap());
    dispatch.body = Some(vec![frame(one), frame(two)]);
    dispatch.sender = ReversePath::Null;
    assert!(posted(web.route(), dispatch).await.is_delivered());
    let seen = web.seen();
    assert_eq!(seen.iter().map(|request| request.all("mailtier-recipient").len()).collect::<Vec<_>>(), [20, 20, 5]);
    assert!(seen.iter().all(|request| request.body == text.as_bytes()), "octet by octet");
    assert!(
        seen.iter().all(|request| request.one("mailtier-sender") == "<>" && request.all("authorization").is_empty())
    );
}

#[tokio::test]
async fn what_each_status_means() {
    const LATER: &str = "content-length: 0\r\nretry-after: 7200\r\n\r\n";
    for (answer, expected, retry_after) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "250 2.0.0 HTTP 204 No Content", None),
        ("HTTP/1.1 408 x\r\ncontent-length: 0\r\n\r\n", "451 4.3.0 HTTP 408 Request Timeout", None),
        ("HTTP/1.1 425 x\r\ncontent-length: 0\r\n\r\n", "451 4.3.0 HTTP 425 Too Early", None),
        ("HTTP/1.1 429 x\r\n", "421 4.4.5 HTTP 429 Too Many Requests", Some(7200)),
        (
            "HTTP/1.1 500 x\r\ncontent-length: 9\r\n\r\noh\x1b dear\n",
            "451 4.3.0 HTTP 500 Internal Server Error: oh  dear",
            None,
        ),
        ("HTTP/1.1 503 x\r\n", "451 4.3.0 HTTP 503 Service Unavailable", Some(7200)),
        ("HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n", "554 5.3.0 HTTP 400 Bad Request", None),
        ("HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", "554 5.3.0 HTTP 404 Not Found", None),
        ("HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n", "552 5.3.4 HTTP 413 Payload Too Large", None),
    ] {
        let answer: &'static str =
            if retry_after.is_some() { Box::leak(format!("{answer}{LATER}").into_boxed_str()) } else { answer };
        let web = Web::start(answer).await;
        let outcome = posted(web.route(), letter(&["a@d.example"])).await;
        let Cause::Reply(reply) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((reply.to_string().as_str(), outcome.stage), (expected, Stage::Final));
        assert_eq!(outcome.retry_after, retry_after.map(Duration::from_secs), "{expected}");
    }
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_by_an_answer_and_a_wrong_token_bounces_nothing() {
    let other = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answer = format!("HTTP/1.1 307 x\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url);
    let web = Web::start(Box::leak(answer.into_boxed_str())).await;
    let outcome = posted(web.route(), letter(&["a@d.example"])).await;
    assert!(outcome.to_string().starts_with("HTTP 307 Temporary Redirect (posts follow no redirects)"), "{outcome}");
    assert_eq!((outcome.status().class(), other.seen().len()), (4, 0));
    let web = Web::start("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n").await;
    let outcome = posted(web.route(), letter(&["a@d.example"])).await;
    let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
    assert_eq!(trouble.kind, TroubleKind::Login);
}

#[tokio::test]
async fn servers_that_do_not_answer() {
    let silent = Web::start("").await;
    let patient = RouteConfig { timeout: Duration::from_secs(1), ..silent.route() };
    let dead = RouteConfig { url: Some("http://127.0.0.1:1/".to_owned()), ..RouteConfig::default() };
    // It speaks first, and no TLS.
    let mail = Peer::start(Script::new()).await;
    let clear = RouteConfig { url: Some(format!("https://{}/", mail.address)), ..RouteConfig::default() };
    let garbage = Web::start("220 mail.example ESMTP\r\n").await;
    for (route, kind, stage) in [
        (patient, TroubleKind::Unanswered, Stage::Final),
        (dead, TroubleKind::Connect, Stage::Connect),
        (clear, TroubleKind::Connect, Stage::Connect),
        (garbage.route(), TroubleKind::Unanswered, Stage::Final),
    ] {
        let outcome = posted(route, letter(&["a@d.example"])).await;
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((trouble.kind, outcome.stage), (kind, stage), "{outcome}");
        assert!(!trouble.text.contains("x=1"), "a URL may hold secrets: {outcome}");
    }
}

#[tokio::test]
async fn mail_that_must_be_encrypted_is_not_posted_in_clear() {
    let web = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let letter = with_body(&["a@d.example"], TEXT, |options| options.require_tls = true);
    let outcome = posted(web.route(), letter).await;
    assert!(outcome.to_string().starts_with("REQUIRETLS is asked for, and the route posts in clear"), "{outcome}");
    assert!(web.seen().is_empty());
}
